//! What a refusal becomes as an HTTP response of the service that uses this crate (spec/05 §A6).
//!
//! One mapping for every framework: `alter-tower`, `alter-axum` and `alter-actix` only turn an [`Answer`] into their own
//! response type. The body is JSON, `{"error": code, "message": text}` with a few more fields where they help the
//! caller, and never says anything of keys, rules or addresses inside the service.
//!
//! ```
//! use alter_core::answer::{Answer, Refusal};
//!
//! let answer = Answer::from(&Refusal::Missing);
//! assert_eq!(answer.status, 401);
//! assert_eq!(answer.headers["www-authenticate"], "Bearer");
//! assert_eq!(answer.body["error"], "missing_bearer");
//! ```

mod failure;
mod refusal;

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde_json::{Map, Value, json};

pub use refusal::Refusal;

use crate::wire::secret::SecretText;

/// A response that says why a request was not served: status, headers, JSON body.
///
/// The fields are open, so that a hook of the service can add a link, translate the message, or replace the body.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers: `Content-Type` and `Cache-Control: no-store` always, `WWW-Authenticate` with 401, `Retry-After`
    /// (whole seconds) where waiting helps.
    pub headers: HeaderMap,
    /// The body: `error` (a stable code to branch on) and `message` (for a developer) always.
    pub body: Map<String, Value>,
}

impl Answer {
    /// An answer with a status, a code and a text for the caller's developer.
    #[must_use]
    pub fn new(status: StatusCode, code: &str, message: &str) -> Self {
        let headers = HeaderMap::from_iter([
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ]);
        let body =
            Map::from_iter([("error".to_owned(), json!(code)), ("message".to_owned(), json!(message))]);
        Self { status, headers, body }
    }

    /// The answer when something is wrong with the service itself: 500, and not a word on what.
    ///
    /// Log the reason before you send this; the caller can do nothing with it.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal_error",
            "the service could not handle the request",
        )
    }

    /// With the link on which the caller mends the connection, as `connect_url`: from
    /// [`ConnectBuilder::link`](crate::ConnectBuilder::link). It holds a session of that caller, so send it to nobody else;
    /// the answer is not cached.
    #[must_use]
    pub fn with_link(self, link: Option<&SecretText>) -> Self {
        match link {
            Some(link) => self.with("connect_url", link.expose()),
            None => self,
        }
    }

    /// The code in the body; empty when a hook took it out.
    #[must_use]
    pub fn code(&self) -> &str {
        self.body.get("error").and_then(Value::as_str).unwrap_or_default()
    }

    /// The body as it is sent.
    #[must_use]
    pub fn body_bytes(&self) -> Bytes {
        // A map of JSON values with text keys always serialises.
        serde_json::to_vec(&self.body).unwrap_or_default().into()
    }

    /// The whole as a response.
    #[must_use]
    pub fn into_response(self) -> http::Response<Bytes> {
        let mut response = http::Response::new(self.body_bytes());
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }

    /// With a `WWW-Authenticate: Bearer` challenge (RFC 6750 §3), which names an error only if the caller made one.
    fn challenge(mut self, error: Option<&'static str>) -> Self {
        let value = match error {
            Some("invalid_request") => "Bearer error=\"invalid_request\"",
            Some("invalid_token") => "Bearer error=\"invalid_token\"",
            Some("insufficient_user_authentication") => "Bearer error=\"insufficient_user_authentication\"",
            _ => "Bearer",
        };
        self.headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(value));
        self
    }

    /// With `Retry-After`, rounded up to whole seconds, at least one.
    fn retry_after(mut self, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        self
    }

    fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.body.insert(field.to_owned(), value.into());
        self
    }
}

impl From<Answer> for http::Response<Bytes> {
    fn from(answer: Answer) -> Self {
        answer.into_response()
    }
}

//! What a handler answers when a call fails.

use std::fmt;

use alter_core::{Error, wire::secret::SecretText};
use alter_tower::Answer;
use axum_core::{
    body::Body,
    response::{IntoResponse, Response},
};

/// A failed call, as a handler's error: `?` makes it, and it answers with the status, headers and JSON of the
/// [crate's table](crate#what-a-failure-becomes).
///
/// To answer otherwise, look [inside](Self::inner) before, or wrap it in an error type of your own:
///
/// ```
/// use alter_axum::AlterError;
/// use alter_core::{Kind, error::Provider};
/// use axum::response::{IntoResponse, Redirect, Response};
///
/// struct Failure(AlterError);
///
/// impl From<alter_core::Error> for Failure {
///     fn from(error: alter_core::Error) -> Self {
///         Self(error.into())
///     }
/// }
///
/// impl IntoResponse for Failure {
///     fn into_response(self) -> Response {
///         match self.0.inner().kind() {
///             Kind::Grant(_) => Redirect::to("/settings/connections").into_response(),
///             _ => self.0.into_response(),
///         }
///     }
/// }
/// ```
///
/// # With a link to connect again
///
/// Where the grant is missing or broken, two lines give the caller a page that mends it, as `connect_url` in the answer's
/// JSON (see [`ConnectBuilder::link`](alter_core::ConnectBuilder::link)):
///
/// ```
/// use alter_axum::{AlterClient, AlterError, Method};
///
/// async fn events(alter: AlterClient) -> Result<String, AlterError> {
///     let url = "https://www.googleapis.com/calendar/v3/calendars/primary/events";
///     match alter.request(Method::GET, url).provider("google").send().await {
///         Ok(events) => Ok(events.text().await?),
///         Err(error) => {
///             let link = alter.connect_session_for(&error).return_url("https://shop.example/done").link().await;
///             Err(AlterError::from(error).with_link(link))
///         }
///     }
/// }
/// # let _: axum::Router = axum::Router::new().route("/", axum::routing::get(events));
/// ```
#[derive(Debug)]
pub struct AlterError {
    error: Error,
    link: Option<SecretText>,
}

impl AlterError {
    /// What went wrong.
    #[must_use]
    pub fn inner(&self) -> &Error {
        &self.error
    }

    /// What went wrong, owned.
    #[must_use]
    pub fn into_inner(self) -> Error {
        self.error
    }

    /// With the link on which the caller mends the connection, as `connect_url` in the answer's JSON: from
    /// [`ConnectBuilder::link`](alter_core::ConnectBuilder::link). `None` leaves the answer as it is.
    #[must_use]
    pub fn with_link(mut self, link: Option<SecretText>) -> Self {
        self.link = link;
        self
    }
}

impl From<Error> for AlterError {
    fn from(error: Error) -> Self {
        Self { error, link: None }
    }
}

impl fmt::Display for AlterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for AlterError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl IntoResponse for AlterError {
    fn into_response(self) -> Response {
        respond(Answer::logged(&self.error).with_link(self.link.as_ref()))
    }
}

/// The response; it carries the answer along, for `AlterLayer::map_answer`.
pub(crate) fn respond(answer: Answer) -> Response {
    let mut response = answer.clone().into_response().map(Body::from);
    response.extensions_mut().insert(answer);
    response
}

#[cfg(test)]
mod tests {
    use alter_core::Kind;
    use http::{HeaderMap, StatusCode};
    use http_body_util::BodyExt;

    use super::*;

    async fn answered(link: Option<SecretText>) -> serde_json::Value {
        let body = br#"{"error":"grant_revoked","provider_id":"google"}"#;
        let error = Error::from_vault(StatusCode::FORBIDDEN, &HeaderMap::new(), body);
        let error = AlterError::from(error).with_link(link);
        assert!(matches!(error.inner().kind(), Kind::Grant(_)));
        assert!(!format!("{error} {error:?}").contains("canary"));
        let body = error.into_response().into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&body).unwrap()
    }

    #[tokio::test]
    async fn a_link_goes_to_the_caller_and_nowhere_else() {
        let url = "https://vault.example/sdk/oauth/connect#session=canary";
        let answer = answered(Some(url.into())).await;
        assert_eq!(
            (answer["error"].as_str(), answer["connect_url"].as_str()),
            (Some("reauthorization_required"), Some(url))
        );
        assert!(answered(None).await.get("connect_url").is_none());
    }
}

//! What goes back: one renderer for every answer of the protocol, refusals included.

use std::fmt;

use alter_core::wire::{code::Code, error::ErrorBody, error::GrantCandidate, header, json, limit::RateLimit};
use axum::{body::Body, response::Response};
use http::{HeaderValue, StatusCode, header as http_header};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    domain::{ActorId, GrantId, ProviderId, Refusal, Scope},
    store::StoreError,
};

/// Seconds that a client is told to wait when the vault cannot serve for the moment.
const RETRY_SOON: u64 = 1;

/// An answer before it gets its headers.
pub(crate) struct Reply {
    status: StatusCode,
    body: Option<Vec<u8>>,
    retry_after: Option<u64>,
}

/// The body may hold a credential, so it is left out.
impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Reply {
    /// 200 with a JSON body, or 500 if `body` has no JSON form.
    pub(crate) fn json<T: Serialize>(body: &T) -> Self {
        match json::to_ascii_vec(body) {
            Ok(body) => Self { status: StatusCode::OK, body: Some(body), retry_after: None },
            Err(_) => Self::error(&ErrorBody::new(Code::InternalError, "the answer could not be written")),
        }
    }

    /// 201 with a JSON body.
    pub(crate) fn created<T: Serialize>(body: &T) -> Self {
        let mut reply = Self::json(body);
        if reply.status == StatusCode::OK {
            reply.status = StatusCode::CREATED;
        }
        reply
    }

    /// 204.
    pub(crate) fn empty() -> Self {
        Self { status: StatusCode::NO_CONTENT, body: None, retry_after: None }
    }

    /// An error, under the status of its code.
    pub(crate) fn error(body: &ErrorBody) -> Self {
        let status = body.code.as_ref().and_then(Code::status);
        let status = status.and_then(|status| StatusCode::from_u16(status).ok());
        Self::error_with(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), body)
    }

    /// An error under another status than its code's.
    pub(crate) fn error_with(status: StatusCode, body: &ErrorBody) -> Self {
        let retry_after = body.retry_after.or_else(|| retries_soon(body.code.as_ref()).then_some(RETRY_SOON));
        // An error body consists of texts and numbers, which always have a JSON form.
        Self { status, body: Some(json::to_ascii_vec(body).unwrap_or_default()), retry_after }
    }
}

fn retries_soon(code: Option<&Code>) -> bool {
    matches!(
        code,
        Some(Code::ServiceUnavailable | Code::CallerAgentResolutionError | Code::TokenRefreshInProgress)
    )
}

/// Headers that an answer gets besides its body.
#[derive(Debug)]
pub(crate) struct Dressing {
    /// `X-Request-ID`.
    pub(crate) request_id: Uuid,
    /// `X-RateLimit-*`, once the key is known.
    pub(crate) rate_limit: Option<RateLimit>,
    /// `X-Alter-Key-Deprecated`.
    pub(crate) key_deprecated: bool,
    /// `X-Alter-Actor-ID`, once the signature was good.
    pub(crate) actor_id: Option<ActorId>,
}

impl Dressing {
    pub(crate) fn new(request_id: Uuid) -> Self {
        Self { request_id, rate_limit: None, key_deprecated: false, actor_id: None }
    }

    /// Puts status, body and headers together.
    pub(crate) fn render(&self, reply: Reply) -> Response {
        let mut response = Response::new(reply.body.map_or_else(Body::empty, Body::from));
        *response.status_mut() = reply.status;
        let has_body = reply.status != StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        if has_body {
            headers.insert(http_header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        // Every answer may name grants or hold a credential: none of them belongs in a cache.
        headers.insert(http_header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::REQUEST_ID, ascii(&self.request_id.to_string()));
        if let Some(seconds) = reply.retry_after {
            headers.insert(http_header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(limit) = self.rate_limit {
            limit.write(headers);
        }
        if self.key_deprecated {
            headers.insert(header::KEY_DEPRECATED, HeaderValue::from_static("true"));
        }
        if let Some(actor) = self.actor_id {
            headers.insert(header::ACTOR_ID, ascii(&actor.to_string()));
        }
        response
    }
}

fn ascii(uuid: &str) -> HeaderValue {
    HeaderValue::from_str(uuid).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Why a call does not get what it asked for.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Refused, and no row says so yet.
    Refused(Box<ErrorBody>),
    /// The same, for want of a token of this grant at this provider: the row names them.
    NotRefreshed(Box<ErrorBody>, (GrantId, ProviderId)),
    /// Refused by the store, which has written the row.
    Recorded(Box<Refusal>),
    /// The app's configuration moved on while the call was prepared: prepare it again.
    Stale,
    /// The store did not do it.
    Store(StoreError),
    /// The vault failed. The text is for the log, not for the caller.
    Internal(String),
}

impl Failure {
    /// A refusal whose row is still to be written.
    pub(crate) fn refused(code: Code, message: impl Into<String>) -> Self {
        Self::Refused(Box::new(ErrorBody::new(code, message)))
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// The body of a refusal that the store decided on.
pub(crate) fn refusal_body(refusal: &Refusal) -> ErrorBody {
    let scopes = |scopes: &[Scope]| scopes.iter().map(ToString::to_string).collect();
    let mut body = ErrorBody::new(refusal.code.clone(), refusal.message.clone());
    body.grant_id = refusal.grant_id.map(|id| id.to_string());
    body.provider_id = refusal.provider.as_ref().map(ToString::to_string);
    body.agent_id = refusal.agent_id.map(|id| id.to_string());
    body.app_user_id = refusal.app_user_id.map(|id| id.to_string());
    body.account_was_provided = refusal.account_was_provided;
    body.candidates_truncated = refusal.candidates_truncated;
    for candidate in refusal.candidates.iter().take(Refusal::MAX_CANDIDATES) {
        body.grant_ids.push(candidate.grant_id.to_string());
        if let Some(account) = &candidate.account_identifier
            && !body.account_identifiers.contains(account)
        {
            body.account_identifiers.push(account.clone());
        }
        body.candidates.push(GrantCandidate {
            grant_id: candidate.grant_id.to_string(),
            label: candidate.label.clone(),
            account_identifier: candidate.account_identifier.clone(),
            account_display_name: candidate.account_display_name.clone(),
        });
    }
    if let Some(required) = refusal.required {
        body.required = scopes(&[required]);
        body.granted = scopes(&refusal.granted);
        if !refusal.granted.contains(&required) {
            body.missing = scopes(&[required]);
        }
    }
    body
}

/// The body for a store that did not do it. What happened inside goes to the log only.
pub(crate) fn store_error_body(error: &StoreError) -> ErrorBody {
    match error {
        StoreError::Busy | StoreError::Closed | StoreError::Unavailable { .. } => ErrorBody::new(
            Code::ServiceUnavailable,
            "the vault cannot serve at the moment; nothing was released",
        ),
        _ => ErrorBody::new(Code::InternalError, "the vault failed; nothing was released"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Candidate;

    #[test]
    fn an_ambiguous_refusal_names_what_to_choose_from_once() {
        let mut refusal = Refusal::new(Code::AmbiguousGrant, "two grants match");
        for _ in 0..2 {
            refusal.candidates.push(Candidate {
                grant_id: GrantId::random(),
                label: None,
                account_identifier: Some("a@example.test".to_owned()),
                account_display_name: None,
            });
        }
        let body = refusal_body(&refusal);
        assert_eq!(body.grant_ids.len(), 2);
        assert_eq!(body.account_identifiers, ["a@example.test"]);
    }

    #[test]
    fn the_debug_form_of_an_answer_shows_nothing_of_its_body() {
        let shown = format!("{:?}", Reply::json(&"s3cret"));
        assert_eq!(shown, "Reply { status: 200, .. }");
    }

    #[test]
    fn an_answer_is_never_cached_and_always_named() {
        let id = Uuid::new_v4();
        let error = ErrorBody::new(Code::ServiceUnavailable, "later");
        let response = Dressing::new(id).render(Reply::error(&error));
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["x-request-id"], id.to_string());
        assert_eq!(Dressing::new(id).render(Reply::empty()).status(), 204);
    }
}

//! Why a caller's request is refused before a handler sees it.

use std::{borrow::Cow, time::Duration};

use http::StatusCode;

use super::Answer;
use crate::{bearer::BearerError, user_token::TokenFormatError};

/// Pause that is asked for when a request cannot be judged for now.
const UNAVAILABLE_RETRY: Duration = Duration::from_secs(5);

/// Why a request is refused for its token, or for want of one.
///
/// The texts are shown to the caller: they must not repeat the token or name anything inside the service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No token, where there must be one: 401 `missing_bearer`.
    #[error("sign in first: the request carries no token")]
    Missing,
    /// An `Authorization` header of another scheme than `Bearer`: 401 `invalid_bearer`.
    #[error("the Authorization header is not of the Bearer scheme")]
    OtherScheme,
    /// There is a token, but not one that can be read: 401 `invalid_bearer`. Never the same as none.
    #[error("{0}")]
    Malformed(Cow<'static, str>),
    /// A token that can be read and was refused: 401 `invalid_token`.
    #[error("{0}")]
    InvalidToken(Cow<'static, str>),
    /// Whether the token is good cannot be told for now: 503 `identity_unavailable` with `Retry-After`.
    #[error("who calls cannot be checked for now")]
    Unavailable,
}

impl From<BearerError> for Refusal {
    fn from(error: BearerError) -> Self {
        match error {
            BearerError::OtherScheme => Self::OtherScheme,
            error => Self::Malformed(error.to_string().into()),
        }
    }
}

impl From<TokenFormatError> for Refusal {
    fn from(error: TokenFormatError) -> Self {
        Self::Malformed(error.to_string().into())
    }
}

#[cfg(feature = "jwt")]
impl From<crate::jwt::JwtError> for Refusal {
    fn from(error: crate::jwt::JwtError) -> Self {
        if error.is_transient() { Self::Unavailable } else { Self::InvalidToken(error.to_string().into()) }
    }
}

impl From<&Refusal> for Answer {
    fn from(refusal: &Refusal) -> Self {
        let unauthorized = |code| Answer::new(StatusCode::UNAUTHORIZED, code, &refusal.to_string());
        match refusal {
            // RFC 6750 §3.1: no error code for a request that did not try to authenticate in this way.
            Refusal::Missing => unauthorized("missing_bearer").challenge(None),
            Refusal::OtherScheme => unauthorized("invalid_bearer").challenge(None),
            Refusal::Malformed(_) => unauthorized("invalid_bearer").challenge(Some("invalid_request")),
            Refusal::InvalidToken(_) => unauthorized("invalid_token").challenge(Some("invalid_token")),
            Refusal::Unavailable => {
                Answer::new(StatusCode::SERVICE_UNAVAILABLE, "identity_unavailable", &refusal.to_string())
                    .retry_after(UNAVAILABLE_RETRY)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_status_code_and_challenge() {
        for (refusal, status, code, challenge) in [
            (Refusal::Missing, 401, "missing_bearer", Some("Bearer")),
            (Refusal::from(BearerError::OtherScheme), 401, "invalid_bearer", Some("Bearer")),
            (
                Refusal::from(BearerError::Repeated),
                401,
                "invalid_bearer",
                Some("Bearer error=\"invalid_request\""),
            ),
            (
                Refusal::from(TokenFormatError::Empty),
                401,
                "invalid_bearer",
                Some("Bearer error=\"invalid_request\""),
            ),
            (
                Refusal::InvalidToken("the token has expired".into()),
                401,
                "invalid_token",
                Some("Bearer error=\"invalid_token\""),
            ),
            (Refusal::Unavailable, 503, "identity_unavailable", None),
        ] {
            let answer = Answer::from(&refusal);
            assert_eq!(answer.status, status, "{refusal:?}");
            assert_eq!(answer.code(), code, "{refusal:?}");
            let sent = answer.headers.get("www-authenticate").map(|value| value.to_str().unwrap());
            assert_eq!(sent, challenge, "{refusal:?}");
            assert_eq!(answer.headers.contains_key("retry-after"), status == 503);
            assert_eq!(answer.headers["content-type"], "application/json");
            assert_eq!(answer.headers["cache-control"], "no-store");
        }
    }

    #[test]
    fn a_wait_is_rounded_up_to_whole_seconds() {
        for (wait, sent) in [(0, "1"), (1, "1"), (1_000, "1"), (1_001, "2"), (60_000, "60")] {
            let answer = Answer::internal().retry_after(Duration::from_millis(wait));
            assert_eq!(answer.headers["retry-after"], sent, "{wait} ms");
        }
    }
}

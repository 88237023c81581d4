//! Errors of the token and revocation endpoints (RFC 6749 §5.2).

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::params::Repeated;

/// A refusal with the sentence that says why.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum OauthError {
    InvalidRequest(String),
    InvalidClient(&'static str),
    InvalidGrant(&'static str),
    DeadToken(DeadToken),
    UnsupportedGrantType,
    InvalidScope,
}

/// Why a refresh token is not taken: `invalid_grant` to whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeadToken {
    Unknown,
    /// By a rotation.
    Spent,
    /// Spent by a rotation, and its grant has just been revoked for that.
    Reused,
    Revoked,
    Idle,
}

/// Why a refresh was refused, for the books.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Token(DeadToken),
    BadClient,
    BadRequest,
    OnDemand,
}

impl OauthError {
    fn code(&self) -> &'static str {
        match self {
            Self::InvalidRequest(_) => "invalid_request",
            Self::InvalidClient(_) => "invalid_client",
            Self::InvalidGrant(_) | Self::DeadToken(_) => "invalid_grant",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
        }
    }

    fn description(&self) -> &str {
        match self {
            Self::InvalidRequest(why) => why,
            Self::InvalidClient(why) | Self::InvalidGrant(why) => why,
            Self::DeadToken(DeadToken::Unknown) => "unknown refresh token",
            Self::DeadToken(DeadToken::Spent) => "the refresh token has been used",
            Self::DeadToken(DeadToken::Reused) => {
                "the refresh token has been used before: the grant has been revoked"
            }
            Self::DeadToken(DeadToken::Revoked) => "the grant has been revoked",
            Self::DeadToken(DeadToken::Idle) => "the refresh token has expired through disuse",
            Self::UnsupportedGrantType => "grant_type is authorization_code or refresh_token",
            Self::InvalidScope => "the scope goes beyond what was granted",
        }
    }

    pub(super) fn refusal(&self) -> Refusal {
        match self {
            Self::DeadToken(dead) => Refusal::Token(*dead),
            Self::InvalidClient(_) => Refusal::BadClient,
            Self::InvalidRequest(_)
            | Self::InvalidGrant(_)
            | Self::UnsupportedGrantType
            | Self::InvalidScope => Refusal::BadRequest,
        }
    }
}

impl From<Repeated> for OauthError {
    fn from(Repeated(name): Repeated) -> Self {
        Self::InvalidRequest(format!("{name} occurs more than once"))
    }
}

impl IntoResponse for OauthError {
    fn into_response(self) -> Response {
        let body = Json(json!({"error": self.code(), "error_description": self.description()}));
        let mut response = if matches!(self, Self::InvalidClient(_)) {
            let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"sandbox\"")];
            (StatusCode::UNAUTHORIZED, challenge, body).into_response()
        } else {
            (StatusCode::BAD_REQUEST, body).into_response()
        };
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

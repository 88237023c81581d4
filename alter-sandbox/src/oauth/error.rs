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
    UnsupportedGrantType,
    InvalidScope,
}

impl OauthError {
    fn code(&self) -> &'static str {
        match self {
            Self::InvalidRequest(_) => "invalid_request",
            Self::InvalidClient(_) => "invalid_client",
            Self::InvalidGrant(_) => "invalid_grant",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
        }
    }

    fn description(&self) -> &str {
        match self {
            Self::InvalidRequest(why) => why,
            Self::InvalidClient(why) | Self::InvalidGrant(why) => why,
            Self::UnsupportedGrantType => "grant_type is authorization_code or refresh_token",
            Self::InvalidScope => "the scope goes beyond what was granted",
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

//! `POST /sdk/auth/verify-token` (spec/03 §5).

use serde::{Deserialize, Serialize};

use super::secret::SecretText;

/// Path of the endpoint.
pub const VERIFY_TOKEN_PATH: &str = "/sdk/auth/verify-token";

/// The request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VerifyTokenRequest {
    /// The user's JWT.
    pub token: SecretText,
}

/// The answer; only the subject, on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyTokenResponse {
    /// The user's id at the identity provider, never blank.
    pub sub: String,
}

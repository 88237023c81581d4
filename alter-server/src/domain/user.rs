//! Users: known by issuer and subject of their JWT, created when first seen.

use jiff::Timestamp;
use serde::Serialize;

use super::{AppId, UserId};

/// What a verified JWT says about its bearer. The token itself stays at the edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The `iss` claim.
    pub issuer: String,
    /// The mapped subject claim.
    pub subject: String,
    /// The mapped e-mail claim.
    pub email: Option<String>,
    /// The mapped name claim.
    pub name: Option<String>,
    /// The mapped group claim: external ids, compared exactly.
    pub groups: Vec<String>,
}

/// A user as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct User {
    /// The user; on the wire `app_user_id`.
    pub id: UserId,
    /// The app.
    pub app_id: AppId,
    /// Issuer of the user's JWTs.
    pub issuer: String,
    /// Subject of the user's JWTs.
    pub subject: String,
    /// E-mail address when last seen.
    pub email: Option<String>,
    /// Name when last seen.
    pub name: Option<String>,
    /// UTC.
    pub created_at: Timestamp,
}

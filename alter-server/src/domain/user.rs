//! Users: known by issuer and subject of their JWT, created when first seen.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

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

/// Whether a user may have grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserStatus {
    /// Yes.
    #[default]
    Active,
    /// Not for now: its grants were revoked, and its tokens are refused until it is active again.
    Suspended,
    /// Not any more: its grants were revoked, its tokens are refused, its name and address are gone.
    Deleted,
}

/// How a user is named from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserRef {
    /// By id.
    Id(UserId),
    /// By what its tokens say. A user that was never seen is remembered with its status.
    Subject {
        /// `iss`.
        issuer: String,
        /// The mapped subject claim.
        subject: String,
    },
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
    /// Whether it may have grants.
    pub status: UserStatus,
    /// UTC.
    pub created_at: Timestamp,
}

//! API keys: what a store keeps of them and what the serving side may remember.

use std::fmt;

use aws_lc_rs::digest;
use jiff::Timestamp;
use secrecy::SecretSlice;
use serde::{Deserialize, Serialize};

use super::{AgentId, AppId, KeyId};
use crate::seal::SealedField;

/// SHA-256 of an API key: how a key is found without being kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// Digest of a key as it came in `x-api-key`.
    #[must_use]
    pub fn of(api_key: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, api_key.as_bytes()).as_ref());
        Self(bytes)
    }

    /// A digest read back from a store.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(..)")
    }
}

/// Whose key it is (spec/01 §1.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "type", content = "agent_id", rename_all = "snake_case")]
pub enum KeyKind {
    /// The app's own key: reaches every grant of the app.
    App,
    /// A managed agent's key: reaches only what belongs to that agent.
    Agent(AgentId),
}

impl KeyKind {
    /// The agent whose key it is.
    #[must_use]
    pub const fn agent(self) -> Option<AgentId> {
        match self {
            Self::App => None,
            Self::Agent(id) => Some(id),
        }
    }
}

/// State of a key, without its expiry (which is a matter of time, not of state).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyStatus {
    /// Honoured.
    Active,
    /// Honoured, but answers carry `X-Alter-Key-Deprecated: true` (spec/01 §8.4).
    Deprecated,
    /// Refused for good.
    Revoked,
}

/// What a key may do (spec/05 §14: resource, verb).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// `tokens:retrieve`: `POST /sdk/token`.
    #[serde(rename = "tokens:retrieve")]
    TokensRetrieve,
    /// `grants:read`: list grants.
    #[serde(rename = "grants:read")]
    GrantsRead,
    /// `grants:write`: revoke grants.
    #[serde(rename = "grants:write")]
    GrantsWrite,
    /// `audit:emit`: report calls and scope mismatches.
    #[serde(rename = "audit:emit")]
    AuditEmit,
    /// `identity:verify`: have a user's token checked.
    #[serde(rename = "identity:verify")]
    IdentityVerify,
    /// `connect:initiate`: create and poll connect sessions.
    #[serde(rename = "connect:initiate")]
    ConnectInitiate,
    /// `idp_users:write`: begin a user's sign-in.
    #[serde(rename = "idp_users:write")]
    IdpUsersWrite,
    /// `idp_users:read`: read how it ended.
    #[serde(rename = "idp_users:read")]
    IdpUsersRead,
    /// `providers:read`: read which providers there are.
    #[serde(rename = "providers:read")]
    ProvidersRead,
}

impl Scope {
    /// Every scope, in the order of their bits.
    pub const ALL: [Self; 9] = [
        Self::TokensRetrieve,
        Self::GrantsRead,
        Self::GrantsWrite,
        Self::AuditEmit,
        Self::IdentityVerify,
        Self::ConnectInitiate,
        Self::IdpUsersWrite,
        Self::IdpUsersRead,
        Self::ProvidersRead,
    ];

    /// The scope as it is written on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TokensRetrieve => "tokens:retrieve",
            Self::GrantsRead => "grants:read",
            Self::GrantsWrite => "grants:write",
            Self::AuditEmit => "audit:emit",
            Self::IdentityVerify => "identity:verify",
            Self::ConnectInitiate => "connect:initiate",
            Self::IdpUsersWrite => "idp_users:write",
            Self::IdpUsersRead => "idp_users:read",
            Self::ProvidersRead => "providers:read",
        }
    }

    /// Reads a scope from its wire form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The immutable facts of a key, found by its digest. May be cached for as long as one likes: everything that can change
/// (revocation, expiry, the agent's and the app's state) is read again in each unit of work.
#[derive(Debug, Clone)]
pub struct KeyMaterial {
    /// The app the key belongs to.
    pub app_id: AppId,
    /// The key.
    pub key_id: KeyId,
    /// Whose key it is.
    pub kind: KeyKind,
    /// First characters of the key, for people: never enough to use it.
    pub prefix: String,
    /// What the key may do.
    pub scopes: Vec<Scope>,
    /// The derived signing key (spec/01 §2.1): 32 bytes once opened with [`crate::seal::Envelope::open`].
    pub signing_key: SealedField,
    /// Signed calls per minute; `None` takes the app's.
    pub rate_limit_per_minute: Option<u32>,
}

/// A key as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApiKey {
    /// The key.
    pub id: KeyId,
    /// Its app.
    pub app_id: AppId,
    /// Whose key it is.
    pub kind: KeyKind,
    /// Name for people.
    pub name: String,
    /// First characters of the key.
    pub prefix: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// Its state.
    pub status: KeyStatus,
    /// UTC.
    pub created_at: Timestamp,
    /// Refused from this moment on, UTC.
    pub expires_at: Option<Timestamp>,
    /// UTC.
    pub revoked_at: Option<Timestamp>,
}

/// A key to be created. The key itself is minted and shown once by the caller; the store gets its digest and what signs.
#[derive(Debug)]
pub struct NewKey {
    /// Identifier.
    pub id: KeyId,
    /// The app.
    pub app_id: AppId,
    /// Whose key it is; an agent must exist in the app.
    pub kind: KeyKind,
    /// Name for people.
    pub name: String,
    /// First characters of the key (at most 16).
    pub prefix: String,
    /// SHA-256 of the key.
    pub digest: KeyDigest,
    /// The derived signing key; the store seals it.
    pub signing_key: SecretSlice<u8>,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// Refused from this moment on, UTC.
    pub expires_at: Option<Timestamp>,
    /// Signed calls per minute; `None` takes the app's.
    pub rate_limit_per_minute: Option<u32>,
}

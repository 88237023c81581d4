//! Grants: the right of a principal to use one account at one provider.

use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{AgentId, AppId, GrantId, Identity, ProviderId, SecretId, TokenGeneration, UserId};

/// What a grant's credential is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantKind {
    /// The grant has its own tokens.
    #[serde(rename = "oauth")]
    OAuth,
    /// The grant points at a managed secret and shares its material with others.
    ManagedSecret,
}

/// Whom a grant belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "type", content = "id", rename_all = "snake_case")]
pub enum Principal {
    /// One user.
    User(UserId),
    /// Everybody whose JWT names this group (external id, compared exactly).
    Group(String),
    /// The app itself.
    System,
    /// One managed agent.
    Agent(AgentId),
}

impl Principal {
    /// The wire form of its kind.
    #[must_use]
    pub const fn type_str(&self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Group(_) => "group",
            Self::System => "system",
            Self::Agent(_) => "agent",
        }
    }
}

/// State of a grant as it is kept. Being past `grant_expires_at` is a matter of time and not a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantStatus {
    /// Usable.
    Active,
    /// Ended on purpose; its tokens are gone.
    Revoked,
    /// Removed; only the id is remembered, so that it is answered with 410.
    Deleted,
}

/// What decisions look at: everything but the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantFacts {
    /// The grant.
    pub id: GrantId,
    /// Its provider.
    pub provider: ProviderId,
    /// What its credential is.
    pub kind: GrantKind,
    /// Whom it belongs to.
    pub principal: Principal,
    /// The account at the provider, exactly as the provider names it.
    pub account_identifier: Option<String>,
    /// The account for people.
    pub account_display_name: Option<String>,
    /// Tells siblings apart; unique among active grants of the same principal and provider.
    pub label: Option<String>,
    /// Its state.
    pub status: GrantStatus,
    /// End of the grant's own lifetime, UTC.
    pub grant_expires_at: Option<Timestamp>,
    /// When the access token stops working, UTC; `None` if the provider did not say.
    pub token_expires_at: Option<Timestamp>,
    /// The credential does not work any more; a person must connect again.
    pub needs_reconnect: bool,
}

/// A grant as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// What decisions look at.
    pub facts: GrantFacts,
    /// The app.
    pub app_id: AppId,
    /// Scopes that the provider granted.
    pub scopes: Vec<String>,
    /// Version of the credential: 1, then one more with each new token.
    pub generation: u64,
    /// The same version as the wire names it; `None` for managed secrets.
    pub token_generation: Option<TokenGeneration>,
    /// The managed secret it points at.
    pub secret_id: Option<SecretId>,
    /// Name of that secret.
    pub secret_name: Option<String>,
    /// A report said that the provider wants more scopes than granted.
    pub scope_mismatch: bool,
    /// Why a person must connect again: a [`super::FailureCode`] and what the provider said.
    pub reconnect_reason: Option<String>,
    /// UTC.
    pub created_at: Timestamp,
    /// Last release, UTC, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// UTC.
    pub revoked_at: Option<Timestamp>,
    /// Who revoked it.
    pub revoked_by: Option<String>,
    /// The provider's stable id of the account; `None` for tokens that were moved in.
    pub account_id: Option<String>,
    /// The grant that this one ends with.
    pub parent_grant_id: Option<GrantId>,
    /// What the provider said when it was told that a revoked grant's tokens are to die, or that it never was reached.
    pub provider_revocation: Option<String>,
}

/// One of several grants that an address matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The grant.
    pub grant_id: GrantId,
    /// Its label.
    pub label: Option<String>,
    /// Its account.
    pub account_identifier: Option<String>,
    /// Its account for people.
    pub account_display_name: Option<String>,
}

/// How a call names the grant it wants (spec/01 §5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// By id.
    Grant(GrantId),
    /// By provider, for whoever the call is made for.
    Provider {
        /// As sent; a text that is no valid provider id simply matches nothing.
        provider: String,
        /// Exact account identifier.
        account: Option<String>,
        /// Exact label.
        label: Option<String>,
        /// Names a user of the app without a token. Only an app key may; as sent.
        app_user_id: Option<String>,
    },
}

/// Filters of a list, all of them at once (spec/03 §3.1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GrantFilter {
    /// Provider.
    pub provider: Option<String>,
    /// `active`, `revoked` or `expired`; another text matches nothing.
    pub status: Option<String>,
    /// Exact account identifier.
    pub account: Option<String>,
    /// Exact label.
    pub label: Option<String>,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantPage {
    /// At most `limit` grants, newest first.
    pub grants: Vec<Grant>,
    /// How many match in all.
    pub total: u64,
    /// As asked for.
    pub limit: u32,
    /// As asked for.
    pub offset: u64,
}

/// A grant on a managed secret.
#[derive(Debug, Clone)]
pub struct NewGrant {
    /// Identifier.
    pub id: GrantId,
    /// The app.
    pub app_id: AppId,
    /// The secret.
    pub secret_id: SecretId,
    /// Whom it is for; a user or agent must exist in the app.
    pub principal: Principal,
    /// Tells siblings apart.
    pub label: Option<String>,
    /// End of its lifetime, UTC.
    pub grant_expires_at: Option<Timestamp>,
}

/// Existing tokens of one account, moved into the vault.
///
/// The same account of the same principal at the same provider updates that grant's credential and keeps its id; another
/// account becomes another grant.
#[derive(Debug)]
pub struct ImportGrant {
    /// The app.
    pub app_id: AppId,
    /// A provider of kind OAuth.
    pub provider: ProviderId,
    /// Whose tokens these are.
    pub owner: ImportOwner,
    /// The account at the provider.
    pub account_identifier: Option<String>,
    /// The account for people.
    pub account_display_name: Option<String>,
    /// Tells siblings apart. Only taken for a new grant; an existing one keeps its label.
    pub label: Option<String>,
    /// The access token: 1 to 8,192 printable ASCII characters (spec/01 §5.1). The store seals it.
    pub access_token: SecretString,
    /// The refresh token. The store seals it.
    pub refresh_token: Option<SecretString>,
    /// When the access token stops working, UTC.
    pub token_expires_at: Option<Timestamp>,
    /// Scopes that the provider granted.
    pub scopes: Vec<String>,
    /// End of the grant's lifetime, UTC.
    pub grant_expires_at: Option<Timestamp>,
}

/// Whose tokens are imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportOwner {
    /// A user by issuer and subject; created when not known yet.
    Identity(Identity),
    /// A principal that exists already.
    Principal(Principal),
}

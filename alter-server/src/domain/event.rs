//! What others are told, what others tell, and work that is done after the fact.

use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{AppId, GrantId, JobId, ProviderId, WebhookId};
use crate::seal::SealedField;

/// A change of a grant's state that others are told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum GrantEvent {
    /// There is a new grant.
    #[serde(rename = "grant.created")]
    Created,
    /// A grant has a new credential after a person connected again, or other tokens were moved in.
    #[serde(rename = "grant.updated")]
    Updated,
    /// A grant ended.
    #[serde(rename = "grant.revoked")]
    Revoked,
    /// The provider has confirmed that a revoked grant's tokens are dead, or will never confirm it.
    #[serde(rename = "grant.provider_revoked")]
    ProviderRevoked,
    /// A person must connect again.
    #[serde(rename = "grant.reconnect_needed")]
    ReconnectNeeded,
    /// The provider wants more scopes than granted.
    #[serde(rename = "grant.scope_mismatch")]
    ScopeMismatch,
    /// A revoked grant was removed; only its id is remembered.
    #[serde(rename = "grant.deleted")]
    Deleted,
}

impl GrantEvent {
    /// Every event.
    pub const ALL: [Self; 7] = [
        Self::Created,
        Self::Updated,
        Self::Revoked,
        Self::ProviderRevoked,
        Self::ReconnectNeeded,
        Self::ScopeMismatch,
        Self::Deleted,
    ];

    /// The event's type as receivers see it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "grant.created",
            Self::Updated => "grant.updated",
            Self::Revoked => "grant.revoked",
            Self::ProviderRevoked => "grant.provider_revoked",
            Self::ReconnectNeeded => "grant.reconnect_needed",
            Self::ScopeMismatch => "grant.scope_mismatch",
            Self::Deleted => "grant.deleted",
        }
    }
}

/// A place that is told of changes (Standard Webhooks).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WebhookEndpoint {
    /// Identifier.
    pub id: WebhookId,
    /// The app.
    pub app_id: AppId,
    /// Where: https, or http on loopback.
    pub url: String,
    /// Of what; empty is everything.
    pub events: Vec<GrantEvent>,
    /// UTC.
    pub created_at: Timestamp,
}

/// A place to be told.
#[derive(Debug)]
pub struct NewWebhook {
    /// The endpoint; `created_at` is set by the store.
    pub endpoint: WebhookEndpoint,
    /// The signing secret's bytes in base64. The store seals it.
    pub secret: SecretString,
}

/// The shape in which an identity provider tells of its users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookShape {
    /// Ours, signed as Standard Webhooks.
    Generic,
    /// Auth0 log streams.
    Auth0,
    /// Clerk, signed by Svix.
    Clerk,
    /// Okta event hooks.
    Okta,
}

/// The text names no shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a shape is one of generic, auth0, clerk, okta")]
pub struct InvalidShape;

impl HookShape {
    /// Every shape.
    pub const ALL: [Self; 4] = [Self::Generic, Self::Auth0, Self::Clerk, Self::Okta];

    /// The text form.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Generic => "generic",
            Self::Auth0 => "auth0",
            Self::Clerk => "clerk",
            Self::Okta => "okta",
        }
    }

    /// Reads the text form.
    ///
    /// # Errors
    ///
    /// [`InvalidShape`].
    pub fn parse(text: &str) -> Result<Self, InvalidShape> {
        Self::ALL.into_iter().find(|shape| shape.as_str() == text).ok_or(InvalidShape)
    }
}

/// Somebody who tells of an app's users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HookSource {
    /// Identifier; part of the address that messages are sent to.
    pub id: WebhookId,
    /// The app.
    pub app_id: AppId,
    /// How its messages look.
    pub shape: HookShape,
    /// UTC.
    pub created_at: Timestamp,
}

/// Somebody to be heard.
#[derive(Debug)]
pub struct NewHookSource {
    /// The source; `created_at` is set by the store.
    pub source: HookSource,
    /// What its messages are checked with. The store seals it.
    pub secret: SecretString,
}

/// Work that is done after the change that caused it, until it succeeds or is given up.
#[derive(Debug, Clone)]
pub struct Job {
    /// Identifier. Receivers of an event see it as the message's id.
    pub id: JobId,
    /// The app.
    pub app_id: AppId,
    /// The grant it is about.
    pub grant_id: GrantId,
    /// How often it was taken, this time included. Whoever finishes it must name the same number.
    pub attempt: u32,
    /// UTC.
    pub created_at: Timestamp,
    /// What to do.
    pub task: Task,
}

/// What to do.
#[derive(Debug, Clone)]
pub enum Task {
    /// Tell the provider that a grant's tokens are to die (RFC 7009).
    RevokeAtProvider {
        /// The provider.
        provider: ProviderId,
        /// The access token that the grant had.
        access_token: Option<SealedField>,
        /// The refresh token that the grant had.
        refresh_token: Option<SealedField>,
    },
    /// Tell somebody of a change.
    Deliver {
        /// Whom.
        endpoint: WebhookId,
        /// Where.
        url: String,
        /// The signing secret.
        secret: SealedField,
        /// The body, as it is signed and sent.
        payload: String,
    },
}

/// A job that was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeadJob {
    /// Identifier.
    pub id: JobId,
    /// The app.
    pub app_id: AppId,
    /// The grant it is about.
    pub grant_id: GrantId,
    /// `revoke_at_provider` or `deliver`.
    pub task: &'static str,
    /// Provider, or address.
    pub target: String,
    /// How often it was tried.
    pub attempts: u32,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// UTC.
    pub created_at: Timestamp,
}

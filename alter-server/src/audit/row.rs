//! One row of the trail.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::{ActorId, AgentId, AppId, AuditId, GrantId, KeyId, RunId, TokenGeneration, UserId};

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)+) => {
        /// What happened.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Action { $($(#[$doc])* $name,)+ }

        impl Action {
            /// Every action.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The text form, as it is stored and hashed.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// Reads the text form.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)+ _ => None }
            }
        }
    };
}

actions! {
    /// A call was refused before it was admitted (signature, key, user token).
    RequestRefused = "request.refused";
    /// A credential was released.
    TokenReleased = "token.released";
    /// A credential was asked for and refused.
    TokenRefused = "token.refused";
    /// The vault fetched the next tokens of a grant.
    TokenRefreshed = "token.refreshed";
    /// The vault tried to, and will try again.
    RefreshFailed = "refresh.failed";
    /// A grant cannot be refreshed any more: a person must connect again.
    ReconnectNeeded = "grant.reconnect_needed";
    /// A client reported its call to the provider.
    CallReported = "call.reported";
    /// A client reported that the provider wants more scopes.
    ScopeMismatchReported = "scope_mismatch.reported";
    /// Grants were listed.
    GrantListed = "grant.listed";
    /// The providers that can be connected were listed.
    ProvidersListed = "providers.listed";
    /// A grant was created on a managed secret.
    GrantCreated = "grant.created";
    /// Existing tokens were moved in.
    GrantImported = "grant.imported";
    /// A grant was revoked.
    GrantRevoked = "grant.revoked";
    /// A provider was told that a revoked grant's tokens are to die, and answered; or it was given up.
    ProviderRevoked = "grant.provider_revoked";
    /// A revoked grant was removed; only its id is remembered.
    GrantDeleted = "grant.deleted";
    /// An app asked for a connect or sign-in session.
    SessionCreated = "session.created";
    /// A browser opened a session's page.
    SessionOpened = "session.opened";
    /// A browser proved to be the user's, or failed to.
    SessionProved = "session.proved";
    /// A browser was sent to a provider.
    ConnectBegun = "connect.begun";
    /// A user connected an account: a grant was made or renewed.
    GrantConnected = "grant.connected";
    /// A connection did not come about: declined, failed, or refused by the vault.
    ConnectFailed = "connect.failed";
    /// A session ended.
    SessionEnded = "session.ended";
    /// An app read how a session ended.
    SessionPolled = "session.polled";
    /// Somebody signed in to the wallet, or failed to.
    WalletSignedIn = "wallet.signed_in";
    /// Somebody signed out of the wallet.
    WalletSignedOut = "wallet.signed_out";
    /// A user looked at what was done with their grants.
    WalletViewed = "wallet.viewed";
    /// A user was suspended, deleted, or made active again.
    UserChanged = "user.changed";
    /// An identity provider's message about a user came in.
    HookReceived = "hook.received";
    /// Pages, origins or sign-in of an app were set.
    PageChanged = "page.changed";
    /// A webhook endpoint or source was added or removed.
    WebhookChanged = "webhook.changed";
    /// A user's token was checked on request.
    UserVerified = "user.verified";
    /// A user was seen for the first time.
    UserCreated = "user.created";
    /// An app was created.
    AppCreated = "app.created";
    /// An app was renamed, suspended, resumed, or got other limits.
    AppChanged = "app.changed";
    /// A key was created.
    KeyCreated = "key.created";
    /// A key was deprecated, undeprecated or given another expiry.
    KeyChanged = "key.changed";
    /// A key was revoked.
    KeyRevoked = "key.revoked";
    /// An agent was created.
    AgentCreated = "agent.created";
    /// An agent was paused or resumed.
    AgentChanged = "agent.changed";
    /// An agent was revoked.
    AgentRevoked = "agent.revoked";
    /// The identity provider was set.
    IdpChanged = "idp.changed";
    /// A provider was created or replaced.
    ProviderChanged = "provider.changed";
    /// A provider was removed.
    ProviderRemoved = "provider.removed";
    /// A managed secret was created.
    SecretCreated = "secret.created";
    /// A managed secret got new material.
    SecretRotated = "secret.rotated";
    /// Old rows of the trail were exported and removed.
    AuditPruned = "audit.pruned";
    /// A key that signs checkpoints was made.
    AuditKeyCreated = "audit_key.created";
    /// The vault was moved here from another place.
    VaultMigrated = "vault.migrated";
    /// The vault was filled from a file.
    VaultImported = "vault.imported";
    /// Everything was written into a file.
    VaultExported = "vault.exported";
    /// The vault was opened again after it had been moved away.
    VaultReopened = "vault.reopened";
}

impl Serialize for Action {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Action {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| serde::de::Error::custom("an action that this program does not know"))
    }
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Done.
    Allowed,
    /// Refused; [`AuditRow::code`] says why.
    Refused,
}

/// One row. Text fields are cut to their limits before they are hashed, so that what is hashed is what is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRow {
    /// Identifier (sorts by time).
    pub id: AuditId,
    /// The app; [`AppId::VAULT`] when no app is known.
    pub app_id: AppId,
    /// The chain: the run that wrote it.
    pub chain: RunId,
    /// Place in the chain, from 1, without gaps.
    pub seq: u64,
    /// When, UTC, to the microsecond.
    pub at: Timestamp,
    /// What.
    pub action: Action,
    /// How it ended.
    pub outcome: Outcome,
    /// Wire code of a refusal.
    pub code: Option<String>,
    /// The key that signed.
    pub key_id: Option<KeyId>,
    /// First characters of that key.
    pub key_prefix: Option<String>,
    /// Who the caller said it was; for operators, their name.
    pub caller: Option<String>,
    /// `agent`, `service` or `operator`.
    pub caller_type: Option<String>,
    /// The actor.
    pub actor_id: Option<ActorId>,
    /// The agent: owner of the key, or asserted by the caller.
    pub agent_id: Option<AgentId>,
    /// Whom the grant belongs to: `user:<id>`, `group:<external id>`, `system`, `agent:<id>`.
    pub principal: Option<String>,
    /// The user the call was made for.
    pub app_user_id: Option<UserId>,
    /// The grant.
    pub grant_id: Option<GrantId>,
    /// The provider.
    pub provider: Option<String>,
    /// The account at the provider.
    pub account: Option<String>,
    /// Method of the provider call.
    pub method: Option<String>,
    /// URL of the provider call, without user information and with secrets in its query replaced.
    pub url: Option<String>,
    /// Status of the provider call; 0 if it did not get through.
    pub status: Option<u16>,
    /// Duration of the provider call in milliseconds.
    pub latency_ms: Option<u64>,
    /// Why the caller wanted it, in its own words.
    pub reason: Option<String>,
    /// The caller's context: JSON text.
    pub context: Option<String>,
    /// Version of the credential.
    pub token_generation: Option<TokenGeneration>,
    /// `X-Request-ID`.
    pub request_id: Option<uuid::Uuid>,
    /// `traceparent`.
    pub trace_parent: Option<String>,
    /// Address of the peer.
    pub remote: Option<String>,
    /// What else there is to say, such as the name of what was created.
    pub detail: Option<String>,
    /// SHA-256 over the sealed bodies of a report.
    #[serde(skip)]
    pub bodies_digest: Option<[u8; 32]>,
    /// Hash of the row before; for the first row, of the chain's name.
    #[serde(with = "super::text::hash")]
    pub prev_hash: [u8; 32],
    /// Hash of this row.
    #[serde(with = "super::text::hash")]
    pub hash: [u8; 32],
}

/// What a client says about a call it made (spec/01 §7.2). `Debug` leaves out headers, bodies and the URL.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CallReport {
    /// Upper-case method.
    pub method: String,
    /// URL as sent; it is cleaned before it is kept.
    pub url: String,
    /// Status; 0 if the call did not get through.
    pub status: u16,
    /// Milliseconds.
    pub latency_ms: u64,
    /// Why, in the caller's words.
    pub reason: Option<String>,
    /// JSON text of the body's `context`; `None` takes the header's.
    pub context: Option<String>,
    /// As echoed by the client.
    pub token_generation: Option<TokenGeneration>,
    /// JSON text of the filtered request headers.
    pub request_headers: Option<String>,
    /// Request body as text; cut to 10,000 bytes.
    pub request_body: Option<String>,
    /// JSON text of the filtered response headers.
    pub response_headers: Option<String>,
    /// Response body as text; cut to 10,000 bytes.
    pub response_body: Option<String>,
}

impl fmt::Debug for CallReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallReport")
            .field("method", &self.method)
            .field("status", &self.status)
            .field("latency_ms", &self.latency_ms)
            .field("token_generation", &self.token_generation)
            .finish_non_exhaustive()
    }
}

/// What to look for in the trail.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Only this app; `None` is the whole vault.
    pub app_id: Option<AppId>,
    /// Continue after this position (see [`AuditPage::next`]).
    pub after: Option<u64>,
    /// Newest first instead of oldest first.
    pub newest_first: bool,
    /// At most this many rows (1 to 10,000).
    pub limit: u32,
    /// Only rows about one of these grants; needs [`Self::app_id`]. Empty is everything.
    pub grants: Vec<GrantId>,
}

/// Part of the trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditPage {
    /// The rows.
    pub rows: Vec<AuditRow>,
    /// Where to continue; `None` at the end.
    pub next: Option<u64>,
}

/// Headers and bodies of a reported call, as they are sealed.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReportedBodies {
    /// JSON text of the filtered request headers.
    pub request_headers: Option<String>,
    /// Request body as text.
    pub request_body: Option<String>,
    /// JSON text of the filtered response headers.
    pub response_headers: Option<String>,
    /// Response body as text.
    pub response_body: Option<String>,
}

/// Shows only which parts there are.
impl fmt::Debug for ReportedBodies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReportedBodies")
            .field("request_headers", &self.request_headers.is_some())
            .field("request_body", &self.request_body.is_some())
            .field("response_headers", &self.response_headers.is_some())
            .field("response_body", &self.response_body.is_some())
            .finish()
    }
}

impl ReportedBodies {
    /// Most bytes that are kept of each text (spec/01 §7.3).
    pub const MAX: usize = 10_000;

    /// The bytes that are sealed.
    #[must_use]
    pub fn to_bytes(&self) -> secrecy::SecretSlice<u8> {
        // A struct of four texts always serialises; if it ever did not, nothing would be kept of it.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// Reads back what [`Self::to_bytes`] wrote.
    #[must_use]
    pub fn from_bytes(bytes: &secrecy::SecretSlice<u8>) -> Option<Self> {
        serde_json::from_slice(secrecy::ExposeSecret::expose_secret(bytes)).ok()
    }
}

impl CallReport {
    /// What of the report is sealed, cut to its limits; `None` if there is nothing.
    #[must_use]
    pub fn bodies(&self) -> Option<ReportedBodies> {
        let cut = |text: &Option<String>| {
            let text = text.as_deref()?;
            Some(text[..text.floor_char_boundary(ReportedBodies::MAX)].to_owned())
        };
        let bodies = ReportedBodies {
            request_headers: cut(&self.request_headers),
            request_body: cut(&self.request_body),
            response_headers: cut(&self.response_headers),
            response_body: cut(&self.response_body),
        };
        (bodies != ReportedBodies::default()).then_some(bodies)
    }
}

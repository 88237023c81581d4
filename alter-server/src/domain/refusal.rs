//! Refusals: the vault's typed "no", as spec/02 §1.3 words it.

use std::fmt;

use serde::Serialize;

use super::{AgentId, Candidate, GrantId, ProviderId, Scope, UserId};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal;)+) => {
        /// Why a call was refused. The text form is what goes on the wire as `error`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum RefusalCode { $($(#[$doc])* $name,)+ }

        impl RefusalCode {
            /// The wire form.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// The HTTP status it is sent with.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)+ }
            }
        }
    };
}

codes! {
    /// No stored key matches (401-a).
    InvalidKey = "invalid_key", 401;
    /// The signature does not fit the request (401-i).
    InvalidSignature = "invalid_signature", 401;
    /// The request's timestamp is outside the window (401-i).
    StaleTimestamp = "stale_timestamp", 401;
    /// The nonce was used before (401-i).
    NonceReplayed = "nonce_replayed", 401;
    /// The key was revoked (401-b).
    KeyRevoked = "key_revoked", 401;
    /// The key is past its expiry (401-c).
    KeyExpired = "key_expired", 401;
    /// The key is in another state that is not active, such as its app being suspended (401-e).
    KeyNotActive = "key_not_active", 401;
    /// The agent is paused (401-f).
    AgentInactive = "agent_inactive", 401;
    /// The agent is revoked (401-g).
    AgentRevoked = "agent_revoked", 401;
    /// The user's JWT is not acceptable (401-h).
    JwtValidationError = "jwt_validation_error", 401;
    /// The key lacks a scope (403-a).
    InsufficientScope = "insufficient_scope", 403;
    /// The grant's lifetime is over (403-b).
    GrantExpired = "grant_expired", 403;
    /// The grant was revoked (403-c).
    GrantRevoked = "grant_revoked", 403;
    /// The grant is there, its credential is not usable (403-d).
    CredentialRevoked = "credential_revoked", 403;
    /// An agent has no way to this provider (404-a).
    NoDelegatedGrant = "no_delegated_grant", 404;
    /// The asserted caller is no active agent of the app (404-b).
    CallerAgentUnresolved = "caller_agent_unresolved", 404;
    /// No such grant, or none that this caller may know of (404-e).
    GrantNotFound = "grant_not_found", 404;
    /// The identity matches several grants (409-g).
    AmbiguousGrant = "ambiguous_grant", 409;
    /// The grant was there and is gone for good (410-a).
    GrantDeleted = "grant_deleted", 410;
    /// The asserted caller is not the key's agent (400-a).
    CallerAgentMismatch = "caller_agent_mismatch", 400;
    /// The request is malformed (400-e).
    InvalidRequest = "invalid_request", 400;
    /// The destination is not one of the provider's hosts, or not a safe URL (422-b).
    BlockedDestination = "blocked_destination", 422;
    /// The server's own throttle (429-a).
    RateLimitExceeded = "rate_limit_exceeded", 429;
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for RefusalCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A refusal with the fields its row in spec/02 §1.3 allows. Nothing else about the vault's content may be put in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub code: RefusalCode,
    /// For people: what was wrong and what to do.
    pub message: String,
    /// The grant, for `grant_revoked` and `credential_revoked`.
    pub grant_id: Option<GrantId>,
    /// The provider, only when the caller itself addressed by provider.
    pub provider: Option<ProviderId>,
    /// The calling agent.
    pub agent_id: Option<AgentId>,
    /// The user the lookup was for.
    pub app_user_id: Option<UserId>,
    /// For `ambiguous_grant`: what to choose from, at most [`Refusal::MAX_CANDIDATES`].
    pub candidates: Vec<Candidate>,
    /// There were more candidates than are listed.
    pub candidates_truncated: bool,
    /// The caller had narrowed by account already.
    pub account_was_provided: bool,
    /// For `insufficient_scope`: what is needed.
    pub required: Option<Scope>,
    /// For `insufficient_scope`: what the key has.
    pub granted: Vec<Scope>,
}

impl Refusal {
    /// Most candidates that an `ambiguous_grant` names.
    pub const MAX_CANDIDATES: usize = 100;

    /// A refusal without further fields.
    #[must_use]
    pub fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            grant_id: None,
            provider: None,
            agent_id: None,
            app_user_id: None,
            candidates: Vec::new(),
            candidates_truncated: false,
            account_was_provided: false,
            required: None,
            granted: Vec::new(),
        }
    }
}

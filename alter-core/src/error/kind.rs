//! What can go wrong, in about a dozen groups (spec/02 §6).

use std::{borrow::Cow, fmt};

use crate::wire::{
    connect::{DeclinedProvider, FailedGrant},
    error::GrantCandidate,
};

/// The group of an [`Error`](crate::Error), with what a program can act on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// The call as it was built cannot be made. Nothing was sent.
    InvalidInput(InvalidInput),
    /// The client was closed. Nothing was sent.
    Closed,
    /// No answer could be had over the network.
    Transport(Transport),
    /// The vault's answer is not of the documented form.
    Malformed,
    /// Who calls is unknown, unproven or no longer welcome.
    Auth(Auth),
    /// The grant is missing, over, or not the only one.
    Grant(Grant),
    /// A rule forbids the call.
    Policy(Policy),
    /// The state of something in the vault stands against the call.
    Conflict(Conflict),
    /// Too many calls.
    Throttled(Throttle),
    /// A connect session, or a sign-in, cannot start, or ended without what it was for.
    Connect(Connect),
    /// An approval ended without the call being made.
    Approval(Approval),
    /// The provider itself answered with an error.
    Provider(Provider),
    /// The answer asks for something that this build cannot do.
    Unsupported {
        /// What it is, such as `aws_sigv4`.
        feature: Cow<'static, str>,
    },
    /// The vault refused with a code that this version does not know; read [`Error::code`](crate::Error::code).
    Backend,
}

/// Which part of a call or of a client's settings is unusable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidInput {
    /// The API key: its spelling, or its kind contradicts the client's type.
    Key,
    /// The vault's URL.
    BackendUrl,
    /// A setting of the client.
    Setting,
    /// The grant id, or how the call is addressed.
    Address,
    /// The provider's URL.
    Url,
    /// A `{placeholder}` of the URL, or its value.
    PathParam,
    /// The method.
    Method,
    /// A request header.
    Header,
    /// The request body.
    Body,
    /// The audit context.
    Context,
    /// The caller or its type.
    Caller,
    /// The user token, or how it goes with the rest of the call.
    UserToken,
    /// A filter of a list.
    Filter,
    /// A setting of a connect session, or of the waiting for it.
    Session,
    /// The answer's body is larger than the limit that was set for reading it.
    ResponseLimit,
}

/// How the network failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transport {
    /// No connection could be made, so nothing was sent.
    Connect,
    /// No answer in time.
    Timeout {
        /// The call may have reached its destination: repeat it only if it may happen twice.
        maybe_sent: bool,
    },
    /// The connection failed on the way.
    Io {
        /// The call may have reached its destination: repeat it only if it may happen twice.
        maybe_sent: bool,
    },
}

/// Whose standing is the matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Auth {
    /// The call needs a user and there is none: no token on the call, on the client, from the getter, and no scope
    /// around it. In a service this is a fault of its own, such as a task that was spawned without its scope. Nothing was
    /// sent.
    NoIdentity,
    /// The call needs a user, and the scope around it says that the caller came without a token. Nothing was sent.
    Anonymous,
    /// The user-token getter failed or gave an empty token. Nothing was sent.
    TokenSource,
    /// The vault refused the user's JWT: a fresh one is needed.
    UserToken,
    /// The API key is unknown, expired, revoked or inactive; [`Error::code`](crate::Error::code) tells which.
    Key,
    /// The calling or named agent is unknown, paused or revoked.
    Agent,
    /// The asserted caller does not fit the key, or could not be looked up.
    Caller,
    /// Any other refusal of the request as such: signature, clock, nonce.
    Refused,
}

/// What is the matter with the grant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Grant {
    /// No such grant, or it is hidden from the caller.
    NotFound,
    /// The agent has no way to this provider, or the grant was not delegated to it.
    NotDelegated,
    /// The grant's lifetime is over.
    Expired,
    /// The grant was revoked on purpose.
    Revoked,
    /// The link to the provider is broken for good.
    CredentialRevoked,
    /// The grant existed and is gone.
    Deleted,
    /// Several grants match; choose one.
    Ambiguous(Box<Ambiguous>),
}

/// What an ambiguous call could have meant. Each list holds at most 100 items. `Debug` shows the grants' ids: accounts and
/// names are personal and stay out of logs.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ambiguous {
    /// The grants.
    pub candidates: Vec<GrantCandidate>,
    /// Their accounts, as [`account`](crate::RequestBuilder::account) takes them.
    pub account_identifiers: Vec<String>,
    /// Their users, as the vault names them.
    pub app_user_ids: Vec<String>,
    /// Their ids.
    pub grant_ids: Vec<String>,
    /// The call named an account, and still several match.
    pub account_was_provided: bool,
    /// There are more than are listed.
    pub truncated: bool,
}

impl fmt::Debug for Ambiguous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ambiguous")
            .field("grant_ids", &self.grant_ids)
            .field("candidates", &self.candidates.len())
            .field("account_was_provided", &self.account_was_provided)
            .field("truncated", &self.truncated)
            .finish_non_exhaustive()
    }
}

/// Which rule forbids the call.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// A policy of the operator or the user; [`Error::code`](crate::Error::code) names it.
    Denied,
    /// The API key lacks scopes of the vault.
    InsufficientScope(Box<KeyScopes>),
    /// The user's session is older than a rule allows.
    StepUpRequired {
        /// Oldest session that is allowed, in seconds.
        max_session_age_seconds: Option<u64>,
    },
    /// A body could not be redacted and was therefore refused.
    RedactFailed,
    /// The credential is not handed out; only the vault's proxy may use it.
    RequiresProxy,
    /// The grant may not be delegated on.
    NotDelegable {
        /// Why, as the vault puts it; an open set.
        reason: Option<String>,
    },
    /// The URL may not be reached with this credential.
    BlockedDestination,
}

/// Scopes of the vault that an API key has and lacks. Each list holds at most 100 items.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyScopes {
    /// What the call needs.
    pub required: Vec<String>,
    /// What the key has.
    pub granted: Vec<String>,
    /// What the key lacks.
    pub missing: Vec<String>,
    /// Any one of the needed scopes is enough.
    pub any_of: bool,
    /// The key is older than the vault's scopes: rotate it.
    pub version_mismatch: bool,
}

/// What stands against the call.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Conflict {
    /// Another call is refreshing the token: try again shortly.
    TokenRefresh,
    /// An active sibling grant has this label.
    LabelTaken {
        /// The label.
        label: Option<String>,
    },
    /// Several developer credentials; one must be named.
    CredentialIdRequired,
    /// The named credential is a user's own.
    CredentialNotAssignable,
    /// Any other; [`Error::code`](crate::Error::code) names it.
    Other,
}

/// Which ceiling was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Throttle {
    /// The vault's own throttle: wait and repeat.
    Rate {
        /// Which limit binds: `ip`, `api_key`, `organization` or one to come.
        scope: Option<String>,
        /// Calls per window.
        limit: Option<u64>,
        /// The window, in seconds.
        window_seconds: Option<u64>,
    },
    /// A policy's quota is used up until its window ends. Never loop on it.
    Quota,
    /// Any other; [`Error::code`](crate::Error::code) names it.
    Other,
}

/// Why a connect session, or a sign-in, came to nothing (spec/03 §1.2, §2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Connect {
    /// It cannot start, or go on, until an operator changes the configuration; [`Error::code`](crate::Error::code)
    /// tells what.
    Configuration,
    /// The person said no. It is their choice: offer it again.
    Denied,
    /// The person did not come to an end in time.
    TimedOut {
        /// Which time was over.
        reason: ConnectTimeout,
        /// Providers that said no meanwhile, by their ids' order.
        declined: Vec<DeclinedProvider>,
    },
    /// It failed, or the vault does not know it: start a new one. [`Error::code`](crate::Error::code) tells why if the
    /// vault said so.
    Flow {
        /// The grants that did not come about, if it came as far as that.
        failed: Vec<FailedGrant>,
    },
}

/// Which time was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectTimeout {
    /// That of the waiting. The person may still finish: wait again.
    Deadline,
    /// That of the session. A new one is needed.
    SessionExpired,
    /// That of the waiting, and the vault asked for a longer pause. Wait again, later.
    Throttled,
}

/// How an approval ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Approval {
    /// The approver said no.
    Denied,
    /// Nobody decided in time.
    Expired,
    /// Approved, but the call failed.
    ExecutionFailed,
}

/// What the provider's refusal means. Its answer is in
/// [`Error::provider_answer`](crate::Error::provider_answer).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Provider {
    /// The grant lacks scopes that the provider wants: the user must consent again.
    ScopeReauth {
        /// The scopes that the provider named; empty when it named none.
        missing: Vec<String>,
    },
    /// The provider rejected the credential (401).
    Unauthorized,
    /// Any other 4xx or 5xx.
    Refused,
}

/// Whether, and when, the same call can succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retry {
    /// Not without a change of code or configuration.
    Never,
    /// Soon, with growing pauses. See also [`Error::maybe_sent`](crate::Error::maybe_sent).
    AfterBackoff,
    /// When the window of a quota ends. Never loop on it.
    AfterWindow,
    /// When a person has signed in, consented or connected an account.
    AfterUserAction,
}

/// What is known of the grant that must be repaired, for starting a connect session. The vault leaves fields out on
/// purpose when the grant was addressed by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// The grant.
    pub grant_id: Option<String>,
    /// The provider that was asked for.
    pub provider_id: Option<String>,
    /// The agent that asked.
    pub agent_id: Option<String>,
    /// The vault's id of the user.
    pub app_user_id: Option<String>,
}

/// A provider's error answer.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProviderAnswer {
    /// Its status.
    pub status: http::StatusCode,
    /// Its headers.
    pub headers: http::HeaderMap,
    /// Its body as text if it is UTF-8 of at most 10,000 bytes, else a placeholder that tells the size. It is the
    /// provider's own text, neither cut nor cleaned, with the released credential replaced by `[redacted]`.
    pub body: String,
}

impl fmt::Debug for ProviderAnswer {
    // Bodies and headers of providers may hold anything.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderAnswer")
            .field("status", &self.status)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

//! The one error type of this crate (spec/02 §6): opaque and one word large, a [`Kind`] to match on, and methods for
//! what a program wants to know.

mod flow;
mod kind;
mod map;

use std::{error::Error as StdError, fmt, time::Duration};

use http::{HeaderMap, StatusCode};

pub use kind::{
    Ambiguous, Approval, Auth, Conflict, Connect, ConnectTimeout, Grant, InvalidInput, KeyScopes, Kind,
    Policy, Provider, ProviderAnswer, Recovery, Retry, Throttle, Transport,
};

use crate::wire::{
    code::Code,
    error::{ErrorBody, GrantCandidate, clean},
};

/// A call that did not succeed.
///
/// `Display` is the message only, for a developer: at most 300 characters, no control characters, no secrets.
/// `Debug` is safe to log.
///
/// ```
/// use alter_core::{Error, Kind, Retry, error::Grant};
/// use http::{HeaderMap, StatusCode};
///
/// let answer = br#"{"error":"grant_revoked","message":"gone","grant_id":"g-1"}"#;
/// let error = Error::from_vault(StatusCode::FORBIDDEN, &HeaderMap::new(), answer);
/// assert!(matches!(error.kind(), Kind::Grant(Grant::Revoked)));
/// assert_eq!(error.retry(), Retry::AfterUserAction);
/// assert_eq!(error.recovery().and_then(|recovery| recovery.grant_id.as_deref()), Some("g-1"));
/// ```
pub struct Error(Box<Inner>);

type Source = Box<dyn StdError + Send + Sync>;

struct Inner {
    kind: Kind,
    message: String,
    code: Option<Code>,
    status: Option<StatusCode>,
    retry: Retry,
    retry_after: Option<Duration>,
    recovery: Option<Recovery>,
    provider: Option<ProviderAnswer>,
    request_id: Option<String>,
    hint: Option<String>,
    source: Option<Source>,
}

impl Error {
    /// Reads a vault's error answer: `status` is any status that is not the documented success, `body` the bytes as
    /// they came (spec/02 §1.3, §2.2). Never fails; an answer that nobody can read becomes [`Kind::Backend`] or what
    /// its status means.
    #[must_use]
    pub fn from_vault(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        map::vault(status, headers, &ErrorBody::parse(body))
    }

    /// The call needs a user and none was found: no token on the call, on the client, from the getter, or in scope.
    #[must_use]
    pub fn no_identity() -> Self {
        Self::new(
            Kind::Auth(Auth::NoIdentity),
            "no user identity: give the call a user token, run it inside a scope, or say .as_app() if the \
             application itself is meant",
        )
    }

    /// The call needs a user, and the caller of the request that it serves came without a token.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::new(
            Kind::Auth(Auth::Anonymous),
            "no user identity: the caller of this request came without a token",
        )
    }

    pub(crate) fn new(kind: Kind, message: impl AsRef<str>) -> Self {
        let retry = map::default_retry(&kind);
        Self(Box::new(Inner {
            kind,
            message: clean(message.as_ref()),
            code: None,
            status: None,
            retry,
            retry_after: None,
            recovery: None,
            provider: None,
            request_id: None,
            hint: None,
            source: None,
        }))
    }

    pub(crate) fn invalid(what: InvalidInput, message: impl AsRef<str>) -> Self {
        Self::new(Kind::InvalidInput(what), message)
    }

    pub(crate) fn closed() -> Self {
        Self::new(Kind::Closed, "the client is closed")
    }

    pub(crate) fn malformed(message: impl AsRef<str>) -> Self {
        Self::new(Kind::Malformed, message)
    }

    pub(crate) fn with_kind(mut self, kind: Kind) -> Self {
        self.0.kind = kind;
        self
    }

    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.0.status = Some(status);
        self
    }

    pub(crate) fn with_retry(mut self, retry: Retry, after: Option<Duration>) -> Self {
        self.0.retry = retry;
        self.0.retry_after = after;
        self
    }

    pub(crate) fn with_recovery(mut self, recovery: Recovery) -> Self {
        self.0.recovery = (recovery != Recovery::default()).then_some(recovery);
        self
    }

    /// Adds the provider that was asked for, where the vault did not repeat it.
    pub(crate) fn about_provider(mut self, provider: &str) -> Self {
        if self.needs_connection() {
            let recovery = self.0.recovery.get_or_insert_default();
            recovery.provider_id.get_or_insert_with(|| provider.to_owned());
        }
        self
    }

    pub(crate) fn with_provider(mut self, answer: ProviderAnswer) -> Self {
        self.0.status = Some(answer.status);
        self.0.provider = Some(answer);
        self
    }

    pub(crate) fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.0.kind
    }

    /// The vault's code; `None` for local errors, providers' errors and answers without one.
    #[must_use]
    pub fn code(&self) -> Option<&Code> {
        self.0.code.as_ref()
    }

    /// The HTTP status of the vault, or of the provider for [`Kind::Provider`].
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        self.0.status
    }

    /// Whether, and when, the same call can succeed.
    #[must_use]
    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// Whether a loop with growing pauses makes sense: [`Retry::AfterBackoff`] only, never a used-up quota. If
    /// [`maybe_sent`](Self::maybe_sent) is true as well, repeat only what may happen twice.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.retry == Retry::AfterBackoff
    }

    /// How long to wait first, when the other side said so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether the call may have reached its destination although no answer came: the provider, or the vault for a
    /// call that is the vault's alone.
    #[must_use]
    pub fn maybe_sent(&self) -> bool {
        matches!(
            self.0.kind,
            Kind::Transport(Transport::Timeout { maybe_sent: true } | Transport::Io { maybe_sent: true })
        )
    }

    /// Whether a person must sign in, consent or connect again before the call can succeed.
    #[must_use]
    pub fn needs_reauthorization(&self) -> bool {
        self.0.retry == Retry::AfterUserAction
    }

    /// Whether a connect session is the way on: the grant is missing, over, or lacks scopes. Make one with
    /// [`App::connect_session_for`](crate::App::connect_session_for).
    #[must_use]
    pub fn needs_connection(&self) -> bool {
        match &self.0.kind {
            Kind::Grant(grant) => !matches!(grant, Grant::Ambiguous(_)),
            Kind::Provider(provider) => matches!(provider, Provider::ScopeReauth { .. }),
            _ => false,
        }
    }

    /// What is known of the grant that must be repaired.
    #[must_use]
    pub fn recovery(&self) -> Option<&Recovery> {
        self.0.recovery.as_ref()
    }

    /// The grants that an ambiguous call could have meant; empty for every other error.
    #[must_use]
    pub fn candidates(&self) -> &[GrantCandidate] {
        match &self.0.kind {
            Kind::Grant(Grant::Ambiguous(ambiguous)) => &ambiguous.candidates,
            _ => &[],
        }
    }

    /// The scopes that are missing: the provider's for a grant, the vault's for an API key; empty when not known.
    #[must_use]
    pub fn missing_scopes(&self) -> &[String] {
        match &self.0.kind {
            Kind::Provider(Provider::ScopeReauth { missing }) => missing,
            Kind::Policy(Policy::InsufficientScope(scopes)) => &scopes.missing,
            _ => &[],
        }
    }

    /// The provider's answer, for [`Kind::Provider`].
    #[must_use]
    pub fn provider_answer(&self) -> Option<&ProviderAnswer> {
        self.0.provider.as_ref()
    }

    /// The vault's id for the request, for its support and its logs.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// What to do about it, in the vault's words.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    // Without the source: what other crates print is not ours to vouch for.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("code", &self.0.code)
            .field("status", &self.0.status)
            .field("retry", &self.0.retry)
            .field("request_id", &self.0.request_id)
            .finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests;

//! What goes wrong on demand.

mod browser;
mod change;
mod token;

use serde::Serialize;

pub use browser::{AuthorizeFault, IdTokenFault, RevokeFault};
pub(crate) use change::BadChange;
pub use token::TokenFault;

/// The sandbox's behaviour from now on. The default is a provider that behaves.
///
/// ```
/// use alter_sandbox::{Faults, TokenFault};
///
/// // A provider like Auth0 on a bad day: the next two answers after rotating never arrive.
/// let faults = Faults::default()
///     .rotate(true)
///     .reuse_detection(true)
///     .reuse_window(10)
///     .token_fault(TokenFault::Drop)
///     .fault_times(2);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Faults {
    /// The token endpoint carries a request out at once and answers this many milliseconds later, as a slow
    /// provider does: a caller who hangs up meanwhile has lost what it would have been given.
    pub delay_ms: u64,
    /// Lifetime of access tokens issued from now on, in seconds.
    pub expires_in: u64,
    /// Whether a refresh replaces the refresh token, the old one being refused from then on (RFC 6749 §6).
    pub rotate: bool,
    /// Whether a refresh token that was spent by a rotation and is presented again revokes its whole family:
    /// every access and refresh token of that grant (RFC 9700 §4.14.2). The answer is `invalid_grant`.
    pub reuse_detection: bool,
    /// For this many seconds after a rotation the spent refresh token is taken again and answered with a fresh
    /// working pair of the same grant, as within Auth0's "overlap period" and Okta's "grace period". Pairs given
    /// out before stay good, the window counts from the first presentation and does not grow, and nothing is
    /// refused or detected. 0 is no window.
    pub reuse_window: u64,
    /// A refresh token that has not been used for this many seconds, counted from its issue or its last refresh,
    /// is refused with `invalid_grant`. `None`: it lives as long as its grant.
    pub refresh_idle: Option<u64>,
    /// How the token endpoint misbehaves.
    pub token_fault: TokenFault,
    /// How many token calls `token_fault` still applies to; then it becomes [`TokenFault::None`] and this
    /// `None`. `None`: to all.
    pub fault_times: Option<u64>,
    /// Every 429 and 503 that a fault answers, at the token endpoint or the API, carries `Retry-After` with this
    /// many seconds. `None`: no such header.
    pub retry_after: Option<u64>,
    /// Whether `Retry-After` is written as an HTTP date (RFC 9110 §10.2.3), reckoned from the `Date` of the
    /// same answer.
    pub retry_after_as_date: bool,
    /// The error text of [`TokenFault::OkWithError`]; Slack's `invalid_refresh_token` by default, which is
    /// final. `internal_error` and `ratelimited` would be passing ones.
    pub ok_error: String,
    /// Milliseconds between the bytes of [`TokenFault::Trickle`].
    pub trickle_ms: u64,
    /// Seconds that the `Date` of every answer is ahead of the sandbox's clock; behind it if negative. Nothing
    /// but the header changes.
    pub date_skew: i64,
    /// The status with which the API answers every call, if it is not to do its work. Calls are still counted.
    pub api_status: Option<u16>,
    /// The key set is answered this many milliseconds late.
    pub jwks_delay_ms: u64,
    /// The status with which the key set is refused, if it is.
    pub jwks_status: Option<u16>,
    /// How the authorization endpoints of both OAuth providers misbehave.
    pub authorize_fault: AuthorizeFault,
    /// How many answers `authorize_fault` still applies to. `None`: to all.
    pub authorize_fault_times: Option<u64>,
    /// The authorization endpoints, the identity provider's too, answer this many milliseconds late.
    pub authorize_delay_ms: u64,
    /// The scopes that the OAuth providers grant at most, separated by spaces, whatever was asked for and
    /// ticked. `None`: all of them.
    pub granted_scope: Option<String>,
    /// Whether somebody who has consented once, has not taken it back and is asked for no more is sent on
    /// without being asked again, unless the client says `prompt=consent`.
    pub remember_consent: bool,
    /// Whether everything a browser sees of the OAuth providers carries
    /// `Cross-Origin-Opener-Policy: same-origin`, which cuts a popup off from whoever opened it.
    pub coop: bool,
    /// The same for the identity provider.
    pub sign_in_coop: bool,
    /// How the authorization endpoint of the identity provider misbehaves.
    pub sign_in_fault: AuthorizeFault,
    /// What is wrong with the ID tokens of the identity provider.
    pub id_token_fault: IdTokenFault,
    /// How the revocation endpoints misbehave.
    pub revoke_fault: RevokeFault,
    /// How many calls `revoke_fault` still applies to. `None`: to all.
    pub revoke_fault_times: Option<u64>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            delay_ms: 0,
            expires_in: 3600,
            rotate: false,
            reuse_detection: false,
            reuse_window: 0,
            refresh_idle: None,
            token_fault: TokenFault::None,
            fault_times: None,
            retry_after: None,
            retry_after_as_date: false,
            ok_error: "invalid_refresh_token".to_owned(),
            trickle_ms: 100,
            date_skew: 0,
            api_status: None,
            jwks_delay_ms: 0,
            jwks_status: None,
            authorize_fault: AuthorizeFault::None,
            authorize_fault_times: None,
            authorize_delay_ms: 0,
            granted_scope: None,
            remember_consent: false,
            coop: false,
            sign_in_coop: false,
            sign_in_fault: AuthorizeFault::None,
            id_token_fault: IdTokenFault::None,
            revoke_fault: RevokeFault::None,
            revoke_fault_times: None,
        }
    }
}

impl Faults {
    /// Sets [`Faults::delay_ms`].
    #[must_use]
    pub fn delay_ms(mut self, milliseconds: u64) -> Self {
        self.delay_ms = milliseconds;
        self
    }

    /// Sets [`Faults::expires_in`], in seconds.
    #[must_use]
    pub fn expires_in(mut self, seconds: u64) -> Self {
        self.expires_in = seconds;
        self
    }

    /// Sets [`Faults::rotate`].
    #[must_use]
    pub fn rotate(mut self, on: bool) -> Self {
        self.rotate = on;
        self
    }

    /// Sets [`Faults::reuse_detection`]. It means something only with [`Faults::rotate`].
    #[must_use]
    pub fn reuse_detection(mut self, on: bool) -> Self {
        self.reuse_detection = on;
        self
    }

    /// Sets [`Faults::reuse_window`], in seconds. It means something only with [`Faults::rotate`].
    #[must_use]
    pub fn reuse_window(mut self, seconds: u64) -> Self {
        self.reuse_window = seconds;
        self
    }

    /// Sets [`Faults::refresh_idle`], in seconds.
    #[must_use]
    pub fn refresh_idle(mut self, seconds: u64) -> Self {
        self.refresh_idle = Some(seconds);
        self
    }

    /// Sets [`Faults::token_fault`].
    #[must_use]
    pub fn token_fault(mut self, fault: TokenFault) -> Self {
        self.token_fault = fault;
        self
    }

    /// Limits [`Faults::token_fault`] to the next `calls` token calls.
    #[must_use]
    pub fn fault_times(mut self, calls: u64) -> Self {
        self.fault_times = Some(calls);
        self
    }

    /// Sets [`Faults::retry_after`], in seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Sets [`Faults::retry_after_as_date`].
    #[must_use]
    pub fn retry_after_as_date(mut self, on: bool) -> Self {
        self.retry_after_as_date = on;
        self
    }

    /// Sets [`Faults::ok_error`].
    #[must_use]
    pub fn ok_error(mut self, error: impl Into<String>) -> Self {
        self.ok_error = error.into();
        self
    }

    /// Sets [`Faults::trickle_ms`].
    #[must_use]
    pub fn trickle_ms(mut self, milliseconds: u64) -> Self {
        self.trickle_ms = milliseconds;
        self
    }

    /// Sets [`Faults::date_skew`], in seconds.
    #[must_use]
    pub fn date_skew(mut self, seconds: i64) -> Self {
        self.date_skew = seconds;
        self
    }

    /// Sets [`Faults::api_status`].
    #[must_use]
    pub fn api_status(mut self, status: u16) -> Self {
        self.api_status = Some(status);
        self
    }

    /// Sets [`Faults::jwks_delay_ms`].
    #[must_use]
    pub fn jwks_delay_ms(mut self, milliseconds: u64) -> Self {
        self.jwks_delay_ms = milliseconds;
        self
    }

    /// Sets [`Faults::jwks_status`].
    #[must_use]
    pub fn jwks_status(mut self, status: u16) -> Self {
        self.jwks_status = Some(status);
        self
    }

    /// The fault for one token call, which uses up one of [`Faults::fault_times`].
    pub(crate) fn take_token_fault(&mut self) -> TokenFault {
        let fault = match self.fault_times {
            Some(0) => TokenFault::None,
            None | Some(_) => self.token_fault,
        };
        if let Some(left) = &mut self.fault_times {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.token_fault = TokenFault::None;
                self.fault_times = None;
            }
        }
        fault
    }
}

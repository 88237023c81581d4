//! Refreshing: what a provider's tokens need, and how an attempt can end.

use std::{collections::BTreeMap, fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{AppId, GrantId, InvalidProvider, TokenGeneration, provider::endpoint_url};

/// Seconds before its end at which an access token is refreshed, unless the provider's settings say otherwise.
pub const DEFAULT_MARGIN_SECONDS: u32 = 300;

/// The longest margin, reuse window: a day, in seconds.
const DAY: u32 = 86_400;
/// A refresh token that dies sooner when it is not used cannot be kept alive: an hour, in seconds.
const SHORTEST_IDLE: u64 = 3_600;
/// Ten years, in seconds: what is longer was meant in other units.
const LONGEST: u64 = 315_360_000;

/// Members that are ours to set; a provider's further members never replace them.
pub(crate) const RESERVED_MEMBERS: [&str; 10] = [
    "grant_type",
    "refresh_token",
    "client_id",
    "client_secret",
    "client_assertion",
    "client_assertion_type",
    "scope",
    "code",
    "redirect_uri",
    "code_verifier",
];

/// How the app proves itself at the token endpoint (RFC 6749 §2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// `client_id` and `client_secret` in the form, which nearly every provider takes.
    #[default]
    Post,
    /// HTTP Basic, both halves percent-encoded first.
    Basic,
    /// A public client: only `client_id`.
    None,
}

/// Whether a refresh replaces the refresh token and kills the old one (RFC 9700 §4.14.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rotation {
    /// Not said: what the last refresh of the same grant did is taken for the rule.
    #[default]
    Observed,
    /// Refresh tokens stay; presenting one again is harmless.
    Never,
    /// Each one is good for one use.
    Always,
}

/// How tokens of a provider are refreshed. All members have a default that suits most providers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RefreshSettings {
    /// Seconds before an access token's end at which it is refreshed; [`DEFAULT_MARGIN_SECONDS`] by default, and never more
    /// than a quarter of the token's life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin_seconds: Option<u32>,
    /// Whether refresh tokens are replaced.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rotation: Rotation,
    /// Seconds after a rotation during which the provider still takes the old refresh token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reuse_window_seconds: Option<u32>,
    /// Seconds after which a refresh token that was not used dies; the vault uses it before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_seconds: Option<u64>,
    /// Life of access tokens, in seconds, for a provider that does not say (no `expires_in`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assumed_lifetime_seconds: Option<u64>,
    /// Further form members that the provider wants.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, String>,
    /// Where tokens are refreshed, if that is not the token endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

impl RefreshSettings {
    /// Checks the limits of each setting.
    ///
    /// # Errors
    ///
    /// The first rule that does not hold.
    pub(crate) fn check(&self) -> Result<(), InvalidProvider> {
        let fail = |text: &str| Err(InvalidProvider(text.to_owned()));
        if self.margin_seconds.is_some_and(|seconds| seconds > DAY) {
            return fail("the refresh margin is at most one day");
        }
        if self.reuse_window_seconds.is_some_and(|seconds| seconds > DAY) {
            return fail("the reuse window is at most one day");
        }
        if self.idle_seconds.is_some_and(|seconds| !(SHORTEST_IDLE..=LONGEST).contains(&seconds)) {
            return fail("the idle time of refresh tokens is one hour to ten years");
        }
        if self.assumed_lifetime_seconds.is_some_and(|seconds| !(1..=LONGEST).contains(&seconds)) {
            return fail("the assumed lifetime of access tokens is one second to ten years");
        }
        if let Some(url) = &self.url {
            endpoint_url(url)
                .map_err(|InvalidProvider(rule)| InvalidProvider(format!("refresh.url: {rule}")))?;
        }
        if self.extra.len() > 20 {
            return fail("at most 20 further members can be sent with a refresh");
        }
        for (name, value) in &self.extra {
            let plain = |text: &str| !text.contains(char::is_control);
            if RESERVED_MEMBERS.contains(&name.as_str()) {
                return Err(InvalidProvider(format!("the member {name} of a refresh is set by the vault")));
            }
            if !(1..=100).contains(&name.len()) || value.len() > 1_000 || !plain(name) || !plain(value) {
                return fail(
                    "a further member of a refresh has a name of 1 to 100 bytes and a value of at most 1000, without control characters",
                );
            }
        }
        Ok(())
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

macro_rules! failures {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)+) => {
        /// Why a refresh did not bring a token, as it is kept, shown and counted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum FailureCode { $($(#[$doc])* $name,)+ }

        impl FailureCode {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Its text form.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }

        impl FromStr for FailureCode {
            type Err = InvalidProvider;

            fn from_str(text: &str) -> Result<Self, InvalidProvider> {
                match text {
                    $($text => Ok(Self::$name),)+
                    _ => Err(InvalidProvider(format!("{text:?} is no reason for a failed refresh"))),
                }
            }
        }
    };
}

failures! {
    /// The provider says that the refresh token is not good any more (RFC 6749 §5.2). Final.
    InvalidGrant = "invalid_grant";
    /// A refresh token that is good for one use was sent, and whether it was used is not known. Final.
    RotationOutcomeUnknown = "rotation_outcome_unknown";
    /// The provider does not accept the app's own credentials. The operator's to repair; no user can.
    InvalidClient = "invalid_client";
    /// Another OAuth error that no repetition mends: the registration or the request is wrong. The operator's to repair.
    Misconfigured = "misconfigured";
    /// 429, or an OAuth error that says the same.
    RateLimited = "rate_limited";
    /// 5xx, `temporarily_unavailable`, `server_error`.
    ProviderUnavailable = "provider_unavailable";
    /// Something that is no answer of a token endpoint: a page, garbage, too much of it.
    Unreadable = "unreadable_answer";
    /// The request was sent, and no (complete) answer came.
    NoAnswer = "no_answer";
    /// The provider could not be reached: nothing was sent.
    Unreachable = "unreachable";
    /// There is no refresh token, or the provider's settings lack what a refresh needs.
    NotRefreshable = "not_refreshable";
    /// The vault could not keep the note or the new tokens.
    StoreFailed = "store_failed";
}

impl FailureCode {
    /// A person must connect again: nothing else helps.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::InvalidGrant | Self::RotationOutcomeUnknown)
    }

    /// The operator must repair the app's registration; the user's grant is not to blame.
    #[must_use]
    pub const fn blames_the_app(self) -> bool {
        matches!(self, Self::InvalidClient | Self::Misconfigured)
    }

    /// The provider is not at its best: the same question may be answered a little later.
    #[must_use]
    pub const fn is_passing(self) -> bool {
        matches!(
            self,
            Self::RateLimited
                | Self::ProviderUnavailable
                | Self::Unreadable
                | Self::NoAnswer
                | Self::Unreachable
        )
    }

    /// All grants of the same OAuth client would fail in the same way, so all of them wait.
    #[must_use]
    pub const fn is_shared(self) -> bool {
        matches!(
            self,
            Self::InvalidClient
                | Self::RateLimited
                | Self::ProviderUnavailable
                | Self::Unreadable
                | Self::NoAnswer
                | Self::Unreachable
        )
    }
}

impl fmt::Display for FailureCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for FailureCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Why a refresh failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct RefreshFailure {
    /// Its class.
    pub code: FailureCode,
    /// For people: at most 300 characters, control characters taken out, and nothing secret.
    pub detail: String,
}

impl RefreshFailure {
    /// A failure; `detail` is cut and cleaned.
    #[must_use]
    pub fn new(code: FailureCode, detail: &str) -> Self {
        Self { code, detail: detail.chars().filter(|c| !c.is_control()).take(300).collect() }
    }
}

/// One version of one grant's credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CredentialVersion {
    /// The app.
    pub app_id: AppId,
    /// The grant.
    pub grant_id: GrantId,
    /// The version, from 1.
    pub generation: u64,
}

/// How a grant is doing: what an operator asks when a user says "it does not work".
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GrantHealth {
    /// The grant.
    pub grant_id: GrantId,
    /// Version of the credential.
    pub generation: u64,
    /// The same as the wire names it.
    pub token_generation: Option<TokenGeneration>,
    /// It has a refresh token.
    pub refreshable: bool,
    /// The provider's definition says where tokens are refreshed, and as which client.
    pub provider_refreshes: bool,
    /// When the access token stops working, UTC.
    pub token_expires_at: Option<Timestamp>,
    /// When this credential was obtained, UTC.
    pub obtained_at: Option<Timestamp>,
    /// Last release, UTC, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// Last call that a client reported as successful, UTC, to the minute.
    pub last_good_at: Option<Timestamp>,
    /// Last successful refresh, UTC.
    pub last_refreshed_at: Option<Timestamp>,
    /// Last failed refresh, UTC.
    pub last_failed_at: Option<Timestamp>,
    /// Why it failed; kept until the next success.
    pub last_failure: Option<RefreshFailure>,
    /// Failures in a row.
    pub failures: u32,
    /// No refresh is tried before this many seconds have passed.
    pub retry_in_seconds: Option<u64>,
    /// A client reported that the provider refuses the present token.
    pub refused: bool,
    /// A person must connect again.
    pub needs_reconnect: bool,
    /// Why.
    pub reconnect_reason: Option<String>,
}

impl GrantHealth {
    /// What to do next, in words.
    #[must_use]
    pub fn next_step(&self, now: Timestamp) -> &'static str {
        let expired = self.token_expires_at.is_some_and(|end| end <= now);
        if self.needs_reconnect {
            "the user must connect again; `grant import` takes their new tokens"
        } else if self.refreshable && !self.provider_refreshes {
            "the operator must say where tokens are refreshed: `provider add` the provider again, with --token-url and --client-id"
        } else if self.last_failure.as_ref().is_some_and(|failure| failure.code.blames_the_app()) {
            "the operator must repair the app's registration at the provider"
        } else if expired && !self.refreshable {
            "the token has expired and there is no refresh token: the user must connect again; `grant import` takes their new tokens"
        } else if self.last_failure.is_some() {
            "the vault tries again by itself"
        } else {
            "nothing"
        }
    }
}

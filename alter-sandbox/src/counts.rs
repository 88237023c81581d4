//! What has happened, in total and for one account.

use serde::Serialize;

use crate::{
    bounded::Bounded,
    oauth::{DeadToken, Refusal},
};

const ACCOUNTS: usize = 200_000;

/// A user's account: `(sub, account)`.
pub(crate) type Owner = (String, String);

/// What has happened since the sandbox started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Counts {
    /// Requests at the token endpoint, whatever became of them.
    pub token_calls: u64,
    /// Requests at the token endpoint that are being answered just now. A caller who hung up is not waited for.
    pub token_calls_in_flight: u64,
    /// The most requests that were at the token endpoint at once.
    pub max_concurrent_token_calls: u64,
    /// Requests at the token endpoint on which a [`TokenFault`](crate::TokenFault) acted.
    pub token_faults: u64,
    /// Refreshes carried out, those whose answer was dropped or came late included.
    pub refreshes: u64,
    /// Refreshes answered with an OAuth error (RFC 6749 §5.2), refused on demand or in earnest. A firewall's
    /// page, a 5xx, a 429 and a 200 with an error are not counted here.
    pub refused_refreshes: u64,
    /// The same by reason; the reasons add up to `refused_refreshes`.
    pub refusals: Refusals,
    /// Families revoked because a spent refresh token was presented again.
    pub reuse_detected: u64,
    /// Refreshes carried out with a spent refresh token within the reuse window; also among `refreshes`.
    pub reuse_forgiven: u64,
    /// Requests at the API, refused ones included.
    pub api_calls: u64,
    /// Reads of the discovery document.
    pub discovery_calls: u64,
    /// Reads of the key set, refused and late ones included.
    pub jwks_calls: u64,
    /// What happened in browsers, at all providers.
    pub browser: BrowserCounts,
    /// What happened at the revocation endpoints.
    pub revocations: Revocations,
}

/// What happened at the authorization endpoints and on the pages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BrowserCounts {
    /// Authorization requests of a known client.
    pub authorize_calls: u64,
    /// Names that were typed into a sign-in page.
    pub sign_ins: u64,
    /// Codes handed out.
    pub approvals: u64,
    /// Answers `access_denied`.
    pub denials: u64,
    /// Codes that were presented at the identity provider's token endpoint.
    pub sign_in_token_calls: u64,
}

/// What happened at the revocation endpoints (RFC 7009).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Revocations {
    /// Requests, whatever became of them.
    pub calls: u64,
    /// Access tokens revoked, each alone.
    pub access_tokens: u64,
    /// Refresh tokens revoked, each with everything of its grant.
    pub refresh_tokens: u64,
    /// Requests with a token that was never issued or is long forgotten; answered 200 all the same.
    pub unknown_tokens: u64,
    /// Requests refused in earnest.
    pub refused: u64,
    /// Requests on which a [`RevokeFault`](crate::RevokeFault) acted.
    pub faults: u64,
}

/// Why refreshes were refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Refusals {
    /// The refresh token was never issued, is long forgotten, or belongs to another client.
    pub unknown_token: u64,
    /// The refresh token had been spent by a rotation.
    pub spent_token: u64,
    /// The grant had been revoked: by its user, by the client, or by an earlier reuse.
    pub revoked_grant: u64,
    /// The refresh token had not been used for too long.
    pub idle_token: u64,
    /// The client did not prove who it is.
    pub bad_client: u64,
    /// The request was not a proper one, or asked for more scope than was granted.
    pub bad_request: u64,
    /// The sandbox was told to refuse.
    pub on_demand: u64,
}

/// What became of one account's refresh tokens at the token endpoint. The exchange of a code is not counted
/// here, nor is a refresh token that was never issued.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AccountCounts {
    /// Requests that presented a refresh token of this account, whatever became of them.
    pub token_calls: u64,
    /// Those that are being answered just now.
    pub token_calls_in_flight: u64,
    /// The most that were there at once.
    pub max_concurrent_token_calls: u64,
    /// Those on which a [`TokenFault`](crate::TokenFault) acted.
    pub token_faults: u64,
    /// Refreshes carried out; see [`Counts::refreshes`].
    pub refreshes: u64,
    /// Refreshes answered with an OAuth error; see [`Counts::refused_refreshes`].
    pub refused_refreshes: u64,
    /// The same by reason.
    pub refusals: Refusals,
    /// See [`Counts::reuse_detected`].
    pub reuse_detected: u64,
    /// See [`Counts::reuse_forgiven`].
    pub reuse_forgiven: u64,
}

/// One thing that happened at the token endpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event {
    Began,
    Ended,
    Faulted,
    Refreshed { forgiven: bool },
    Refused(Refusal),
}

impl AccountCounts {
    fn record(&mut self, event: Event) {
        match event {
            Event::Began => {
                self.token_calls += 1;
                self.token_calls_in_flight += 1;
                self.max_concurrent_token_calls =
                    self.max_concurrent_token_calls.max(self.token_calls_in_flight);
            }
            Event::Ended => self.token_calls_in_flight = self.token_calls_in_flight.saturating_sub(1),
            Event::Faulted => self.token_faults += 1,
            Event::Refreshed { forgiven } => {
                self.refreshes += 1;
                self.reuse_forgiven += u64::from(forgiven);
            }
            Event::Refused(refusal) => {
                self.refused_refreshes += 1;
                self.reuse_detected += u64::from(refusal == Refusal::Token(DeadToken::Reused));
                *self.refusals.of(refusal) += 1;
            }
        }
    }
}

impl Refusals {
    fn of(&mut self, refusal: Refusal) -> &mut u64 {
        match refusal {
            Refusal::Token(DeadToken::Unknown) => &mut self.unknown_token,
            Refusal::Token(DeadToken::Spent | DeadToken::Reused) => &mut self.spent_token,
            Refusal::Token(DeadToken::Revoked) => &mut self.revoked_grant,
            Refusal::Token(DeadToken::Idle) => &mut self.idle_token,
            Refusal::BadClient => &mut self.bad_client,
            Refusal::BadRequest => &mut self.bad_request,
            Refusal::OnDemand => &mut self.on_demand,
        }
    }
}

/// The books.
pub(crate) struct Tally {
    pub(crate) api_calls: u64,
    pub(crate) discovery_calls: u64,
    pub(crate) jwks_calls: u64,
    pub(crate) browser: BrowserCounts,
    pub(crate) revocations: Revocations,
    all: AccountCounts,
    accounts: Bounded<Owner, AccountCounts>,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            api_calls: 0,
            discovery_calls: 0,
            jwks_calls: 0,
            browser: BrowserCounts::default(),
            revocations: Revocations::default(),
            all: AccountCounts::default(),
            accounts: Bounded::new(ACCOUNTS),
        }
    }

    pub(crate) fn record(&mut self, owner: Option<&Owner>, event: Event) {
        self.all.record(event);
        let Some(owner) = owner else { return };
        if self.accounts.get(owner).is_none() {
            self.accounts.insert(owner.clone(), AccountCounts::default());
        }
        if let Some(account) = self.accounts.get_mut(owner) {
            account.record(event);
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        let all = self.all;
        Counts {
            token_calls: all.token_calls,
            token_calls_in_flight: all.token_calls_in_flight,
            max_concurrent_token_calls: all.max_concurrent_token_calls,
            token_faults: all.token_faults,
            refreshes: all.refreshes,
            refused_refreshes: all.refused_refreshes,
            refusals: all.refusals,
            reuse_detected: all.reuse_detected,
            reuse_forgiven: all.reuse_forgiven,
            api_calls: self.api_calls,
            discovery_calls: self.discovery_calls,
            jwks_calls: self.jwks_calls,
            browser: self.browser,
            revocations: self.revocations,
        }
    }

    pub(crate) fn account(&self, owner: &Owner) -> AccountCounts {
        self.accounts.get(owner).copied().unwrap_or_default()
    }
}

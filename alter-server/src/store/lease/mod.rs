//! Who may refresh a grant, how long nobody may, and [what a refresh leaves behind](ending): the decisions behind its steps, the
//! same in every store. Instants are microseconds of the one clock that counts leases (the database's).

mod ending;
#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

pub(super) use ending::{
    Failing, Orphans, Pause, audit_row, decide_failing, failure, reason_text, seal_orphans, seal_pair,
    seconds_until,
};
use ending::{is_on, reason};

use super::refresh::{BeginRefresh, Begun, LeaseRef};
use crate::{
    domain::{
        CredentialVersion, FailureCode, GrantFacts, GrantStatus, Provider, RefreshFailure, TokenGeneration,
    },
    seal::{Field, SealContext, Sealed},
};

/// Seconds during which a client's report that the provider refuses a token does not count, after one that did: a false or
/// endless 401 forces at most one refresh of a grant in that time.
pub(super) const REFUSAL_COUNTS_EVERY: i64 = 60;
/// Seconds between notes of a grant's last successful call.
pub(super) const GOOD_NOTED_EVERY: i64 = 60;

/// What is kept of a grant, for a refresh.
pub(super) struct KeptGrant {
    pub(super) facts: GrantFacts,
    pub(super) generation: u64,
    pub(super) token_generation: Option<TokenGeneration>,
    pub(super) reconnect_reason: Option<String>,
    pub(super) scopes: Vec<String>,
    pub(super) refresh_token: Option<Sealed>,
}

/// A row of `refreshes`.
#[derive(Default)]
pub(super) struct LeaseRow {
    pub(super) fence: u64,
    pub(super) owner: Option<Uuid>,
    pub(super) lease_until: Option<i64>,
    pub(super) spending: Option<u64>,
    pub(super) spending_since: Option<i64>,
    pub(super) rotates: bool,
    pub(super) failures: u64,
    pub(super) not_before: Option<i64>,
    pub(super) failure: Option<RefreshFailure>,
}

/// What is written when a lease is taken.
pub(super) struct Taking {
    pub(super) fence: u64,
    pub(super) lease_until: i64,
    pub(super) spending_since: i64,
    pub(super) unresolved_since: Option<Duration>,
}

pub(super) fn micros_of(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn span(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

/// The present moment of this machine's clock, for a store that has no clock of its own.
pub(super) fn wall_clock() -> i64 {
    Timestamp::now().as_microsecond()
}

/// Whether a lease until `until` holds. One that reaches further than any holder asks for was written before the clock was set
/// back: a holder that lives brings it into order with its next renewal, and one that does not would block the grant for as long as
/// the clock was ahead.
fn holds(until: i64, now: i64, lease: Duration) -> bool {
    let most = lease.saturating_mul(2).max(Duration::from_secs(3600));
    until > now && until.saturating_sub(now) <= micros_of(most)
}

fn impossible<T>(code: FailureCode, text: &str) -> Result<T, Begun> {
    Err(Begun::Impossible(RefreshFailure::new(code, text)))
}

/// Whether the provider's definition says what a refresh needs to know.
pub(super) fn refreshes(provider: Option<&Provider>) -> bool {
    provider.is_some_and(|provider| provider.refreshing().is_some())
}

/// Whether this version of the grant can be refreshed at all; `at` is the vault's own time.
pub(super) fn decide_possible(
    begin: &BeginRefresh,
    grant: Option<&KeptGrant>,
    provider: Option<&Provider>,
    at: Timestamp,
) -> Result<(), Begun> {
    let Some(grant) = grant else {
        return impossible(FailureCode::NotRefreshable, "there is no such grant");
    };
    if grant.facts.status != GrantStatus::Active {
        return impossible(FailureCode::NotRefreshable, "the grant was revoked");
    }
    if grant.facts.grant_expires_at.is_some_and(|end| end <= at) {
        return impossible(FailureCode::NotRefreshable, "the grant's lifetime is over");
    }
    if grant.generation != begin.version.generation {
        return Err(Begun::Moved);
    }
    if grant.facts.needs_reconnect {
        return Err(Begun::Impossible(reason(grant.reconnect_reason.as_deref())));
    }
    if grant.refresh_token.is_none() {
        return impossible(FailureCode::NotRefreshable, "the grant has no refresh token");
    }
    if !refreshes(provider) {
        let text = "the provider's settings have no token_url or no client_id";
        return impossible(FailureCode::NotRefreshable, text);
    }
    Ok(())
}

/// Whether the lease can be taken at `now`.
pub(super) fn decide_taking(
    begin: &BeginRefresh,
    row: &LeaseRow,
    client: Option<Pause>,
    now: i64,
) -> Result<Taking, Begun> {
    // A lease on an older generation is void: its holder can write nothing any more.
    let noted = row.spending == Some(begin.version.generation);
    if let (Some(owner), Some(until)) = (row.owner, row.lease_until)
        && owner != begin.owner
        && holds(until, now, begin.lease)
        && noted
    {
        return Err(Begun::Held { remaining: span(until - now) });
    }
    if !begin.despite_backoff {
        let own = row.not_before.zip(row.failure.clone());
        let longest = client
            .map(|pause| (pause.not_before, pause.failure))
            .into_iter()
            .chain(own)
            .filter(|(until, _)| is_on(*until, now))
            .max_by_key(|(until, _)| *until);
        if let Some((until, failure)) = longest {
            return Err(Begun::Pause { remaining: span(until - now), failure });
        }
    }
    let lease = micros_of(begin.lease);
    let before = row.spending_since.filter(|_| noted);
    // Our own last taking, whose answer was lost: it wrote the note, and nothing was presented under it.
    let own_note = row.owner == Some(begin.owner) && row.lease_until == before.map(|since| since + lease);
    let unresolved_since = before.filter(|_| !own_note).map(|since| span(now - since));
    Ok(Taking {
        fence: row.fence + 1,
        lease_until: now.saturating_add(lease),
        // A note that was there is always older than the lease, so that it is never taken for our own.
        spending_since: if own_note { now } else { before.map_or(now, |since| since.min(now - 1)) },
        unresolved_since,
    })
}

/// Where the refresh token of a generation of the same grant is.
pub(super) fn refresh_token_at(version: &CredentialVersion, generation: u64) -> SealContext {
    let CredentialVersion { app_id, grant_id, .. } = *version;
    SealContext::of(app_id, Field::GrantRefreshToken, grant_id.uuid(), generation)
}

/// Whether a refresh may still write its end.
pub(super) fn still_ours(lease: &LeaseRef, grant: Option<&KeptGrant>, row: Option<&LeaseRow>) -> bool {
    row.is_some_and(|row| row.fence == lease.fence && row.owner == Some(lease.owner))
        && grant.is_some_and(|grant| {
            grant.facts.status == GrantStatus::Active
                && !grant.facts.needs_reconnect
                && grant.generation == lease.version.generation
        })
}

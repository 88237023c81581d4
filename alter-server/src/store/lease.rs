//! Who may refresh a grant, how long nobody may, and what a refresh leaves behind: the decisions behind its steps, the same in
//! every store. Instants are microseconds of the one clock that counts leases (the database's).

use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use uuid::Uuid;

use super::{
    StoreError, draft,
    refresh::{BeginRefresh, Begun, FinishRefresh, FreshTokens, LeaseRef, RefreshEnd},
};
use crate::{
    audit::{Action, AuditRow, Outcome},
    domain::{
        CredentialVersion, FailureCode, GrantFacts, GrantId, GrantStatus, Provider, RefreshFailure,
        TokenGeneration,
    },
    resolve::{LONGEST_PAUSE, backoff},
    seal::{Envelope, Field, SealContext, Sealed, SealedField},
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

/// A row of `refresh_backoff`.
pub(super) struct Pause {
    pub(super) failures: u64,
    pub(super) not_before: i64,
    pub(super) failure: RefreshFailure,
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

/// Whether a pause until `until` is on.
fn is_on(until: i64, now: i64) -> bool {
    until > now && until.saturating_sub(now) <= micros_of(LONGEST_PAUSE)
}

/// Whether a lease until `until` holds. One that reaches further than any holder asks for was written before the clock was set
/// back: a holder that lives brings it into order with its next renewal, and one that does not would block the grant for as long as
/// the clock was ahead.
fn holds(until: i64, now: i64, lease: Duration) -> bool {
    let most = lease.saturating_mul(2).max(Duration::from_secs(3600));
    until > now && until.saturating_sub(now) <= micros_of(most)
}

/// Whole seconds from `now` until `moment`, rounded up; `None` if it is over.
pub(super) fn seconds_until(moment: i64, now: i64) -> Option<u64> {
    let left = u64::try_from(moment.saturating_sub(now)).ok()?.div_ceil(1_000_000);
    (left > 0).then_some(left)
}

fn impossible<T>(code: FailureCode, text: &str) -> Result<T, Begun> {
    Err(Begun::Impossible(RefreshFailure::new(code, text)))
}

/// The text of `reconnect_reason`.
pub(super) fn reason_text(failure: &RefreshFailure) -> String {
    failure.to_string()
}

/// Reads what [`reason_text`] wrote.
fn reason(text: Option<&str>) -> RefreshFailure {
    let Some(text) = text else {
        return RefreshFailure::new(FailureCode::InvalidGrant, "the user must connect again");
    };
    match text.split_once(": ").map(|(code, detail)| (code.parse(), detail)) {
        Some((Ok(code), detail)) => RefreshFailure::new(code, detail),
        _ => RefreshFailure::new(FailureCode::InvalidGrant, text),
    }
}

/// A failure as two columns hold it.
pub(super) fn failure(code: Option<&str>, detail: Option<&str>) -> Option<RefreshFailure> {
    // A code of a later version is still a failure.
    let code = code?.parse().unwrap_or(FailureCode::ProviderUnavailable);
    Some(RefreshFailure::new(code, detail.unwrap_or_default()))
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

/// A new pair, sealed for its generation.
pub(super) struct SealedPair {
    pub(super) generation: u64,
    pub(super) access: Sealed,
    pub(super) refresh: Option<Sealed>,
    pub(super) scopes: Vec<String>,
}

/// Seals what a provider gave. A refresh token that stays is opened and sealed anew: what is kept is bound to its generation,
/// and the column must not hold a value of an older one.
pub(super) fn seal_pair(
    envelope: &Envelope,
    lease: &LeaseRef,
    grant: &KeptGrant,
    tokens: &FreshTokens,
) -> Result<SealedPair, StoreError> {
    let generation = lease.version.generation + 1;
    let CredentialVersion { app_id, grant_id, .. } = lease.version;
    let bytes = |secret: &SecretString| SecretSlice::from(secret.expose_secret().as_bytes().to_vec());
    let context = SealContext::of(app_id, Field::GrantAccessToken, grant_id.uuid(), generation);
    let access = envelope.seal(&context, &bytes(&tokens.access_token))?;
    let next = match (&tokens.refresh_token, &grant.refresh_token) {
        (Some(next), _) => Some(bytes(next)),
        (None, Some(kept)) => {
            let context = refresh_token_at(&lease.version, lease.version.generation);
            Some(envelope.open(&SealedField { context, sealed: kept.clone() })?)
        }
        (None, None) => None,
    };
    let at = refresh_token_at(&lease.version, generation);
    let refresh = next.map(|next| envelope.seal(&at, &next)).transpose()?;
    let kept = |scope: &&String| super::check::scopes(std::slice::from_ref(*scope)).is_ok();
    let scopes = match &tokens.scopes {
        Some(scopes) => scopes.iter().filter(kept).cloned().collect(),
        None => grant.scopes.clone(),
    };
    Ok(SealedPair { generation, access, refresh, scopes })
}

/// What a failure leaves behind.
pub(super) struct Failing {
    pub(super) failure: RefreshFailure,
    /// Failures of the grant in a row.
    pub(super) failures: u64,
    /// Pause of the grant alone.
    pub(super) not_before: Option<i64>,
    /// Pause of the whole OAuth client: failures in a row, and until when.
    pub(super) client: Option<(u64, i64)>,
    /// The note goes.
    pub(super) resolved: bool,
}

/// Decides what a failure leaves behind. One that all grants of the client share pauses the client and not this grant: when
/// the provider is back, nobody has to sit out a pause of their own. What fails while a pause is on was begun before it, so
/// it is not counted as one more failure of the client.
pub(super) fn decide_failing(
    grant: GrantId,
    failure: &RefreshFailure,
    (asked, unresolved): (Option<Duration>, bool),
    row: &LeaseRow,
    client: Option<&Pause>,
    now: i64,
) -> Failing {
    let (spread, _) = grant.uuid().as_u64_pair();
    let until = |failures: u64| {
        let pause = backoff(u32::try_from(failures).unwrap_or(u32::MAX), asked, spread);
        now.saturating_add(micros_of(pause))
    };
    let failures = row.failures.saturating_add(1);
    let shared = failure.code.is_shared();
    let client = shared.then(|| match client {
        Some(pause) if is_on(pause.not_before, now) => {
            let asked = asked.map_or(i64::MIN, |_| until(1));
            (pause.failures, pause.not_before.max(asked))
        }
        Some(pause) => (pause.failures + 1, until(pause.failures + 1)),
        None => (1, until(1)),
    });
    Failing {
        failure: RefreshFailure::new(failure.code, &failure.detail),
        failures,
        not_before: (!shared).then(|| until(failures)),
        client,
        resolved: !unresolved,
    }
}

/// The row of a refresh that ended.
pub(super) fn audit_row(finish: &FinishRefresh, grant: &KeptGrant) -> AuditRow {
    let app_id = finish.lease.version.app_id;
    let refused = |action, failure: &RefreshFailure| {
        let mut row = draft::of_vault(app_id, finish.at, action);
        row.outcome = Outcome::Refused;
        row.code = Some(failure.code.as_str().to_owned());
        row.detail = Some(RefreshFailure::new(failure.code, &failure.detail).detail);
        row.token_generation = grant.token_generation;
        row
    };
    let mut row = match &finish.end {
        RefreshEnd::Renewed(tokens) => {
            let mut row = draft::of_vault(app_id, finish.at, Action::TokenRefreshed);
            row.token_generation = Some(tokens.token_generation);
            let refresh = if tokens.rotated { "replaced" } else { "kept" };
            let generation = finish.lease.version.generation + 1;
            row.detail = Some(format!("generation {generation}, refresh token {refresh}"));
            row
        }
        RefreshEnd::Failed { failure, .. } => refused(Action::RefreshFailed, failure),
        RefreshEnd::Dead { failure } => refused(Action::ReconnectNeeded, failure),
    };
    draft::describe(&mut row, &grant.facts);
    row
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{AppId, GrantKind, Principal};

    const LEASE: i64 = 30_000_000;

    #[derive(Debug, Clone, Copy)]
    enum Step {
        /// Asks for the lease.
        Begin,
        /// Asks for it, and the answer is lost.
        BeginUnheard,
        /// Sends the refresh token to the provider.
        Present,
        /// Writes the provider's tokens.
        Renewed,
        /// Writes that the token was not spent.
        Failed,
        /// Writes that nobody knows.
        Unresolved,
        /// Forgets everything, and comes back as somebody else.
        Crash,
        /// Time passes, in seconds.
        Pass(i64),
        /// The user connects again.
        Import,
    }

    fn steps() -> impl Strategy<Value = Vec<(usize, Step)>> {
        let step = prop_oneof![
            4 => Just(Step::Begin),
            1 => Just(Step::BeginUnheard),
            4 => Just(Step::Present),
            2 => Just(Step::Renewed),
            1 => Just(Step::Failed),
            1 => Just(Step::Unresolved),
            1 => Just(Step::Crash),
            3 => (1_i64..40).prop_map(Step::Pass),
            1 => Just(Step::Import),
        ];
        proptest::collection::vec((0_usize..3, step), 1..80)
    }

    /// One process: its flight's name, the lease it knows of, and whether it presented the token under it.
    struct Process {
        owner: Uuid,
        lease: Option<(LeaseRef, Option<Duration>)>,
        presented: bool,
    }

    impl Process {
        fn new() -> Self {
            Self { owner: Uuid::new_v4(), lease: None, presented: false }
        }
    }

    fn grant() -> KeptGrant {
        KeptGrant {
            facts: GrantFacts {
                id: GrantId::random(),
                provider: "p".parse().unwrap(),
                kind: GrantKind::OAuth,
                principal: Principal::System,
                account_identifier: None,
                account_display_name: None,
                label: None,
                status: GrantStatus::Active,
                grant_expires_at: None,
                token_expires_at: None,
                needs_reconnect: false,
            },
            generation: 1,
            token_generation: None,
            reconnect_reason: None,
            scopes: Vec::new(),
            refresh_token: None,
        }
    }

    proptest! {
        /// Of three processes that crash, sleep and lose answers in any order, none presents a refresh token of which another
        /// may have made use, without being told; only the newest holder writes; fences only grow.
        #[test]
        fn no_token_is_presented_twice_unawares(steps in steps()) {
            let mut grant = grant();
            let (mut row, mut now) = (LeaseRow::default(), 1_000_000_000_000_i64);
            let mut processes: [Process; 3] = std::array::from_fn(|_| Process::new());
            // Somebody presented the token of this generation, and it is not known to be unspent.
            let mut spent = None;
            for (number, step) in steps {
                let process = &mut processes[number];
                let version = CredentialVersion {
                    app_id: AppId::VAULT,
                    grant_id: grant.facts.id,
                    generation: grant.generation,
                };
                match step {
                    Step::Begin | Step::BeginUnheard => {
                        let ours = |lease: &LeaseRef| still_ours(lease, Some(&grant), Some(&row));
                        if process.lease.as_ref().is_some_and(|(lease, _)| ours(lease)) {
                            continue;
                        }
                        let owner = process.owner;
                        let lease = Duration::from_secs(30);
                        let begin = BeginRefresh { version, owner, lease, despite_backoff: false };
                        let held = row.owner.is_some_and(|other| other != owner)
                            && row.lease_until.is_some_and(|until| until > now)
                            && row.spending == Some(version.generation);
                        let Ok(taking) = decide_taking(&begin, &row, None, now) else {
                            prop_assert!(held);
                            continue;
                        };
                        prop_assert!(!held && taking.fence > row.fence && taking.lease_until == now + LEASE);
                        row.fence = taking.fence;
                        row.owner = Some(owner);
                        row.lease_until = Some(taking.lease_until);
                        row.spending = Some(version.generation);
                        row.spending_since = Some(taking.spending_since);
                        if matches!(step, Step::Begin) {
                            let lease = LeaseRef { version, owner, fence: taking.fence };
                            process.lease = Some((lease, taking.unresolved_since));
                            process.presented = false;
                        }
                    }
                    Step::Present => {
                        let Some((lease, unresolved)) = &process.lease else { continue };
                        // A strictly rotating provider: who is told of doubt does not ask; nobody asks twice.
                        if unresolved.is_some() || process.presented {
                            continue;
                        }
                        prop_assert_ne!(spent, Some(lease.version.generation));
                        process.presented = true;
                        spent = spent.max(Some(lease.version.generation));
                    }
                    Step::Renewed | Step::Failed | Step::Unresolved => {
                        let Some((lease, unresolved)) = process.lease.take() else { continue };
                        let newest = lease.fence == row.fence && row.owner == Some(process.owner);
                        let ours = still_ours(&lease, Some(&grant), Some(&row));
                        prop_assert_eq!(ours, newest && lease.version.generation == grant.generation);
                        if !ours {
                            continue;
                        }
                        match step {
                            Step::Renewed if process.presented => {
                                grant.generation += 1;
                                row.spending = None;
                            }
                            Step::Failed if unresolved.is_none() => {
                                spent = None;
                                row.spending = None;
                            }
                            _ => {}
                        }
                        (row.owner, row.lease_until) = (None, None);
                    }
                    Step::Crash => *process = Process::new(),
                    Step::Pass(seconds) => now += seconds * 1_000_000,
                    Step::Import => {
                        grant.generation += 1;
                    }
                }
            }
        }

        #[test]
        fn a_shared_pause_never_shrinks_and_one_of_a_grant_is_its_own(
            asked in proptest::option::of(0_u64..10_000), failures in 0_u64..1000, left in -100_i64..=3_600,
        ) {
            let now = 1_000_000_000_000_i64;
            let client = Pause {
                failures,
                not_before: now + left * 1_000_000,
                failure: RefreshFailure::new(FailureCode::RateLimited, ""),
            };
            let row = LeaseRow { failures, ..LeaseRow::default() };
            let asked = (asked.map(Duration::from_secs), false);
            let judge = |code| {
                let failure = RefreshFailure::new(code, "");
                decide_failing(GrantId::random(), &failure, asked, &row, Some(&client), now)
            };
            let shared = judge(FailureCode::RateLimited);
            let (count, until) = shared.client.unwrap();
            prop_assert!(shared.not_before.is_none() && until > now);
            prop_assert!(left <= 0 || (until >= client.not_before && count == failures));
            prop_assert!(left > 0 || count == failures + 1);
            let own = judge(FailureCode::Misconfigured);
            prop_assert!(own.client.is_none() && own.not_before.is_some_and(|until| until > now));
            prop_assert_eq!((own.failures, own.resolved), (failures + 1, true));
        }
    }

    #[test]
    fn a_clock_that_was_set_back_blocks_no_grant() {
        let grant = grant();
        let version = CredentialVersion { app_id: AppId::VAULT, grant_id: grant.facts.id, generation: 1 };
        let lease = Duration::from_secs(30);
        let begin = BeginRefresh { version, owner: Uuid::new_v4(), lease, despite_backoff: false };
        let (now, year) = (1_000_000_000_000_000_i64, 31_536_000_000_000_i64);
        let pause = |until| Pause {
            failures: 1,
            not_before: until,
            failure: RefreshFailure::new(FailureCode::RateLimited, ""),
        };
        let row = |until| LeaseRow {
            fence: 7,
            owner: Some(Uuid::new_v4()),
            lease_until: Some(until),
            spending: Some(1),
            spending_since: Some(until - LEASE),
            ..LeaseRow::default()
        };
        let taken = decide_taking(&begin, &row(now + year), Some(pause(now + year)), now).unwrap();
        assert!(taken.fence == 8 && taken.unresolved_since.is_some());
        let held = decide_taking(&begin, &row(now + LEASE), None, now);
        assert!(matches!(held, Err(Begun::Held { .. })));
        let paused = decide_taking(&begin, &LeaseRow::default(), Some(pause(now + 3_600_000_000)), now);
        assert!(matches!(paused, Err(Begun::Pause { .. })));
        let failure = RefreshFailure::new(FailureCode::RateLimited, "");
        let failing = decide_failing(
            version.grant_id,
            &failure,
            (None, false),
            &row(now),
            Some(&pause(now + year)),
            now,
        );
        assert!(failing.client.is_some_and(|(_, until)| until < now + 10_000_000));
    }

    #[test]
    fn the_reason_for_a_reconnect_is_read_back() {
        let failure = RefreshFailure::new(FailureCode::RotationOutcomeUnknown, "killed: in the middle");
        assert_eq!(reason(Some(&reason_text(&failure))), failure);
        assert_eq!(reason(Some("by hand: x")).code, FailureCode::InvalidGrant);
        assert_eq!(reason(None).code, FailureCode::InvalidGrant);
    }
}

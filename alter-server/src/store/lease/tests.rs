//! The decisions, searched at random: processes that crash, sleep and lose answers.

use proptest::prelude::*;

use super::*;
use crate::domain::{AppId, GrantId, GrantKind, Principal};

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
    let failing =
        decide_failing(version.grant_id, &failure, (None, false), &row(now), Some(&pause(now + year)), now);
    assert!(failing.client.is_some_and(|(_, until)| until < now + 10_000_000));
}

#[test]
fn the_reason_for_a_reconnect_is_read_back() {
    let failure = RefreshFailure::new(FailureCode::RotationOutcomeUnknown, "killed: in the middle");
    assert_eq!(reason(Some(&reason_text(&failure))), failure);
    assert_eq!(reason(Some("by hand: x")).code, FailureCode::InvalidGrant);
    assert_eq!(reason(None).code, FailureCode::InvalidGrant);
}

//! Revocation across replicas: four processes under load, a thousand revocations, and after each has been answered not one
//! further release of that grant, by any of the processes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use alter_sandbox::Faults;
use alter_server::domain::{GrantId, RefreshSettings};
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::{
    caller::Caller,
    place::{Place, Store},
    process::{Options, Process, Program},
    stage::{Stage, Wanted},
};

const PROCESSES: usize = 4;
const REVOCATIONS: usize = 1_000;
/// Revocations under way at the same time, each with load on its own grant.
const REVOKERS: usize = 8;
/// For all of it; more than enough on a busy machine.
const LIMIT: Duration = Duration::from_secs(400);

/// One grant under fire.
#[derive(Debug, Default)]
struct Target {
    /// The answer to its revocation has arrived.
    revoked: AtomicBool,
    /// Releases of it that were asked for before that.
    served: AtomicUsize,
    /// Releases of it that were asked for after that: there must be none.
    late: AtomicUsize,
    /// Refusals of what was asked for after that: one at each process.
    refused: AtomicUsize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_revocation_has_been_answered_none_of_four_processes_releases() {
    let place = Place::make(Store::Postgres, false).await;
    let stage = Stage::make(place, &[("strict", RefreshSettings::default())]).await;
    let wanted: Vec<_> = (0..REVOCATIONS)
        .map(|number| Wanted {
            provider: "strict",
            user: format!("user-{number}"),
            faults: Faults::default(),
        })
        .collect();
    let grants = Arc::new(stage.ending_in(3_600, &wanted).await);
    let options = Options::default();
    let fleet: Vec<_> =
        join_all((0..PROCESSES).map(|_| Process::start(Program::Replica, &stage.place, &options))).await;
    let addresses: Arc<Vec<_>> = Arc::new(fleet.iter().map(|process| process.base_url.clone()).collect());
    let targets: Arc<Vec<Target>> = Arc::new((0..REVOCATIONS).map(|_| Target::default()).collect());
    let revokers = (0..REVOKERS).map(|revoker| {
        let (caller, addresses) = (stage.caller.clone(), Arc::clone(&addresses));
        let (grants, targets) = (Arc::clone(&grants), Arc::clone(&targets));
        tokio::spawn(async move {
            for place in (revoker..REVOCATIONS).step_by(REVOKERS) {
                one(&caller, &addresses, grants[place], &targets[place], place).await;
            }
        })
    });
    let revokers: Vec<_> = revokers.collect();
    let all = async {
        for revoker in revokers {
            revoker.await.unwrap();
        }
    };
    tokio::time::timeout(LIMIT, all).await.expect("in time");
    let sum = |of: fn(&Target) -> &AtomicUsize| -> usize {
        targets.iter().map(|target| of(target).load(Ordering::SeqCst)).sum()
    };
    let (served, refused) = (sum(|target| &target.served), sum(|target| &target.refused));
    assert_eq!(sum(|target| &target.late), 0);
    // There was load on each grant when it was revoked, and each process was asked afterwards.
    assert!(served >= REVOCATIONS, "{served} served");
    assert_eq!(refused, REVOCATIONS * PROCESSES);
    let kept = stage.kept().await;
    assert!(kept.values().all(|grant| grant.revoked_at.is_some()));
}

/// Revokes one grant while it is being asked for at all processes: each is asked again and again, and once more when the
/// revocation has been answered.
async fn one(caller: &Caller, addresses: &[String], grant: GrantId, target: &Target, place: usize) {
    let began = Instant::now();
    let load = addresses.iter().map(|address| async move {
        loop {
            let revoked = target.revoked.load(Ordering::SeqCst);
            let answer = caller.ask(address, grant).await;
            if answer.is_served() {
                let counted = if revoked { &target.late } else { &target.served };
                counted.fetch_add(1, Ordering::SeqCst);
            } else {
                assert_eq!(answer.code(), "grant_revoked", "{answer}: {}", answer.body);
                if revoked {
                    target.refused.fetch_add(1, Ordering::SeqCst);
                    return;
                }
            }
        }
    });
    let revoke = async {
        while target.served.load(Ordering::SeqCst) == 0 {
            assert!(began.elapsed() < Duration::from_secs(30), "the load reaches no grant");
            sleep(Duration::from_millis(1)).await;
        }
        let answer = caller.revoke(&addresses[place % addresses.len()], grant).await;
        target.revoked.store(true, Ordering::SeqCst);
        assert_eq!(answer.status, 200, "{}", answer.body);
    };
    tokio::join!(join_all(load), revoke);
}

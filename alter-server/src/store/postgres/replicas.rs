//! Two stores on one database, as two replicas have it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use alter_core::wire::code::Code;
use futures_util::future::join_all;

use super::{
    cluster::Database,
    tests::{database, envelope, open_on},
    *,
};
use crate::{
    domain::{Address, KeyStatus, PutProvider},
    store::{
        AuditVerifyScope,
        contract::{World, by_provider, code, decided, identity, one_takes, provider},
    },
};

pub(super) async fn two() -> (World, PostgresStore) {
    let world = open_on(Database::create().await).await;
    let other = beside(&world).await;
    (world, other)
}

async fn beside(world: &World) -> PostgresStore {
    PostgresStore::open(&database(world).url(), envelope(), world.clock.clone()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nonce_counts_once_across_replicas() {
    let (world, other) = two().await;
    let key = world.app_with_google("one").await;
    world.import(key.app_id, "u1", "a@x", "t1").await;
    for _ in 0..5 {
        let command = world.ask(key, by_provider("google"), Some(identity("u1"))).await;
        let all = join_all((0..32).map(|number| {
            let store: &dyn Store = if number % 2 == 0 { &*world.store } else { &other };
            store.release(command.clone())
        }))
        .await;
        let (won, lost): (Vec<_>, Vec<_>) =
            all.into_iter().map(|answer| decided(answer.unwrap())).partition(Result::is_ok);
        assert_eq!((won.len(), lost.len()), (1, 31));
        assert!(lost.into_iter().all(|refused| code(refused) == Code::NonceReplayed));
    }
    world.assert_chains_verify().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_revocation_no_replica_releases() {
    const REVOCATIONS: usize = 200;
    let (world, other) = two().await;
    let key = world.app_with_google("one").await;
    let mut grants = Vec::new();
    for number in 0..REVOCATIONS {
        grants.push(world.import(key.app_id, &format!("u{number}"), "a@x", "t").await);
    }
    // Per grant: how many releases began after the revocation had returned and succeeded all the same.
    let revoked: Arc<Vec<AtomicBool>> = Arc::new(grants.iter().map(|_| AtomicBool::new(false)).collect());
    // Per grant: it has been released, so that there is something for the revocation to meet.
    let served: Arc<Vec<AtomicBool>> = Arc::new(grants.iter().map(|_| AtomicBool::new(false)).collect());
    let (late, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let world = Arc::new(world);
    let grants = Arc::new(grants);
    let at = Arc::new(AtomicUsize::new(0));
    let callers = (0..8).map(|caller| {
        let (world, other, grants, revoked) =
            (Arc::clone(&world), other.clone(), Arc::clone(&grants), Arc::clone(&revoked));
        let (late, served, done, at) =
            (Arc::clone(&late), Arc::clone(&served), Arc::clone(&done), Arc::clone(&at));
        tokio::spawn(async move {
            while !done.load(Ordering::SeqCst) {
                // The grant that is being revoked, so that release and revocation meet.
                let place = at.load(Ordering::SeqCst).min(REVOCATIONS - 1);
                let command = world.ask(key, Address::Grant(grants[place]), None).await;
                let before = revoked[place].load(Ordering::SeqCst);
                let answer = if caller % 2 == 0 {
                    world.store.release(command).await
                } else {
                    other.release(command).await
                };
                if decided(answer.unwrap()).is_ok() {
                    served[place].store(true, Ordering::SeqCst);
                    if before {
                        late.fetch_add(1, Ordering::SeqCst);
                    }
                }
            }
        })
    });
    let callers: Vec<_> = callers.collect();
    for (place, grant) in grants.iter().enumerate() {
        at.store(place, Ordering::SeqCst);
        let met = async {
            while !served[place].load(Ordering::SeqCst) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), met).await.expect("the load reaches each grant");
        other.revoke_grant_as_operator(world.operator(), key.app_id, *grant, None).await.unwrap();
        revoked[place].store(true, Ordering::SeqCst);
        // The very next call, at the other replica.
        let command = world.ask(key, Address::Grant(*grant), None).await;
        assert_eq!(code(world.release(command).await), Code::GrantRevoked);
    }
    done.store(true, Ordering::SeqCst);
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!(late.load(Ordering::SeqCst), 0);
    world.assert_chains_verify().await;
}

/// A release that is in the middle holds a revocation up until it has committed: there is no release after the answer.
#[tokio::test]
async fn a_revocation_waits_for_a_release_in_the_middle() {
    let (world, other) = two().await;
    let key = world.app_with_google("one").await;
    let grant = world.import(key.app_id, "u1", "a@x", "t1").await;
    let (inside, go_on) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
    let store = other.clone();
    let context = (Arc::clone(&inside), Arc::clone(&go_on));
    let middle = tokio::spawn(async move {
        store
            .lanes
            .run(Gate::Shared(key.app_id), context, |unit, (inside, go_on)| {
                async move {
                    let _unit = unit.begin().await?;
                    inside.notify_one();
                    go_on.notified().await;
                    Ok(())
                }
                .boxed()
            })
            .await
    });
    inside.notified().await;
    let mut revocation = world.store.revoke_grant_as_operator(world.operator(), key.app_id, grant, None);
    let early = tokio::time::timeout(Duration::from_millis(300), &mut revocation).await;
    assert!(early.is_err(), "revoked in the middle of a release: {early:?}");
    go_on.notify_one();
    middle.await.unwrap().unwrap();
    revocation.await.unwrap();
}

#[tokio::test]
async fn what_another_replica_changes_counts_for_the_very_next_call() {
    let (world, other) = two().await;
    let key = world.app_with_google("one").await;
    world.import(key.app_id, "u1", "a@x", "t1").await;
    assert_eq!(world.token_of(key, "u1").await.unwrap(), "t1");
    let elsewhere = provider("google", crate::domain::ProviderKind::OAuth, "h.example");
    let put = PutProvider { app_id: key.app_id, provider: elsewhere, client_secret: None };
    other.put_provider(world.operator(), put).await.unwrap();
    assert_eq!(code(world.token_of(key, "u1").await), Code::BlockedDestination);
    let patch = |status| AppPatch { status: Some(status), ..AppPatch::default() };
    let suspended = patch(crate::domain::AppStatus::Suspended);
    other.change_app(world.operator(), key.app_id, suspended).await.unwrap();
    assert_eq!(code(world.token_of(key, "u1").await), Code::KeyNotActive);
    let resumed = patch(crate::domain::AppStatus::Active);
    other.change_app(world.operator(), key.app_id, resumed).await.unwrap();
    let revoked = other.revoke_key(world.operator(), key.app_id, key.key_id).await.unwrap();
    assert_eq!(revoked.status, KeyStatus::Revoked);
    assert_eq!(code(world.token_of(key, "u1").await), Code::KeyRevoked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_may_make_the_same_user_at_the_same_moment() {
    let (world, other) = two().await;
    let key = world.app_with_google("one").await;
    let mut commands = Vec::new();
    for _ in 0..16 {
        commands.push(world.ask(key, by_provider("google"), Some(identity("new"))).await);
    }
    let answers = commands.into_iter().enumerate().map(|(number, command)| {
        let store: &dyn Store = if number % 2 == 0 { &*world.store } else { &other };
        store.release(command)
    });
    for answer in join_all(answers).await {
        assert_eq!(code(decided(answer.unwrap())), Code::GrantNotFound);
    }
    assert_eq!(world.store.list_users(key.app_id, 10, 0).await.unwrap().len(), 1);
    world.assert_chains_verify().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_open_together_share_one_schema() {
    let database = Database::create().await;
    let clock = alter_core::clock::ManualClock::at(crate::store::contract::START);
    let opened = (0..6).map(|_| {
        let clock = clock.clone();
        let url = database.url();
        async move { PostgresStore::open(&url, envelope(), clock).await }
    });
    let stores: Vec<_> = join_all(opened).await.into_iter().map(Result::unwrap).collect();
    join_all(stores.iter().map(Store::health)).await.into_iter().for_each(Result::unwrap);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_replicas_chains_verify_and_close() {
    let (world, other) = two().await;
    let key = world.app_with_google("one").await;
    world.import(key.app_id, "u1", "a@x", "t1").await;
    let mut commands = Vec::new();
    for _ in 0..100 {
        commands.push(world.ask(key, by_provider("google"), Some(identity("u1"))).await);
    }
    let answers = commands.into_iter().enumerate().map(|(number, command)| {
        let store: &dyn Store = if number % 2 == 0 { &*world.store } else { &other };
        store.release(command)
    });
    for answer in join_all(answers).await {
        decided(answer.unwrap()).unwrap();
    }
    other.close().await.unwrap();
    let report = world.store.verify_audit(AuditVerifyScope::App(key.app_id)).await.unwrap();
    assert!(report.ok(), "{report:?}");
    let closed = report.chains.iter().filter(|chain| chain.closed).count();
    assert!(closed > 0 && closed < report.chains.len(), "{report:?}");
    assert_eq!(world.rows(key.app_id).await.len() as u64, report.rows());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_database_is_found_again() {
    let world = Arc::new(open_on(Database::alone().await).await);
    let key = world.app_with_google("one").await;
    world.import(key.app_id, "u1", "a@x", "t1").await;
    let done = Arc::new(AtomicBool::new(false));
    let (served, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let config = world.store.app_config(key.app_id).await.unwrap().unwrap();
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (world, done) = (Arc::clone(&world), Arc::clone(&done));
            let (served, refused) = (Arc::clone(&served), Arc::clone(&refused));
            let template = config.generation;
            tokio::spawn(async move {
                let mut command = world.ask(key, by_provider("google"), Some(identity("u1"))).await;
                command.admission.config_generation = template;
                while !done.load(Ordering::SeqCst) {
                    command.admission.nonce =
                        crate::domain::Nonce::from_bytes(*uuid::Uuid::new_v4().as_bytes());
                    match world.store.release(command.clone()).await {
                        Ok(outcome) => {
                            decided(outcome).unwrap();
                            served.fetch_add(1, Ordering::SeqCst);
                        }
                        Err(StoreError::Unavailable { .. }) => {
                            refused.fetch_add(1, Ordering::SeqCst);
                            tokio::time::sleep(Duration::from_millis(10)).await;
                        }
                        Err(other) => panic!("{other:?}"),
                    }
                }
            })
        })
        .collect();
    let cluster = Arc::clone(&database(&world).cluster);
    tokio::time::sleep(Duration::from_millis(300)).await;
    tokio::task::spawn_blocking(move || cluster.crash_and_restart(Duration::from_millis(300))).await.unwrap();
    // Nothing is told, nothing is restarted on our side.
    world.store.health().await.unwrap();
    world.token_of(key, "u1").await.unwrap();
    done.store(true, Ordering::SeqCst);
    for caller in callers {
        caller.await.unwrap();
    }
    assert!(refused.load(Ordering::SeqCst) > 0 && served.load(Ordering::SeqCst) > 0);
    world.assert_chains_verify().await;
    // Every release that was answered has its row; one whose answer was lost may have one, too.
    let rows = world.rows(key.app_id).await;
    let released = rows.iter().filter(|row| row.action == Action::TokenReleased).count();
    assert!(released > served.load(Ordering::SeqCst));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_at_a_time_refreshes_a_grant_on_whichever_replica() {
    let (world, other) = two().await;
    let third = beside(&world).await;
    let stores: [Arc<dyn Store>; 3] = [Arc::clone(&world.store), Arc::new(other), Arc::new(third)];
    for name in ["one", "two", "three"] {
        let (_, version) = world.refreshable(name, 100).await;
        one_takes(&world, version, &stores).await;
    }
    world.assert_chains_verify().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_replica_hears_that_a_refresh_ended() {
    let (world, other) = two().await;
    let (_, mut version) = world.refreshable("one", 7200).await;
    let mut signals = other.refresh_signals();
    // The listener connects beside the work: until then nothing is heard, which only means that waiters look.
    let heard = loop {
        version = world.renew_tokens(version, "next").await;
        if let Ok(heard) = tokio::time::timeout(Duration::from_millis(200), signals.recv()).await {
            break heard.unwrap();
        }
        assert!(version.generation < 50, "nothing heard");
    };
    assert_eq!(heard.grant_id, version.grant_id);
    // A replica that is closed hears nothing more, and closing does not wait for anything.
    tokio::time::timeout(Duration::from_secs(5), other.close()).await.unwrap().unwrap();
    drop(other);
    loop {
        match signals.recv().await {
            Ok(_) => {}
            Err(tokio::sync::broadcast::error::RecvError::Closed) => break,
            Err(error) => panic!("{error}"),
        }
    }
}

/// The lock on the row is what keeps two from taking one lease: a second one waits, and then sees the first.
#[tokio::test]
async fn a_lease_is_not_taken_on_what_was_read_before_it_ended() {
    let (world, other) = two().await;
    let (_, version) = world.refreshable("one", 7200).await;
    let lease = world.take(version).await;
    let sql = database(&world).sql().await;
    sql.batch_execute("BEGIN; SELECT 1 FROM refreshes FOR UPDATE").await.unwrap();
    let end = crate::store::refresh::RefreshEnd::Renewed(Box::new(world.fresh("t2", Some("r2"), 7200)));
    let begin = BeginRefresh {
        version,
        owner: uuid::Uuid::new_v4(),
        lease: Duration::from_secs(30),
        despite_backoff: false,
    };
    let ends = world.end(lease.name(), end);
    let begins = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let begun = other.begin_refresh(begin);
        let opens = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            sql.batch_execute("COMMIT").await.unwrap();
        };
        tokio::join!(begun, opens).0.unwrap()
    };
    let (ended, begun) = tokio::join!(ends, begins);
    assert_eq!(ended, Finished::Written { generation: 2 });
    assert!(matches!(begun, Begun::Moved), "{begun:?}");
}

#[tokio::test]
async fn long_reads_leave_the_lanes_their_connections() {
    let (_world, store) = two().await;
    let (inside, end) = (Arc::new(tokio::sync::Semaphore::new(0)), Arc::new(tokio::sync::Semaphore::new(0)));
    let reads: Vec<_> = (0..connect::MAX_CONNECTIONS)
        .map(|_| {
            let (lanes, context) = (store.lanes.clone(), (Arc::clone(&inside), Arc::clone(&end)));
            tokio::spawn(async move {
                let look: lanes::Look<(), _> = |_, (inside, end): &(Arc<tokio::sync::Semaphore>, Arc<_>)| {
                    let end: &tokio::sync::Semaphore = end;
                    async move {
                        inside.add_permits(1);
                        end.acquire().await.unwrap().forget();
                        Ok(())
                    }
                    .boxed()
                };
                lanes.read(Mode::Snapshot, context, look).await
            })
        })
        .collect();
    let many = u32::try_from(connect::MAX_CONNECTIONS - connect::LANES - lanes::RENEWALS).unwrap();
    inside.acquire_many(many).await.unwrap().forget();
    store.health().await.unwrap();
    end.add_permits(connect::MAX_CONNECTIONS);
    for read in reads {
        read.await.unwrap().unwrap();
    }
}

//! Connecting, suspending and working off the outbox on two replicas at the same moment.

use std::{collections::BTreeMap, time::Duration};

use alter_core::{clock::Clock, wire::code::Code};
use futures_util::future::{join, join_all};

use super::{replicas::two, tests::database, *};
use crate::{
    domain::{
        Address, GrantStatus, HookShape, HookSource, JobId, NewHookSource, TokenDigest, UserRef, UserStatus,
        WebhookId,
    },
    store::{
        AdvanceSession, Advanced, Connections as _, Heard, HookMessage, JobEnd, Outbox as _, TakeJobs,
        contract::{World, by_provider, code, decided, identity},
    },
};

fn user(subject: &str) -> UserRef {
    let identity = identity(subject);
    UserRef::Subject { issuer: identity.issuer, subject: identity.subject }
}

fn ended(advanced: &Advanced) -> &'static str {
    match advanced {
        Advanced::Done(_) => "done",
        Advanced::Moved => "moved",
        Advanced::Refused(_) => "refused",
    }
}

/// Two callbacks carry the same state to two replicas: both read the session, both redeem, one of them counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_callbacks_for_one_state_one_counts() {
    let (world, other) = two().await;
    let key = world.app_with_google("one").await;
    for round in 0..20 {
        let session = world.session(key, &format!("u{round}")).await;
        let (first, second) = (
            world.connecting(&session, world.new_connection(&session, "a@x").await),
            world.connecting(&session, world.new_connection(&session, "b@x").await),
        );
        let (first, second) = join(world.store.advance_session(first), other.advance_session(second)).await;
        let mut ends = [ended(&first.unwrap()), ended(&second.unwrap())];
        ends.sort_unstable();
        assert_eq!(ends, ["done", "moved"]);
        let kept = other.session(session.session).await.unwrap().unwrap();
        assert_eq!((kept.version, kept.progress.grants.len()), (session.version + 1, 1));
    }
    assert_eq!(world.store.grants(key.app_id, GrantFilter::default(), 100, 0).await.unwrap().total, 20);
    world.assert_chains_verify().await;
}

/// Steps without a connection share the app's gate; the session's own row keeps them apart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_steps_from_one_version_one_counts() {
    let (world, other) = two().await;
    let key = world.app_with_google("one").await;
    let session = world.session(key, "u1").await;
    let steps = (0..16_u8).map(|number| {
        let step = world.step(&session, |progress| progress.browser = Some(TokenDigest::of(&[number])));
        let store: &dyn Store = if number % 2 == 0 { &*world.store } else { &other };
        store.advance_session(step)
    });
    let answers: Vec<_> = join_all(steps).await.into_iter().map(Result::unwrap).collect();
    let done = answers.iter().filter(|answer| matches!(answer, Advanced::Done(_))).count();
    let moved = answers.iter().filter(|answer| matches!(answer, Advanced::Moved)).count();
    assert_eq!((done, moved), (1, 15));
}

/// The same account, connected twice at once, is one grant.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_is_connected_twice_at_once_is_one_grant() {
    let (world, other) = two().await;
    let key = world.app_with_google("one").await;
    let mut advances: Vec<AdvanceSession> = Vec::new();
    for _ in 0..8 {
        let session = world.session(key, "u1").await;
        let new = world.new_connection(&session, "a@x").await;
        advances.push(world.connecting(&session, new));
    }
    let answers = advances.into_iter().enumerate().map(|(number, advance)| {
        let store: &dyn Store = if number % 2 == 0 { &*world.store } else { &other };
        store.advance_session(advance)
    });
    assert!(join_all(answers).await.into_iter().all(|answer| ended(&answer.unwrap()) == "done"));
    let page = world.store.grants(key.app_id, GrantFilter::default(), 10, 0).await.unwrap();
    assert_eq!((page.total, page.grants[0].generation), (1, 8));
    assert_eq!(world.token_of(key, "u1").await.unwrap(), "access-a@x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_user_is_refused_by_the_next_call_on_the_other_replica() {
    let (world, other) = two().await;
    let key = world.app_with_google("one").await;
    for round in 0..20 {
        let subject = format!("u{round}");
        let grant = world.connect(key, &subject, "a@x").await;
        let mut commands = Vec::new();
        for _ in 0..6 {
            commands.push(world.ask(key, by_provider("google"), Some(identity(&subject))).await);
        }
        // Some are under way; whatever they answer, nothing is released after the suspension.
        let load = join_all(commands.into_iter().map(|command| world.store.release(command)));
        let suspends =
            other.set_user_status(world.operator(), key.app_id, user(&subject), UserStatus::Suspended, None);
        let (answers, changed) = join(load, suspends).await;
        assert_eq!(changed.unwrap().revoked, [grant]);
        for refused in answers.into_iter().filter_map(|answer| decided(answer.unwrap()).err()) {
            assert_eq!(refused.code, Code::JwtValidationError);
        }
        assert_eq!(code(world.token_of(key, &subject).await), Code::JwtValidationError);
        let by_id = world.ask(key, Address::Grant(grant), None).await;
        assert_eq!(code(world.release(by_id).await), Code::GrantRevoked);
    }
    world.assert_chains_verify().await;
}

/// Whichever comes first, nothing of the user's is left when both are through.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_and_a_suspension_leave_no_grant() {
    let (world, other) = two().await;
    let key = world.app_with_google("one").await;
    for round in 0..20 {
        let subject = format!("u{round}");
        let session = world.session(key, &subject).await;
        let new = world.new_connection(&session, "a@x").await;
        let connects = world.store.advance_session(world.connecting(&session, new));
        let suspends =
            other.set_user_status(world.operator(), key.app_id, user(&subject), UserStatus::Deleted, None);
        let (connected, suspended) = join(connects, suspends).await;
        assert_ne!(ended(&connected.unwrap()), "moved");
        suspended.unwrap();
    }
    let page = world.store.grants(key.app_id, GrantFilter::default(), 100, 0).await.unwrap();
    assert!(page.grants.iter().all(|grant| grant.facts.status == GrantStatus::Revoked), "{page:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_counts_once_across_replicas() {
    let (world, other) = two().await;
    let key = world.app_with_google("one").await;
    let grant = world.connect(key, "u1", "a@x").await;
    let source = HookSource {
        id: WebhookId::random(),
        app_id: key.app_id,
        shape: HookShape::Generic,
        created_at: world.clock.now(),
    };
    let new = NewHookSource { source: source.clone(), secret: "secret".into() };
    world.store.add_hook_source(world.operator(), new).await.unwrap();
    let message = HookMessage {
        app_id: key.app_id,
        source: source.id,
        shape: source.shape,
        message: TokenDigest::of(b"m1"),
        timestamp: world.clock.now().as_second(),
        at: world.clock.now(),
        changes: vec![(user("u1"), UserStatus::Suspended)],
        remote: None,
    };
    let heard = join_all((0..8).map(|number| {
        let store: &dyn Store = if number % 2 == 0 { &*world.store } else { &other };
        store.hear(message.clone())
    }));
    let heard: Vec<Heard> = heard.await.into_iter().map(Result::unwrap).collect();
    let done: Vec<_> = heard.iter().filter(|heard| matches!(heard, Heard::Done(_))).collect();
    let [Heard::Done(changed)] = &*done else { panic!("{heard:?}") };
    assert_eq!(changed[0].revoked, [grant]);
    world.assert_chains_verify().await;
}

fn at_most(limit: u32, lease: Duration) -> TakeJobs {
    TakeJobs { limit, lease }
}

async fn with_jobs(world: &World, jobs: usize) -> Vec<(JobId, AppId)> {
    let key = world.app_with_google("one").await;
    world.revocable(key.app_id).await;
    for number in 0..jobs {
        let grant = world.connect(key, &format!("u{number}"), "a@x").await;
        world.revoke(key, grant, None).await.unwrap();
    }
    let sql = database(world).sql().await;
    let rows = sql.query("SELECT id, app_id FROM outbox ORDER BY not_before", &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_job_is_taken_once_by_whichever_replica() {
    let (world, other) = two().await;
    let jobs = with_jobs(&world, 40).await;
    assert_eq!(jobs.len(), 40);
    let minute = Duration::from_secs(60);
    let takers = (0..16).map(|number| {
        let store: &dyn Store = if number % 2 == 0 { &*world.store } else { &other };
        store.take_jobs(at_most(3, minute))
    });
    let taken: Vec<_> = join_all(takers).await.into_iter().flat_map(Result::unwrap).collect();
    let mut counts: BTreeMap<JobId, u32> = BTreeMap::new();
    for job in &taken {
        *counts.entry(job.id).or_default() += 1;
        assert_eq!(job.attempt, 1);
    }
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
    // What takers left to each other is there for the next one.
    let rest = other.take_jobs(at_most(100, minute)).await.unwrap();
    assert_eq!(counts.len() + rest.len(), jobs.len());
    assert!(rest.iter().all(|job| !counts.contains_key(&job.id)));
    assert!(world.store.take_jobs(at_most(100, minute)).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_taker_is_gone_is_taken_by_the_other_replica() {
    let (world, other) = two().await;
    with_jobs(&world, 1).await;
    let [lost] = &*world.store.take_jobs(at_most(1, Duration::ZERO)).await.unwrap() else { panic!() };
    let [again] = &*other.take_jobs(at_most(1, Duration::from_secs(60))).await.unwrap() else { panic!() };
    assert_eq!((again.id, again.attempt), (lost.id, 2));
    let done = || JobEnd::Done { receipt: "HTTP 200".to_owned() };
    assert!(!world.store.finish_job(lost.app_id, lost.id, lost.attempt, done()).await.unwrap());
    assert!(other.finish_job(again.app_id, again.id, again.attempt, done()).await.unwrap());
    assert!(!other.finish_job(again.app_id, again.id, again.attempt, done()).await.unwrap());
}

/// Whoever looks for work does not wait for one who is taking it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn takers_do_not_wait_for_each_other() {
    let (world, other) = two().await;
    let jobs = with_jobs(&world, 3).await;
    let mut sql = database(&world).sql().await;
    let held = sql.transaction().await.unwrap();
    held.execute("SELECT 1 FROM outbox ORDER BY not_before LIMIT 2 FOR UPDATE", &[]).await.unwrap();
    let taking = other.take_jobs(at_most(10, Duration::from_secs(60)));
    let taken =
        tokio::time::timeout(Duration::from_secs(3), taking).await.expect("it does not wait").unwrap();
    assert_eq!(taken.iter().map(|job| job.id).collect::<Vec<_>>(), [jobs[2].0]);
    held.rollback().await.unwrap();
}

//! What is promised of refreshing, one test each: two processes over one PostgreSQL unless said otherwise, real sockets, a
//! provider that ends a grant when a refresh token comes twice.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use alter_core::{App, clock::ManualClock};
use alter_sandbox::{Faults, TokenFault};
use alter_server::{
    RefreshObserver, RefreshStep, Vault,
    audit::Action,
    domain::{GrantId, RefreshSettings, Rotation},
};
use futures_util::future::join_all;
use http::Method;
use jiff::Timestamp;
use tokio::{net::TcpListener, time::sleep};

use super::{
    place::{Place, Store},
    process::{Options, Process, Program},
    stage::{Stage, Wanted},
};

/// Longest time that anything takes here.
const LIMIT: Duration = Duration::from_secs(60);

fn strict() -> Faults {
    Faults::default().rotate(true).reuse_detection(true)
}

fn wanted(user: &str, faults: Faults) -> Wanted {
    Wanted { provider: "strict", user: user.to_owned(), faults }
}

async fn stage(store: Store) -> Stage {
    let settings = RefreshSettings { rotation: Rotation::Always, ..RefreshSettings::default() };
    Stage::make(Place::make(store, false).await, &[("strict", settings)]).await
}

/// Two processes, and grants whose tokens have expired.
async fn two(wanted: &[Wanted]) -> (Stage, Vec<GrantId>, [Process; 2]) {
    let stage = stage(Store::Postgres).await;
    let grants = stage.expired(wanted).await;
    let start = || Process::start(Program::Replica, &stage.place, &OPTIONS);
    let both = [start().await, start().await];
    (stage, grants, both)
}

const OPTIONS: Options = Options { lease_ms: None, stop_at: None };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_whose_connection_breaks_changes_nothing() {
    let (stage, grants, [one, other]) = two(&[wanted("u", strict().delay_ms(1_500))]).await;
    let gone = tokio::time::timeout(Duration::from_millis(500), stage.caller.ask(&one.base_url, grants[0]));
    // Its future is dropped, and its connection with it.
    assert!(gone.await.is_err());
    let next = stage.caller.ask(&other.base_url, grants[0]).await;
    assert!(next.is_served(), "{next}: {}", next.body);
    assert_eq!(stage.calls("u"), 1);
    assert_eq!(stage.kept().await[&grants[0]].generation, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flight_that_panics_makes_room_for_the_next() {
    let stage = stage(Store::Sqlite).await;
    let grant = stage.expired(&[wanted("u", strict())]).await[0];
    let first = AtomicBool::new(true);
    let observer = RefreshObserver::new(move |step, _| {
        assert!(step != RefreshStep::Note || !first.swap(false, Ordering::SeqCst), "on purpose");
    });
    let vault = Vault::open(stage.place.config().refresh_observer(observer)).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn({
        let vault = vault.clone();
        async move { vault.serve(listener, std::future::pending()).await }
    });
    let told = join_all((0..8).map(|_| stage.caller.ask(&base_url, grant))).await;
    assert!(told.iter().any(|answer| answer.status == 503), "{told:?}");
    let (_, next) = stage.caller.insist(&base_url, grant, LIMIT).await;
    assert!(next.is_served(), "{next}: {}", next.body);
    assert_eq!(stage.calls("u"), 1);
    server.abort();
    vault.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_cannot_be_kept_are_served_under_rows_of_their_own_and_kept_later() {
    let (stage, grants, [one, other]) = two(&[wanted("u", strict())]).await;
    let grant = grants[0];
    let sql = stage.place.database.as_ref().unwrap().sql().await;
    // The database takes everything, rows of the audit trail as well, but no new generation of a grant.
    let refuse = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN RAISE EXCEPTION 'on purpose'; END $$; \
         CREATE TRIGGER refuse BEFORE UPDATE OF generation ON grants FOR EACH ROW EXECUTE FUNCTION refuse()";
    sql.batch_execute(refuse).await.unwrap();
    let (_, first) = stage.caller.insist(&one.base_url, grant, LIMIT).await;
    assert!(first.is_served(), "{first}: {}", first.body);
    for _ in 0..9 {
        let answer = stage.caller.ask(&one.base_url, grant).await;
        assert_eq!(answer.token(), first.token(), "{answer}: {}", answer.body);
    }
    assert!(stage.accepts(first.token().unwrap()).await);
    assert_eq!(stage.kept().await[&grant].generation, 1);
    assert_eq!((stage.calls("u"), stage.rows(Action::TokenReleased).await), (1, 10));
    sql.batch_execute("DROP TRIGGER refuse ON grants").await.unwrap();
    for _ in 0..100 {
        if stage.kept().await[&grant].generation == 2 {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    let after = stage.caller.ask(&other.base_url, grant).await;
    assert_eq!(after.token(), first.token(), "{after}: {}", after.body);
    assert_eq!(stage.calls("u"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_401_reported_at_one_process_forces_one_refresh_at_all() {
    let stage = stage(Store::Postgres).await;
    let grant = stage.ending_in(3_600, &[wanted("u", strict())]).await[0];
    let start = || Process::start(Program::Replica, &stage.place, &OPTIONS);
    let (one, other) = (start().await, start().await);
    let before = stage.caller.ask(&other.base_url, grant).await;
    stage.sandbox.set_faults(Faults::default().api_status(401));
    let app = App::builder(stage.caller.key()).backend_url(&one.base_url).build().unwrap();
    let url = format!("{}/me", stage.sandbox.api_url());
    // Whether the client calls a 401 an error is its business; the report is what matters.
    drop(app.request(Method::GET, url).grant(grant.uuid()).send().await);
    app.close().await;
    stage.sandbox.set_faults(Faults::default());
    let asked = (0..10).map(|number| {
        let address = if number % 2 == 0 { &other.base_url } else { &one.base_url };
        stage.caller.ask(address, grant)
    });
    for answer in join_all(asked).await {
        assert!(answer.is_served(), "{answer}: {}", answer.body);
        assert_ne!(answer.token(), before.token());
    }
    assert_eq!((stage.calls("u"), stage.kept().await[&grant].generation), (1, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_is_latched_at_all_processes_and_the_provider_hears_no_more() {
    let (stage, grants, both) = two(&[wanted("u", strict())]).await;
    stage.sandbox.disconnect("u", "u");
    for number in 0..100 {
        let answer = stage.caller.ask(&both[number % 2].base_url, grants[0]).await;
        assert_eq!(answer.to_string(), "403 `credential_revoked`", "{}", answer.body);
    }
    assert_eq!(stage.calls("u"), 1);
    assert!(stage.kept().await[&grants[0]].facts.needs_reconnect);
    // Only a new consent helps, and it does at once.
    assert_eq!(stage.ending_in(3_600, &[wanted("u", strict())]).await, grants);
    assert!(stage.caller.ask(&both[0].base_url, grants[0]).await.is_served());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_counts_for_all_grants_of_the_client_at_all_processes() {
    for fault in [TokenFault::TooManyRequests, TokenFault::TemporarilyUnavailable] {
        let busy = strict().token_fault(fault).retry_after(30);
        let many: Vec<_> = (0..50).map(|number| wanted(&format!("u{number}"), busy.clone())).collect();
        let (stage, grants, both) = two(&many).await;
        let first = stage.caller.ask(&both[0].base_url, grants[0]).await;
        assert_eq!(first.status, 503, "{}", first.body);
        let rest = grants.iter().enumerate().map(|(number, grant)| {
            let address = &both[number % 2].base_url;
            stage.caller.ask(address, *grant)
        });
        for answer in join_all(rest).await {
            let retry_after = answer.retry_after().unwrap_or_default().as_secs();
            assert!(answer.status == 503 && retry_after > 20, "{answer}: {}", answer.body);
        }
        assert_eq!(stage.sandbox.counts().token_calls, 1);
        assert!(stage.kept().await.values().all(|grant| !grant.facts.needs_reconnect));
    }
}

/// It dies after an hour. In this process and with a clock of its own, so that nobody waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_token_that_would_die_of_idleness_is_used_in_time() {
    for store in [Store::Sqlite, Store::Postgres] {
        let idle = RefreshSettings { idle_seconds: Some(3_600), ..RefreshSettings::default() };
        let providers = [("idle", idle), ("strict", RefreshSettings::default())];
        let stage = Stage::make(Place::make(store, false).await, &providers).await;
        let all = [
            Wanted { provider: "idle", user: "idle".to_owned(), faults: strict() },
            wanted("other", strict()),
        ];
        let grants = stage.ending_in(36_000, &all).await;
        for (minutes, calls) in [(30, 0), (50, 1)] {
            let later = Timestamp::now().as_second() + minutes * 60;
            let config = stage.place.config().clock(ManualClock::at(later));
            let vault = Vault::open(config).await.unwrap();
            vault.keep_alive().await.unwrap();
            vault.close().await.unwrap();
            assert_eq!(stage.calls("idle"), calls, "{store}, after {minutes} minutes");
        }
        assert_eq!((stage.calls("idle"), stage.calls("other")), (1, 0), "{store}");
        let kept = stage.kept().await;
        assert_eq!((kept[&grants[0]].generation, kept[&grants[1]].generation), (2, 1), "{store}");
    }
}

/// A flight that another process holds is waited for, and not for longer than the caller has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_another_process_is_woken_by_its_end() {
    let (stage, grants, [one, other]) = two(&[wanted("u", strict().delay_ms(2_000))]).await;
    let (caller, address, grant) = (stage.caller.clone(), one.base_url.clone(), grants[0]);
    let first = tokio::spawn(async move {
        let answer = caller.ask(&address, grant).await;
        (answer, tokio::time::Instant::now())
    });
    sleep(Duration::from_millis(500)).await;
    let second = stage.caller.ask(&other.base_url, grants[0]).await;
    let woken = tokio::time::Instant::now();
    let (first, ended) = first.await.unwrap();
    assert!(first.is_served() && second.is_served(), "{first}, {second}");
    assert_eq!((first.token(), stage.calls("u")), (second.token(), 1));
    // Looks happen once a second; a signal is what makes it quicker. Generous, for busy machines.
    assert!(woken.saturating_duration_since(ended) < Duration::from_millis(900), "{:?}", woken - ended);
}

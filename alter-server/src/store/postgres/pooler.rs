//! The contract once more, with `PgBouncer` in transaction mode in between: few server connections, which any statement outside
//! of a transaction may find changed. `.ci/run` installs it and runs these.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;

use super::{
    cluster::Database,
    tests::{database, envelope, open_at},
    *,
};
use crate::store::{
    AuditVerifyScope,
    contract::{World, by_provider, decided, identity, one_takes, store_contract},
};

async fn open() -> World {
    let database = Database::create().await;
    let url = database.pooled_url().await;
    open_at(database, url).await
}

async fn beside(world: &World) -> PostgresStore {
    let url = database(world).pooled_url().await;
    PostgresStore::open(&url, envelope(), world.clock.clone()).await.unwrap()
}

store_contract!(open, #[ignore = "needs PgBouncer"]);

async fn pooled_sql(world: &World) -> tokio_postgres::Client {
    let url = database(world).pooled_text().await;
    let (sql, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    sql
}

/// What a unit of work sets, as whoever gets the connection next finds it.
async fn settings(sql: &tokio_postgres::Client) -> (i32, Vec<String>) {
    let text = "SELECT pg_backend_pid(), current_setting('statement_timeout'), current_setting('lock_timeout'), \
         current_setting('idle_in_transaction_session_timeout'), current_setting('transaction_isolation'), \
         current_setting('transaction_read_only'), (SELECT count(*)::text FROM pg_prepared_statements)";
    let row = sql.query_typed(text, &[]).await.unwrap().remove(0);
    (row.get(0), (1..7).map(|column| row.get(column)).collect())
}

const UNTOUCHED: [&str; 6] = ["0", "0", "0", "read committed", "off", "0"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PgBouncer"]
async fn two_stores_share_few_connections_and_leave_nothing_on_them() {
    let world = open().await;
    let other = beside(&world).await;
    let key = world.app_with_google("one").await;
    world.import(key.app_id, "u1", "a@x", "t1").await;
    let mut commands = Vec::new();
    for _ in 0..200 {
        commands.push(world.ask(key, by_provider("google"), Some(identity("u1"))).await);
    }
    let releases = join_all(commands.into_iter().enumerate().map(|(number, command)| {
        let store: &dyn Store = if number % 2 == 0 { &*world.store } else { &other };
        store.release(command)
    }));
    let sql = pooled_sql(&world).await;
    let looks = async {
        for _ in 0..50 {
            assert_eq!(settings(&sql).await.1, UNTOUCHED);
        }
    };
    let (released, ()) = tokio::join!(releases, looks);
    for answer in released {
        decided(answer.unwrap()).unwrap();
    }
    let direct = database(&world).sql().await;
    let backends = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let backends: i64 = direct.query_one(backends, &[]).await.unwrap().get(0);
    assert!(backends <= alter_test_postgres::POOL as i64, "{backends} connections to the server");
    // All of them at once, so that each is looked at.
    let clients = join_all((0..alter_test_postgres::POOL).map(|_| pooled_sql(&world))).await;
    let mut seen = std::collections::BTreeSet::new();
    for client in &clients {
        client.batch_execute("BEGIN").await.unwrap();
        let (backend, found) = settings(client).await;
        assert_eq!(found, UNTOUCHED);
        seen.insert(backend);
    }
    assert_eq!(seen.len(), clients.len());
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' \
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    assert_eq!(direct.query_one(locks, &[]).await.unwrap().get::<_, i64>(0), 0);
    for client in &clients {
        client.batch_execute("COMMIT").await.unwrap();
    }
    other.close().await.unwrap();
    let report = world.store.verify_audit(AuditVerifyScope::App(key.app_id)).await.unwrap();
    assert!(report.ok(), "{report:?}");
    assert_eq!(world.rows(key.app_id).await.len() as u64, report.rows());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PgBouncer"]
async fn one_at_a_time_refreshes_a_grant_behind_a_pooler() {
    let world = open().await;
    let stores: [Arc<dyn Store>; 3] =
        [Arc::clone(&world.store), Arc::new(beside(&world).await), Arc::new(beside(&world).await)];
    for name in ["one", "two"] {
        let (_, version) = world.refreshable(name, 100).await;
        one_takes(&world, version, &stores).await;
    }
    world.assert_chains_verify().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PgBouncer"]
async fn stores_that_open_together_behind_a_pooler_migrate_once() {
    let database = Database::create().await;
    let url = database.pooled_url().await;
    let clock = alter_core::clock::ManualClock::at(crate::store::contract::START);
    let opened = (0..6).map(|_| PostgresStore::open(&url, envelope(), clock.clone()));
    for store in join_all(opened).await {
        store.unwrap().health().await.unwrap();
    }
}

/// What is logged on this thread.
#[cfg(feature = "cli")]
#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

#[cfg(feature = "cli")]
impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(feature = "cli")]
impl Log {
    fn count(&self, level: &str) -> usize {
        let all = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        all.lines().filter(|line| line.contains(level) && line.contains("no notifications")).count()
    }
}

/// On one server connection a listener hears its own word whatever is in between; that is no proof that it hears others.
#[cfg(feature = "cli")]
#[tokio::test]
#[ignore = "needs PgBouncer"]
async fn the_listener_notices_the_pooler_and_says_so_once() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let world = open().await;
    let (_, mut version) = world.refreshable("one", 7200).await;
    let other = beside(&world).await;
    let mut signals = other.refresh_signals();
    let tried_again = async {
        while log.count("DEBUG") == 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), tried_again).await.expect("it tries again");
    assert_eq!(log.count("WARN"), 1);
    // Refreshing needs no notifications: whoever looks finds the new generation.
    for _ in 0..3 {
        let before = version;
        version = world.renew_tokens(version, "next").await;
        let begin = BeginRefresh {
            version: before,
            owner: uuid::Uuid::new_v4(),
            lease: Duration::from_secs(30),
            despite_backoff: false,
        };
        assert!(matches!(other.begin_refresh(begin).await.unwrap(), Begun::Moved));
    }
    assert!(signals.try_recv().is_err(), "heard through a pooler");
    tokio::time::timeout(Duration::from_secs(5), other.close()).await.unwrap().unwrap();
}

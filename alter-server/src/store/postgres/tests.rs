//! The contract on PostgreSQL, and what is special about it.

use std::sync::Arc;

use alter_core::{clock::ManualClock, wire::code::Code};
use base64::Engine;
use secrecy::SecretString;

use super::{cluster::Database, *};
use crate::{
    audit::Action,
    domain::{Address, KeyKind, Principal, Scope},
    seal::KeyRing,
    store::{
        AuditVerifyScope,
        contract::{START, World, by_provider, code, connect_contract, identity, store_contract},
    },
};

pub(super) fn envelope() -> Envelope {
    let key = base64::engine::general_purpose::STANDARD.encode([1; 32]);
    Envelope::new(KeyRing::parse(&SecretString::from(format!("old:{key}"))).unwrap())
}

pub(super) async fn open_on(database: Database) -> World {
    let url = database.url();
    open_at(database, url).await
}

/// At another address of the database than its own.
pub(super) async fn open_at(database: Database, url: DatabaseUrl) -> World {
    let clock = ManualClock::at(START);
    let envelope = envelope();
    let store = PostgresStore::open(&url, envelope.clone(), clock.clone()).await.unwrap();
    let url = database.text();
    World::new(Arc::new(store), envelope, clock, Box::new(database)).with_sql(move |text| {
        let url = url.clone();
        async move {
            let (sql, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
            let driver = tokio::spawn(connection);
            sql.batch_execute(&text).await.unwrap();
            drop(sql);
            driver.await.unwrap().unwrap();
        }
        .boxed()
    })
}

async fn open() -> World {
    open_on(Database::create().await).await
}

store_contract!(open);
connect_contract!(open);

pub(super) fn database(world: &World) -> &Database {
    world._keep.downcast_ref().unwrap()
}

#[tokio::test]
async fn it_opens_over_a_unix_socket() {
    let world = open().await;
    let url = database(&world).socket_url();
    let store = PostgresStore::open(&url, envelope(), world.clock.clone()).await.unwrap();
    store.health().await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_credential_copied_to_another_grant_does_not_open() {
    let world = open().await;
    let key = world.app_with_google("one").await;
    let one = world.import(key.app_id, "u1", "a@x", "t1").await;
    let two = world.import(key.app_id, "u2", "b@x", "t2").await;
    let sql = database(&world).sql().await;
    let copy =
        "UPDATE grants SET access_token = (SELECT access_token FROM grants WHERE id = $1) WHERE id = $2";
    sql.execute(copy, &[&one, &two]).await.unwrap();
    let command = world.ask(key, Address::Grant(two), None).await;
    let release = world.release(command).await.unwrap();
    let crate::store::ReleasedCredential::OAuth { access_token, .. } = release.credential else { panic!() };
    assert_eq!(world.envelope.open(&access_token).unwrap_err(), crate::seal::SealError::Refused);
}

async fn walk(sql: &tokio_postgres::Client) -> Result<crate::audit::VerifyReport, StoreError> {
    audit::verify(sql, AuditVerifyScope::Everything, &crate::audit::Evidence::default(), &envelope()).await
}

/// Every column of the trail's tables, changed one at a time by somebody with the database.
#[tokio::test]
async fn tampering_with_the_tables_is_found() {
    let world = open().await;
    let key = world.app_with_google("one").await;
    world.import(key.app_id, "u1", "a@x", "t1").await;
    for _ in 0..3 {
        world.token_of(key, "u1").await.unwrap();
    }
    let sql = database(&world).sql().await;
    let columns = sql
        .query(
            "SELECT column_name::text, data_type::text FROM information_schema.columns \
             WHERE table_name = 'audit_rows' AND column_name <> 'n'",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(columns.len(), 33);
    let row = "n = (SELECT min(n) + 4 FROM audit_rows)";
    let mut tries: Vec<String> = Vec::new();
    for column in &columns {
        let (name, kind): (&str, &str) = (column.get(0), column.get(1));
        let value = match kind {
            "uuid" => "gen_random_uuid()".to_owned(),
            "bytea" => "sha256('x')".to_owned(),
            "text" => format!("coalesce({name}, '') || 'x'"),
            _ => format!("coalesce({name}, 0) + 1000"),
        };
        tries.push(format!("UPDATE audit_rows SET {name} = {value} WHERE {row}"));
    }
    tries.extend(
        [
            &format!("DELETE FROM audit_rows WHERE {row}"),
            "DELETE FROM audit_rows WHERE n = (SELECT max(n) FROM audit_rows)",
            "DELETE FROM audit_rows",
            "UPDATE audit_rows SET n = -n",
            "UPDATE audit_chains SET head_seq = head_seq - 1",
            "UPDATE audit_chains SET head_hash = sha256('x')",
            "DELETE FROM audit_chains",
        ]
        .map(str::to_owned),
    );
    for text in tries {
        sql.batch_execute("BEGIN").await.unwrap();
        sql.batch_execute(&text).await.unwrap();
        let found = walk(&sql).await.unwrap();
        assert!(!found.ok(), "not found: {text}");
        sql.batch_execute("ROLLBACK").await.unwrap();
    }
    assert!(walk(&sql).await.unwrap().ok());
}

#[tokio::test]
async fn a_statement_that_is_refused_in_the_flight_of_the_commit_undoes_the_unit_of_work() {
    let world = open().await;
    let store = PostgresStore::open(&database(&world).url(), envelope(), world.clock.clone()).await.unwrap();
    let key = world.key(world.app("shop").await.id, KeyKind::App, &Scope::ALL).await;
    let admission = world.admission(key, Scope::TokensRetrieve).await;
    let (by, id) = (world.operator(), AppId::random());
    let before = store.list_apps().await.unwrap().len();
    let fresh =
        store.lanes.run(Gate::Exclusive(id), (by.clone(), id, admission), |unit, (by, id, admission)| {
            async move {
                let unit = &mut unit.begin().await?;
                if !unit.use_nonce(admission) {
                    return Ok(false);
                }
                apps::create(unit, by, *id, "b").await?;
                // The second of these finds the first, and behind both are a row and the commit.
                unit.use_nonce(admission);
                unit.audit(draft::of_operator(by, *id, Action::AppCreated));
                Ok(true)
            }
            .boxed()
        });
    assert!(!fresh.await.unwrap());
    assert_eq!(store.list_apps().await.unwrap().len(), before);
    // Its chain is as it was, and goes on.
    store.create_app(by, id, "b".to_owned()).await.unwrap();
    let report = store.verify_audit(AuditVerifyScope::Everything).await.unwrap();
    assert!(report.ok(), "{report:?}");
    store.close().await.unwrap();
}

#[tokio::test]
async fn what_is_read_behind_a_refused_gate_is_thrown_away() {
    let world = open().await;
    let store = PostgresStore::open(&database(&world).url(), envelope(), world.clock.clone()).await.unwrap();
    let id = AppId::random();
    let other = database(&world).sql().await;
    // Somebody holds the gate, and every lane has to give up at once.
    let gate = format!("SELECT pg_advisory_lock({})", id.uuid().as_u64_pair().0.cast_signed());
    other.batch_execute(&gate).await.unwrap();
    let read = store.lanes.run(Gate::Shared(id), (), |unit, ()| {
        async move {
            let look =
                async |sql: &tokio_postgres::Client| Ok(columns::rows(sql, "SELECT 1", &[]).await?.len());
            let (_unit, seen) = unit.begin_with(look).await?;
            Ok(seen)
        }
        .boxed()
    });
    let refused = read.await.unwrap_err();
    assert_eq!(columns::state(&refused), Some(&tokio_postgres::error::SqlState::LOCK_NOT_AVAILABLE));
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_failing_or_panicking_unit_of_work_harms_no_other() {
    let world = open().await;
    let store = PostgresStore::open(&database(&world).url(), envelope(), world.clock.clone()).await.unwrap();
    let by = world.operator();
    let id = AppId::random();
    let context = || (by.clone(), id);
    let panics = store.lanes.run::<(), _>(Gate::Exclusive(id), context(), |unit, (by, id)| {
        async move {
            apps::create(&mut unit.begin().await?, by, *id, "b").await?;
            panic!("for the test")
        }
        .boxed()
    });
    let panics = panics.await;
    assert!(matches!(panics, Err(StoreError::Unavailable { .. })), "{panics:?}");
    let fails = store.lanes.run::<(), _>(Gate::Exclusive(id), context(), |unit, (by, id)| {
        async move {
            apps::create(&mut unit.begin().await?, by, *id, "c").await?;
            Err(StoreError::NotFound("reason"))
        }
        .boxed()
    });
    let fails = fails.await;
    assert!(matches!(fails, Err(StoreError::NotFound("reason"))), "{fails:?}");
    store.create_app(by.clone(), id, "d".to_owned()).await.unwrap();
    let names: Vec<_> = store.list_apps().await.unwrap().into_iter().map(|app| app.name).collect();
    assert_eq!(names, ["d"]);
    assert!(store.verify_audit(AuditVerifyScope::Everything).await.unwrap().ok());
}

#[tokio::test]
async fn partitions_are_made_when_missing_and_old_nonces_go() {
    let world = open().await;
    let key = world.app_with_google("one").await;
    world.import(key.app_id, "u1", "a@x", "t1").await;
    world.token_of(key, "u1").await.unwrap();
    let sql = database(&world).sql().await;
    let nonces = async || -> i64 { sql.query_one("SELECT count(*) FROM nonces", &[]).await.unwrap().get(0) };
    assert_eq!(nonces().await, 1);
    // Days later, with nobody having looked after anything.
    world.clock.advance(3 * 86_400);
    let replay = world.ask(key, by_provider("google"), Some(identity("u1"))).await;
    world.release(replay.clone()).await.unwrap();
    assert_eq!(code(world.release(replay.clone()).await), Code::NonceReplayed);
    let connections = Connections::new(&database(&world).url()).unwrap();
    partitions::look_after(&connections, alter_core::clock::Clock::now(&*world.clock)).await.unwrap();
    assert_eq!(nonces().await, 1);
    assert_eq!(code(world.release(replay).await), Code::NonceReplayed);
    world.assert_chains_verify().await;
}

#[tokio::test]
async fn a_nul_character_is_no_way_around_the_trail() {
    let world = open().await;
    let key = world.app_with_google("one").await;
    world.import(key.app_id, "u1", "a@x", "t1").await;
    let mut command = world.ask(key, by_provider("google"), Some(identity("u1"))).await;
    command.reason = Some("a\0b".to_owned());
    world.release(command).await.unwrap();
    assert_eq!(world.last_row(key.app_id, Action::TokenReleased).await.reason.unwrap(), "a\u{FFFD}b");
    let odd = world.ask(key, by_provider("google"), Some(identity("u\0"))).await;
    assert!(matches!(world.store.release(odd).await, Err(StoreError::Invalid(_))));
    world.assert_chains_verify().await;
}

#[tokio::test]
async fn no_secret_is_in_the_tables() {
    let world = open().await;
    let key = world.app_with_google("one").await;
    world.import(key.app_id, "u1", "a@x", "canary-access-1").await;
    let secret = world.secret(key.app_id).await;
    world.secret_grant(key.app_id, secret, Principal::System).await;
    world.token_of(key, "u1").await.unwrap();
    let sql = database(&world).sql().await;
    for table in ["api_keys", "providers", "managed_secrets", "grants", "audit_rows", "users"] {
        let text =
            format!("SELECT coalesce(string_agg(encode(t::text::bytea, 'escape'), ' '), '') FROM {table} t");
        let all: String = sql.query_one(&text, &[]).await.unwrap().get(0);
        for canary in ["canary-access", "refresh-canary", "billing-secret", "zzz"] {
            let hexed = hex::encode(canary);
            assert!(!all.contains(canary) && !all.contains(&hexed), "{canary} in {table}");
        }
    }
}

/// Partitions of the first two days; later ones may be made in the background.
async fn days(sql: &tokio_postgres::Client, table: &str) -> i64 {
    let until = START + 2 * 86_400;
    let text = format!(
        "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname ~ '^{table}_[0-9]+$' \
         AND substring(relname FROM '[0-9]+$')::bigint < {until}"
    );
    sql.query_one(&text, &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_drops_whole_days_while_appending_goes_on() {
    let world = open().await;
    let folder = tempfile::tempdir().unwrap();
    let (key, old) = world.four_days("one").await;
    let sql = database(&world).sql().await;
    assert_eq!((days(&sql, "audit_rows").await, days(&sql, "audit_bodies").await), (2, 2));
    // Somebody reads the trail for long; taking a partition off has to wait, and nobody else has.
    let reader = database(&world).sql().await;
    reader.batch_execute("BEGIN; SELECT count(*) FROM audit_rows").await.unwrap();
    let pruning = world.prune(START + 2 * 86_400 + 3600, folder.path());
    let appending = async {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let begun = std::time::Instant::now();
        for _ in 0..20 {
            world.token_of(key, "u1").await.unwrap();
        }
        let took = begun.elapsed();
        let left = days(&sql, "audit_rows").await;
        reader.batch_execute("COMMIT").await.unwrap();
        (took, left)
    };
    let (pruned, (took, left)) = tokio::join!(pruning, appending);
    let pruned = pruned.unwrap();
    assert_eq!(left, 2, "the reader held it up");
    assert!(took < std::time::Duration::from_secs(5), "{took:?}");
    // Two days went as a whole, of the third what was older than the instant, row by row.
    assert_eq!((pruned.swept.partitions, pruned.rows, pruned.swept.rows), (2, old as u64 + 2, 2));
    assert_eq!((days(&sql, "audit_rows").await, days(&sql, "audit_bodies").await), (0, 0));
    world.assert_chains_verify().await;
}

#[tokio::test]
async fn a_partition_that_was_left_half_taken_off_is_dropped_by_the_next() {
    let world = open().await;
    let folder = tempfile::tempdir().unwrap();
    let (_, _) = world.four_days("one").await;
    let sql = database(&world).sql().await;
    let day = START / 86_400 * 86_400;
    // As a kill between taking off and dropping leaves it. Its rows are cut by the prune that follows, so it may go.
    let before = START + 2 * 86_400;
    let exported = world.prune(before, folder.path()).await.unwrap();
    assert_eq!(exported.swept.partitions, 2);
    let text = format!(
        "CREATE TABLE audit_rows_{day} (LIKE audit_rows INCLUDING ALL); \
         INSERT INTO audit_sweeps SELECT app_id, 1, {before}000000 FROM audit_chains LIMIT 1"
    );
    sql.batch_execute(&text).await.unwrap();
    let swept = world.prune(before, folder.path()).await.unwrap().swept;
    assert_eq!(swept.partitions, 1);
    // One with a row that no cut covers is attached again, not dropped.
    let later = day + 2 * 86_400;
    let text = format!(
        "ALTER TABLE audit_rows DETACH PARTITION audit_rows_{later}; \
         INSERT INTO audit_sweeps SELECT app_id, 1, {}000000 FROM audit_chains LIMIT 1",
        later + 86_400
    );
    sql.batch_execute(&text).await.unwrap();
    assert_eq!(world.prune(before, folder.path()).await.unwrap().swept.partitions, 0);
    world.assert_chains_verify().await;
}

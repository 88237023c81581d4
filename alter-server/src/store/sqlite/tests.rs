//! The contract on SQLite, and what is special about it.

use std::sync::Arc;

use alter_core::clock::ManualClock;
use base64::Engine;
use secrecy::SecretString;

use super::*;
use crate::{
    seal::KeyRing,
    store::{
        AuditVerifyScope,
        contract::{START, World, connect_contract, store_contract},
    },
};

pub(super) fn envelope() -> Envelope {
    let key = base64::engine::general_purpose::STANDARD.encode([1; 32]);
    Envelope::new(KeyRing::parse(&SecretString::from(format!("old:{key}"))).unwrap())
}

pub(super) async fn open() -> World {
    open_in(tempfile::tempdir().unwrap()).await
}

pub(super) async fn open_in(folder: tempfile::TempDir) -> World {
    let clock = ManualClock::at(START);
    let envelope = envelope();
    let store = SqliteStore::open(folder.path(), envelope.clone(), clock.clone()).await.unwrap();
    let file = folder.path().join(schema::FILE);
    let world = World::new(Arc::new(store), envelope, clock, Box::new(folder));
    world.with_sql(move |text| {
        let sql = Connection::open(&file).unwrap();
        sql.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
        sql.execute_batch(&text).unwrap();
        async {}.boxed()
    })
}

store_contract!(open);
connect_contract!(open);

use alter_core::wire::code::Code;
use rusqlite::params;

use crate::{
    audit::Evidence,
    domain::{Address, GrantFilter, Principal},
    store::contract::{by_provider, code, identity, one_takes},
};

/// A second store on the same folder, as another process would open it, and a plain connection.
async fn beside(world: &World) -> (SqliteStore, Connection, PathBuf) {
    let folder = world._keep.downcast_ref::<tempfile::TempDir>().unwrap().path().to_owned();
    let store = SqliteStore::open(&folder, envelope(), world.clock.clone()).await.unwrap();
    let connection = Connection::open(folder.join(schema::FILE)).unwrap();
    (store, connection, folder)
}

#[tokio::test]
async fn what_another_process_changes_counts_for_the_very_next_call() {
    let world = open().await;
    let key = world.app_with_google("one").await;
    let id = world.import(key.app_id, "u1", "a@x", "t1").await;
    assert_eq!(world.token_of(key, "u1").await.unwrap(), "t1");
    let (other, ..) = beside(&world).await;
    other.revoke_grant_as_operator(world.operator(), key.app_id, id, None).await.unwrap();
    assert_eq!(code(world.token_of(key, "u1").await), Code::GrantRevoked);
    world.import(key.app_id, "u1", "a@x", "t2").await;
    world.put_google(key.app_id, "api.example.com").await;
    assert_eq!(world.token_of(key, "u1").await.unwrap(), "t2");
    let elsewhere =
        crate::store::contract::provider("google", crate::domain::ProviderKind::OAuth, "h.example");
    let put = PutProvider { app_id: key.app_id, provider: elsewhere, client_secret: None };
    other.put_provider(world.operator(), put).await.unwrap();
    assert_eq!(code(world.token_of(key, "u1").await), Code::BlockedDestination);
    other.revoke_key(world.operator(), key.app_id, key.key_id).await.unwrap();
    assert_eq!(code(world.token_of(key, "u1").await), Code::KeyRevoked);
    // A nonce is used up in both.
    other.close().await.unwrap();
    world.assert_chains_verify().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_at_a_time_refreshes_a_grant_in_whichever_process() {
    let world = open().await;
    let (_, version) = world.refreshable("one", 100).await;
    let mut stores = vec![Arc::clone(&world.store)];
    for _ in 0..3 {
        stores.push(Arc::new(beside(&world).await.0));
    }
    one_takes(&world, version, &stores).await;
    world.assert_chains_verify().await;
}

#[tokio::test]
async fn a_credential_copied_to_another_grant_does_not_open() {
    let world = open().await;
    let key = world.app_with_google("one").await;
    let one = world.import(key.app_id, "u1", "a@x", "t1").await;
    let two = world.import(key.app_id, "u2", "b@x", "t2").await;
    let (_other, sql, _) = beside(&world).await;
    sql.execute(
        "UPDATE grants SET access_token = (SELECT access_token FROM grants WHERE id = ?1) WHERE id = ?2",
        params![one, two],
    )
    .unwrap();
    let command = world.ask(key, Address::Grant(two), None).await;
    let release = world.release(command).await.unwrap();
    let crate::store::ReleasedCredential::OAuth { access_token, .. } = release.credential else { panic!() };
    assert_eq!(world.envelope.open(&access_token).unwrap_err(), crate::seal::SealError::Refused);
}

#[tokio::test]
async fn no_secret_is_in_the_files() {
    let world = open().await;
    let key = world.app_with_google("one").await;
    world.import(key.app_id, "u1", "a@x", "canary-access-1").await;
    let secret = world.secret(key.app_id).await;
    world.secret_grant(key.app_id, secret, Principal::System).await;
    world.token_of(key, "u1").await.unwrap();
    world.import(key.app_id, "u1", "a@x", "canary-access-2").await;
    let (.., folder) = beside(&world).await;
    let canaries: [&[u8]; 4] = [b"canary-access", b"refresh-canary", b"billing-secret", b"zzz"];
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        for canary in canaries {
            let found = bytes.windows(canary.len()).any(|part| part == canary);
            assert!(!found, "{} in {}", String::from_utf8_lossy(canary), path.display());
        }
    }
}

/// Every column of the trail's tables, changed one at a time by somebody with the file.
#[tokio::test]
async fn tampering_with_the_tables_is_found() {
    let world = open().await;
    let key = world.app_with_google("one").await;
    world.import(key.app_id, "u1", "a@x", "t1").await;
    for _ in 0..3 {
        world.token_of(key, "u1").await.unwrap();
    }
    let (_other, sql, _) = beside(&world).await;
    let columns: Vec<String> = sql
        .prepare("SELECT name FROM pragma_table_info('audit_rows') WHERE name <> 'n'")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(columns.len(), 33);
    let mut tries: Vec<String> = columns
        .iter()
        .map(|column| {
            let value = match column.as_str() {
                "seq" | "at" | "outcome" | "status" | "latency_ms" => format!("ifnull({column}, 0) + 1"),
                name if name.ends_with("id") || name.ends_with("hash") => "randomblob(16)".to_owned(),
                "token_generation" => "randomblob(16)".to_owned(),
                "bodies_digest" => "randomblob(32)".to_owned(),
                _ => format!("ifnull({column}, '') || 'x'"),
            };
            format!("UPDATE audit_rows SET {column} = {value} WHERE n = 5")
        })
        .collect();
    tries.extend(
        [
            "DELETE FROM audit_rows WHERE n = 5",
            "DELETE FROM audit_rows WHERE n = (SELECT max(n) FROM audit_rows)",
            "DELETE FROM audit_rows",
            "UPDATE audit_rows SET n = CASE n WHEN 5 THEN -6 ELSE -5 END WHERE n IN (5, 6); \
             UPDATE audit_rows SET n = -n WHERE n < 0",
            "UPDATE audit_chains SET head_seq = head_seq - 1",
            "UPDATE audit_chains SET head_hash = randomblob(32)",
            "DELETE FROM audit_chains",
        ]
        .map(str::to_owned),
    );
    for text in tries {
        sql.execute_batch("SAVEPOINT try").unwrap();
        sql.execute_batch(&text).unwrap();
        assert!(!audit_walk(&sql), "not found: {text}");
        sql.execute_batch("ROLLBACK TO try; RELEASE try").unwrap();
        assert!(audit_walk(&sql), "{text}");
    }
}

fn audit_walk(sql: &Connection) -> bool {
    audit::walk(sql, AuditVerifyScope::Everything, &Evidence::default(), &envelope()).unwrap().ok()
}

#[tokio::test]
async fn a_failing_or_panicking_unit_of_work_harms_no_other() {
    let world = open().await;
    let (store, ..) = beside(&world).await;
    let by = world.operator();
    let create = |name: &'static str| {
        let by = by.clone();
        move |unit: &mut writer::Unit<'_>| apps::create_app(unit, &by, AppId::random(), name)
    };
    let (good, panics, fails, also_good) = tokio::join!(
        store.writer.run(create("a")),
        store.writer.run({
            let create = create("b");
            move |unit| -> Result<(), StoreError> {
                create(unit)?;
                panic!("for the test")
            }
        }),
        store.writer.run({
            let create = create("c");
            move |unit| -> Result<(), StoreError> {
                create(unit)?;
                Err(StoreError::NotFound("reason"))
            }
        }),
        store.writer.run(create("d")),
    );
    assert!(good.is_ok() && also_good.is_ok());
    assert!(matches!(panics, Err(StoreError::Unavailable { .. })), "{panics:?}");
    assert!(matches!(fails, Err(StoreError::NotFound("reason"))), "{fails:?}");
    let names: Vec<_> = store.list_apps().await.unwrap().into_iter().map(|app| app.name).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(store.verify_audit(AuditVerifyScope::Everything).await.unwrap().ok());
}

#[tokio::test]
async fn old_nonces_go_and_young_ones_stay() {
    let world = open().await;
    let key = world.app_with_google("one").await;
    world.import(key.app_id, "u1", "a@x", "t1").await;
    let (_other, sql, _) = beside(&world).await;
    let nonces = || sql.query_row("SELECT count(*) FROM nonces", [], |row| row.get::<_, i64>(0)).unwrap();
    for _ in 0..5 {
        world.token_of(key, "u1").await.unwrap();
    }
    world.clock.advance(NONCE_SECONDS);
    let replay = world.ask(key, by_provider("google"), Some(identity("u1"))).await;
    world.release(replay.clone()).await.unwrap();
    assert_eq!(nonces(), 6);
    world.clock.advance(11);
    assert_eq!(code(world.release(replay).await), Code::NonceReplayed);
    assert_eq!(nonces(), 1);
}

#[tokio::test]
async fn work_goes_on_when_the_caller_is_gone() {
    let world = open().await;
    let (store, ..) = beside(&world).await;
    let name = "kept".to_owned();
    {
        let mut call = store.create_app(world.operator(), AppId::random(), name.clone());
        assert!((&mut call).now_or_never().is_none());
    }
    store.health().await.unwrap();
    assert_eq!(store.list_apps().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_new_run_begins_new_chains_and_the_old_ones_still_verify() {
    let world = open().await;
    let key = world.app_with_google("one").await;
    world.store.close().await.unwrap();
    let (store, ..) = beside(&world).await;
    store
        .create_agent(
            world.operator(),
            NewAgent { id: AgentId::random(), app_id: key.app_id, name: "b".to_owned() },
        )
        .await
        .unwrap();
    let report = store.verify_audit(AuditVerifyScope::App(key.app_id)).await.unwrap();
    assert!(report.ok(), "{report:?}");
    let mut closed: Vec<_> = report.chains.iter().map(|chain| chain.closed).collect();
    closed.sort_unstable();
    assert_eq!(closed, [false, true]);
    assert_eq!(store.grants(key.app_id, GrantFilter::default(), 1, 0).await.unwrap().total, 0);
}

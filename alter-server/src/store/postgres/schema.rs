//! Bringing the schema up to date.

use tokio_postgres::Client;

use super::{
    columns::{execute, get, params, rows},
    connect::{Connections, Mode},
};
use crate::store::{
    StoreError,
    migration::{self, Migration},
};

/// Every migration in order.
pub(super) const MIGRATIONS: &[Migration] = &[
    Migration {
        name: "0001_vault",
        needs: 1,
        text: include_str!("../../../migrations/postgres/0001_vault.sql"),
    },
    Migration {
        name: "0002_refresh",
        needs: 1,
        text: include_str!("../../../migrations/postgres/0002_refresh.sql"),
    },
    Migration {
        name: "0003_checkpoints",
        needs: 1,
        text: include_str!("../../../migrations/postgres/0003_checkpoints.sql"),
    },
    Migration {
        name: "0004_connect",
        needs: 1,
        text: include_str!("../../../migrations/postgres/0004_connect.sql"),
    },
];

/// Replicas that start at the same time migrate one after the other: the first does it, the others find it done.
/// (Two-number advisory locks are apart from the one-number locks of units of work.) An index over a large trail takes minutes
/// (docs/operations.md): whoever gave up then would begin again with its next start.
const LOCK: &str = "SET LOCAL lock_timeout = 60000; SET LOCAL statement_timeout = 3600000; \
     SELECT pg_advisory_xact_lock(1634497637, 1)";

/// # Errors
///
/// [`StoreError::Moved`] if the vault is part of a move (`crate::transfer`).
pub(super) async fn refuse_moved(connections: &Connections) -> Result<(), StoreError> {
    let connection = connections.take().await?;
    let marker = super::rows::marker(connection.sql()?).await?;
    connection.give_back();
    marker.map_or(Ok(()), |marker| Err(StoreError::Moved(marker.refusal())))
}

pub(super) async fn migrate(connections: &Connections) -> Result<(), StoreError> {
    migrate_to(connections, MIGRATIONS).await
}

pub(super) async fn migrate_to(
    connections: &Connections,
    migrations: &[Migration],
) -> Result<(), StoreError> {
    let connection = connections.take().await?;
    let sql = connection.sql()?;
    sql.batch_execute(&format!("{}; {LOCK}", Mode::Write.begin())).await?;
    // On an error the connection is dropped, and the transaction with it: all of it is applied or nothing.
    apply(sql, migrations).await?;
    sql.batch_execute("COMMIT").await?;
    connection.give_back();
    Ok(())
}

/// Whether this program may work on the database as it is now: another one may have brought the schema forward.
pub(super) async fn still_fits(sql: &Client) -> Result<(), StoreError> {
    let known = version(MIGRATIONS);
    let ahead = ahead(sql, known).await?;
    let found = ahead.iter().map(|(version, _)| *version).max().unwrap_or(known);
    migration::may_work(known, found, ahead)
}

fn version(migrations: &[Migration]) -> u32 {
    u32::try_from(migrations.len()).unwrap_or(u32::MAX)
}

/// The migrations beyond `known`, each with what it needs.
async fn ahead(sql: &Client, known: u32) -> Result<Vec<(u32, Option<u32>)>, StoreError> {
    let known = i32::try_from(known).unwrap_or(i32::MAX);
    let text = "SELECT version, needs FROM alter_migrations WHERE version > $1";
    let rows = rows(sql, text, params![known]).await?;
    rows.iter()
        .map(|row| Ok((number(get(row, 0)?)?, get::<Option<i32>>(row, 1)?.map(number).transpose()?)))
        .collect()
}

fn number(version: i32) -> Result<u32, StoreError> {
    u32::try_from(version).map_err(|_| StoreError::Corrupt("a migration's version is negative".to_owned()))
}

async fn apply(sql: &Client, migrations: &[Migration]) -> Result<(), StoreError> {
    let known = version(migrations);
    let commit = rows(sql, "SELECT current_setting('synchronous_commit')", &[]).await?;
    if commit.first().is_some_and(|row| row.try_get::<_, &str>(0).is_ok_and(|value| value == "off")) {
        return Err(StoreError::Invalid(
            "the database has synchronous_commit off, so a commit could be lost after a credential left: switch it on"
                .to_owned(),
        ));
    }
    sql.batch_execute(
        "CREATE TABLE IF NOT EXISTS alter_migrations \
         (version INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum BYTEA NOT NULL, needs INTEGER)",
    )
    .await?;
    // Written by a release that said no needs. Not with IF NOT EXISTS, which would lock out the health of the other
    // replicas until everything below is done.
    let says_needs = "SELECT 1 FROM pg_attribute WHERE attrelid = 'alter_migrations'::regclass AND attname = 'needs' \
         AND NOT attisdropped";
    if rows(sql, says_needs, &[]).await?.is_empty() {
        sql.batch_execute("ALTER TABLE alter_migrations ADD COLUMN needs INTEGER").await?;
    }
    let applied = rows(sql, "SELECT version, checksum FROM alter_migrations ORDER BY version", &[]).await?;
    let mut found = 0;
    for row in &applied {
        found = number(get(row, 0)?)?;
        if found > known {
            continue;
        }
        let ours = found.checked_sub(1).and_then(|place| migrations.get(place as usize));
        if ours.is_none_or(|ours| get::<&[u8]>(row, 1).ok() != Some(ours.checksum().as_slice())) {
            return Err(StoreError::SchemaDiffers { version: found });
        }
    }
    if found > known {
        return migration::may_work(known, found, ahead(sql, known).await?);
    }
    for (version, migration) in (1_i32..).zip(migrations).skip(found as usize) {
        sql.batch_execute(migration.text).await?;
        let needs = i32::try_from(migration.needs).unwrap_or(i32::MAX);
        execute(
            sql,
            "INSERT INTO alter_migrations (version, name, checksum, needs) VALUES ($1, $2, $3, $4)",
            params![version, migration.name, migration.checksum().as_slice(), needs],
        )
        .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{
        Store as _,
        migration::tests::THREE,
        postgres::{PostgresStore, cluster::Database, tests::envelope},
    };

    async fn open(database: &Database) -> PostgresStore {
        let clock = alter_core::clock::SystemClock::shared();
        PostgresStore::open(&database.url(), envelope(), clock).await.unwrap()
    }

    async fn fresh() -> (Database, Connections) {
        let database = Database::create().await;
        let connections = Connections::new(&database.url()).unwrap();
        (database, connections)
    }

    #[tokio::test]
    async fn replicas_that_start_together_migrate_once() {
        let (_database, connections) = fresh().await;
        let all = futures_util::future::join_all((0..8).map(|_| migrate(&connections))).await;
        assert!(all.iter().all(Result::is_ok), "{all:?}");
        let connection = connections.take().await.unwrap();
        let applied = rows(connection.sql().unwrap(), "SELECT 1 FROM alter_migrations", &[]).await.unwrap();
        assert_eq!(applied.len(), MIGRATIONS.len());
    }

    #[tokio::test]
    async fn a_newer_schema_is_refused() {
        let (_database, connections) = fresh().await;
        migrate(&connections).await.unwrap();
        let connection = connections.take().await.unwrap();
        let newer = "INSERT INTO alter_migrations VALUES (999, 'x', '', 999)";
        connection.sql().unwrap().batch_execute(newer).await.unwrap();
        assert!(matches!(migrate(&connections).await, Err(StoreError::SchemaTooNew { found: 999, .. })));
    }

    #[tokio::test]
    async fn a_schema_one_ahead_is_worked_on_if_it_says_so_and_two_ahead_is_not() {
        let (_database, connections) = fresh().await;
        migrate_to(&connections, &THREE).await.unwrap();
        migrate_to(&connections, &THREE[..2]).await.unwrap();
        let error = migrate_to(&connections, &THREE[..1]).await.unwrap_err();
        assert!(matches!(error, StoreError::SchemaTooNew { found: 3, known: 1 }), "{error:?}");
        // What is applied is still looked at.
        let changed = Migration { text: "CREATE TABLE a (y INTEGER)", ..THREE[0] };
        let error = migrate_to(&connections, &[changed, THREE[1]]).await.unwrap_err();
        assert!(matches!(error, StoreError::SchemaDiffers { version: 1 }), "{error:?}");
    }

    #[tokio::test]
    async fn a_database_of_a_release_that_wrote_no_needs_is_brought_forward() {
        let (_database, connections) = fresh().await;
        migrate_to(&connections, &THREE[..1]).await.unwrap();
        let connection = connections.take().await.unwrap();
        connection
            .sql()
            .unwrap()
            .batch_execute("ALTER TABLE alter_migrations DROP COLUMN needs")
            .await
            .unwrap();
        migrate_to(&connections, &THREE).await.unwrap();
        migrate_to(&connections, &THREE[..2]).await.unwrap();
    }

    #[tokio::test]
    async fn a_store_whose_schema_went_too_far_ahead_is_not_healthy() {
        let (database, connections) = fresh().await;
        let store = open(&database).await;
        store.health().await.unwrap();
        let connection = connections.take().await.unwrap();
        let sql = connection.sql().unwrap();
        let next = MIGRATIONS.len() + 1;
        let fits = format!("INSERT INTO alter_migrations VALUES ({next}, 'x', '', {})", MIGRATIONS.len());
        sql.batch_execute(&fits).await.unwrap();
        store.health().await.unwrap();
        let breaks = format!("UPDATE alter_migrations SET needs = {next} WHERE version = {next}");
        sql.batch_execute(&breaks).await.unwrap();
        assert!(matches!(store.health().await, Err(StoreError::SchemaTooNew { .. })));
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_changed_migration_is_noticed() {
        let (_database, connections) = fresh().await;
        migrate_to(&connections, &THREE[..1]).await.unwrap();
        let changed = Migration { text: "CREATE TABLE a (y INTEGER)", ..THREE[0] };
        let error = migrate_to(&connections, &[changed]).await.unwrap_err();
        assert!(matches!(error, StoreError::SchemaDiffers { version: 1 }));
    }

    #[tokio::test]
    async fn a_failed_migration_leaves_nothing_behind() {
        let (_database, connections) = fresh().await;
        let broken = [THREE[0], Migration { text: "CREATE TABLE b (x INTEGER); nonsense", ..THREE[1] }];
        assert!(migrate_to(&connections, &broken).await.is_err());
        migrate_to(&connections, &THREE).await.unwrap();
    }
}

//! Bringing the schema up to date.

use aws_lc_rs::digest;
use tokio_postgres::Client;

use super::{
    columns::{execute, get, params, rows},
    connect::{Connections, Mode},
};
use crate::store::StoreError;

/// Every migration in order; the version is the place in this list, from 1. Never change one that was released.
const MIGRATIONS: [(&str, &str); 2] = [
    ("0001_vault", include_str!("../../../migrations/postgres/0001_vault.sql")),
    ("0002_refresh", include_str!("../../../migrations/postgres/0002_refresh.sql")),
];

/// Replicas that start at the same time migrate one after the other: the first does it, the others find it done.
/// (Two-number advisory locks are apart from the one-number locks of units of work.)
const LOCK: &str = "SET LOCAL lock_timeout = 60000; SET LOCAL statement_timeout = 300000; \
     SELECT pg_advisory_xact_lock(1634497637, 1)";

pub(super) async fn migrate(connections: &Connections) -> Result<(), StoreError> {
    migrate_to(connections, &MIGRATIONS).await
}

async fn migrate_to(connections: &Connections, migrations: &[(&str, &str)]) -> Result<(), StoreError> {
    let connection = connections.take().await?;
    let sql = connection.sql()?;
    sql.batch_execute(&format!("{}; {LOCK}", Mode::Write.begin())).await?;
    // On an error the connection is dropped, and the transaction with it: all of it is applied or nothing.
    apply(sql, migrations).await?;
    sql.batch_execute("COMMIT").await?;
    connection.give_back();
    Ok(())
}

async fn apply(sql: &Client, migrations: &[(&str, &str)]) -> Result<(), StoreError> {
    let known = u32::try_from(migrations.len()).unwrap_or(u32::MAX);
    let commit = rows(sql, "SELECT current_setting('synchronous_commit')", &[]).await?;
    if commit.first().is_some_and(|row| row.try_get::<_, &str>(0).is_ok_and(|value| value == "off")) {
        return Err(StoreError::Invalid(
            "the database has synchronous_commit off, so a commit could be lost after a credential left: switch it on"
                .to_owned(),
        ));
    }
    sql.batch_execute(
        "CREATE TABLE IF NOT EXISTS alter_migrations \
         (version INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum BYTEA NOT NULL)",
    )
    .await?;
    let applied = rows(sql, "SELECT version, checksum FROM alter_migrations ORDER BY version", &[]).await?;
    let mut found = 0;
    for row in &applied {
        found = u32::try_from(get::<i32>(row, 0)?)
            .map_err(|_| StoreError::Corrupt("a migration's version is negative".to_owned()))?;
        if found > known {
            continue;
        }
        let ours = found.checked_sub(1).and_then(|place| migrations.get(place as usize));
        if ours.is_none_or(|(_, text)| get::<&[u8]>(row, 1).ok() != Some(checksum(text).as_slice())) {
            return Err(StoreError::SchemaDiffers { version: found });
        }
    }
    if found > known {
        return Err(StoreError::SchemaTooNew { found, known });
    }
    for (version, (name, text)) in (1_i32..).zip(migrations).skip(found as usize) {
        sql.batch_execute(text).await?;
        execute(
            sql,
            "INSERT INTO alter_migrations (version, name, checksum) VALUES ($1, $2, $3)",
            params![version, *name, checksum(text).as_slice()],
        )
        .await?;
    }
    Ok(())
}

fn checksum(text: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, text.as_bytes()).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::postgres::cluster::Database;

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
        let newer = "INSERT INTO alter_migrations VALUES (999, 'x', '')";
        connection.sql().unwrap().batch_execute(newer).await.unwrap();
        assert!(matches!(migrate(&connections).await, Err(StoreError::SchemaTooNew { found: 999, .. })));
    }

    #[tokio::test]
    async fn a_changed_migration_is_noticed() {
        let (_database, connections) = fresh().await;
        migrate_to(&connections, &[("a", "CREATE TABLE a (x INTEGER)")]).await.unwrap();
        let error = migrate_to(&connections, &[("a", "CREATE TABLE a (y INTEGER)")]).await.unwrap_err();
        assert!(matches!(error, StoreError::SchemaDiffers { version: 1 }));
    }

    #[tokio::test]
    async fn a_failed_migration_leaves_nothing_behind() {
        let (_database, connections) = fresh().await;
        let broken = [("a", "CREATE TABLE a (x INTEGER)"), ("b", "CREATE TABLE b (x INTEGER); nonsense")];
        assert!(migrate_to(&connections, &broken).await.is_err());
        migrate_to(&connections, &[broken[0], ("b", "CREATE TABLE b (x INTEGER)")]).await.unwrap();
    }
}

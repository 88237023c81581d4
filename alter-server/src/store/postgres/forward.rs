//! Databases of older programs are brought forward.

use super::{cluster::Database, connect::Connections, schema, tests::open_on};
use crate::store::forward::{self, Dialect};

#[tokio::test]
async fn a_database_of_every_older_schema_goes_on_with_what_it_holds() {
    for version in 1..schema::MIGRATIONS.len() {
        let database = Database::create().await;
        let connections = Connections::new(&database.url()).unwrap();
        schema::migrate_to(&connections, &schema::MIGRATIONS[..version]).await.unwrap();
        let sql = database.sql().await;
        if version == 1 {
            // As the first releases left it.
            sql.batch_execute("ALTER TABLE alter_migrations DROP COLUMN needs").await.unwrap();
        }
        sql.batch_execute(&forward::rows(Dialect::Postgres, version)).await.unwrap();
        forward::everything_goes_on(&open_on(database).await, version).await;
    }
}

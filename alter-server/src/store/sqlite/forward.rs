//! Folders of older programs are brought forward.

use crate::store::{
    forward::{self, Dialect},
    sqlite::{schema, tests::open_in},
};

#[tokio::test]
async fn a_folder_of_every_older_schema_goes_on_with_what_it_holds() {
    for version in 1..schema::MIGRATIONS.len() {
        let folder = tempfile::tempdir().unwrap();
        let file = schema::prepare_folder(folder.path()).unwrap();
        let connection = schema::open_writer(&file).unwrap();
        schema::migrate_to(&connection, &schema::MIGRATIONS[..version]).unwrap();
        if version == 1 {
            // As the first releases left it.
            connection.execute_batch("ALTER TABLE migrations DROP COLUMN needs").unwrap();
        }
        connection.execute_batch(&forward::rows(Dialect::Sqlite, version)).unwrap();
        drop(connection);
        forward::everything_goes_on(&open_in(folder).await, version).await;
    }
}

//! Opening the database and bringing its schema up to date.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, OptionalExtension, config::DbConfig, params};

use crate::store::{
    StoreError,
    migration::{self, Migration},
};

/// Every migration in order.
pub(super) const MIGRATIONS: &[Migration] = &[
    Migration {
        name: "0001_vault",
        needs: 1,
        text: include_str!("../../../migrations/sqlite/0001_vault.sql"),
    },
    Migration {
        name: "0002_refresh",
        needs: 1,
        text: include_str!("../../../migrations/sqlite/0002_refresh.sql"),
    },
    Migration {
        name: "0003_checkpoints",
        needs: 1,
        text: include_str!("../../../migrations/sqlite/0003_checkpoints.sql"),
    },
    Migration {
        name: "0004_connect",
        needs: 1,
        text: include_str!("../../../migrations/sqlite/0004_connect.sql"),
    },
];

/// Version of the schema that this program makes; the same in both stores.
#[expect(clippy::cast_possible_truncation, reason = "a handful")]
pub(crate) const SCHEMA: u32 = MIGRATIONS.len() as u32;

/// Name of the database in the data folder.
pub(crate) const FILE: &str = "vault.db";

/// Makes the folder (mode 0700) and the database file (mode 0600) if they are not there.
pub(super) fn prepare_folder(folder: &Path) -> Result<PathBuf, StoreError> {
    let failed = |path: &Path, what| {
        let path = path.to_owned();
        move |source| StoreError::Folder { path, what, source: Some(source) }
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(failed(folder, "it cannot be made: name a folder in a writable place"))?;
    let mode = fs::metadata(folder).map_err(failed(folder, "it cannot be read"))?.permissions().mode();
    if mode & 0o022 != 0 {
        return Err(StoreError::Folder {
            path: folder.to_owned(),
            what: "others may write in it: run `chmod 700` on it",
            source: None,
        });
    }
    let file = folder.join(FILE);
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&file)
        .map_err(failed(&file, "it cannot be written: name a folder that this user may write"))?;
    Ok(file)
}

/// Opens a connection that may write.
pub(super) fn open_writer(file: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(
        file,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    settings(&connection)?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(StoreError::Folder {
            path: file.to_owned(),
            what: "its file system cannot do write-ahead logging: name a folder on a local disk",
            source: None,
        });
    }
    // FULL: a commit has reached the disk when it returns. That is what makes an audit row durable.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", 4000)?;
    // Zeroes freed content, so that deleted tokens do not stay in free pages (sealed as they are).
    connection.query_row("PRAGMA secure_delete = FAST", [], |_| Ok(()))?;
    connection.set_prepared_statement_cache_capacity(256);
    Ok(connection)
}

/// Opens a connection that only reads.
pub(super) fn open_reader(file: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(
        file,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    settings(&connection)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn settings(connection: &Connection) -> Result<(), StoreError> {
    connection.busy_timeout(Duration::from_secs(5))?;
    // Without it SQLite plans a statement anew whenever a bound value changes that it compared with a partial index.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "cache_size", -65_536)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(())
}

/// Applies what is missing. Each migration is one transaction together with its entry, so an interruption loses nothing.
pub(super) fn migrate(connection: &Connection) -> Result<(), StoreError> {
    migrate_to(connection, MIGRATIONS)
}

pub(super) fn migrate_to(connection: &Connection, migrations: &[Migration]) -> Result<(), StoreError> {
    loop {
        // Another process may be doing the same: look again under the lock each time.
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let step = next_step(connection, migrations);
        match step {
            Ok(true) => connection.execute_batch("COMMIT")?,
            Ok(false) => {
                connection.execute_batch("COMMIT")?;
                return Ok(());
            }
            Err(error) => {
                // The first error is the one worth telling.
                let _ = connection.execute_batch("ROLLBACK");
                return Err(error);
            }
        }
    }
}

/// Whether this program may work on the database as it is now: another one may have brought the schema forward.
pub(super) fn still_fits(connection: &Connection) -> Result<(), StoreError> {
    let known = version(MIGRATIONS);
    let found = found(connection)?;
    if found <= known { Ok(()) } else { fits(connection, known, found) }
}

fn version(migrations: &[Migration]) -> u32 {
    u32::try_from(migrations.len()).unwrap_or(u32::MAX)
}

fn found(connection: &Connection) -> Result<u32, StoreError> {
    Ok(connection.query_row("PRAGMA user_version", [], |row| row.get(0))?)
}

/// The first releases wrote no `needs` down.
fn says_needs(connection: &Connection) -> Result<bool, StoreError> {
    let text = "SELECT count(*) FROM pragma_table_info('migrations') WHERE name = 'needs'";
    Ok(connection.query_row(text, [], |row| row.get::<_, u32>(0))? > 0)
}

fn fits(connection: &Connection, known: u32, found: u32) -> Result<(), StoreError> {
    let mut ahead = Vec::new();
    if says_needs(connection)? {
        let mut rows = connection.prepare("SELECT version, needs FROM migrations WHERE version > ?1")?;
        let rows = rows.query_map([known], |row| Ok((row.get(0)?, row.get(1)?)))?;
        ahead = rows.collect::<Result<_, _>>()?;
    }
    migration::may_work(known, found, ahead)
}

fn next_step(connection: &Connection, migrations: &[Migration]) -> Result<bool, StoreError> {
    let (known, found) = (version(migrations), found(connection)?);
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum BLOB NOT NULL) STRICT",
    )?;
    for (version, migration) in (1..=found).zip(migrations) {
        let stored: Option<Vec<u8>> = connection
            .query_row("SELECT checksum FROM migrations WHERE version = ?1", [version], |row| row.get(0))
            .optional()?;
        if stored != Some(migration.checksum()) {
            return Err(StoreError::SchemaDiffers { version });
        }
    }
    if found > known {
        fits(connection, known, found)?;
        return Ok(false);
    }
    let Some(migration) = migrations.get(found as usize) else { return Ok(false) };
    let version = found + 1;
    if !says_needs(connection)? {
        connection.execute_batch("ALTER TABLE migrations ADD COLUMN needs INTEGER")?;
    }
    connection.execute_batch(migration.text)?;
    connection.execute(
        "INSERT INTO migrations (version, name, checksum, needs) VALUES (?1, ?2, ?3, ?4)",
        params![version, migration.name, migration.checksum(), migration.needs],
    )?;
    connection.pragma_update(None, "user_version", version)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::migration::tests::THREE;

    fn database() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = prepare_folder(&folder.path().join("data")).unwrap();
        (folder, file)
    }

    #[test]
    fn folder_and_file_are_for_the_owner_only() {
        let (_folder, file) = database();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&file), 0o600);
        assert_eq!(mode(file.parent().unwrap()), 0o700);
    }

    #[test]
    fn migrating_again_changes_nothing() {
        let (_folder, file) = database();
        let connection = open_writer(&file).unwrap();
        migrate(&connection).unwrap();
        migrate(&connection).unwrap();
        let applied: u32 =
            connection.query_row("SELECT count(*) FROM migrations", [], |row| row.get(0)).unwrap();
        assert_eq!(applied as usize, MIGRATIONS.len());
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let (_folder, file) = database();
        let connection = open_writer(&file).unwrap();
        migrate(&connection).unwrap();
        connection.pragma_update(None, "user_version", 999).unwrap();
        assert!(matches!(migrate(&connection), Err(StoreError::SchemaTooNew { found: 999, .. })));
    }

    #[test]
    fn a_schema_one_ahead_is_worked_on_if_it_says_so_and_two_ahead_is_not() {
        let (_folder, file) = database();
        let connection = open_writer(&file).unwrap();
        migrate_to(&connection, &THREE).unwrap();
        migrate_to(&connection, &THREE[..2]).unwrap();
        let error = migrate_to(&connection, &THREE[..1]).unwrap_err();
        assert!(matches!(error, StoreError::SchemaTooNew { found: 3, known: 1 }), "{error:?}");
        // What is applied is still looked at.
        let changed = Migration { text: "CREATE TABLE a (y)", ..THREE[0] };
        let error = migrate_to(&connection, &[changed, THREE[1]]).unwrap_err();
        assert!(matches!(error, StoreError::SchemaDiffers { version: 1 }), "{error:?}");
    }

    #[test]
    fn a_database_of_a_release_that_wrote_no_needs_is_brought_forward() {
        let (_folder, file) = database();
        let connection = open_writer(&file).unwrap();
        migrate_to(&connection, &THREE[..1]).unwrap();
        connection.execute_batch("ALTER TABLE migrations DROP COLUMN needs").unwrap();
        migrate_to(&connection, &THREE).unwrap();
        migrate_to(&connection, &THREE[..2]).unwrap();
    }

    #[test]
    fn a_changed_migration_is_noticed() {
        let (_folder, file) = database();
        let connection = open_writer(&file).unwrap();
        migrate_to(&connection, &THREE[..1]).unwrap();
        let changed = Migration { text: "CREATE TABLE a (y)", ..THREE[0] };
        let error = migrate_to(&connection, &[changed]).unwrap_err();
        assert!(matches!(error, StoreError::SchemaDiffers { version: 1 }));
    }

    #[test]
    fn a_failed_migration_leaves_nothing_behind() {
        let (_folder, file) = database();
        let connection = open_writer(&file).unwrap();
        let broken = [THREE[0], Migration { text: "CREATE TABLE b (x); nonsense", ..THREE[1] }];
        assert!(migrate_to(&connection, &broken).is_err());
        let version: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
        assert_eq!(version, 1);
        migrate_to(&connection, &THREE).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_a_typed_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"").unwrap();
        assert!(matches!(prepare_folder(&file.join("data")), Err(StoreError::Folder { .. })));
    }
}

//! Rows as they are, for moving a whole vault to or from this store, or into a file (`crate::transfer`).

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use rusqlite::{
    Connection, OptionalExtension, Row as SqlRow, ToSql, params, params_from_iter,
    types::{ToSqlOutput, ValueRef},
};

use super::{audit, blocking, columns::integer, schema};
use crate::{
    audit::{AuditRow, ChainHead},
    store::StoreError,
    transfer::{
        marker::{self, Marker, Role},
        tables::{self, Found, LEFT, TABLES, Table},
        value::{Kind, Row, Value},
    },
};

/// How long is waited for other processes to let go of the database.
const ALONE: Duration = Duration::from_millis(500);
/// What every write to a fenced vault fails with.
const FENCED: &str = "this vault is being moved or was moved: it takes no more changes";

/// One database, with a connection to read in one view, and one to write.
#[derive(Clone)]
pub(crate) struct SqliteRows {
    file: Arc<PathBuf>,
    reader: Arc<Mutex<Connection>>,
    writer: Arc<Mutex<Connection>>,
}

impl SqliteRows {
    /// Opens the database in `folder` and brings its schema up to date.
    ///
    /// # Errors
    ///
    /// `Conflict` if `alone` and another process has it open; `Invalid` if it holds something that is not described.
    pub(crate) async fn open(folder: &Path, alone: bool) -> Result<Self, StoreError> {
        let folder = folder.to_owned();
        blocking(move || {
            let file = schema::prepare_folder(&folder)?;
            let writer = schema::open_writer(&file)?;
            schema::migrate(&writer)?;
            if alone {
                require_alone(&writer, &folder)?;
            }
            tables::check(&found(&writer)?, false)?;
            let reader = schema::open_reader(&file)?;
            Ok(Self {
                file: Arc::new(file),
                reader: Arc::new(Mutex::new(reader)),
                writer: Arc::new(Mutex::new(writer)),
            })
        })
        .await
    }

    pub(crate) fn describe(&self) -> String {
        self.file.parent().unwrap_or(&self.file).display().to_string()
    }

    async fn with<T, F>(connection: &Arc<Mutex<Connection>>, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let connection = Arc::clone(connection);
        blocking(move || work(&connection.lock().unwrap_or_else(PoisonError::into_inner))).await
    }

    /// Runs `work` in a transaction.
    async fn change<F>(&self, work: F) -> Result<(), StoreError>
    where
        F: FnOnce(&Connection) -> Result<(), StoreError> + Send + 'static,
    {
        Self::with(&self.writer, move |sql| {
            sql.execute_batch("BEGIN IMMEDIATE")?;
            match work(sql) {
                Ok(()) => Ok(sql.execute_batch("COMMIT")?),
                Err(error) => {
                    // The first error is the one worth telling.
                    let _ = sql.execute_batch("ROLLBACK");
                    Err(error)
                }
            }
        })
        .await
    }

    /// Everything that is read from now on is of one moment.
    pub(crate) async fn begin_snapshot(&self) -> Result<(), StoreError> {
        Self::with(&self.reader, |sql| {
            sql.execute_batch("BEGIN")?;
            // The view begins with the first read.
            Ok(sql.query_row("SELECT count(*) FROM apps", [], |_| Ok(()))?)
        })
        .await
    }

    pub(crate) async fn end_snapshot(&self) -> Result<(), StoreError> {
        Self::with(&self.reader, |sql| Ok(sql.execute_batch("COMMIT")?)).await
    }

    /// Rows after a key, in the order of the key.
    pub(crate) async fn page(
        &self,
        table: &'static Table,
        after: Option<Vec<Value>>,
    ) -> Result<Vec<Row>, StoreError> {
        Self::with(&self.reader, move |sql| {
            let columns: Vec<_> = table.columns.iter().map(|column| own_name(table, column.name)).collect();
            let key = key_columns(table);
            let places: Vec<_> = (1..=table.key.len()).map(|place| format!("?{place}")).collect();
            let condition = after
                .as_ref()
                .map(|_| format!("WHERE ({key}) > ({})", places.join(", ")))
                .unwrap_or_default();
            let text = format!(
                "SELECT {} FROM {} {condition} ORDER BY {key} LIMIT {}",
                columns.join(", "),
                table.name,
                table.page
            );
            let mut statement = sql.prepare_cached(&text)?;
            let mut rows = statement.query(params_from_iter(after.unwrap_or_default()))?;
            let mut page = Vec::new();
            while let Some(row) = rows.next()? {
                let values = table.columns.iter().enumerate();
                let values =
                    values.map(|(place, column)| read(row, place, column.kind, table.name, column.name));
                page.push(values.collect::<Result<Row, _>>()?);
            }
            Ok(page)
        })
        .await
    }

    /// The key of the last row.
    pub(crate) async fn last_key(&self, table: &'static Table) -> Result<Option<Vec<Value>>, StoreError> {
        Self::with(&self.writer, move |sql| {
            let kinds: Vec<_> = table.key_places().map(|place| &table.columns[place]).collect();
            let columns: Vec<_> = kinds.iter().map(|column| own_name(table, column.name)).collect();
            let newest: Vec<_> = columns.iter().map(|name| format!("{name} DESC")).collect();
            let text = format!(
                "SELECT {} FROM {} ORDER BY {} LIMIT 1",
                columns.join(", "),
                table.name,
                newest.join(", ")
            );
            let mut statement = sql.prepare(&text)?;
            let mut rows = statement.query([])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            let values = kinds.iter().enumerate();
            let values = values.map(|(place, column)| read(row, place, column.kind, table.name, column.name));
            values.collect::<Result<Vec<_>, _>>().map(Some)
        })
        .await
    }

    /// Writes rows of a table into the unfinished copy with that id, all of them or none.
    pub(crate) async fn write(
        &self,
        table: &'static Table,
        rows: Vec<Row>,
        id: &str,
    ) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.change(move |sql| {
            require_filling(marker(sql)?, &id)?;
            let columns: Vec<_> = table.columns.iter().map(|column| own_name(table, column.name)).collect();
            let places: Vec<_> = (1..=columns.len()).map(|place| format!("?{place}")).collect();
            let text =
                format!("INSERT INTO {} ({}) VALUES ({})", table.name, columns.join(", "), places.join(", "));
            let mut statement = sql.prepare_cached(&text)?;
            for row in &rows {
                statement.execute(params_from_iter(row))?;
            }
            Ok(())
        })
        .await
    }

    pub(crate) async fn marker(&self) -> Result<Option<Marker>, StoreError> {
        Self::with(&self.writer, marker).await
    }

    /// Marks the vault. What `Moving` and `Moved` mark is also fenced: no process, of whichever version, can write to it.
    pub(crate) async fn mark(&self, marker: Marker) -> Result<(), StoreError> {
        self.change(move |sql| {
            sql.execute_batch(&format!(
                "CREATE TABLE IF NOT EXISTS {table} (id TEXT NOT NULL, role TEXT NOT NULL, peer TEXT NOT NULL, at INTEGER NOT NULL) \
                 STRICT; DELETE FROM {table}",
                table = marker::TABLE
            ))?;
            sql.execute(
                &format!("INSERT INTO {} VALUES (?1, ?2, ?3, ?4)", marker::TABLE),
                params![marker.id, marker.role.as_str(), marker.peer, marker.at.as_microsecond()],
            )?;
            if marker.role != Role::Filling {
                for (table, what) in fenced() {
                    sql.execute_batch(&format!(
                        "CREATE TRIGGER IF NOT EXISTS fence_{table}_{what} BEFORE {what} ON {table} \
                         BEGIN SELECT RAISE(ABORT, '{FENCED}'); END"
                    ))?;
                }
            }
            Ok(())
        })
        .await
    }

    /// Takes mark and fence away.
    pub(crate) async fn unmark(&self) -> Result<(), StoreError> {
        self.change(|sql| {
            for (table, what) in fenced() {
                sql.execute_batch(&format!("DROP TRIGGER IF EXISTS fence_{table}_{what}"))?;
            }
            Ok(sql.execute_batch(&format!("DROP TABLE IF EXISTS {}", marker::TABLE))?)
        })
        .await
    }

    /// Ends the copy with that id: writes the row that says so, and lets the vault be opened.
    pub(crate) async fn finish(&self, id: &str, row: AuditRow, head: ChainHead) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.change(move |sql| {
            require_filling(marker(sql)?, &id)?;
            append(sql, &row, head)?;
            Ok(sql.execute_batch(&format!("DROP TABLE {}", marker::TABLE))?)
        })
        .await
    }

    /// Writes a row that is a closed chain of its own.
    pub(crate) async fn append(&self, row: AuditRow, head: ChainHead) -> Result<(), StoreError> {
        self.change(move |sql| append(sql, &row, head)).await
    }

    /// Lets go of the files, so that the log is put into the database.
    pub(crate) async fn close(&self) -> Result<(), StoreError> {
        Self::with(&self.writer, |sql| {
            Ok(sql.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?)
        })
        .await
    }
}

fn append(sql: &Connection, row: &AuditRow, head: ChainHead) -> Result<(), StoreError> {
    audit::insert(sql, row)?;
    sql.execute(
        "INSERT INTO audit_chains (app_id, run_id, begun_at, head_seq, head_hash, closed_at) VALUES (?1, ?2, ?3, ?4, ?5, ?3)",
        params![row.app_id, row.chain, row.at.as_microsecond(), integer(head.seq), head.hash],
    )?;
    Ok(())
}

fn fenced() -> impl Iterator<Item = (&'static str, &'static str)> {
    let tables = TABLES.iter().map(|table| table.name).chain(LEFT);
    tables.flat_map(|table| ["INSERT", "UPDATE", "DELETE"].map(|what| (table, what)))
}

/// The mark of a vault, if it is part of a move.
pub(super) fn marker(sql: &Connection) -> Result<Option<Marker>, StoreError> {
    let there = sql.query_row(
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?1",
        [marker::TABLE],
        |row| row.get::<_, i64>(0),
    )?;
    if there == 0 {
        return Ok(None);
    }
    let text = format!("SELECT id, role, peer, at FROM {}", marker::TABLE);
    let found = sql
        .query_row(&text, [], |row| {
            Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?, row.get::<_, i64>(3)?))
        })
        .optional()?;
    found.map(|(id, role, peer, at)| marker_of(id, &role, peer, at)).transpose()
}

fn marker_of(id: String, role: &str, peer: String, at: i64) -> Result<Marker, StoreError> {
    let wrong = || StoreError::Corrupt("the mark of a move is unreadable".to_owned());
    let role = Role::parse(role).ok_or_else(wrong)?;
    Ok(Marker { id, role, peer, at: Timestamp::from_microsecond(at).map_err(|_| wrong())? })
}

/// # Errors
///
/// `Conflict` unless the database is the unfinished copy with that id.
fn require_filling(marker: Option<Marker>, id: &str) -> Result<(), StoreError> {
    if marker.is_some_and(|marker| marker.role == Role::Filling && marker.id == id) {
        return Ok(());
    }
    Err(StoreError::Conflict("somebody else ended or replaced this copy meanwhile".to_owned()))
}

/// Leaving write-ahead logging needs the database for oneself, so it fails while any other process has it open.
fn require_alone(sql: &Connection, folder: &Path) -> Result<(), StoreError> {
    sql.busy_timeout(ALONE)?;
    let left: Result<String, _> = sql.query_row("PRAGMA journal_mode = DELETE", [], |row| row.get(0));
    let alone = left.is_ok_and(|mode| mode.eq_ignore_ascii_case("delete"));
    sql.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    sql.busy_timeout(Duration::from_secs(5))?;
    if alone {
        return Ok(());
    }
    Err(StoreError::Conflict(format!(
        "another process has the vault in {} open: stop what serves it, wait until it has ended, and run this again",
        folder.display()
    )))
}

fn found(sql: &Connection) -> Result<Found, StoreError> {
    let mut tables = sql.prepare(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
    )?;
    let names: Vec<String> = tables.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut columns = sql.prepare("SELECT name FROM pragma_table_xinfo(?1)")?;
    let mut found = Found::new();
    for name in names {
        let of_table = columns.query_map([&name], |row| row.get(0))?.collect::<Result<_, _>>()?;
        found.insert(name, of_table);
    }
    Ok(found)
}

fn own_name(table: &Table, column: &'static str) -> &'static str {
    if table.numbered() && column == "n" { "rowid" } else { column }
}

fn key_columns(table: &Table) -> String {
    table.key.iter().map(|name| own_name(table, name)).collect::<Vec<_>>().join(", ")
}

fn read(row: &SqlRow<'_>, place: usize, kind: Kind, table: &str, column: &str) -> Result<Value, StoreError> {
    let wrong = || StoreError::Corrupt(format!("{table}.{column} holds a value of another kind"));
    Ok(match (row.get_ref(place)?, kind) {
        (ValueRef::Null, _) => Value::Null,
        (ValueRef::Integer(value), Kind::Int) => Value::Int(value),
        (ValueRef::Integer(value @ (0 | 1)), Kind::Bool) => Value::Bool(value == 1),
        (ValueRef::Text(value), Kind::Text) => {
            Value::Text(std::str::from_utf8(value).map_err(|_| wrong())?.to_owned())
        }
        (ValueRef::Blob(value), Kind::Uuid) => Value::Uuid(value.try_into().map_err(|_| wrong())?),
        (ValueRef::Blob(value), Kind::Bytes) => Value::Bytes(value.to_vec()),
        _ => return Err(wrong()),
    })
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Bool(value) => ValueRef::Integer(i64::from(*value)),
            Self::Int(value) => ValueRef::Integer(*value),
            Self::Uuid(value) => ValueRef::Blob(value),
            Self::Text(value) => ValueRef::Text(value.as_bytes()),
            Self::Bytes(value) => ValueRef::Blob(value),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_and_column_is_described() {
        let folder = tempfile::tempdir().unwrap();
        let file = schema::prepare_folder(&folder.path().join("data")).unwrap();
        let sql = schema::open_writer(&file).unwrap();
        schema::migrate(&sql).unwrap();
        tables::check(&found(&sql).unwrap(), false).unwrap();
    }

    #[tokio::test]
    async fn a_fenced_vault_takes_no_change_of_any_kind() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("data");
        let rows = SqliteRows::open(&folder, true).await.unwrap();
        let marker = Marker {
            id: "m".to_owned(),
            role: Role::Moving,
            peer: "p".to_owned(),
            at: Timestamp::UNIX_EPOCH,
        };
        // Somebody who had the database open before.
        let other = schema::open_writer(&folder.join(schema::FILE)).unwrap();
        other.execute_batch("INSERT INTO apps (id, name, status, config_generation, created_at) VALUES (x'01', 'a', 0, 1, 0)").unwrap();
        rows.mark(marker.clone()).await.unwrap();
        for change in [
            "INSERT INTO apps (id, name, status, config_generation, created_at) VALUES (x'02', 'b', 0, 1, 0)",
            "UPDATE apps SET name = 'c'",
            "DELETE FROM apps",
            "INSERT INTO nonces VALUES (x'01', 1, x'01', x'01')",
            "INSERT INTO browser_sessions VALUES (x'01', x'01', x'01', x'01', 0, 0, 0)",
        ] {
            let error = other.execute_batch(change).unwrap_err();
            assert!(error.to_string().contains("takes no more changes"), "{change}: {error}");
        }
        assert_eq!(rows.marker().await.unwrap(), Some(marker));
        rows.unmark().await.unwrap();
        other.execute_batch("UPDATE apps SET name = 'c'").unwrap();
        assert_eq!(rows.marker().await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_database_that_somebody_has_open_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("data");
        drop(SqliteRows::open(&folder, true).await.unwrap());
        let other = schema::open_reader(&folder.join(schema::FILE)).unwrap();
        other.query_row("SELECT count(*) FROM apps", [], |_| Ok(())).unwrap();
        assert!(matches!(SqliteRows::open(&folder, true).await, Err(StoreError::Conflict(_))));
        SqliteRows::open(&folder, false).await.unwrap();
        drop(other);
        SqliteRows::open(&folder, true).await.unwrap();
    }
}

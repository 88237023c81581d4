//! Rows as they are, for moving a whole vault to or from this store, or into a file (`crate::transfer`).

use std::{collections::BTreeMap, pin::pin};

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use tokio_postgres::{
    Client,
    binary_copy::BinaryCopyInWriter,
    types::{FromSql, IsNull, ToSql, Type, to_sql_checked},
};

use super::{
    DatabaseUrl, audit,
    columns::{Parameter, execute, get, params, rows},
    connect::{Connection, Connections, Mode},
    partitions::{self, Wanted},
    schema,
};
use crate::{
    audit::{AuditRow, ChainHead},
    store::StoreError,
    transfer::{
        marker::{self, Marker, Role},
        tables::{self, Found, LEFT, TABLES, Table},
        value::{Kind, Row, Value},
    },
};

type Fault = Box<dyn std::error::Error + Sync + Send>;

/// Statements of a transfer take as long as they take; locks are not waited for as long.
const PATIENT: &str = "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; \
     SET LOCAL lock_timeout = 10000";

/// One database, with a connection to read in one view, and one to write.
pub(crate) struct PostgresRows {
    connections: Connections,
    reader: Connection,
    writer: Connection,
    describe: String,
    /// Types of the columns, in the order of the description.
    types: BTreeMap<&'static str, Vec<Type>>,
}

impl PostgresRows {
    /// Connects and brings the schema up to date.
    ///
    /// # Errors
    ///
    /// `Conflict` if `alone` and another process is connected; `Invalid` if it holds something that is not described.
    pub(crate) async fn open(url: &DatabaseUrl, alone: bool) -> Result<Self, StoreError> {
        let connections = Connections::new(url)?;
        schema::migrate(&connections).await?;
        let (reader, writer) = (connections.take().await?, connections.take().await?);
        // So that those of processes that serve can be told apart.
        for connection in [&reader, &writer] {
            connection.sql()?.batch_execute("SET application_name = 'alter-server transfer'").await?;
        }
        let sql = writer.sql()?;
        let place =
            rows(sql, "SELECT current_database(), coalesce(host(inet_server_addr()), 'a local socket')", &[]);
        let place = place.await?;
        let describe = match place.first() {
            Some(row) => {
                format!("PostgreSQL database {:?} at {}", get::<&str>(row, 0)?, get::<&str>(row, 1)?)
            }
            None => "a PostgreSQL database".to_owned(),
        };
        if alone {
            require_alone(sql, &describe).await?;
        }
        let (found, types) = found(sql).await?;
        tables::check(&found, true)?;
        Ok(Self { connections, reader, writer, describe, types })
    }

    pub(crate) fn describe(&self) -> String {
        self.describe.clone()
    }

    /// Everything that is read from now on is of one moment.
    pub(crate) async fn begin_snapshot(&self) -> Result<(), StoreError> {
        let sql = self.reader.sql()?;
        sql.batch_execute(&format!("{}; {PATIENT}", Mode::Snapshot.begin())).await?;
        // The view begins with the first read. The lock keeps others from dropping partitions until the end.
        let all: Vec<_> = TABLES.iter().map(|table| table.name).collect();
        Ok(sql.batch_execute(&format!("LOCK TABLE {} IN ACCESS SHARE MODE", all.join(", "))).await?)
    }

    pub(crate) async fn end_snapshot(&self) -> Result<(), StoreError> {
        Ok(self.reader.sql()?.batch_execute("COMMIT").await?)
    }

    /// Rows after a key, in the order of the key.
    pub(crate) async fn page(
        &self,
        table: &'static Table,
        after: Option<Vec<Value>>,
    ) -> Result<Vec<Row>, StoreError> {
        let columns: Vec<_> = table.columns.iter().map(|column| column.name).collect();
        let key = table.key.join(", ");
        let places: Vec<_> = (1..=table.key.len()).map(|place| format!("${place}")).collect();
        let condition =
            after.as_ref().map(|_| format!("WHERE ({key}) > ({})", places.join(", "))).unwrap_or_default();
        let text = format!(
            "SELECT {} FROM {} {condition} ORDER BY {key} LIMIT {}",
            columns.join(", "),
            table.name,
            table.page
        );
        let after = after.unwrap_or_default();
        let parameters: Vec<Parameter<'_>> = after
            .iter()
            .zip(table.key_places())
            .map(|(value, place)| -> Parameter<'_> { (value, key_type(table.columns[place].kind)) })
            .collect();
        let found = rows(self.reader.sql()?, &text, &parameters).await?;
        found.iter().map(|row| (0..columns.len()).map(|place| get(row, place)).collect()).collect()
    }

    /// The key of the last row.
    pub(crate) async fn last_key(&self, table: &'static Table) -> Result<Option<Vec<Value>>, StoreError> {
        let newest: Vec<_> = table.key.iter().map(|name| format!("{name} DESC")).collect();
        let text = format!(
            "SELECT {} FROM {} ORDER BY {} LIMIT 1",
            table.key.join(", "),
            table.name,
            newest.join(", ")
        );
        let found = rows(self.writer.sql()?, &text, &[]).await?;
        let key = |row| (0..table.key.len()).map(|place| get(row, place)).collect();
        found.first().map(key).transpose()
    }

    async fn begin(&self) -> Result<&Client, StoreError> {
        let sql = self.writer.sql()?;
        // An attempt before that failed may have left its transaction.
        sql.batch_execute(&format!("ROLLBACK; {}; {PATIENT}", Mode::Write.begin())).await?;
        Ok(sql)
    }

    /// Writes rows of a table into the unfinished copy with that id, all of them or none.
    pub(crate) async fn write(
        &self,
        table: &'static Table,
        mut rows: Vec<Row>,
        id: &str,
    ) -> Result<(), StoreError> {
        without_nul(table, &rows)?;
        if let Some((_, id)) = table.instant_of {
            let place = table.place(id).unwrap_or_default();
            for row in &mut rows {
                let instant = instant_of(&row[place]).ok_or_else(|| {
                    StoreError::Corrupt(format!("{}.{id} does not tell its time", table.name))
                })?;
                row.push(Value::Int(instant));
            }
        }
        let sql = self.begin().await?;
        require_filling(sql, id).await?;
        if let Some((kind, column)) = partitions::Table::partitioned(table.name) {
            let extra = table.instant_of.map(|_| table.columns.len());
            if let Some(place) = table.place(column).or(extra) {
                let moments = rows.iter().filter_map(|row| match row[place] {
                    Value::Int(moment) => Some(Wanted::of(kind, moment)),
                    _ => None,
                });
                partitions::make_in(sql, &partitions::distinct(moments)).await?;
            }
        }
        let Some(types) = self.types.get(table.name) else {
            return Err(StoreError::Corrupt(format!("no table {}", table.name)));
        };
        let extra = table.instant_of.map(|(name, _)| name);
        let columns: Vec<_> = table.columns.iter().map(|column| column.name).chain(extra).collect();
        let text = format!("COPY {} ({}) FROM STDIN BINARY", table.name, columns.join(", "));
        let sink = sql.copy_in::<_, Bytes>(&text).await?;
        let mut copy = pin!(BinaryCopyInWriter::new(sink, types));
        for row in rows {
            copy.as_mut().write_raw(row).await?;
        }
        copy.finish().await?;
        Ok(sql.batch_execute("COMMIT").await?)
    }

    pub(crate) async fn marker(&self) -> Result<Option<Marker>, StoreError> {
        marker(self.writer.sql()?).await
    }

    /// Marks the vault. What `Moving` and `Moved` mark is also fenced: no process, of whichever version, can write to it.
    pub(crate) async fn mark(&self, marker: Marker) -> Result<(), StoreError> {
        let sql = self.begin().await?;
        sql.batch_execute(&format!(
            "CREATE TABLE IF NOT EXISTS {table} (id TEXT NOT NULL, role TEXT NOT NULL, peer TEXT NOT NULL, at BIGINT NOT NULL); \
             DELETE FROM {table}",
            table = marker::TABLE
        ))
        .await?;
        execute(
            sql,
            &format!("INSERT INTO {} VALUES ($1, $2, $3, $4)", marker::TABLE),
            params![marker.id, marker.role.as_str(), marker.peer, marker.at.as_microsecond()],
        )
        .await?;
        if marker.role != Role::Filling {
            sql.batch_execute(
                "CREATE OR REPLACE FUNCTION alter_fence() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 RAISE EXCEPTION 'this vault is being moved or was moved: it takes no more changes' USING ERRCODE = '55000'; \
                 END $$",
            )
            .await?;
            for table in TABLES.iter().map(|table| table.name).chain(LEFT) {
                // Whoever is writing ends first; whoever comes after finds the fence.
                sql.batch_execute(&format!(
                    "DROP TRIGGER IF EXISTS alter_fence ON {table}; CREATE TRIGGER alter_fence BEFORE INSERT OR UPDATE OR DELETE OR \
                     TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION alter_fence()"
                ))
                .await?;
            }
        }
        Ok(sql.batch_execute("COMMIT").await?)
    }

    /// Takes mark and fence away.
    pub(crate) async fn unmark(&self) -> Result<(), StoreError> {
        let sql = self.begin().await?;
        let drop =
            format!("DROP FUNCTION IF EXISTS alter_fence CASCADE; DROP TABLE IF EXISTS {}", marker::TABLE);
        sql.batch_execute(&drop).await?;
        Ok(sql.batch_execute("COMMIT").await?)
    }

    /// Ends the copy with that id: writes the row that says so, lets numbers go on where they were, and lets the vault be opened.
    pub(crate) async fn finish(&self, id: &str, row: AuditRow, head: ChainHead) -> Result<(), StoreError> {
        let sql = self.begin().await?;
        require_filling(sql, id).await?;
        for table in TABLES.iter().filter(|table| table.numbered()) {
            let sequence = match table.name {
                "audit_rows" | "audit_bodies" => "'audit_order'::regclass".to_owned(),
                name => format!("pg_get_serial_sequence('{name}', 'n')::regclass"),
            };
            // Two tables share one sequence: it only goes forward.
            sql.batch_execute(&format!(
                "SELECT setval({sequence}, greatest((SELECT max(n) FROM {}), nextval({sequence})))",
                table.name
            ))
            .await?;
        }
        append(sql, &row, head).await?;
        Ok(sql.batch_execute(&format!("DROP TABLE {}; COMMIT", marker::TABLE)).await?)
    }

    /// Writes a row that is a closed chain of its own.
    pub(crate) async fn append(&self, row: AuditRow, head: ChainHead) -> Result<(), StoreError> {
        let sql = self.begin().await?;
        append(sql, &row, head).await?;
        Ok(sql.batch_execute("COMMIT").await?)
    }

    /// Lets go of the connections that are not in use; the others end with it.
    pub(crate) fn close(&self) {
        self.connections.let_go();
    }
}

async fn append(sql: &Client, row: &AuditRow, head: ChainHead) -> Result<(), StoreError> {
    partitions::make_in(sql, &[Wanted::at(partitions::Table::AuditRows, row.at)]).await?;
    audit::insert(sql, row, head).await?;
    let text = "UPDATE audit_chains SET closed_at = begun_at WHERE app_id = $1 AND run_id = $2";
    execute(sql, text, params![row.app_id, row.chain]).await?;
    Ok(())
}

/// The mark of a vault, if it is part of a move.
pub(super) async fn marker(sql: &Client) -> Result<Option<Marker>, StoreError> {
    let there = "SELECT 1 WHERE to_regclass($1) IS NOT NULL";
    if rows(sql, there, params![marker::TABLE]).await?.is_empty() {
        return Ok(None);
    }
    let text = format!("SELECT id, role, peer, at FROM {}", marker::TABLE);
    let found = rows(sql, &text, &[]).await?;
    let Some(row) = found.first() else { return Ok(None) };
    let wrong = || StoreError::Corrupt("the mark of a move is unreadable".to_owned());
    Ok(Some(Marker {
        id: get(row, 0)?,
        role: Role::parse(get(row, 1)?).ok_or_else(wrong)?,
        peer: get(row, 2)?,
        at: Timestamp::from_microsecond(get(row, 3)?).map_err(|_| wrong())?,
    }))
}

/// # Errors
///
/// `Conflict` unless the database is the unfinished copy with that id.
async fn require_filling(sql: &Client, id: &str) -> Result<(), StoreError> {
    if marker(sql).await?.is_some_and(|marker| marker.role == Role::Filling && marker.id == id) {
        return Ok(());
    }
    Err(StoreError::Conflict("somebody else ended or replaced this copy meanwhile".to_owned()))
}

async fn require_alone(sql: &Client, describe: &str) -> Result<(), StoreError> {
    let text = "SELECT count(*) FROM pg_stat_activity \
         WHERE datname = current_database() AND application_name = 'alter-server'";
    let found = rows(sql, text, &[]).await?;
    let others: i64 = found.first().map(|row| get(row, 0)).transpose()?.unwrap_or(0);
    if others == 0 {
        return Ok(());
    }
    Err(StoreError::Conflict(format!(
        "other processes ({others} connections of alter-server) use the {describe}: stop what serves it, wait until it has \
         ended, and run this again"
    )))
}

async fn found(sql: &Client) -> Result<(Found, BTreeMap<&'static str, Vec<Type>>), StoreError> {
    let text = "SELECT c.relname::text, a.attname::text, a.atttypid::bigint FROM pg_class c \
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
         WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition";
    let mut found = Found::new();
    let mut kinds: BTreeMap<(String, String), Type> = BTreeMap::new();
    for row in &rows(sql, text, &[]).await? {
        let (table, column): (String, String) = (get(row, 0)?, get(row, 1)?);
        let kind = u32::try_from(get::<i64>(row, 2)?).ok().and_then(Type::from_oid);
        if let Some(kind) = kind {
            kinds.insert((table.clone(), column.clone()), kind);
        }
        found.entry(table).or_default().push(column);
    }
    let mut types = BTreeMap::new();
    for table in TABLES {
        let extra = table.instant_of.map(|(name, _)| name);
        let columns = table.columns.iter().map(|column| column.name).chain(extra);
        let of_table: Option<Vec<Type>> =
            columns.map(|column| kinds.get(&(table.name.to_owned(), column.to_owned())).cloned()).collect();
        types.insert(table.name, of_table.unwrap_or_default());
    }
    Ok((found, types))
}

/// PostgreSQL's texts cannot hold a NUL character, and what is hashed or sealed cannot be changed on the way.
fn without_nul(table: &Table, rows: &[Row]) -> Result<(), StoreError> {
    for row in rows {
        for (value, column) in row.iter().zip(table.columns) {
            if let Value::Text(text) = value
                && text.contains('\0')
            {
                return Err(StoreError::Invalid(format!(
                    "a row of {} has a NUL character in {}, which PostgreSQL cannot keep: change it at the source",
                    table.name, column.name
                )));
            }
        }
    }
    Ok(())
}

/// Microseconds that an id of version 7 tells, to the millisecond.
fn instant_of(id: &Value) -> Option<i64> {
    let Value::Uuid(id) = id else { return None };
    let (seconds, nanos) = uuid::Uuid::from_bytes(*id).get_timestamp()?.to_unix();
    i64::try_from(seconds).ok()?.checked_mul(1_000_000)?.checked_add(i64::from(nanos / 1000))
}

const fn key_type(kind: Kind) -> Type {
    match kind {
        Kind::Uuid => Type::UUID,
        Kind::Bytes => Type::BYTEA,
        Kind::Int => Type::INT8,
        Kind::Text => Type::TEXT,
        Kind::Bool => Type::BOOL,
    }
}

impl ToSql for Value {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Fault> {
        match self {
            Self::Null => return Ok(IsNull::Yes),
            Self::Bool(value) => return value.to_sql(kind, out),
            Self::Int(value) if *kind == Type::INT2 => return i16::try_from(*value)?.to_sql(kind, out),
            Self::Int(value) if *kind == Type::INT4 => return i32::try_from(*value)?.to_sql(kind, out),
            Self::Int(value) => return value.to_sql(kind, out),
            Self::Uuid(value) => out.extend_from_slice(value),
            Self::Text(value) => out.extend_from_slice(value.as_bytes()),
            Self::Bytes(value) => out.extend_from_slice(value),
        }
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        [Type::UUID, Type::BYTEA, Type::INT8, Type::INT4, Type::INT2, Type::TEXT, Type::BOOL].contains(kind)
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Value {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Fault> {
        Ok(match *kind {
            Type::UUID => Self::Uuid(raw.try_into()?),
            Type::BYTEA => Self::Bytes(raw.to_vec()),
            Type::INT8 => Self::Int(i64::from_sql(kind, raw)?),
            Type::INT4 => Self::Int(i32::from_sql(kind, raw)?.into()),
            Type::INT2 => Self::Int(i16::from_sql(kind, raw)?.into()),
            Type::BOOL => Self::Bool(bool::from_sql(kind, raw)?),
            _ => Self::Text(String::from_sql(kind, raw)?),
        })
    }

    fn from_sql_null(_: &Type) -> Result<Self, Fault> {
        Ok(Self::Null)
    }

    fn accepts(kind: &Type) -> bool {
        <Self as ToSql>::accepts(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::postgres::cluster::Database;

    #[tokio::test]
    async fn every_table_and_column_is_described() {
        let database = Database::create().await;
        // Opening compares them.
        let rows = PostgresRows::open(&database.url(), true).await.unwrap();
        for table in TABLES {
            let kinds = table.columns.iter().map(|column| column.kind).zip(&rows.types[table.name]);
            for (kind, real) in kinds {
                let ints = [Type::INT8, Type::INT4, Type::INT2];
                assert!(
                    *real == key_type(kind) || kind == Kind::Int && ints.contains(real),
                    "{}",
                    table.name
                );
            }
        }
    }

    #[tokio::test]
    async fn a_fenced_vault_takes_no_change_of_any_kind() {
        let database = Database::create().await;
        let rows = PostgresRows::open(&database.url(), true).await.unwrap();
        let other = database.sql().await;
        let app =
            "INSERT INTO apps VALUES ('00000000-0000-0000-0000-000000000001', 'a', 0, 1, NULL, NULL, 0)";
        other.batch_execute(app).await.unwrap();
        let marker = Marker {
            id: "m".to_owned(),
            role: Role::Moving,
            peer: "p".to_owned(),
            at: Timestamp::UNIX_EPOCH,
        };
        rows.mark(marker.clone()).await.unwrap();
        for change in [
            app,
            "UPDATE apps SET name = 'c'",
            "DELETE FROM apps",
            "TRUNCATE nonces",
            "DELETE FROM connect_sessions",
            "DELETE FROM audit_rows",
            "INSERT INTO refreshes (app_id, grant_id, fence) VALUES (gen_random_uuid(), gen_random_uuid(), 1)",
        ] {
            let error = other.batch_execute(change).await.unwrap_err();
            let text = error.as_db_error().map(|error| error.message().to_owned()).unwrap_or_default();
            assert!(text.contains("takes no more changes"), "{change}: {error}");
        }
        assert_eq!(rows.marker().await.unwrap(), Some(marker));
        rows.unmark().await.unwrap();
        other.batch_execute("UPDATE apps SET name = 'c'").await.unwrap();
        assert_eq!(rows.marker().await.unwrap(), None);
    }
}

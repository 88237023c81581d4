//! Partitions: made ahead, made when missing, dropped when old.

use std::time::Duration;

use jiff::Timestamp;
use tokio_postgres::{Client, error::SqlState};

use super::{
    columns::{execute, get, params, rows, state},
    connect::{Connections, Mode},
};
use crate::store::StoreError;

/// Seconds that a used nonce is kept: the window on both sides (2 × 300) and as much again for clocks that differ.
pub const NONCE_SECONDS: i64 = 1200;
/// Seconds between looks at the partitions.
pub(super) const LOOK_EVERY: i64 = 600;

/// Tables that are partitioned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    Nonces,
    AuditRows,
    AuditBodies,
}

impl Table {
    const ALL: [Self; 3] = [Self::Nonces, Self::AuditRows, Self::AuditBodies];

    const fn name(self) -> &'static str {
        match self {
            Self::Nonces => "nonces",
            Self::AuditRows => "audit_rows",
            Self::AuditBodies => "audit_bodies",
        }
    }

    /// The table with that name, and the column that decides about a row's partition.
    pub(super) fn partitioned(name: &str) -> Option<(Self, &'static str)> {
        let column = |table| if table == Self::Nonces { "timestamp" } else { "at" };
        Self::ALL.into_iter().find(|table| table.name() == name).map(|table| (table, column(table)))
    }

    /// Length of a partition, seconds.
    const fn seconds(self) -> i64 {
        match self {
            Self::Nonces => 3_600,
            Self::AuditRows | Self::AuditBodies => 86_400,
        }
    }

    /// The table's unit per second.
    const fn per_second(self) -> i64 {
        match self {
            Self::Nonces => 1,
            Self::AuditRows | Self::AuditBodies => 1_000_000,
        }
    }
}

/// A moment for which a table needs a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted(pub(super) Table, pub(super) i64);

impl Wanted {
    pub(super) fn at(table: Table, at: Timestamp) -> Self {
        Self(table, at.as_second())
    }

    /// At a moment in the table's own unit.
    pub(super) fn of(table: Table, moment: i64) -> Self {
        Self(table, moment.div_euclid(table.per_second()))
    }

    fn start(self) -> i64 {
        self.1.div_euclid(self.0.seconds()) * self.0.seconds()
    }
}

/// One for each partition.
pub(super) fn distinct(wanted: impl Iterator<Item = Wanted>) -> Vec<Wanted> {
    let mut all: Vec<Wanted> = Vec::new();
    for wanted in wanted {
        let same = |known: &Wanted| known.0 == wanted.0 && known.start() == wanted.start();
        // Rows come in order: the last one is the likeliest.
        if !all.iter().rev().any(same) {
            all.push(wanted);
        }
    }
    all
}

/// Whether a row found no partition to go to.
pub(super) fn missing(error: &StoreError) -> bool {
    // The same state as a check that failed, of which there is none in these tables.
    state(error) == Some(&SqlState::CHECK_VIOLATION)
}

/// Makes what is missing for `wanted`.
pub(super) async fn make(connections: &Connections, wanted: &[Wanted]) -> Result<(), StoreError> {
    let connection = connections.take().await?;
    let sql = connection.sql()?;
    begin(sql).await?;
    make_in(sql, wanted).await?;
    sql.batch_execute("COMMIT").await?;
    connection.give_back();
    Ok(())
}

/// Makes what will be needed soon, and drops the nonces that no clock accepts any more.
pub(super) async fn look_after(connections: &Connections, now: Timestamp) -> Result<(), StoreError> {
    let connection = connections.take().await?;
    let sql = connection.sql()?;
    begin(sql).await?;
    let ahead = Table::ALL
        .into_iter()
        .flat_map(|table| [0, 1].map(|later| Wanted(table, now.as_second() + later * table.seconds())));
    let wanted: Vec<_> = ahead.chain([Wanted(Table::Nonces, now.as_second() - 300)]).collect();
    make_in(sql, &wanted).await?;
    let found = rows(
        sql,
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
         WHERE i.inhparent = 'nonces'::regclass",
        &[],
    )
    .await?;
    for row in &found {
        let name: &str = get(row, 0)?;
        let start: Option<i64> = name.strip_prefix("nonces_").and_then(|start| start.parse().ok());
        if let Some(start) = start
            && start + Table::Nonces.seconds() + NONCE_SECONDS < now.as_second()
        {
            sql.batch_execute(&format!("DROP TABLE nonces_{start}")).await?;
        }
    }
    sql.batch_execute("COMMIT").await?;
    connection.give_back();
    Ok(())
}

/// How long a partition may take to be looked through, milliseconds. Nobody waits for it.
const LOOK_MS: u32 = 600_000;
/// How long taking a partition off may wait for transactions that may still use it.
const DETACH: Duration = Duration::from_secs(60);

/// Drops the partitions of the trail that end before `before` (microseconds) and hold nothing but rows that retention has cut;
/// answers how many days went. Appending goes on meanwhile: a partition is taken off without locking the table (`DETACH …
/// CONCURRENTLY`), looked through once more, and then dropped by itself. May be interrupted anywhere and repeated.
pub(super) async fn drop_cut(connections: &Connections, before: i64) -> Result<u64, StoreError> {
    let mut dropped = 0;
    let table = Table::AuditRows;
    for part in parts(connections, table).await? {
        if part.end() > before {
            continue;
        }
        if part.attached == Attached::Yes {
            if !is_cut(connections, &part).await? {
                continue;
            }
            take_off(connections, &part).await?;
        } else if part.attached == Attached::Pending {
            take_off(connections, &part).await?;
        }
        // Nobody can write to it any more: what is found now is all there ever will be.
        if is_cut(connections, &part).await? {
            drop_part(connections, &part).await?;
            dropped += 1;
        } else {
            attach(connections, &part).await?;
        }
    }
    // Bodies are kept in the partition of the same day as their row.
    let days: Vec<i64> = parts(connections, table).await?.iter().map(|part| part.start).collect();
    for part in parts(connections, Table::AuditBodies).await? {
        if part.end() <= before && !days.contains(&part.start) {
            take_off(connections, &part).await?;
            drop_part(connections, &part).await?;
        }
    }
    Ok(dropped)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attached {
    Yes,
    /// Taking it off was interrupted.
    Pending,
    No,
}

/// A partition that exists, attached or not.
#[derive(Debug)]
struct Part {
    table: Table,
    start: i64,
    attached: Attached,
}

impl Part {
    fn name(&self) -> String {
        format!("{}_{}", self.table.name(), self.start)
    }

    /// In the table's unit.
    fn end(&self) -> i64 {
        (self.start + self.table.seconds()) * self.table.per_second()
    }
}

async fn parts(connections: &Connections, table: Table) -> Result<Vec<Part>, StoreError> {
    let connection = connections.take().await?;
    let parent = table.name();
    let text = "SELECT c.relname::text, i.inhdetachpending FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid \
         WHERE c.relkind = 'r' AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass($1)) \
         AND c.relname ~ ('^' || $1 || '_-?[0-9]+$')";
    let found = rows(connection.sql()?, text, params![parent]).await?;
    connection.give_back();
    let mut parts = Vec::new();
    for row in &found {
        let start = get::<&str>(row, 0)?.strip_prefix(parent).and_then(|rest| rest.strip_prefix('_'));
        let Some(start) = start.and_then(|start| start.parse().ok()) else { continue };
        let attached = match get::<Option<bool>>(row, 1)? {
            Some(false) => Attached::Yes,
            Some(true) => Attached::Pending,
            None => Attached::No,
        };
        parts.push(Part { table, start, attached });
    }
    parts.sort_by_key(|part| part.start);
    Ok(parts)
}

async fn is_cut(connections: &Connections, part: &Part) -> Result<bool, StoreError> {
    let connection = connections.take().await?;
    let sql = connection.sql()?;
    let limit = format!("SET LOCAL statement_timeout = {LOOK_MS}");
    sql.batch_execute(&format!("{}; {limit}", Mode::Snapshot.begin())).await?;
    let text = format!(
        "SELECT 1 FROM (SELECT app_id, run_id, max(seq) AS last FROM {} GROUP BY app_id, run_id) chain \
         WHERE last > coalesce((SELECT max(c.seq) FROM audit_cuts c \
         WHERE c.app_id = chain.app_id AND c.run_id = chain.run_id), 0) LIMIT 1",
        part.name()
    );
    let left = rows(sql, &text, &[]).await?;
    sql.batch_execute("COMMIT").await?;
    connection.give_back();
    Ok(left.is_empty())
}

async fn take_off(connections: &Connections, part: &Part) -> Result<(), StoreError> {
    let how = match part.attached {
        Attached::Yes => "CONCURRENTLY",
        Attached::Pending => "FINALIZE",
        Attached::No => return Ok(()),
    };
    let connection = connections.take().await?;
    // On its own and outside of a transaction: the server allows it no other way.
    let text = format!("ALTER TABLE {} DETACH PARTITION {} {how}", part.table.name(), part.name());
    let done = tokio::time::timeout(DETACH, connection.sql()?.batch_execute(&text)).await;
    done.map_err(|late| StoreError::Unavailable {
        what: "a partition is still in use: repeat it later, nothing is lost",
        source: Box::new(late),
    })??;
    connection.give_back();
    Ok(())
}

async fn attach(connections: &Connections, part: &Part) -> Result<(), StoreError> {
    let connection = connections.take().await?;
    let (parent, name) = (part.table.name(), part.name());
    let (from, to) = (part.start * part.table.per_second(), part.end());
    let text = format!("ALTER TABLE {parent} ATTACH PARTITION {name} FOR VALUES FROM ({from}) TO ({to})");
    connection.sql()?.batch_execute(&text).await?;
    connection.give_back();
    Ok(())
}

async fn drop_part(connections: &Connections, part: &Part) -> Result<(), StoreError> {
    let connection = connections.take().await?;
    connection.sql()?.batch_execute(&format!("DROP TABLE IF EXISTS {}", part.name())).await?;
    connection.give_back();
    tracing::info!(partition = part.name(), "dropped a partition whose rows were exported");
    Ok(())
}

/// One replica at a time. Whoever waits for a lock gives up soon rather than making others wait behind it.
async fn begin(sql: &Client) -> Result<(), StoreError> {
    let lock = "SET LOCAL lock_timeout = 2000; SELECT pg_advisory_xact_lock(1634497637, 2)";
    Ok(sql.batch_execute(&format!("{}; {lock}", Mode::Write.begin())).await?)
}

pub(super) async fn make_in(sql: &Client, wanted: &[Wanted]) -> Result<(), StoreError> {
    for wanted in wanted {
        let Wanted(table, _) = *wanted;
        let (start, parent) = (wanted.start(), table.name());
        let name = format!("{parent}_{start}");
        if execute(sql, "SELECT 1 WHERE to_regclass($1) IS NOT NULL", params![name]).await? == 1 {
            continue;
        }
        let (from, to) = (start * table.per_second(), (start + table.seconds()) * table.per_second());
        // Attached afterwards: that goes on beside reads and writes, where making it as a partition would not.
        sql.batch_execute(&format!(
            "CREATE TABLE {name} (LIKE {parent} INCLUDING ALL); \
             ALTER TABLE {parent} ATTACH PARTITION {name} FOR VALUES FROM ({from}) TO ({to})"
        ))
        .await?;
        tracing::debug!(partition = name, "made a partition");
    }
    Ok(())
}

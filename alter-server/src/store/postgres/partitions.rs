//! Partitions: made ahead, made when missing, dropped when old.

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

    fn start(self) -> i64 {
        self.1.div_euclid(self.0.seconds()) * self.0.seconds()
    }
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

/// One replica at a time. Whoever waits for a lock gives up soon rather than making others wait behind it.
async fn begin(sql: &Client) -> Result<(), StoreError> {
    let lock = "SET LOCAL lock_timeout = 2000; SELECT pg_advisory_xact_lock(1634497637, 2)";
    Ok(sql.batch_execute(&format!("{}; {lock}", Mode::Write.begin())).await?)
}

async fn make_in(sql: &Client, wanted: &[Wanted]) -> Result<(), StoreError> {
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

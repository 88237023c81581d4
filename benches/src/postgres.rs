//! A private PostgreSQL to measure on: durable, with the memory that a small server would give it.

use std::{fs, sync::Arc};

use alter_test_postgres::{Cluster, Database};
use tokio_postgres::Client;

use crate::Outcome;

/// `fsync` and `synchronous_commit` stay on. Checkpoints come by time, not in the middle of each round.
const SETTINGS: &str = "-c shared_buffers=1GB -c max_wal_size=3GB -c checkpoint_timeout=15min -c work_mem=32MB \
     -c maintenance_work_mem=512MB";
/// The kernel's unit of processor time in `/proc/PID/stat`.
const TICK_US: f64 = 10_000.0;

/// A running server.
pub(crate) struct Server(pub(crate) Arc<Cluster>);

impl Server {
    pub(crate) fn start() -> Self {
        Self(Arc::new(Cluster::with_settings(SETTINGS)))
    }

    /// A new database.
    pub(crate) async fn database(&self) -> Database {
        Database::create_in(Arc::clone(&self.0)).await
    }

    /// Processor time of all its processes so far, those that ended included, in microseconds.
    pub(crate) fn cpu(&self) -> f64 {
        let own = self.0.pid();
        let mut ticks = 0;
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let Some(fields) = stat(pid) else { continue };
            if pid == own {
                ticks += fields[11] + fields[12] + fields[13] + fields[14];
            } else if fields[1] == u64::from(own) {
                ticks += fields[11] + fields[12];
            }
        }
        ticks as f64 * TICK_US
    }
}

/// Processor time of the children of this process that ended, in microseconds.
pub(crate) fn children_cpu() -> f64 {
    stat(std::process::id()).map_or(0.0, |fields| (fields[13] + fields[14]) as f64 * TICK_US)
}

/// The fields of `/proc/PID/stat` after the name; what is no number counts as 0.
fn stat(pid: u32) -> Option<Vec<u64>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<u64> = rest.split(' ').map(|field| field.trim().parse().unwrap_or(0)).collect();
    (fields.len() > 14).then_some(fields)
}

/// How much log the server has written, in bytes.
pub(crate) async fn written(sql: &Client) -> Outcome<f64> {
    let row = sql.query_one("SELECT (pg_current_wal_insert_lsn() - '0/0')::float8", &[]).await?;
    Ok(row.get(0))
}

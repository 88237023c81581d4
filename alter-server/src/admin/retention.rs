//! Retention of the audit trail: export, sign the cut, remove.
//!
//! The order is what makes an interruption harmless. A file with the old rows reaches the disk first. Then one unit of work signs
//! the cuts that name the file: from that moment on the rows are in the file and no longer in the trail. What is left is removing
//! them, which may be done at any time and again. Whoever stops in between leaves rows in the store that are in a file as well,
//! never rows that are nowhere.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{Admin, AdminError, invalid};
use crate::{
    audit::{AuditRow, ChainHead, ExportFolder, ExportLine, ExportWriter, Exported},
    domain::{AppId, Operator, RunId},
    seal::Sealed,
    store::{CutCommand, CutEnd, ExportPage, SIGN_STEP, Store, Swept},
};

/// Rows that are read at once.
const PAGE: u32 = 1000;
/// Rows that are younger stay: units of work that write them may still be going on.
const YOUNGEST: SignedDuration = SignedDuration::from_hours(1);

/// What [`Admin::prune_audit`] did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// Rows from before this instant went, UTC.
    pub before: Timestamp,
    /// Rows that are no longer part of the trail.
    pub rows: u64,
    /// Where they are now.
    pub files: Vec<ExportedFile>,
    /// Chains that were left alone because something is wrong with them.
    pub unpruned: Vec<UnprunedChain>,
    /// What was removed from the store, from earlier interrupted runs included.
    pub swept: Swept,
}

/// A file with removed rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExportedFile {
    /// The app.
    pub app_id: AppId,
    /// The file.
    pub file: PathBuf,
    /// Rows in it.
    pub rows: u64,
    /// Chains that it holds a part of.
    pub chains: u64,
    /// Its SHA-256, in hexadecimal; the signed cuts name it.
    pub sha256: String,
}

/// A chain that was left alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnprunedChain {
    /// The app.
    pub app_id: AppId,
    /// The chain.
    pub chain: RunId,
    /// Where it shows.
    pub seq: u64,
    /// What is wrong.
    pub what: &'static str,
}

/// Runs file work off the async threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|gone| Err(io::Error::other(gone)))
}

/// One chain on the way to its cut.
#[derive(Debug)]
struct Walk {
    from: u64,
    at: ChainHead,
    /// The recorded end: there is nothing after it.
    last: u64,
    open: bool,
    sound: bool,
}

/// The chains of one app.
#[derive(Debug, Default)]
struct Walks {
    chains: BTreeMap<RunId, Walk>,
    open: usize,
    faults: Vec<UnprunedChain>,
    scratch: Vec<u8>,
}

impl Walks {
    /// Whether the row goes. A row goes only together with all before it in its chain.
    fn takes(&mut self, row: &AuditRow, before: Timestamp) -> bool {
        let Some(walk) = self.chains.get_mut(&row.chain).filter(|walk| walk.open) else { return false };
        if row.seq <= walk.from {
            return false;
        }
        let what = if row.at >= before {
            None
        } else if row.seq != walk.at.seq + 1 {
            Some("a row is missing")
        } else if row.prev_hash != walk.at.hash || row.computed_hash(&mut self.scratch) != row.hash {
            Some("a row was changed")
        } else {
            walk.at = ChainHead { seq: row.seq, hash: row.hash };
            if row.seq >= walk.last {
                walk.open = false;
                self.open -= 1;
            }
            return true;
        };
        walk.open = false;
        self.open -= 1;
        if let Some(what) = what {
            walk.sound = false;
            self.faults.push(UnprunedChain {
                app_id: row.app_id,
                chain: row.chain,
                seq: walk.at.seq + 1,
                what,
            });
        }
        false
    }

    fn ends(&self) -> Vec<CutEnd> {
        let moved = self.chains.iter().filter(|(_, walk)| walk.sound && walk.at.seq > walk.from);
        moved.map(|(chain, walk)| CutEnd { chain: *chain, from: walk.from, to: walk.at }).collect()
    }
}

impl Admin {
    /// Removes the rows of the audit trail from before `before`, after they were written to a file in `folder` (made with mode
    /// 0700 if missing) for each app. Rows leave only from the front of their chain, so one with an odd time keeps those after
    /// it. A chain with a fault is left alone.
    ///
    /// May be interrupted at any point and repeated. Calls are served meanwhile.
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`] when `before` is less than an hour ago or the folder cannot be used, [`AdminError::Conflict`] when
    /// somebody else prunes at the same time, else those of the store.
    pub async fn prune_audit(&self, before: Timestamp, folder: &Path) -> Result<Pruned, AdminError> {
        Pruner { store: self.store(), by: self.by() }.prune(before, folder).await
    }
}

/// Who prunes what.
pub(crate) struct Pruner<'a> {
    pub(crate) store: &'a dyn Store,
    pub(crate) by: Operator,
}

impl Pruner<'_> {
    pub(crate) async fn prune(&self, before: Timestamp, folder: &Path) -> Result<Pruned, AdminError> {
        if before > self.by.at - YOUNGEST {
            return Err(invalid("rows of the last hour stay: name an earlier instant"));
        }
        let before = Timestamp::from_microsecond(before.as_microsecond()).unwrap_or(before);
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::WouldBlock => {
                AdminError::Conflict(format!("another process exports to {}", folder.display()))
            }
            _ => invalid(format!("cannot export to {}: {error}", folder.display())),
        };
        let held = folder.to_owned();
        let held = blocking(move || ExportFolder::hold(&held)).await.map_err(failed)?;
        for leftover in held.leftovers().map_err(failed)? {
            let named = !self.store.cuts_naming(leftover.sha256).await?.is_empty();
            if named { leftover.publish().map(|_| ()) } else { leftover.discard() }.map_err(failed)?;
        }
        let mut pruned = Pruned {
            before,
            rows: 0,
            files: Vec::new(),
            unpruned: Vec::new(),
            swept: self.store.sweep().await?,
        };
        let mut apps: BTreeMap<AppId, Walks> = BTreeMap::new();
        for state in self.store.uncut_chains().await? {
            if state.begun_at < before {
                let walks = apps.entry(state.end.app_id).or_default();
                let (from, last) = (state.cut.seq, state.end.head.seq);
                let walk = Walk { from, at: state.cut, last, open: true, sound: true };
                walks.chains.insert(state.end.chain, walk);
                walks.open += 1;
            }
        }
        for (app_id, walks) in apps {
            self.prune_app(&held, app_id, walks, &mut pruned).await.map_err(|error| match error {
                Failed::File(error) => failed(error),
                Failed::Store(error) => error,
            })?;
        }
        let Swept { rows, partitions } = self.store.sweep().await?;
        pruned.swept.rows += rows;
        pruned.swept.partitions += partitions;
        Ok(pruned)
    }

    async fn prune_app(
        &self,
        folder: &ExportFolder,
        app_id: AppId,
        mut walks: Walks,
        pruned: &mut Pruned,
    ) -> Result<(), Failed> {
        let (mut after, mut up_to, mut writer) = (0, 0, None);
        while walks.open > 0 {
            let ExportPage { rows, more } = self.store.export_page(app_id, after, PAGE).await?;
            let mut lines = Vec::new();
            for (place, row, bodies) in rows {
                after = place;
                if walks.takes(&row, pruned.before) {
                    up_to = place;
                    lines.push((row, bodies));
                }
            }
            if !lines.is_empty() {
                let open = match writer.take() {
                    Some(open) => open,
                    None => folder.begin(app_id, pruned.before)?,
                };
                writer = Some(blocking(move || write(open, lines)).await?);
            }
            if !more {
                break;
            }
        }
        pruned.unpruned.append(&mut walks.faults);
        let Some(writer) = writer else { return Ok(()) };
        let exported = blocking(move || writer.finish()).await?;
        let (rows, sha256, ends) = (exported.rows, exported.sha256, walks.ends());
        if ends.is_empty() {
            return Ok(exported.discard()?);
        }
        for ends in ends.chunks(SIGN_STEP) {
            let ends = ends.to_vec();
            pruned.rows += ends.iter().map(|end| end.to.seq - end.from).sum::<u64>();
            let command = CutCommand { app_id, before: pruned.before, up_to, ends, export: sha256 };
            self.store.cut(self.by.clone(), command).await?;
        }
        let file = blocking(move || Exported::publish(exported)).await?;
        let (chains, sha256) = (ends.len() as u64, hex::encode(sha256));
        pruned.files.push(ExportedFile { app_id, file, rows, chains, sha256 });
        Ok(())
    }
}

fn write(mut writer: ExportWriter, rows: Vec<(AuditRow, Option<Sealed>)>) -> io::Result<ExportWriter> {
    for (row, bodies) in rows {
        writer.push(&ExportLine::new(row, bodies.as_ref()))?;
    }
    Ok(writer)
}

/// Why an app was not pruned.
enum Failed {
    File(io::Error),
    Store(AdminError),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

impl From<crate::store::StoreError> for Failed {
    fn from(error: crate::store::StoreError) -> Self {
        Self::Store(error.into())
    }
}

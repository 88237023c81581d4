//! Moving a vault from one place to another.

use std::time::Instant;

use jiff::Timestamp;

use super::{
    At, Depth, Place, Report, SOURCE, TARGET, TableReport, TransferError,
    compare::{self, Compared},
    keys,
    marker::{Marker, Role},
    side::{self, Chained, Side},
    tables::{TABLES, Table},
    value::{Row, Value},
};
use crate::{audit::Action, domain::Operator, seal::Envelope};

/// Moves the vault at `from` to `to`, which must be empty or what an interrupted run of the same move left. Both must be closed;
/// afterwards only `to` can be opened. `keys` must hold every key-encryption key that the vault needs.
///
/// May be interrupted at any point and run again. The steps: see [`crate::transfer`].
///
/// # Errors
///
/// [`TransferError`]. Until the answer is `Ok`, the target cannot be opened; the source can, with [`reopen`].
pub async fn migrate(
    from: &Place,
    to: &Place,
    keys: &Envelope,
    by: &Operator,
    depth: Depth,
) -> Result<Report, TransferError> {
    side::require_vault(from)?;
    let source = Side::open(from, true).await.at(SOURCE)?;
    if source.last_key(&TABLES[0]).await.at(SOURCE)?.is_none() {
        return Err(TransferError::Missing(format!(
            "there is no vault at the {}: it has no apps",
            source.describe()
        )));
    }
    let target = Side::open(to, true).await.at(TARGET)?;
    let begun = source.marker().await.at(SOURCE)?;
    let there = target.marker().await.at(TARGET)?;
    let resumed = there.is_some();
    let id = agree(begun.as_ref(), there.as_ref(), &target).await?;

    source.begin_snapshot().await.at(SOURCE)?;
    let names = keys::check(&source, keys).await?;
    source.end_snapshot().await.at(SOURCE)?;

    let mark = |role, peer: &Side| Marker { id: id.clone(), role, peer: peer.describe(), at: by.at };
    if begun.is_none() {
        source.mark(mark(Role::Moving, &target)).await.at(SOURCE)?;
    }
    if there.is_none() {
        target.mark(mark(Role::Filling, &source)).await.at(TARGET)?;
    }
    tracing::info!(from = source.describe(), to = target.describe(), resumed, "moving the vault");

    // After the fence, so nothing is missing from this view.
    let started = Instant::now();
    source.begin_snapshot().await.at(SOURCE)?;
    let mut copied = Vec::with_capacity(TABLES.len());
    for table in TABLES {
        let rows = copy(&source, &target, table, &id).await?;
        tracing::info!(table = table.name, rows, "copied");
        copied.push(rows);
    }
    let copy_seconds = started.elapsed().as_secs_f64();

    let started = Instant::now();
    let Compared { tables, opened } = compare::sides(&source, &target, keys, depth).await?;
    source.end_snapshot().await.at(SOURCE)?;
    let chains = compare::chains(to, keys).await?;
    let verify_seconds = started.elapsed().as_secs_f64();

    let tables: Vec<TableReport> =
        tables.into_iter().zip(copied).map(|(table, copied)| TableReport { copied, ..table }).collect();
    source.mark(mark(Role::Moved, &target)).await.at(SOURCE)?;
    let detail = detail("from", &source.describe(), &id, &tables);
    let row = Chained::of_operator(by, Action::VaultMigrated, by.at, detail);
    target.finish(&id, row).await.at(TARGET)?;
    let (from, to) = (source.describe(), target.describe());
    source.close().await.at(SOURCE)?;
    target.close().await.at(TARGET)?;
    Ok(Report {
        id,
        from,
        to,
        resumed,
        tables,
        chains: chains.chains.len() as u64,
        audit_rows: chains.rows(),
        opened,
        keys: names.names(),
        copy_seconds,
        verify_seconds,
    })
}

/// The id of the move that both sides are in, or a new one.
async fn agree(
    source: Option<&Marker>,
    target: Option<&Marker>,
    side: &Side,
) -> Result<String, TransferError> {
    let refused = |text: String| Err(TransferError::Refused(text));
    match (source, target) {
        (Some(source), Some(target)) if source.id == target.id && target.role == Role::Filling => {
            return Ok(source.id.clone());
        }
        (Some(marker @ Marker { role: Role::Moved | Role::Filling, .. }), _) => {
            return refused(format!("the source: {}", marker.refusal()));
        }
        (_, Some(marker)) => return refused(format!("the target: {}", marker.refusal())),
        (Some(_) | None, None) => {}
    }
    if !side.is_empty().await.at(TARGET)? {
        return refused(format!(
            "the target ({}) is not empty: name a place where nothing is, or an interrupted copy of this very vault",
            side.describe()
        ));
    }
    Ok(source.map_or_else(|| uuid::Uuid::new_v4().to_string(), |marker| marker.id.clone()))
}

/// Copies what is not there yet. The next rows are read while the last ones are written.
async fn copy(source: &Side, target: &Side, table: &'static Table, id: &str) -> Result<u64, TransferError> {
    let after = target.last_key(table).await.at(TARGET)?;
    let mut page = source.page(table, after).await.at(SOURCE)?;
    let mut copied = 0;
    while let Some(last) = page.last() {
        let after = key_of(table, last);
        copied += page.len() as u64;
        let (written, next) = tokio::join!(target.write(table, page, id), source.page(table, Some(after)));
        written.at(TARGET)?;
        page = next.at(SOURCE)?;
    }
    Ok(copied)
}

pub(super) fn key_of(table: &Table, row: &Row) -> Vec<Value> {
    table.key_places().map(|place| row[place].clone()).collect()
}

/// What the row in the trail says.
pub(super) fn detail(word: &str, place: &str, id: &str, tables: &[TableReport]) -> String {
    let counts: Vec<_> = tables
        .iter()
        .filter(|table| table.rows > 0)
        .map(|table| format!("{} {}", table.rows, table.name))
        .collect();
    format!("{word} {place}, id {id}: {}", counts.join(", "))
}

/// Opens a vault again that was moved away, or whose move is given up. Only right if the copy will not be used: two vaults that
/// go on from the same tokens spend each other's refresh tokens. Answers where it had been moved.
///
/// # Errors
///
/// [`TransferError::Refused`] if it was not moved, or is the unfinished end of a move.
pub async fn reopen(place: &Place, by: &Operator) -> Result<String, TransferError> {
    side::require_vault(place)?;
    let vault = Side::open(place, true).await.at(SOURCE)?;
    let marker = match vault.marker().await.at(SOURCE)? {
        None => {
            return Err(TransferError::Refused(
                "the vault was not moved: it can be used as it is".to_owned(),
            ));
        }
        Some(marker) if marker.role == Role::Filling => {
            return Err(TransferError::Refused(format!("{}; or remove it", marker.refusal())));
        }
        Some(marker) => marker,
    };
    vault.unmark().await.at(SOURCE)?;
    let detail = format!("it had been moved to {} (id {})", marker.peer, marker.id);
    let at: Timestamp = by.at;
    vault.append(Chained::of_operator(by, Action::VaultReopened, at, detail)).await.at(SOURCE)?;
    vault.close().await.at(SOURCE)?;
    Ok(marker.peer)
}

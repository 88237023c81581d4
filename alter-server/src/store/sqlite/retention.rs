//! Letting go of old rows: what may go, what went, and removing it in small steps.

use rusqlite::{Connection, params};

use super::{
    audit,
    checkpoints::{self, Sort},
    columns::{Micros, count, instant, integer},
    writer::Unit,
};
use crate::{
    audit::{Action, ChainHead, CheckpointKind, Due},
    domain::{AppId, AuditId, Operator},
    store::{ChainEnd, ChainState, CutCommand, ExportPage, StoreError, draft},
};

/// Every chain whose rows are not all cut.
pub(super) fn uncut_chains(sql: &Connection) -> Result<Vec<ChainState>, StoreError> {
    let mut statement = sql.prepare(
        "SELECT c.app_id, c.run_id, c.begun_at, c.head_seq, c.head_hash, cut.seq, cut.hash FROM audit_chains c \
         LEFT JOIN audit_cuts cut ON cut.app_id = c.app_id AND cut.run_id = c.run_id AND cut.number = \
         (SELECT max(number) FROM audit_cuts o WHERE o.app_id = c.app_id AND o.run_id = c.run_id) \
         WHERE c.head_seq > coalesce(cut.seq, 0)",
    )?;
    let found = statement.query_map([], |row| {
        let (app_id, chain) = (row.get(0)?, row.get(1)?);
        let head = ChainHead { seq: count(row, 3)?, hash: row.get(4)? };
        let cut = match row.get::<_, Option<[u8; 32]>>(6)? {
            Some(hash) => ChainHead { seq: count(row, 5)?, hash },
            None => ChainHead::genesis(app_id, chain),
        };
        Ok(ChainState { end: ChainEnd { app_id, chain, head }, begun_at: instant(row, 2)?, cut })
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Rows of an app in the order of writing, with their bodies.
pub(super) fn export_page(
    sql: &Connection,
    app_id: AppId,
    after: u64,
    limit: u32,
) -> Result<ExportPage, StoreError> {
    let mut statement = sql.prepare_cached(audit::EXPORT)?;
    let mut rows = statement.query(params![app_id, integer(after), limit])?;
    let mut page = ExportPage { rows: Vec::new(), more: false };
    while let Some(row) = rows.next()? {
        page.rows.push((count(row, 33)?, audit::read(row)?, row.get(34)?));
    }
    page.more = page.rows.len() == limit as usize;
    Ok(page)
}

/// Cuts chains; see [`crate::store::Trail::cut`].
pub(super) fn cut(unit: &mut Unit<'_>, by: &Operator, command: &CutCommand) -> Result<(), StoreError> {
    let app_id = command.app_id;
    let signer = checkpoints::signer(unit.sql, unit.envelope, by.at)?;
    let mut removed = 0;
    for end in &command.ends {
        let before = checkpoints::newest(unit.sql, Sort::Cuts, app_id, end.chain)?;
        if before.map_or(0, |before| before.seq) != end.from || end.to.seq <= end.from {
            let text = "another prune went on at the same time: nothing of this app was removed by this one";
            return Err(StoreError::Conflict(text.to_owned()));
        }
        let (kind, export) = (CheckpointKind::Cut, Some(command.export));
        let due = Due { app_id, chain: end.chain, kind, head: end.to, at: by.at, export };
        checkpoints::sign_one(unit.sql, &signer, &due)?;
        // The newest one stays, so that the numbers go on.
        unit.sql
            .prepare_cached(
                "DELETE FROM audit_checkpoints WHERE app_id = ?1 AND run_id = ?2 AND seq < ?3 AND number < \
                 (SELECT max(number) FROM audit_checkpoints WHERE app_id = ?1 AND run_id = ?2)",
            )?
            .execute(params![app_id, end.chain, integer(end.to.seq)])?;
        removed += end.to.seq - end.from;
    }
    unit.sql
        .prepare_cached(
            "INSERT INTO audit_sweeps (app_id, up_to, before) VALUES (?1, ?2, ?3) ON CONFLICT (app_id) DO UPDATE \
             SET up_to = max(up_to, excluded.up_to), before = max(before, excluded.before)",
        )?
        .execute(params![app_id, integer(command.up_to), Micros(command.before)])?;
    let mut row = draft::of_operator(by, app_id, Action::AuditPruned);
    row.detail = Some(draft::pruned(command, removed));
    unit.audit(row)
}

/// Rows that are still to be removed: the app, and up to which place in the order of writing.
pub(super) fn sweeps(sql: &Connection) -> Result<Vec<(AppId, i64)>, StoreError> {
    let mut statement = sql.prepare_cached("SELECT app_id, up_to FROM audit_sweeps")?;
    let found = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Some rows that were cut, looked for where nothing waits.
pub(super) fn swept_next(
    sql: &Connection,
    app_id: AppId,
    after: i64,
    up_to: i64,
    limit: u32,
) -> Result<Vec<(i64, AuditId)>, StoreError> {
    let mut statement = sql.prepare_cached(
        "SELECT r.n, r.id FROM audit_rows r WHERE r.app_id = ?1 AND r.n > ?2 AND r.n <= ?3 AND r.seq <= \
         (SELECT max(c.seq) FROM audit_cuts c WHERE c.app_id = r.app_id AND c.run_id = r.run_id) \
         ORDER BY r.n LIMIT ?4",
    )?;
    let found =
        statement.query_map(params![app_id, after, up_to, limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Removes them.
pub(super) fn remove(unit: &Unit<'_>, app_id: AppId, rows: &[(i64, AuditId)]) -> Result<(), StoreError> {
    let mut row = unit.sql.prepare_cached("DELETE FROM audit_rows WHERE n = ?1 AND app_id = ?2")?;
    let mut bodies = unit.sql.prepare_cached("DELETE FROM audit_bodies WHERE app_id = ?1 AND id = ?2")?;
    for (n, id) in rows {
        row.execute(params![n, app_id])?;
        bodies.execute(params![app_id, id])?;
    }
    Ok(())
}

/// Nothing is left of what was to be removed.
pub(super) fn swept(unit: &Unit<'_>, app_id: AppId, up_to: i64) -> Result<(), StoreError> {
    let text = "DELETE FROM audit_sweeps WHERE app_id = ?1 AND up_to = ?2";
    unit.sql.prepare_cached(text)?.execute(params![app_id, up_to])?;
    Ok(())
}

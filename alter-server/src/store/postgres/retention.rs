//! Letting go of old rows: what may go, what went, and removing it beside the work.

use tokio_postgres::Client;

use super::{
    audit,
    checkpoints::{self, Sort},
    columns::{count, execute, get, hash, instant, integer, maybe_row, micros, params, rows},
    lanes::Unit,
};
use crate::{
    audit::{Action, ChainHead, CheckpointKind, Due},
    domain::{AppId, Operator},
    seal::Sealed,
    store::{ChainEnd, ChainState, CutCommand, ExportPage, StoreError, draft},
};

/// Every chain whose rows are not all cut.
pub(super) async fn uncut_chains(sql: &Client) -> Result<Vec<ChainState>, StoreError> {
    let text = "SELECT c.app_id, c.run_id, c.begun_at, c.head_seq, c.head_hash, cut.seq, cut.hash FROM audit_chains c \
         LEFT JOIN (SELECT DISTINCT ON (app_id, run_id) app_id, run_id, seq, hash FROM audit_cuts \
         ORDER BY app_id, run_id, number DESC) cut ON cut.app_id = c.app_id AND cut.run_id = c.run_id \
         WHERE c.head_seq > coalesce(cut.seq, 0)";
    let mut chains = Vec::new();
    for row in &rows(sql, text, &[]).await? {
        let (app_id, chain) = (get(row, 0)?, get(row, 1)?);
        let head = ChainHead { seq: count(row, 3)?, hash: hash(row, 4)? };
        let cut = match get::<Option<i64>>(row, 5)? {
            Some(_) => ChainHead { seq: count(row, 5)?, hash: hash(row, 6)? },
            None => ChainHead::genesis(app_id, chain),
        };
        let end = ChainEnd { app_id, chain, head };
        chains.push(ChainState { end, begun_at: instant(row, 2)?, cut });
    }
    Ok(chains)
}

/// Rows of an app in the order of writing, with their bodies.
pub(super) async fn export_page(
    sql: &Client,
    app_id: AppId,
    after: u64,
    limit: u32,
) -> Result<ExportPage, StoreError> {
    let found = rows(sql, audit::EXPORT, params![app_id, integer(after), i64::from(limit)]).await?;
    let mut page = ExportPage { rows: Vec::new(), more: found.len() == limit as usize };
    for row in &found {
        page.rows.push((count(row, 33)?, audit::read(row)?, get::<Option<Sealed>>(row, 34)?));
    }
    Ok(page)
}

/// Cuts chains; see [`crate::store::Trail::cut`].
pub(super) async fn cut(unit: &mut Unit<'_>, by: &Operator, command: &CutCommand) -> Result<(), StoreError> {
    let app_id = command.app_id;
    let signer = checkpoints::signer(unit.sql, unit.envelope, by.at).await?;
    let mut removed = 0;
    for end in &command.ends {
        let before = checkpoints::newest(unit.sql, Sort::Cuts, app_id, end.chain).await?;
        if before.map_or(0, |before| before.seq) != end.from || end.to.seq <= end.from {
            return Err(cut_by_another());
        }
        let (kind, export) = (CheckpointKind::Cut, Some(command.export));
        let due = Due { app_id, chain: end.chain, kind, head: end.to, at: by.at, export };
        checkpoints::sign_one(unit.sql, &signer, &due)
            .await
            .map_err(|error| super::columns::taken_as(error, cut_by_another))?;
        // The newest one stays, so that the numbers go on.
        let text = "DELETE FROM audit_checkpoints WHERE app_id = $1 AND run_id = $2 AND seq < $3 AND number < \
             (SELECT max(number) FROM audit_checkpoints WHERE app_id = $1 AND run_id = $2)";
        execute(unit.sql, text, params![app_id, end.chain, integer(end.to.seq)]).await?;
        removed += end.to.seq - end.from;
    }
    let text = "INSERT INTO audit_sweeps (app_id, up_to, before) VALUES ($1, $2, $3) ON CONFLICT (app_id) DO UPDATE \
         SET up_to = greatest(audit_sweeps.up_to, excluded.up_to), before = greatest(audit_sweeps.before, excluded.before)";
    execute(unit.sql, text, params![app_id, integer(command.up_to), micros(command.before)]).await?;
    let mut row = draft::of_operator(by, app_id, Action::AuditPruned);
    row.detail = Some(draft::pruned(command, removed));
    unit.audit(row);
    Ok(())
}

fn cut_by_another() -> StoreError {
    let text = "another prune went on at the same time: nothing of this app was removed by this one";
    StoreError::Conflict(text.to_owned())
}

/// Rows that are still to be removed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sweep {
    pub(super) app_id: AppId,
    /// Their last place in the order of writing.
    pub(super) up_to: i64,
    /// Microseconds; all of them were written before.
    pub(super) before: i64,
}

/// What is still to be removed.
pub(super) async fn sweeps(sql: &Client) -> Result<Vec<Sweep>, StoreError> {
    let found = rows(sql, "SELECT app_id, up_to, before FROM audit_sweeps", &[]).await?;
    let read = |row| Ok(Sweep { app_id: get(row, 0)?, up_to: get(row, 1)?, before: get(row, 2)? });
    found.iter().map(read).collect()
}

/// Removes up to `limit` rows that were cut and come after a place in the order of writing. Answers how many, and the place of
/// the last one.
pub(super) async fn remove(
    sql: &Client,
    sweep: Sweep,
    after: i64,
    limit: u32,
) -> Result<(u64, i64), StoreError> {
    let text = "WITH old AS (SELECT r.app_id, r.run_id, r.seq, r.at FROM audit_rows r \
         WHERE r.app_id = $1 AND r.n > $2 AND r.n <= $3 AND r.at < $4 AND r.seq <= \
         (SELECT max(c.seq) FROM audit_cuts c WHERE c.app_id = r.app_id AND c.run_id = r.run_id) ORDER BY r.n LIMIT $5), \
         gone AS (DELETE FROM audit_rows r USING old WHERE r.app_id = old.app_id AND r.run_id = old.run_id \
         AND r.seq = old.seq AND r.at = old.at AND r.at < $4 RETURNING r.n, r.app_id, r.id, r.at, r.bodies_digest), \
         bodies AS (DELETE FROM audit_bodies b USING gone WHERE gone.bodies_digest IS NOT NULL \
         AND b.app_id = gone.app_id AND b.id = gone.id AND b.at > gone.at - 1000 AND b.at <= gone.at AND b.at < $4) \
         SELECT count(*), coalesce(max(n), $2) FROM gone";
    let limit = i64::from(limit);
    let parameters = params![sweep.app_id, after, sweep.up_to, sweep.before, limit];
    let Some(row) = maybe_row(sql, text, parameters).await? else { return Ok((0, after)) };
    Ok((count(&row, 0)?, get(&row, 1)?))
}

/// Nothing is left of what was to be removed.
pub(super) async fn swept(sql: &Client, sweep: Sweep) -> Result<(), StoreError> {
    let text = "DELETE FROM audit_sweeps WHERE app_id = $1 AND up_to = $2";
    execute(sql, text, params![sweep.app_id, sweep.up_to]).await.map(|_| ())
}

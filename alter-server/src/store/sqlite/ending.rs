//! How a grant ends, whoever ends it: with its children, its tokens on their way to the provider, and everybody told.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::{
    columns::{Micros, count, integer},
    events, grants, providers,
    writer::Unit,
};
use crate::{
    audit::AuditRow,
    domain::{AppId, GrantEvent, GrantFacts, GrantId, GrantKind, GrantStatus, JobId},
    seal::Sealed,
    store::{
        StoreError, draft,
        event::Change,
        lease::{self, Orphans},
    },
};

/// Ends an active grant and those that hang on it; answers all of them, the grant itself first. `row` is that of the revocation.
pub(super) fn end(
    unit: &mut Unit<'_>,
    mut row: AuditRow,
    facts: &GrantFacts,
    by: &str,
) -> Result<Vec<GrantId>, StoreError> {
    let app_id = row.app_id;
    draft::describe(&mut row, facts);
    one(unit, &row, facts, by)?;
    let mut ended = vec![facts.id];
    let mut at = 0;
    while let Some(parent) = ended.get(at).copied() {
        // A grant has ended before its children are looked for, so that no circle goes round.
        for child in children(unit, app_id, parent)? {
            let Some((facts, _)) = grants::facts_by_id(unit.sql, app_id, child)? else { continue };
            let child_row = draft::of_child(&row, parent, &facts);
            one(unit, &child_row, &facts, by)?;
            unit.audit(child_row)?;
            ended.push(child);
        }
        at += 1;
    }
    unit.audit(row)?;
    Ok(ended)
}

fn children(unit: &Unit<'_>, app_id: AppId, parent: GrantId) -> Result<Vec<GrantId>, StoreError> {
    let mut statement = unit
        .sql
        .prepare_cached("SELECT id FROM grants WHERE app_id = ?1 AND parent_grant_id = ?2 AND status = 0")?;
    let children = statement.query_map(params![app_id, parent], |row| row.get(0))?;
    Ok(children.collect::<Result<_, _>>()?)
}

fn one(unit: &mut Unit<'_>, row: &AuditRow, facts: &GrantFacts, by: &str) -> Result<(), StoreError> {
    let app_id = row.app_id;
    if facts.kind == GrantKind::OAuth {
        move_tokens(unit, app_id, facts, row.at)?;
    }
    unit.sql
        .prepare_cached(
            "UPDATE grants SET status = ?3, revoked_at = ?4, revoked_by = ?5, access_token = NULL, refresh_token = NULL \
             WHERE app_id = ?1 AND id = ?2",
        )?
        .execute(params![app_id, facts.id, GrantStatus::Revoked, Micros(row.at), by])?;
    let change = Change::new(app_id, GrantEvent::Revoked, facts, row.at);
    events::tell(unit, &Change { reason: row.reason.as_deref(), by: Some(by), ..change })
}

/// Puts the tokens, sealed as they are, where somebody will tell the provider that they are to die.
fn move_tokens(unit: &Unit<'_>, app_id: AppId, facts: &GrantFacts, at: Timestamp) -> Result<(), StoreError> {
    let (generation, access, refresh): (u64, Option<Sealed>, Option<Sealed>) = unit
        .sql
        .prepare_cached(
            "SELECT generation, access_token, refresh_token FROM grants WHERE app_id = ?1 AND id = ?2",
        )?
        .query_row(params![app_id, facts.id], |row| Ok((count(row, 0)?, row.get(1)?, row.get(2)?)))?;
    if access.is_none() && refresh.is_none() {
        return Ok(());
    }
    hand_over(unit, app_id, facts, (generation, access, refresh), at)
}

/// The same for fresh tokens that came when the grant had ended.
pub(super) fn hand_over_orphans(
    unit: &Unit<'_>,
    app_id: AppId,
    facts: &GrantFacts,
    orphans: &Orphans,
    at: Timestamp,
) -> Result<(), StoreError> {
    let Orphans { generation, access, refresh } = orphans;
    hand_over(unit, app_id, facts, (*generation, Some(access.clone()), refresh.clone()), at)
}

fn hand_over(
    unit: &Unit<'_>,
    app_id: AppId,
    facts: &GrantFacts,
    (generation, access, refresh): (u64, Option<Sealed>, Option<Sealed>),
    at: Timestamp,
) -> Result<(), StoreError> {
    let provider = providers::load(unit.sql, app_id, &facts.provider)?;
    let told = provider.and_then(|provider| provider.oauth).is_some_and(|oauth| oauth.revoke_url.is_some());
    if !told {
        return Ok(());
    }
    unit.sql
        .prepare_cached(
            "INSERT INTO outbox (app_id, id, kind, state, grant_id, provider_id, attempts, not_before, created_at, \
             generation, access_token, refresh_token) VALUES (?1, ?2, 0, 0, ?3, ?4, 0, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            app_id,
            JobId::random(),
            facts.id,
            facts.provider,
            lease::wall_clock(),
            Micros(at),
            integer(generation),
            access,
            refresh
        ])?;
    Ok(())
}

/// Takes away all that a revoked grant says of its account; its id stays, so that it is answered with 410.
pub(super) fn forget(sql: &Connection, app_id: AppId, id: GrantId) -> Result<(), StoreError> {
    sql.prepare_cached(
        "UPDATE grants SET status = ?3, account_identifier = NULL, account_display_name = NULL, account_id = NULL, \
         label = NULL, scopes = '', reconnect_reason = NULL, provider_revocation = NULL \
         WHERE app_id = ?1 AND id = ?2",
    )?
    .execute(params![app_id, id, GrantStatus::Deleted])?;
    sql.prepare_cached("DELETE FROM refreshes WHERE app_id = ?1 AND grant_id = ?2")?
        .execute(params![app_id, id])?;
    Ok(())
}

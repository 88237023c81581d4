//! A connection that came about: the grant that gets its credential.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::{
    apps,
    columns::{Micros, count, integer, scopes_text},
    events,
    grants::{self, Insert},
    providers, refresh, users,
    writer::Unit,
};
use crate::{
    audit::AuditRow,
    domain::{AppId, ConnectedGrant, GrantEvent, GrantFacts, GrantId, GrantKind, Principal, Refusal},
    resolve::{self, ConnectionTarget, Sibling},
    seal::Sealed,
    store::{
        NewConnection, StoreError,
        connection::{SealedConnection, check_connection, seal_connection},
        draft,
        event::Change,
    },
};

/// How it ended.
pub(super) enum Made {
    Done(Box<ConnectedGrant>),
    Moved,
    Refused(Box<Refusal>),
}

/// Decides, then writes the grant and adds to `row` what there is to know of it. Nothing is written unless it is done.
pub(super) fn make(
    unit: &mut Unit<'_>,
    app_id: AppId,
    new: &NewConnection,
    at: Timestamp,
    row: &mut AuditRow,
) -> Result<Made, StoreError> {
    if apps::generation(unit.sql, app_id)? != Some(new.config_generation) {
        return Ok(Made::Moved);
    }
    row.provider = Some(new.provider.as_str().to_owned());
    let target = match decide(unit.sql, app_id, new)? {
        Ok(target) => target,
        Err(refusal) => return Ok(Made::Refused(refusal)),
    };
    let (id, kept) = match target {
        ConnectionTarget::Existing(id) => (id, Some(credential(unit.sql, app_id, id)?)),
        ConnectionTarget::New => {
            let id = GrantId::random();
            let insertion = Insert {
                app_id,
                id,
                provider: &new.provider,
                kind: GrantKind::OAuth,
                principal: &new.principal,
                label: new.label.as_deref(),
                grant_expires_at: None,
                secret_id: None,
                at,
            };
            grants::insert(unit.sql, &insertion)?;
            (id, None)
        }
    };
    let sealed = seal_connection(unit.envelope, (app_id, id), kept, new)?;
    write(unit.sql, (app_id, id), new, &sealed, at)?;
    let grant = grants::load(unit.sql, app_id, id)?;
    draft::describe(row, &grant.facts);
    row.token_generation = grant.token_generation;
    let created = target == ConnectionTarget::New;
    let event = if created { GrantEvent::Created } else { GrantEvent::Updated };
    events::tell(unit, &Change::new(app_id, event, &grant.facts, at))?;
    Ok(Made::Done(Box::new(ConnectedGrant::of(&grant, created, at))))
}

fn decide(
    sql: &Connection,
    app_id: AppId,
    new: &NewConnection,
) -> Result<Result<ConnectionTarget, Box<Refusal>>, StoreError> {
    let provider = providers::load(sql, app_id, &new.provider)?;
    if let Err(refusal) = check_connection(new, provider.as_ref()) {
        return Ok(Err(refusal));
    }
    if let Principal::User(id) = new.principal
        && let Err(refusal) = resolve::admit_user(users::status(sql, app_id, id)?)
    {
        return Ok(Err(refusal));
    }
    let repair = match new.repair {
        Some(id) => grants::facts_by_id(sql, app_id, id)?,
        None => None,
    };
    let repair = repair.map(|found| sibling(sql, found)).transpose()?;
    let (mut facts, mut row_ids) = (Vec::new(), Vec::new());
    grants::active(sql, app_id, &new.provider, &new.principal, &mut facts, &mut row_ids)?;
    let siblings = facts.into_iter().zip(row_ids).map(|found| sibling(sql, found));
    let siblings = siblings.collect::<Result<Vec<_>, _>>()?;
    Ok(resolve::decide_connection(new, repair.as_ref(), &siblings))
}

fn sibling(sql: &Connection, (facts, row_id): (GrantFacts, i64)) -> Result<Sibling, StoreError> {
    let account_id = sql
        .prepare_cached("SELECT account_id FROM grants WHERE rowid = ?1")?
        .query_row([row_id], |row| row.get(0))?;
    Ok(Sibling { facts, account_id })
}

/// Generation and refresh token of a grant.
fn credential(sql: &Connection, app_id: AppId, id: GrantId) -> Result<(u64, Option<Sealed>), StoreError> {
    Ok(sql
        .prepare_cached("SELECT generation, refresh_token FROM grants WHERE app_id = ?1 AND id = ?2")?
        .query_row(params![app_id, id], |row| Ok((count(row, 0)?, row.get(1)?)))?)
}

fn write(
    sql: &Connection,
    (app_id, id): (AppId, GrantId),
    new: &NewConnection,
    sealed: &SealedConnection,
    at: Timestamp,
) -> Result<(), StoreError> {
    refresh::forgive(sql, app_id, id)?;
    sql.prepare_cached(
        "UPDATE grants SET account_identifier = ifnull(?3, account_identifier), \
         account_display_name = ifnull(?4, account_display_name), account_id = ifnull(?5, account_id), \
         token_expires_at = ?6, generation = ?7, token_generation = ?8, obtained_at = ?9, scopes = ?10, \
         access_token = ?11, refresh_token = ?12, needs_reconnect = 0, scope_mismatch = 0, grant_expires_at = ?13, \
         reconnect_reason = NULL, refused_generation = NULL, refused_at = NULL WHERE app_id = ?1 AND id = ?2",
    )?
    .execute(params![
        app_id,
        id,
        new.account_identifier,
        new.account_display_name,
        new.account_id,
        new.token_expires_at.map(Micros),
        integer(sealed.generation),
        sealed.token_generation,
        Micros(at),
        scopes_text(&sealed.scopes),
        sealed.access,
        sealed.refresh,
        new.grant_expires_at.map(Micros)
    ])?;
    Ok(())
}

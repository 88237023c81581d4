//! A connection that came about: the grant that gets its credential. The app's gate must be held exclusively: it keeps a refresh
//! of the same grant, another connection of the same account and an operator's changes away until this is committed.

use jiff::Timestamp;
use tokio_postgres::Client;

use super::{
    columns::{
        count, execute, get, integer, maybe_row, micros, params, principal_columns, rows, scopes_text,
    },
    events,
    grants::{self, Insert, facts_columns},
    lanes::Unit,
    providers, refresh, users,
};
use crate::{
    audit::AuditRow,
    domain::{AppId, ConnectedGrant, GrantEvent, GrantId, GrantKind, Principal, Refusal},
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
pub(super) async fn make(
    unit: &mut Unit<'_>,
    app_id: AppId,
    new: &NewConnection,
    row: &mut AuditRow,
) -> Result<Made, StoreError> {
    let at = row.at;
    let text = "SELECT config_generation FROM apps WHERE id = $1";
    let generation =
        maybe_row(unit.sql, text, params![app_id]).await?.map(|row| count(&row, 0)).transpose()?;
    if generation != Some(new.config_generation) {
        return Ok(Made::Moved);
    }
    row.provider = Some(new.provider.as_str().to_owned());
    let target = match decide(unit.sql, app_id, new).await? {
        Ok(target) => target,
        Err(refusal) => return Ok(Made::Refused(refusal)),
    };
    let (id, kept) = match target {
        ConnectionTarget::Existing(id) => (id, credential(unit.sql, app_id, id).await?),
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
            grants::insert(unit.sql, &insertion).await?;
            (id, None)
        }
    };
    let sealed = seal_connection(unit.envelope, (app_id, id), kept, new)?;
    write(unit.sql, (app_id, id), new, &sealed, at).await?;
    let grant = grants::load(unit.sql, app_id, id).await?;
    draft::describe(row, &grant.facts);
    row.token_generation = grant.token_generation;
    let created = target == ConnectionTarget::New;
    let event = if created { GrantEvent::Created } else { GrantEvent::Updated };
    events::tell(unit.sql, &Change::new(app_id, event, &grant.facts, at)).await?;
    Ok(Made::Done(Box::new(ConnectedGrant::of(&grant, created, at))))
}

async fn decide(
    sql: &Client,
    app_id: AppId,
    new: &NewConnection,
) -> Result<Result<ConnectionTarget, Box<Refusal>>, StoreError> {
    let provider = providers::load(sql, app_id, &new.provider).await?;
    if let Err(refusal) = check_connection(new, provider.as_ref()) {
        return Ok(Err(refusal));
    }
    if let Principal::User(id) = new.principal
        && let Err(refusal) = resolve::admit_user(users::status_of(sql, app_id, Some(id)).await?)
    {
        return Ok(Err(refusal));
    }
    let (kind, principal) = principal_columns(&new.principal);
    let text = concat!(
        facts_columns!(),
        ", g.account_id FROM grants g WHERE g.app_id = $1 AND g.provider_id = $2 AND g.principal_kind = $3 \
         AND g.principal_id = $4 AND g.status = 0 ORDER BY g.n DESC"
    );
    let mut siblings = Vec::new();
    for row in &rows(sql, text, params![app_id, new.provider, kind, principal]).await? {
        siblings.push(Sibling { facts: grants::facts(row)?, account_id: get(row, 12)? });
    }
    // A grant that may be repaired is one of them: active, of this provider and principal.
    let repair = new.repair.and_then(|id| siblings.iter().find(|sibling| sibling.facts.id == id));
    Ok(resolve::decide_connection(new, repair, &siblings))
}

/// Generation and refresh token of a grant.
async fn credential(
    sql: &Client,
    app_id: AppId,
    id: GrantId,
) -> Result<Option<(u64, Option<Sealed>)>, StoreError> {
    let text = "SELECT generation, refresh_token FROM grants WHERE app_id = $1 AND id = $2";
    let found = maybe_row(sql, text, params![app_id, id]).await?;
    found.map(|row| Ok((count(&row, 0)?, get(&row, 1)?))).transpose()
}

async fn write(
    sql: &Client,
    (app_id, id): (AppId, GrantId),
    new: &NewConnection,
    sealed: &SealedConnection,
    at: Timestamp,
) -> Result<(), StoreError> {
    // Before the grant's own row, as a refresh does it.
    refresh::forgive(sql, app_id, id).await?;
    execute(
        sql,
        "UPDATE grants SET account_identifier = coalesce($3, account_identifier), \
         account_display_name = coalesce($4, account_display_name), account_id = coalesce($5, account_id), \
         token_expires_at = $6, generation = $7, token_generation = $8, obtained_at = $9, scopes = $10, \
         access_token = $11, refresh_token = $12, needs_reconnect = false, scope_mismatch = false, \
         grant_expires_at = $13, reconnect_reason = NULL, refused_generation = NULL, refused_at = NULL \
         WHERE app_id = $1 AND id = $2",
        params![
            app_id,
            id,
            new.account_identifier,
            new.account_display_name,
            new.account_id,
            new.token_expires_at.map(micros),
            integer(sealed.generation),
            sealed.token_generation,
            micros(at),
            scopes_text(&sealed.scopes),
            sealed.access,
            sealed.refresh,
            new.grant_expires_at.map(micros),
        ],
    )
    .await?;
    Ok(())
}

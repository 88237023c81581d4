//! Grants: reading, creating, importing, revoking.

use std::fmt::Write as _;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use tokio_postgres::{Client, Row};

use super::{
    columns::{
        Parameter, count, execute, get, instant, integer, maybe_instant, maybe_row, micros, parameter,
        params, principal, principal_columns, rows, scopes, scopes_text,
    },
    events,
    lanes::Unit,
    refresh::{self, Reported},
    users,
};
use crate::{
    audit::Action,
    domain::{
        AppId, Grant, GrantEvent, GrantFacts, GrantFilter, GrantId, GrantKind, GrantPage, ImportGrant,
        ImportOwner, NewGrant, Operator, Principal, ProviderId, ProviderKind, SecretId, TokenGeneration,
        UserStatus,
    },
    seal::{Field, SealContext, Sealed},
    store::{ImportedGrant, StoreError, check, draft, event::Change},
};

macro_rules! facts_columns {
    () => {
        "SELECT g.id, g.provider_id, g.kind, g.principal_kind, g.principal_id, g.account_identifier, \
         g.account_display_name, g.label, g.status, g.grant_expires_at, g.token_expires_at, g.needs_reconnect"
    };
}

/// The principals of a search, as two arrays.
macro_rules! of_principals {
    () => {
        " FROM unnest($3::int2[], $4::bytea[]) AS p (kind, id) JOIN grants g ON g.app_id = $1 AND g.provider_id = $2 \
         AND g.principal_kind = p.kind AND g.principal_id = p.id "
    };
}

pub(super) use {facts_columns, of_principals};

macro_rules! whole {
    () => {
        ", g.app_id, g.scopes, g.generation, g.token_generation, g.secret_id, s.name, g.scope_mismatch, \
         g.created_at, g.last_used_at, g.revoked_at, g.revoked_by, g.reconnect_reason, g.account_id, \
         g.parent_grant_id, g.provider_revocation \
         FROM grants g LEFT JOIN managed_secrets s ON s.app_id = g.app_id AND s.id = g.secret_id WHERE "
    };
}

/// Reads the first twelve columns.
pub(super) fn facts(row: &Row) -> Result<GrantFacts, StoreError> {
    Ok(GrantFacts {
        id: get(row, 0)?,
        provider: get(row, 1)?,
        kind: get(row, 2)?,
        principal: principal(row, 3)?,
        account_identifier: get(row, 5)?,
        account_display_name: get(row, 6)?,
        label: get(row, 7)?,
        status: get(row, 8)?,
        grant_expires_at: maybe_instant(row, 9)?,
        token_expires_at: maybe_instant(row, 10)?,
        needs_reconnect: get(row, 11)?,
    })
}

/// The facts of one grant.
pub(super) async fn facts_by_id(
    sql: &Client,
    app_id: AppId,
    id: GrantId,
) -> Result<Option<GrantFacts>, StoreError> {
    let text = concat!(facts_columns!(), " FROM grants g WHERE g.app_id = $1 AND g.id = $2");
    maybe_row(sql, text, params![app_id, id]).await?.as_ref().map(facts).transpose()
}

/// The same, with what a report about it is compared with.
pub(super) async fn reported_by_id(
    sql: &Client,
    app_id: AppId,
    id: GrantId,
    at: Timestamp,
) -> Result<Option<(GrantFacts, Reported)>, StoreError> {
    let text = concat!(facts_columns!(), ", g.last_good_at FROM grants g WHERE g.app_id = $1 AND g.id = $2");
    let Some(row) = maybe_row(sql, text, params![app_id, id]).await? else { return Ok(None) };
    Ok(Some((facts(&row)?, Reported::of(&row, 12, at)?)))
}

pub(super) fn arrays(principals: &[Principal]) -> (Vec<i16>, Vec<&[u8]>) {
    principals.iter().map(principal_columns).unzip()
}

/// The newest grants of these principals at a provider that are not active.
pub(super) async fn ended(
    sql: &Client,
    app_id: AppId,
    provider: &ProviderId,
    principals: &[Principal],
    limit: i64,
) -> Result<Vec<GrantFacts>, StoreError> {
    let (kinds, ids) = arrays(principals);
    let text = concat!(
        facts_columns!(),
        of_principals!(),
        "WHERE g.status <> 0 ORDER BY g.revoked_at DESC LIMIT $5"
    );
    rows(sql, text, params![app_id, *provider, kinds, ids, limit]).await?.iter().map(facts).collect()
}

fn grant(row: &Row) -> Result<Grant, StoreError> {
    Ok(Grant {
        facts: facts(row)?,
        app_id: get(row, 12)?,
        scopes: scopes(get(row, 13)?),
        generation: count(row, 14)?,
        token_generation: get(row, 15)?,
        secret_id: get(row, 16)?,
        secret_name: get(row, 17)?,
        scope_mismatch: get(row, 18)?,
        created_at: instant(row, 19)?,
        last_used_at: maybe_instant(row, 20)?,
        revoked_at: maybe_instant(row, 21)?,
        revoked_by: get(row, 22)?,
        reconnect_reason: get(row, 23)?,
        account_id: get(row, 24)?,
        parent_grant_id: get(row, 25)?,
        provider_revocation: get(row, 26)?,
    })
}

/// One whole grant.
pub(super) async fn load(sql: &Client, app_id: AppId, id: GrantId) -> Result<Grant, StoreError> {
    let text = concat!(facts_columns!(), whole!(), "g.app_id = $1 AND g.id = $2");
    let found = maybe_row(sql, text, params![app_id, id]).await?;
    found.as_ref().map(grant).transpose()?.ok_or(StoreError::NotFound("grant"))
}

/// A page of grants, newest first. `principals` of `None` is everybody's. What is past its lifetime at `at` counts as expired.
pub(super) async fn page(
    sql: &Client,
    app_id: AppId,
    principals: Option<&[Principal]>,
    filter: &GrantFilter,
    (limit, offset): (u32, u64),
    at: Timestamp,
) -> Result<GrantPage, StoreError> {
    let (kinds, ids) = arrays(principals.unwrap_or_default());
    let mut condition = "g.app_id = $1".to_owned();
    let mut values: Vec<Parameter<'_>> = vec![parameter(&app_id)];
    if principals.is_some() {
        values.extend([parameter(&kinds), parameter(&ids)]);
        condition.push_str(
            " AND (g.principal_kind, g.principal_id) IN (SELECT * FROM unnest($2::int2[], $3::bytea[]))",
        );
    }
    let now = micros(at);
    match filter.status.as_deref() {
        None => condition.push_str(" AND g.status <> 2"),
        Some("active") => {
            let _ = write!(condition, " AND g.status = 0 AND coalesce(g.grant_expires_at > {now}, true)");
        }
        Some("expired") => {
            let _ = write!(condition, " AND g.status = 0 AND g.grant_expires_at <= {now}");
        }
        Some("revoked") => condition.push_str(" AND g.status = 1"),
        Some(_) => condition.push_str(" AND false"),
    }
    for (column, value) in
        [("provider_id", &filter.provider), ("account_identifier", &filter.account), ("label", &filter.label)]
    {
        if let Some(value) = value {
            values.push(parameter(value));
            let _ = write!(condition, " AND g.{column} = ${}", values.len());
        }
    }
    let counted =
        maybe_row(sql, &format!("SELECT count(*) FROM grants g WHERE {condition}"), &values).await?;
    let total = counted.as_ref().map(|row| count(row, 0)).transpose()?.unwrap_or_default();
    let (most, skip) = (i64::from(limit), integer(offset));
    values.extend([parameter(&most), parameter(&skip)]);
    let place = values.len();
    let text = format!(
        "{}{condition} ORDER BY g.created_at DESC, g.n DESC LIMIT ${} OFFSET ${place}",
        concat!(facts_columns!(), whole!()),
        place - 1
    );
    let grants = rows(sql, &text, &values).await?.iter().map(grant).collect::<Result<_, _>>()?;
    Ok(GrantPage { grants, total, limit, offset })
}

/// What is written when a grant is made.
pub(super) struct Insert<'a> {
    pub(super) app_id: AppId,
    pub(super) id: GrantId,
    pub(super) provider: &'a ProviderId,
    pub(super) kind: GrantKind,
    pub(super) principal: &'a Principal,
    pub(super) label: Option<&'a str>,
    pub(super) grant_expires_at: Option<Timestamp>,
    pub(super) secret_id: Option<SecretId>,
    pub(super) at: Timestamp,
}

pub(super) async fn insert(sql: &Client, new: &Insert<'_>) -> Result<(), StoreError> {
    let (kind, id) = principal_columns(new.principal);
    if let Some(label) = new.label {
        let text = "SELECT 1 FROM grants WHERE app_id = $1 AND provider_id = $2 AND principal_kind = $3 \
             AND principal_id = $4 AND label = $5 AND status = 0";
        // The app's gate keeps others away until this is committed.
        if maybe_row(sql, text, params![new.app_id, *new.provider, kind, id, label]).await?.is_some() {
            return Err(StoreError::Conflict(format!("an active sibling grant has the label {label:?}")));
        }
    }
    execute(
        sql,
        "INSERT INTO grants (app_id, id, provider_id, kind, principal_kind, principal_id, label, status, \
         needs_reconnect, scope_mismatch, grant_expires_at, generation, secret_id, created_at, scopes) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, 0, false, false, $8, 0, $9, $10, '')",
        params![
            new.app_id,
            new.id,
            *new.provider,
            new.kind,
            kind,
            id,
            new.label,
            new.grant_expires_at.map(micros),
            new.secret_id,
            micros(new.at),
        ],
    )
    .await?;
    Ok(())
}

async fn check_principal(sql: &Client, app_id: AppId, principal: &Principal) -> Result<(), StoreError> {
    match principal {
        Principal::User(id) => {
            match users::status_of(sql, app_id, Some(*id)).await?.ok_or(StoreError::NotFound("user"))? {
                UserStatus::Active => Ok(()),
                UserStatus::Suspended | UserStatus::Deleted => {
                    let text = "this user is suspended or deleted and can have no grant";
                    Err(StoreError::Conflict(text.to_owned()))
                }
            }
        }
        Principal::Agent(id) => {
            let text = "SELECT 1 FROM agents WHERE app_id = $1 AND id = $2 AND status <> 2";
            let found = maybe_row(sql, text, params![app_id, *id]).await?;
            found.map(|_| ()).ok_or(StoreError::NotFound("agent"))
        }
        Principal::Group(name) if name.is_empty() || name.len() > 255 => {
            Err(StoreError::Invalid("a group is named by 1 to 255 bytes".to_owned()))
        }
        Principal::Group(_) | Principal::System => Ok(()),
    }
}

/// Gives a principal the use of a managed secret.
pub(super) async fn create(unit: &mut Unit<'_>, by: &Operator, new: &NewGrant) -> Result<Grant, StoreError> {
    check::label(new.label.as_deref())?;
    let text = "SELECT provider_id FROM managed_secrets WHERE app_id = $1 AND id = $2";
    let found = maybe_row(unit.sql, text, params![new.app_id, new.secret_id]).await?;
    let provider: ProviderId = get(&found.ok_or(StoreError::NotFound("managed secret"))?, 0)?;
    check_principal(unit.sql, new.app_id, &new.principal).await?;
    let insertion = Insert {
        app_id: new.app_id,
        id: new.id,
        provider: &provider,
        kind: GrantKind::ManagedSecret,
        principal: &new.principal,
        label: new.label.as_deref(),
        grant_expires_at: new.grant_expires_at,
        secret_id: Some(new.secret_id),
        at: by.at,
    };
    insert(unit.sql, &insertion).await?;
    let grant = load(unit.sql, new.app_id, new.id).await?;
    let mut row = draft::of_operator(by, new.app_id, Action::GrantCreated);
    draft::describe(&mut row, &grant.facts);
    unit.audit(row);
    let change = Change::new(new.app_id, GrantEvent::Created, &grant.facts, by.at);
    events::tell(unit.sql, &change).await?;
    Ok(grant)
}

/// Moves existing tokens in.
pub(super) async fn import(
    unit: &mut Unit<'_>,
    by: &Operator,
    import: &ImportGrant,
) -> Result<ImportedGrant, StoreError> {
    check::label(import.label.as_deref())?;
    check::token(&import.access_token)?;
    check::scopes(&import.scopes)?;
    let app_id = import.app_id;
    let provider = super::providers::load(unit.sql, app_id, &import.provider)
        .await?
        .ok_or(StoreError::NotFound("provider"))?;
    if provider.kind != ProviderKind::OAuth {
        let text = "this provider uses a managed secret: create the secret and a grant on it instead";
        return Err(StoreError::Invalid(text.to_owned()));
    }
    let principal = match &import.owner {
        ImportOwner::Identity(identity) => {
            Principal::User(users::find_or_create(unit, app_id, by.at, identity).await?.id)
        }
        ImportOwner::Principal(principal) => principal.clone(),
    };
    check_principal(unit.sql, app_id, &principal).await?;
    let (kind, principal_id) = principal_columns(&principal);
    let text = "SELECT id, generation FROM grants WHERE app_id = $1 AND provider_id = $2 AND principal_kind = $3 \
         AND principal_id = $4 AND status = 0 AND account_identifier IS NOT DISTINCT FROM $5";
    let place = params![app_id, import.provider, kind, principal_id, import.account_identifier];
    let same = maybe_row(unit.sql, text, place).await?;
    let created = same.is_none();
    let (id, generation) = match &same {
        Some(same) => (get(same, 0)?, count(same, 1)? + 1),
        None => {
            let id = GrantId::random();
            let insertion = Insert {
                app_id,
                id,
                provider: &import.provider,
                kind: GrantKind::OAuth,
                principal: &principal,
                label: import.label.as_deref(),
                grant_expires_at: None,
                secret_id: None,
                at: by.at,
            };
            insert(unit.sql, &insertion).await?;
            (id, 1)
        }
    };
    store_tokens(unit, by.at, import, id, generation).await?;
    let grant = load(unit.sql, app_id, id).await?;
    let mut row = draft::of_operator(by, app_id, Action::GrantImported);
    draft::describe(&mut row, &grant.facts);
    row.token_generation = grant.token_generation;
    row.detail = Some(if created { "new" } else { "credential replaced" }.to_owned());
    unit.audit(row);
    let event = if created { GrantEvent::Created } else { GrantEvent::Updated };
    events::tell(unit.sql, &Change::new(app_id, event, &grant.facts, by.at)).await?;
    Ok(ImportedGrant { grant, created })
}

async fn store_tokens(
    unit: &Unit<'_>,
    at: Timestamp,
    import: &ImportGrant,
    id: GrantId,
    generation: u64,
) -> Result<(), StoreError> {
    let seal = |field, secret: &SecretString| -> Result<Sealed, StoreError> {
        let context = SealContext::of(import.app_id, field, id.uuid(), generation);
        let plain = SecretSlice::from(secret.expose_secret().as_bytes().to_vec());
        Ok(unit.envelope.seal(&context, &plain)?)
    };
    let access = seal(Field::GrantAccessToken, &import.access_token)?;
    let refresh =
        import.refresh_token.as_ref().map(|token| seal(Field::GrantRefreshToken, token)).transpose()?;
    // Before the grant's own row, as a refresh does it.
    refresh::forgive(unit.sql, import.app_id, id).await?;
    execute(
        unit.sql,
        "UPDATE grants SET account_identifier = $3, account_display_name = coalesce($4, account_display_name), \
         token_expires_at = $5, generation = $6, token_generation = $7, obtained_at = $8, scopes = $9, \
         access_token = $10, refresh_token = $11, needs_reconnect = false, scope_mismatch = false, \
         grant_expires_at = $12, reconnect_reason = NULL, refused_generation = NULL, refused_at = NULL WHERE app_id = $1 AND id = $2",
        params![
            import.app_id,
            id,
            import.account_identifier,
            import.account_display_name,
            import.token_expires_at.map(micros),
            integer(generation),
            TokenGeneration::random(),
            micros(at),
            scopes_text(&import.scopes),
            access,
            refresh,
            import.grant_expires_at.map(micros),
        ],
    )
    .await?;
    Ok(())
}

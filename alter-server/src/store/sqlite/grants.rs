//! Grants: reading, creating, importing, revoking.

use std::fmt::Write as _;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter, types::Value};
use secrecy::{ExposeSecret, SecretSlice, SecretString};

use super::{
    columns::{
        Micros, count, instant, integer, maybe_instant, principal, principal_columns, scopes, scopes_text,
    },
    ending, events, refresh, users,
    writer::Unit,
};
use crate::{
    audit::Action,
    domain::{
        AppId, Grant, GrantEvent, GrantFacts, GrantFilter, GrantId, GrantKind, GrantPage, ImportGrant,
        ImportOwner, NewGrant, Operator, Principal, ProviderId, ProviderKind, TokenGeneration, UserStatus,
    },
    seal::{Field, SealContext, Sealed},
    store::{ImportedGrant, Revoked, StoreError, check, draft, event::Change},
};

const FACTS: &str = "g.rowid, g.id, g.provider_id, g.kind, g.principal_kind, g.principal_id, g.account_identifier, \
     g.account_display_name, g.label, g.status, g.grant_expires_at, g.token_expires_at, g.needs_reconnect";

fn facts(row: &Row<'_>) -> rusqlite::Result<(GrantFacts, i64)> {
    let facts = GrantFacts {
        id: row.get(1)?,
        provider: row.get(2)?,
        kind: row.get(3)?,
        principal: principal(row, 4)?,
        account_identifier: row.get(6)?,
        account_display_name: row.get(7)?,
        label: row.get(8)?,
        status: row.get(9)?,
        grant_expires_at: maybe_instant(row, 10)?,
        token_expires_at: maybe_instant(row, 11)?,
        needs_reconnect: row.get(12)?,
    };
    Ok((facts, row.get(0)?))
}

/// The facts of one grant, and where its row is.
pub(super) fn facts_by_id(
    sql: &Connection,
    app_id: AppId,
    id: GrantId,
) -> Result<Option<(GrantFacts, i64)>, StoreError> {
    const TEXT: &str = "SELECT g.rowid, g.id, g.provider_id, g.kind, g.principal_kind, g.principal_id, \
         g.account_identifier, g.account_display_name, g.label, g.status, g.grant_expires_at, g.token_expires_at, \
         g.needs_reconnect FROM grants g WHERE g.app_id = ?1 AND g.id = ?2";
    Ok(sql.prepare_cached(TEXT)?.query_row(params![app_id, id], facts).optional()?)
}

/// Adds a principal's active grants at a provider, newest first.
pub(super) fn active(
    sql: &Connection,
    app_id: AppId,
    provider: &ProviderId,
    principal: &Principal,
    into: &mut Vec<GrantFacts>,
    row_ids: &mut Vec<i64>,
) -> Result<(), StoreError> {
    // The index ends with the row id, so its order is the order of creation.
    const TEXT: &str = "SELECT g.rowid, g.id, g.provider_id, g.kind, g.principal_kind, g.principal_id, \
         g.account_identifier, g.account_display_name, g.label, g.status, g.grant_expires_at, g.token_expires_at, \
         g.needs_reconnect FROM grants g WHERE g.app_id = ?1 AND g.provider_id = ?2 AND g.principal_kind = ?3 \
         AND g.principal_id = ?4 AND g.status = 0 ORDER BY g.rowid DESC";
    let (kind, id) = principal_columns(principal);
    let mut statement = sql.prepare_cached(TEXT)?;
    let mut rows = statement.query(params![app_id, provider, kind, id])?;
    while let Some(row) = rows.next()? {
        let (facts, row_id) = facts(row)?;
        into.push(facts);
        row_ids.push(row_id);
    }
    Ok(())
}

/// Adds a principal's newest grants at a provider that are not active.
pub(super) fn ended(
    sql: &Connection,
    (app_id, provider, principal): (AppId, &ProviderId, &Principal),
    limit: u32,
    into: &mut Vec<GrantFacts>,
    row_ids: &mut Vec<i64>,
) -> Result<(), StoreError> {
    let (kind, id) = principal_columns(principal);
    let mut statement = sql.prepare_cached(&format!(
        "SELECT {FACTS} FROM grants g WHERE g.app_id = ?1 AND g.provider_id = ?2 AND g.principal_kind = ?3 \
         AND g.principal_id = ?4 AND g.status <> 0 ORDER BY g.revoked_at DESC LIMIT ?5",
    ))?;
    let mut rows = statement.query(params![app_id, provider, kind, id, limit])?;
    while let Some(row) = rows.next()? {
        let (facts, row_id) = facts(row)?;
        into.push(facts);
        row_ids.push(row_id);
    }
    Ok(())
}

fn grant(row: &Row<'_>) -> rusqlite::Result<Grant> {
    let (facts, _) = facts(row)?;
    Ok(Grant {
        facts,
        app_id: row.get(13)?,
        scopes: scopes(&row.get::<_, String>(14)?),
        generation: count(row, 15)?,
        token_generation: row.get(16)?,
        secret_id: row.get(17)?,
        secret_name: row.get(18)?,
        scope_mismatch: row.get(19)?,
        created_at: instant(row, 20)?,
        last_used_at: maybe_instant(row, 21)?,
        revoked_at: maybe_instant(row, 22)?,
        revoked_by: row.get(23)?,
        reconnect_reason: row.get(24)?,
        account_id: row.get(25)?,
        parent_grant_id: row.get(26)?,
        provider_revocation: row.get(27)?,
    })
}

const WHOLE: &str = "g.app_id, g.scopes, g.generation, g.token_generation, g.secret_id, s.name, g.scope_mismatch, \
     g.created_at, g.last_used_at, g.revoked_at, g.revoked_by, g.reconnect_reason, g.account_id, g.parent_grant_id, g.provider_revocation \
     FROM grants g LEFT JOIN managed_secrets s ON s.app_id = g.app_id AND s.id = g.secret_id";

/// One whole grant.
pub(super) fn load(sql: &Connection, app_id: AppId, id: GrantId) -> Result<Grant, StoreError> {
    sql.prepare_cached(&format!("SELECT {FACTS}, {WHOLE} WHERE g.app_id = ?1 AND g.id = ?2"))?
        .query_row(params![app_id, id], grant)
        .optional()?
        .ok_or(StoreError::NotFound("grant"))
}

/// A page of grants, newest first. `principals` of `None` is everybody's. What is past its lifetime at `at` counts as expired.
pub(super) fn page(
    sql: &Connection,
    app_id: AppId,
    principals: Option<&[Principal]>,
    filter: &GrantFilter,
    (limit, offset): (u32, u64),
    at: Timestamp,
) -> Result<GrantPage, StoreError> {
    let mut condition = "g.app_id = ?".to_owned();
    let mut values: Vec<Value> = vec![app_id.bytes().to_vec().into()];
    if let Some(principals) = principals {
        let mut terms = Vec::with_capacity(principals.len());
        for principal in principals {
            let (kind, id) = principal_columns(principal);
            terms.push("(g.principal_kind = ? AND g.principal_id = ?)");
            values.extend([Value::Integer(kind), Value::Blob(id.to_vec())]);
        }
        // A single term is found by its index.
        let terms = if terms.is_empty() { "0".to_owned() } else { terms.join(" OR ") };
        let _ = write!(condition, " AND ({terms})");
    }
    let now = at.as_microsecond();
    match filter.status.as_deref() {
        None => condition.push_str(" AND g.status <> 2"),
        Some("active") => {
            let _ = write!(condition, " AND g.status = 0 AND ifnull(g.grant_expires_at > {now}, 1)");
        }
        Some("expired") => {
            let _ = write!(condition, " AND g.status = 0 AND g.grant_expires_at <= {now}");
        }
        Some("revoked") => condition.push_str(" AND g.status = 1"),
        Some(_) => condition.push_str(" AND 0"),
    }
    for (column, value) in
        [("provider_id", &filter.provider), ("account_identifier", &filter.account), ("label", &filter.label)]
    {
        if let Some(value) = value {
            let _ = write!(condition, " AND g.{column} = ?");
            values.push(value.clone().into());
        }
    }
    let total = sql
        .prepare_cached(&format!("SELECT count(*) FROM grants g WHERE {condition}"))?
        .query_row(params_from_iter(&values), |row| count(row, 0))?;
    values.extend([Value::Integer(i64::from(limit)), Value::Integer(integer(offset))]);
    let mut statement = sql.prepare_cached(&format!(
        "SELECT {FACTS}, {WHOLE} WHERE {condition} ORDER BY g.created_at DESC, g.rowid DESC LIMIT ? OFFSET ?"
    ))?;
    let grants = statement.query_map(params_from_iter(&values), grant)?.collect::<Result<_, _>>()?;
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
    pub(super) secret_id: Option<crate::domain::SecretId>,
    pub(super) at: Timestamp,
}

pub(super) fn insert(sql: &Connection, new: &Insert<'_>) -> Result<(), StoreError> {
    let (kind, id) = principal_columns(new.principal);
    if let Some(label) = new.label {
        let taken: Option<i64> = sql
            .prepare_cached(
                "SELECT 1 FROM grants WHERE app_id = ?1 AND provider_id = ?2 AND principal_kind = ?3 \
                 AND principal_id = ?4 AND label = ?5 AND status = 0",
            )?
            .query_row(params![new.app_id, new.provider, kind, id, label], |row| row.get(0))
            .optional()?;
        if taken.is_some() {
            return Err(StoreError::Conflict(format!("an active sibling grant has the label {label:?}")));
        }
    }
    sql.prepare_cached(
        "INSERT INTO grants (app_id, id, provider_id, kind, principal_kind, principal_id, label, status, \
         needs_reconnect, scope_mismatch, grant_expires_at, generation, secret_id, created_at, scopes) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, 0, 0, ?8, 0, ?9, ?10, '')",
    )?
    .execute(params![
        new.app_id,
        new.id,
        new.provider,
        new.kind,
        kind,
        id,
        new.label,
        new.grant_expires_at.map(Micros),
        new.secret_id,
        Micros(new.at)
    ])?;
    Ok(())
}

fn check_principal(sql: &Connection, app_id: AppId, principal: &Principal) -> Result<(), StoreError> {
    let exists = |text: &'static str, id: &[u8; 16]| -> Result<bool, StoreError> {
        Ok(sql
            .prepare_cached(text)?
            .query_row(params![app_id, id], |row| row.get::<_, i64>(0))
            .optional()?
            .is_some())
    };
    match principal {
        Principal::User(id) => match users::status(sql, app_id, *id)? {
            None => Err(StoreError::NotFound("user")),
            Some(UserStatus::Active) => Ok(()),
            Some(_) => {
                let text = "this user is suspended or deleted and can have no grant";
                Err(StoreError::Conflict(text.to_owned()))
            }
        },
        Principal::Agent(id)
            if !exists("SELECT 1 FROM agents WHERE app_id = ?1 AND id = ?2 AND status <> 2", id.bytes())? =>
        {
            Err(StoreError::NotFound("agent"))
        }
        Principal::Group(name) if name.is_empty() || name.len() > 255 => {
            Err(StoreError::Invalid("a group is named by 1 to 255 bytes".to_owned()))
        }
        _ => Ok(()),
    }
}

/// Gives a principal the use of a managed secret.
pub(super) fn create(unit: &mut Unit<'_>, by: &Operator, new: &NewGrant) -> Result<Grant, StoreError> {
    check::label(new.label.as_deref())?;
    let provider: ProviderId = unit
        .sql
        .prepare_cached("SELECT provider_id FROM managed_secrets WHERE app_id = ?1 AND id = ?2")?
        .query_row(params![new.app_id, new.secret_id], |row| row.get(0))
        .optional()?
        .ok_or(StoreError::NotFound("managed secret"))?;
    check_principal(unit.sql, new.app_id, &new.principal)?;
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
    insert(unit.sql, &insertion)?;
    let grant = load(unit.sql, new.app_id, new.id)?;
    let mut row = draft::of_operator(by, new.app_id, Action::GrantCreated);
    draft::describe(&mut row, &grant.facts);
    unit.audit(row)?;
    events::tell(unit, &Change::new(new.app_id, GrantEvent::Created, &grant.facts, by.at))?;
    Ok(grant)
}

/// Moves existing tokens in.
pub(super) fn import(
    unit: &mut Unit<'_>,
    by: &Operator,
    import: &ImportGrant,
) -> Result<ImportedGrant, StoreError> {
    check::label(import.label.as_deref())?;
    check::token(&import.access_token)?;
    check::scopes(&import.scopes)?;
    let app_id = import.app_id;
    let provider = super::providers::load(unit.sql, app_id, &import.provider)?
        .ok_or(StoreError::NotFound("provider"))?;
    if provider.kind != ProviderKind::OAuth {
        let text = "this provider uses a managed secret: create the secret and a grant on it instead";
        return Err(StoreError::Invalid(text.to_owned()));
    }
    let principal = match &import.owner {
        ImportOwner::Identity(identity) => {
            Principal::User(users::find_or_create(unit, app_id, by.at, identity)?.id)
        }
        ImportOwner::Principal(principal) => principal.clone(),
    };
    check_principal(unit.sql, app_id, &principal)?;
    let (kind, principal_id) = principal_columns(&principal);
    let same: Option<(GrantId, u64)> = unit
        .sql
        .prepare_cached(
            "SELECT id, generation FROM grants WHERE app_id = ?1 AND provider_id = ?2 AND principal_kind = ?3 \
             AND principal_id = ?4 AND status = 0 AND account_identifier IS ?5",
        )?
        .query_row(
            params![app_id, import.provider, kind, principal_id, import.account_identifier],
            |row| Ok((row.get(0)?, count(row, 1)?)),
        )
        .optional()?;
    let created = same.is_none();
    let (id, generation) = match same {
        Some((id, generation)) => (id, generation + 1),
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
            insert(unit.sql, &insertion)?;
            (id, 1)
        }
    };
    store_tokens(unit, by.at, import, id, generation)?;
    let grant = load(unit.sql, app_id, id)?;
    let mut row = draft::of_operator(by, app_id, Action::GrantImported);
    draft::describe(&mut row, &grant.facts);
    row.token_generation = grant.token_generation;
    row.detail = Some(if created { "new" } else { "credential replaced" }.to_owned());
    unit.audit(row)?;
    let event = if created { GrantEvent::Created } else { GrantEvent::Updated };
    events::tell(unit, &Change::new(app_id, event, &grant.facts, by.at))?;
    Ok(ImportedGrant { grant, created })
}

fn store_tokens(
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
    refresh::forgive(unit.sql, import.app_id, id)?;
    unit.sql
        .prepare_cached(
            "UPDATE grants SET account_identifier = ?3, account_display_name = ifnull(?4, account_display_name), \
             token_expires_at = ?5, generation = ?6, token_generation = ?7, obtained_at = ?8, scopes = ?9, \
             access_token = ?10, refresh_token = ?11, needs_reconnect = 0, scope_mismatch = 0, grant_expires_at = ?12, \
             reconnect_reason = NULL, refused_generation = NULL, refused_at = NULL \
             WHERE app_id = ?1 AND id = ?2",
        )?
        .execute(params![
            import.app_id,
            id,
            import.account_identifier,
            import.account_display_name,
            import.token_expires_at.map(Micros),
            integer(generation),
            TokenGeneration::random(),
            Micros(at),
            scopes_text(&import.scopes),
            access,
            refresh,
            import.grant_expires_at.map(Micros)
        ])?;
    Ok(())
}

/// Revokes as an operator.
pub(super) fn revoke_as_operator(
    unit: &mut Unit<'_>,
    by: &Operator,
    app_id: AppId,
    id: GrantId,
    reason: Option<String>,
) -> Result<Revoked, StoreError> {
    let grant = load(unit.sql, app_id, id)?;
    if let Some(revoked_at) = grant.revoked_at {
        return Ok(Revoked { grant_id: id, revoked_at });
    }
    let mut row = draft::of_operator(by, app_id, Action::GrantRevoked);
    row.reason = reason;
    ending::end(unit, row, &grant.facts, &by.name)?;
    Ok(Revoked { grant_id: id, revoked_at: by.at })
}

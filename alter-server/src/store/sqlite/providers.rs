//! Providers and managed secrets.

use rusqlite::{Connection, OptionalExtension, Row, params};
use secrecy::{ExposeSecret, SecretSlice};

use super::{
    apps,
    columns::{Micros, count, instant, integer, maybe_instant},
    writer::Unit,
};
use crate::{
    audit::Action,
    domain::{
        AppId, ManagedSecret, NewSecret, Operator, Provider, ProviderId, ProviderKind, PutProvider, SecretId,
        SecretMaterial,
    },
    seal::{Field, SealContext, Sealed, SealedField},
    store::{StoreError, check, draft},
};

fn parse(text: &str, id: &str) -> Result<Provider, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt(format!("provider {id}: {error}")))
}

/// One provider.
pub(super) fn load(sql: &Connection, app_id: AppId, id: &ProviderId) -> Result<Option<Provider>, StoreError> {
    let text: Option<String> = sql
        .prepare_cached("SELECT definition FROM providers WHERE app_id = ?1 AND id = ?2")?
        .query_row(params![app_id, id], |row| row.get(0))
        .optional()?;
    text.map(|text| parse(&text, id.as_str())).transpose()
}

pub(super) fn list(sql: &Connection, app_id: AppId) -> Result<Vec<Provider>, StoreError> {
    apps::must_exist(sql, app_id)?;
    let mut statement =
        sql.prepare_cached("SELECT id, definition FROM providers WHERE app_id = ?1 ORDER BY id")?;
    let mut rows = statement.query([app_id])?;
    let mut providers = Vec::new();
    while let Some(row) = rows.next()? {
        providers.push(parse(&row.get::<_, String>(1)?, &row.get::<_, String>(0)?)?);
    }
    Ok(providers)
}

pub(super) fn put(unit: &mut Unit<'_>, by: &Operator, put: &PutProvider) -> Result<Provider, StoreError> {
    put.provider.check()?;
    apps::must_exist(unit.sql, put.app_id)?;
    let (app_id, provider) = (put.app_id, &put.provider);
    let before: Option<(ProviderKind, u64, Option<Sealed>)> = unit
        .sql
        .prepare_cached(
            "SELECT kind, client_secret_generation, client_secret FROM providers WHERE app_id = ?1 AND id = ?2",
        )?
        .query_row(params![app_id, provider.id], |row| Ok((row.get(0)?, count(row, 1)?, row.get(2)?)))
        .optional()?;
    if let Some((kind, ..)) = before
        && kind != provider.kind
        && in_use(unit.sql, app_id, &provider.id, true)?
    {
        return Err(StoreError::Conflict(
            "the provider's kind cannot change while it has grants or a secret: use another id".to_owned(),
        ));
    }
    let (_, generation, kept) = before.unwrap_or((provider.kind, 0, None));
    let (generation, client_secret) = match &put.client_secret {
        None => (generation, kept),
        Some(secret) => {
            let generation = generation + 1;
            let plain = SecretSlice::from(secret.expose_secret().as_bytes().to_vec());
            let context = draft::client_secret_context(app_id, &provider.id, generation);
            (generation, Some(unit.envelope.seal(&context, &plain)?))
        }
    };
    let definition =
        serde_json::to_string(provider).map_err(|error| StoreError::Invalid(error.to_string()))?;
    unit.sql.execute(
        "INSERT INTO providers (app_id, id, kind, definition, client_secret, client_secret_generation) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (app_id, id) DO UPDATE SET kind = excluded.kind, \
         definition = excluded.definition, client_secret = excluded.client_secret, \
         client_secret_generation = excluded.client_secret_generation",
        params![app_id, provider.id, provider.kind, definition, client_secret, integer(generation)],
    )?;
    // What made its grants wait may be repaired.
    unit.sql.execute(
        "DELETE FROM refresh_backoff WHERE app_id = ?1 AND provider_id = ?2",
        params![app_id, provider.id],
    )?;
    apps::bump(unit.sql, app_id)?;
    let mut row = draft::of_operator(by, app_id, Action::ProviderChanged);
    row.provider = Some(provider.id.as_str().to_owned());
    // No secret is in a definition, so it may be read in the trail.
    row.detail = Some(definition);
    unit.audit(row)?;
    load(unit.sql, app_id, &provider.id)?.ok_or(StoreError::NotFound("provider"))
}

pub(super) fn client_secret(
    sql: &Connection,
    app_id: AppId,
    id: &ProviderId,
) -> Result<Option<SealedField>, StoreError> {
    let found: (u64, Option<Sealed>) = sql
        .prepare_cached(
            "SELECT client_secret_generation, client_secret FROM providers WHERE app_id = ?1 AND id = ?2",
        )?
        .query_row(params![app_id, id], |row| Ok((count(row, 0)?, row.get(1)?)))
        .optional()?
        .ok_or(StoreError::NotFound("provider"))?;
    let (generation, sealed) = found;
    Ok(sealed
        .map(|sealed| SealedField { context: draft::client_secret_context(app_id, id, generation), sealed }))
}

fn in_use(sql: &Connection, app_id: AppId, id: &ProviderId, ended_too: bool) -> Result<bool, StoreError> {
    Ok(sql
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM grants WHERE app_id = ?1 AND provider_id = ?2 AND (?3 OR status = 0)) \
             OR EXISTS (SELECT 1 FROM managed_secrets WHERE app_id = ?1 AND provider_id = ?2)",
        )?
        .query_row(params![app_id, id, ended_too], |row| row.get(0))?)
}

pub(super) fn remove(
    unit: &mut Unit<'_>,
    by: &Operator,
    app_id: AppId,
    id: &ProviderId,
) -> Result<(), StoreError> {
    if load(unit.sql, app_id, id)?.is_none() {
        return Err(StoreError::NotFound("provider"));
    }
    if in_use(unit.sql, app_id, id, false)? {
        return Err(StoreError::Conflict(
            "the provider has active grants or a managed secret: revoke those first".to_owned(),
        ));
    }
    unit.sql.execute("DELETE FROM providers WHERE app_id = ?1 AND id = ?2", params![app_id, id])?;
    apps::bump(unit.sql, app_id)?;
    let mut row = draft::of_operator(by, app_id, Action::ProviderRemoved);
    row.provider = Some(id.as_str().to_owned());
    unit.audit(row)
}

// ---- Managed secrets ----------------------------------------------------------------------------------------------------

const SECRET: &str =
    "SELECT id, app_id, provider_id, name, generation, created_at, rotated_at FROM managed_secrets";

fn secret(row: &Row<'_>) -> rusqlite::Result<ManagedSecret> {
    Ok(ManagedSecret {
        id: row.get(0)?,
        app_id: row.get(1)?,
        provider: row.get(2)?,
        name: row.get(3)?,
        generation: count(row, 4)?,
        created_at: instant(row, 5)?,
        rotated_at: maybe_instant(row, 6)?,
    })
}

fn load_secret(sql: &Connection, app_id: AppId, id: SecretId) -> Result<ManagedSecret, StoreError> {
    sql.prepare_cached(&format!("{SECRET} WHERE app_id = ?1 AND id = ?2"))?
        .query_row(params![app_id, id], secret)
        .optional()?
        .ok_or(StoreError::NotFound("managed secret"))
}

pub(super) fn create_secret(
    unit: &mut Unit<'_>,
    by: &Operator,
    new: &NewSecret,
) -> Result<ManagedSecret, StoreError> {
    check::secret_name(&new.name)?;
    let provider = load(unit.sql, new.app_id, &new.provider)?.ok_or(StoreError::NotFound("provider"))?;
    if provider.kind != ProviderKind::ManagedSecret {
        return Err(StoreError::Invalid("this provider uses OAuth tokens: import grants instead".to_owned()));
    }
    check::material(&new.material, &provider)?;
    let context = SealContext::of(new.app_id, Field::SecretMaterial, new.id.uuid(), 1);
    let material = unit.envelope.seal(&context, &new.material.to_bytes())?;
    let inserted = unit.sql.execute(
        "INSERT INTO managed_secrets (app_id, id, provider_id, name, generation, created_at, material) \
         VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6) ON CONFLICT (app_id, provider_id) DO NOTHING",
        params![new.app_id, new.id, new.provider, new.name, Micros(by.at), material],
    )?;
    if inserted == 0 {
        return Err(StoreError::Conflict("the provider has a secret already: rotate it".to_owned()));
    }
    let mut row = draft::of_operator(by, new.app_id, Action::SecretCreated);
    row.provider = Some(new.provider.as_str().to_owned());
    row.detail = Some(new.id.to_string());
    unit.audit(row)?;
    load_secret(unit.sql, new.app_id, new.id)
}

pub(super) fn rotate_secret(
    unit: &mut Unit<'_>,
    by: &Operator,
    app_id: AppId,
    id: SecretId,
    material: &SecretMaterial,
) -> Result<ManagedSecret, StoreError> {
    let before = load_secret(unit.sql, app_id, id)?;
    let provider = load(unit.sql, app_id, &before.provider)?.ok_or(StoreError::NotFound("provider"))?;
    check::material(material, &provider)?;
    let generation = before.generation + 1;
    let context = SealContext::of(app_id, Field::SecretMaterial, id.uuid(), generation);
    let sealed = unit.envelope.seal(&context, &material.to_bytes())?;
    unit.sql.execute(
        "UPDATE managed_secrets SET material = ?3, generation = ?4, rotated_at = ?5 WHERE app_id = ?1 AND id = ?2",
        params![app_id, id, sealed, integer(generation), Micros(by.at)],
    )?;
    let mut row = draft::of_operator(by, app_id, Action::SecretRotated);
    row.provider = Some(before.provider.as_str().to_owned());
    row.detail = Some(format!("{id} generation {generation}"));
    unit.audit(row)?;
    load_secret(unit.sql, app_id, id)
}

pub(super) fn list_secrets(sql: &Connection, app_id: AppId) -> Result<Vec<ManagedSecret>, StoreError> {
    apps::must_exist(sql, app_id)?;
    let mut statement = sql.prepare_cached(&format!("{SECRET} WHERE app_id = ?1 ORDER BY created_at, id"))?;
    let secrets = statement.query_map([app_id], secret)?;
    Ok(secrets.collect::<Result<_, _>>()?)
}

//! Managed secrets.

use tokio_postgres::{Client, Row};

use super::{
    apps,
    columns::{count, execute, get, instant, integer, maybe_instant, maybe_row, micros, params, rows},
    lanes::Unit,
    providers,
};
use crate::{
    audit::Action,
    domain::{AppId, ManagedSecret, NewSecret, Operator, ProviderKind, SecretId, SecretMaterial},
    seal::{Field, SealContext},
    store::{StoreError, check, draft},
};

macro_rules! secret {
    () => {
        "SELECT id, app_id, provider_id, name, generation, created_at, rotated_at FROM managed_secrets"
    };
}

fn secret(row: &Row) -> Result<ManagedSecret, StoreError> {
    Ok(ManagedSecret {
        id: get(row, 0)?,
        app_id: get(row, 1)?,
        provider: get(row, 2)?,
        name: get(row, 3)?,
        generation: count(row, 4)?,
        created_at: instant(row, 5)?,
        rotated_at: maybe_instant(row, 6)?,
    })
}

async fn load(sql: &Client, app_id: AppId, id: SecretId) -> Result<ManagedSecret, StoreError> {
    let text = concat!(secret!(), " WHERE app_id = $1 AND id = $2");
    let found = maybe_row(sql, text, params![app_id, id]).await?;
    found.as_ref().map(secret).transpose()?.ok_or(StoreError::NotFound("managed secret"))
}

pub(super) async fn create(
    unit: &mut Unit<'_>,
    by: &Operator,
    new: &NewSecret,
) -> Result<ManagedSecret, StoreError> {
    check::secret_name(&new.name)?;
    let provider = providers::load(unit.sql, new.app_id, &new.provider)
        .await?
        .ok_or(StoreError::NotFound("provider"))?;
    if provider.kind != ProviderKind::ManagedSecret {
        return Err(StoreError::Invalid("this provider uses OAuth tokens: import grants instead".to_owned()));
    }
    check::material(&new.material, &provider)?;
    let context = SealContext::of(new.app_id, Field::SecretMaterial, new.id.uuid(), 1);
    let material = unit.envelope.seal(&context, &new.material.to_bytes())?;
    let inserted = execute(
        unit.sql,
        "INSERT INTO managed_secrets (app_id, id, provider_id, name, generation, created_at, material) \
         VALUES ($1, $2, $3, $4, 1, $5, $6) ON CONFLICT (app_id, provider_id) DO NOTHING",
        params![new.app_id, new.id, new.provider, new.name, micros(by.at), material],
    )
    .await?;
    if inserted == 0 {
        return Err(StoreError::Conflict("the provider has a secret already: rotate it".to_owned()));
    }
    let mut row = draft::of_operator(by, new.app_id, Action::SecretCreated);
    row.provider = Some(new.provider.as_str().to_owned());
    row.detail = Some(new.id.to_string());
    unit.audit(row);
    load(unit.sql, new.app_id, new.id).await
}

pub(super) async fn rotate(
    unit: &mut Unit<'_>,
    by: &Operator,
    app_id: AppId,
    id: SecretId,
    material: &SecretMaterial,
) -> Result<ManagedSecret, StoreError> {
    let before = load(unit.sql, app_id, id).await?;
    let provider =
        providers::load(unit.sql, app_id, &before.provider).await?.ok_or(StoreError::NotFound("provider"))?;
    check::material(material, &provider)?;
    let generation = before.generation + 1;
    let context = SealContext::of(app_id, Field::SecretMaterial, id.uuid(), generation);
    let sealed = unit.envelope.seal(&context, &material.to_bytes())?;
    execute(
        unit.sql,
        "UPDATE managed_secrets SET material = $3, generation = $4, rotated_at = $5 WHERE app_id = $1 AND id = $2",
        params![app_id, id, sealed, integer(generation), micros(by.at)],
    )
    .await?;
    let mut row = draft::of_operator(by, app_id, Action::SecretRotated);
    row.provider = Some(before.provider.as_str().to_owned());
    row.detail = Some(format!("{id} generation {generation}"));
    unit.audit(row);
    load(unit.sql, app_id, id).await
}

pub(super) async fn list(sql: &Client, app_id: AppId) -> Result<Vec<ManagedSecret>, StoreError> {
    apps::must_exist(sql, app_id).await?;
    let text = concat!(secret!(), " WHERE app_id = $1 ORDER BY created_at, id");
    rows(sql, text, params![app_id]).await?.iter().map(secret).collect()
}

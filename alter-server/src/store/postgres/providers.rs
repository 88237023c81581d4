//! Providers.

use secrecy::{ExposeSecret, SecretSlice};
use tokio_postgres::Client;

use super::{
    apps,
    columns::{count, execute, get, integer, maybe_row, params, rows},
    lanes::Unit,
};
use crate::{
    audit::Action,
    domain::{AppId, Operator, Provider, ProviderId, ProviderKind, PutProvider},
    seal::{Sealed, SealedField},
    store::{StoreError, draft},
};

/// Reads a definition.
pub(super) fn parse(text: &str, id: &str) -> Result<Provider, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt(format!("provider {id}: {error}")))
}

/// One provider.
pub(super) async fn load(
    sql: &Client,
    app_id: AppId,
    id: &ProviderId,
) -> Result<Option<Provider>, StoreError> {
    let text = "SELECT definition FROM providers WHERE app_id = $1 AND id = $2";
    let found = maybe_row(sql, text, params![app_id, *id]).await?;
    found.as_ref().map(|row| parse(get(row, 0)?, id.as_str())).transpose()
}

pub(super) async fn list(sql: &Client, app_id: AppId) -> Result<Vec<Provider>, StoreError> {
    apps::must_exist(sql, app_id).await?;
    let text = "SELECT id, definition FROM providers WHERE app_id = $1 ORDER BY id";
    let found = rows(sql, text, params![app_id]).await?;
    found.iter().map(|row| parse(get(row, 1)?, get(row, 0)?)).collect()
}

pub(super) async fn put(
    unit: &mut Unit<'_>,
    by: &Operator,
    put: &PutProvider,
) -> Result<Provider, StoreError> {
    put.provider.check()?;
    apps::must_exist(unit.sql, put.app_id).await?;
    let (app_id, provider) = (put.app_id, &put.provider);
    let text =
        "SELECT kind, client_secret_generation, client_secret FROM providers WHERE app_id = $1 AND id = $2";
    let (generation, kept) = match maybe_row(unit.sql, text, params![app_id, provider.id]).await? {
        None => (0, None),
        Some(before) => {
            let kind: ProviderKind = get(&before, 0)?;
            if kind != provider.kind && in_use(unit.sql, app_id, &provider.id, true).await? {
                return Err(StoreError::Conflict(
                    "the provider's kind cannot change while it has grants or a secret: use another id"
                        .to_owned(),
                ));
            }
            (count(&before, 1)?, get::<Option<Sealed>>(&before, 2)?)
        }
    };
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
    execute(
        unit.sql,
        "INSERT INTO providers (app_id, id, kind, definition, client_secret, client_secret_generation) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (app_id, id) DO UPDATE SET kind = excluded.kind, \
         definition = excluded.definition, client_secret = excluded.client_secret, \
         client_secret_generation = excluded.client_secret_generation",
        params![app_id, provider.id, provider.kind, definition, client_secret, integer(generation)],
    )
    .await?;
    // What made its grants wait may be repaired.
    let text = "DELETE FROM refresh_backoff WHERE app_id = $1 AND provider_id = $2";
    execute(unit.sql, text, params![app_id, provider.id]).await?;
    apps::bump(unit.sql, app_id).await?;
    let mut row = draft::of_operator(by, app_id, Action::ProviderChanged);
    row.provider = Some(provider.id.as_str().to_owned());
    // No secret is in a definition, so it may be read in the trail.
    row.detail = Some(definition);
    unit.audit(row);
    load(unit.sql, app_id, &provider.id).await?.ok_or(StoreError::NotFound("provider"))
}

pub(super) async fn client_secret(
    sql: &Client,
    app_id: AppId,
    id: &ProviderId,
) -> Result<Option<SealedField>, StoreError> {
    let text = "SELECT client_secret_generation, client_secret FROM providers WHERE app_id = $1 AND id = $2";
    let found = maybe_row(sql, text, params![app_id, *id]).await?.ok_or(StoreError::NotFound("provider"))?;
    let context = draft::client_secret_context(app_id, id, count(&found, 0)?);
    Ok(get::<Option<Sealed>>(&found, 1)?.map(|sealed| SealedField { context, sealed }))
}

async fn in_use(sql: &Client, app_id: AppId, id: &ProviderId, ended_too: bool) -> Result<bool, StoreError> {
    let text = "SELECT 1 WHERE EXISTS (SELECT 1 FROM grants WHERE app_id = $1 AND provider_id = $2 AND ($3 OR status = 0)) \
         OR EXISTS (SELECT 1 FROM managed_secrets WHERE app_id = $1 AND provider_id = $2)";
    Ok(maybe_row(sql, text, params![app_id, *id, ended_too]).await?.is_some())
}

pub(super) async fn remove(
    unit: &mut Unit<'_>,
    by: &Operator,
    app_id: AppId,
    id: &ProviderId,
) -> Result<(), StoreError> {
    if load(unit.sql, app_id, id).await?.is_none() {
        return Err(StoreError::NotFound("provider"));
    }
    if in_use(unit.sql, app_id, id, false).await? {
        return Err(StoreError::Conflict(
            "the provider has active grants or a managed secret: revoke those first".to_owned(),
        ));
    }
    execute(unit.sql, "DELETE FROM providers WHERE app_id = $1 AND id = $2", params![app_id, *id]).await?;
    apps::bump(unit.sql, app_id).await?;
    let mut row = draft::of_operator(by, app_id, Action::ProviderRemoved);
    row.provider = Some(id.as_str().to_owned());
    unit.audit(row);
    Ok(())
}

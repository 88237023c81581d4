//! API keys.

use tokio_postgres::{Client, Row};

use super::{
    agents, apps,
    columns::{execute, get, instant, maybe_instant, maybe_row, micros, params, rows, small, taken},
    lanes::Unit,
};
use crate::{
    audit::Action,
    domain::{
        AgentId, AgentStatus, ApiKey, AppId, KeyDigest, KeyId, KeyKind, KeyMaterial, KeyStatus, NewKey,
        Operator,
    },
    resolve::ScopeSet,
    seal::{Field, SealContext, SealedField},
    store::{KeyPatch, StoreError, check, draft},
};

macro_rules! key {
    () => {
        "SELECT id, app_id, agent_id, name, prefix, scopes, status, created_at, expires_at, revoked_at FROM api_keys"
    };
}

pub(super) fn kind(agent: Option<AgentId>) -> KeyKind {
    agent.map_or(KeyKind::App, KeyKind::Agent)
}

pub(super) fn scope_set(row: &Row, column: usize) -> Result<ScopeSet, StoreError> {
    Ok(ScopeSet(small(row, column)?.unwrap_or_default()))
}

fn key(row: &Row) -> Result<ApiKey, StoreError> {
    Ok(ApiKey {
        id: get(row, 0)?,
        app_id: get(row, 1)?,
        kind: kind(get(row, 2)?),
        name: get(row, 3)?,
        prefix: get(row, 4)?,
        scopes: scope_set(row, 5)?.to_vec(),
        status: get(row, 6)?,
        created_at: instant(row, 7)?,
        expires_at: maybe_instant(row, 8)?,
        revoked_at: maybe_instant(row, 9)?,
    })
}

async fn load(sql: &Client, app_id: AppId, id: KeyId) -> Result<ApiKey, StoreError> {
    let text = concat!(key!(), " WHERE app_id = $1 AND id = $2");
    let found = maybe_row(sql, text, params![app_id, id]).await?;
    found.as_ref().map(key).transpose()?.ok_or(StoreError::NotFound("key"))
}

pub(super) async fn material(sql: &Client, digest: KeyDigest) -> Result<Option<KeyMaterial>, StoreError> {
    let text = "SELECT app_id, id, agent_id, prefix, scopes, rate_limit, signing_key FROM api_keys WHERE digest = $1";
    let Some(row) = maybe_row(sql, text, params![digest.bytes().as_slice()]).await? else { return Ok(None) };
    let (app_id, key_id): (AppId, KeyId) = (get(&row, 0)?, get(&row, 1)?);
    let context = SealContext::of(app_id, Field::KeySigning, key_id.uuid(), 1);
    Ok(Some(KeyMaterial {
        app_id,
        key_id,
        kind: kind(get(&row, 2)?),
        prefix: get(&row, 3)?,
        scopes: scope_set(&row, 4)?.to_vec(),
        rate_limit_per_minute: small(&row, 5)?,
        signing_key: SealedField { context, sealed: get(&row, 6)? },
    }))
}

/// The signing key of the newest key.
pub(super) async fn sample(sql: &Client) -> Result<Option<SealedField>, StoreError> {
    let text = "SELECT app_id, id, signing_key FROM api_keys ORDER BY n DESC LIMIT 1";
    let Some(row) = maybe_row(sql, text, params![]).await? else { return Ok(None) };
    let (app_id, key_id): (AppId, KeyId) = (get(&row, 0)?, get(&row, 1)?);
    let context = SealContext::of(app_id, Field::KeySigning, key_id.uuid(), 1);
    Ok(Some(SealedField { context, sealed: get(&row, 2)? }))
}

pub(super) async fn create(unit: &mut Unit<'_>, by: &Operator, new: &NewKey) -> Result<ApiKey, StoreError> {
    check::name(&new.name, "a key")?;
    apps::must_exist(unit.sql, new.app_id).await?;
    if let KeyKind::Agent(agent) = new.kind
        && agents::load(unit.sql, new.app_id, agent).await?.status == AgentStatus::Revoked
    {
        return Err(StoreError::Conflict("this agent is revoked: create another one".to_owned()));
    }
    let context = SealContext::of(new.app_id, Field::KeySigning, new.id.uuid(), 1);
    let signing_key = unit.envelope.seal(&context, &new.signing_key)?;
    let prefix: String = new.prefix.chars().take(16).collect();
    execute(
        unit.sql,
        "INSERT INTO api_keys (app_id, id, digest, agent_id, name, prefix, scopes, status, rate_limit, created_at, \
         expires_at, signing_key) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        params![
            new.app_id,
            new.id,
            new.digest.bytes().as_slice(),
            new.kind.agent(),
            new.name,
            prefix,
            i64::from(ScopeSet::of(&new.scopes).0),
            KeyStatus::Active,
            new.rate_limit_per_minute.map(i64::from),
            micros(by.at),
            new.expires_at.map(micros),
            signing_key,
        ],
    )
    .await
    .map_err(|error| taken(error, || "this key exists already: mint another one".to_owned()))?;
    let mut row = draft::of_operator(by, new.app_id, Action::KeyCreated);
    row.key_id = Some(new.id);
    row.key_prefix = Some(prefix);
    row.agent_id = new.kind.agent();
    row.detail = Some(new.name.clone());
    unit.audit(row);
    load(unit.sql, new.app_id, new.id).await
}

pub(super) async fn list(sql: &Client, app_id: AppId) -> Result<Vec<ApiKey>, StoreError> {
    apps::must_exist(sql, app_id).await?;
    let text = concat!(key!(), " WHERE app_id = $1 ORDER BY created_at, id");
    rows(sql, text, params![app_id]).await?.iter().map(key).collect()
}

pub(super) async fn change(
    unit: &mut Unit<'_>,
    by: &Operator,
    app_id: AppId,
    id: KeyId,
    patch: &KeyPatch,
) -> Result<ApiKey, StoreError> {
    let before = load(unit.sql, app_id, id).await?;
    if before.status == KeyStatus::Revoked {
        return Err(StoreError::Conflict("this key is revoked: issue another one".to_owned()));
    }
    let mut changes = Vec::new();
    if let Some(deprecated) = patch.deprecated {
        let status = if deprecated { KeyStatus::Deprecated } else { KeyStatus::Active };
        let text = "UPDATE api_keys SET status = $3 WHERE app_id = $1 AND id = $2";
        execute(unit.sql, text, params![app_id, id, status]).await?;
        changes.push(if deprecated { "deprecated" } else { "no longer deprecated" }.to_owned());
    }
    if let Some(expires_at) = patch.expires_at {
        let text = "UPDATE api_keys SET expires_at = $3 WHERE app_id = $1 AND id = $2";
        execute(unit.sql, text, params![app_id, id, expires_at.map(micros)]).await?;
        changes.push(expires_at.map_or_else(|| "does not expire".to_owned(), |end| format!("expires {end}")));
    }
    let mut row = draft::of_operator(by, app_id, Action::KeyChanged);
    row.key_id = Some(id);
    row.key_prefix = Some(before.prefix);
    row.detail = Some(changes.join(", "));
    unit.audit(row);
    load(unit.sql, app_id, id).await
}

pub(super) async fn revoke(
    unit: &mut Unit<'_>,
    by: &Operator,
    app_id: AppId,
    id: KeyId,
) -> Result<ApiKey, StoreError> {
    let before = load(unit.sql, app_id, id).await?;
    if before.status == KeyStatus::Revoked {
        return Ok(before);
    }
    let text = "UPDATE api_keys SET status = $3, revoked_at = $4 WHERE app_id = $1 AND id = $2";
    execute(unit.sql, text, params![app_id, id, KeyStatus::Revoked, micros(by.at)]).await?;
    let mut row = draft::of_operator(by, app_id, Action::KeyRevoked);
    row.key_id = Some(id);
    row.key_prefix = Some(before.prefix);
    unit.audit(row);
    load(unit.sql, app_id, id).await
}

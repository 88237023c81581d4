//! Apps, keys and agents.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    columns::{Micros, count, instant, maybe_instant},
    writer::Unit,
};
use crate::{
    audit::Action,
    domain::{
        Agent, AgentId, AgentStatus, ApiKey, App, AppConfig, AppId, AppStatus, IdpConfig, KeyDigest, KeyId,
        KeyKind, KeyMaterial, KeyStatus, NewAgent, NewKey, Operator,
    },
    resolve::ScopeSet,
    seal::{Field, SealContext, SealedField},
    store::{AppPatch, KeyPatch, StoreError, check, config::AppTexts, draft},
};

fn taken(error: rusqlite::Error, text: impl FnOnce() -> String) -> StoreError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::ConstraintViolation) => StoreError::Conflict(text()),
        _ => error.into(),
    }
}

// ---- Apps ---------------------------------------------------------------------------------------------------------------

fn app(row: &Row<'_>) -> rusqlite::Result<App> {
    Ok(App { id: row.get(0)?, name: row.get(1)?, status: row.get(2)?, created_at: instant(row, 3)? })
}

const APP: &str = "SELECT id, name, status, created_at FROM apps";

fn load_app(sql: &Connection, id: AppId) -> Result<App, StoreError> {
    sql.prepare_cached(&format!("{APP} WHERE id = ?1"))?
        .query_row([id], app)
        .optional()?
        .ok_or(StoreError::NotFound("app"))
}

/// The app must be there.
pub(super) fn must_exist(sql: &Connection, id: AppId) -> Result<(), StoreError> {
    load_app(sql, id).map(|_| ())
}

/// Generation of the app's configuration.
pub(super) fn generation(sql: &Connection, id: AppId) -> Result<Option<u64>, StoreError> {
    let mut statement = sql.prepare_cached("SELECT config_generation FROM apps WHERE id = ?1")?;
    Ok(statement.query_row([id], |row| count(row, 0)).optional()?)
}

/// What the serving side keeps of the app is no longer right.
pub(super) fn bump(sql: &Connection, id: AppId) -> Result<(), StoreError> {
    sql.prepare_cached("UPDATE apps SET config_generation = config_generation + 1 WHERE id = ?1")?
        .execute([id])?;
    Ok(())
}

pub(super) fn create_app(
    unit: &mut Unit<'_>,
    by: &Operator,
    id: AppId,
    name: &str,
) -> Result<App, StoreError> {
    check::name(name, "an app")?;
    if id == AppId::VAULT {
        return Err(StoreError::Invalid("this id stands for the vault itself".to_owned()));
    }
    unit.sql
        .prepare_cached(
            "INSERT INTO apps (id, name, status, config_generation, created_at) VALUES (?1, ?2, ?3, 1, ?4)",
        )?
        .execute(params![id, name, AppStatus::Active, Micros(by.at)])
        .map_err(|error| taken(error, || format!("there is an app named {name:?}")))?;
    let mut row = draft::of_operator(by, id, Action::AppCreated);
    row.detail = Some(name.to_owned());
    unit.audit(row)?;
    load_app(unit.sql, id)
}

pub(super) fn list_apps(sql: &Connection) -> Result<Vec<App>, StoreError> {
    let mut statement = sql.prepare_cached(&format!("{APP} ORDER BY created_at, id"))?;
    let apps = statement.query_map([], app)?;
    Ok(apps.collect::<Result<_, _>>()?)
}

pub(super) fn change_app(
    unit: &mut Unit<'_>,
    by: &Operator,
    id: AppId,
    patch: &AppPatch,
) -> Result<App, StoreError> {
    load_app(unit.sql, id)?;
    let mut changes = Vec::new();
    if let Some(name) = &patch.name {
        check::name(name, "an app")?;
        unit.sql
            .execute("UPDATE apps SET name = ?2 WHERE id = ?1", params![id, name])
            .map_err(|error| taken(error, || format!("there is an app named {name:?}")))?;
        changes.push(format!("name {name:?}"));
    }
    if let Some(status) = patch.status {
        unit.sql.execute("UPDATE apps SET status = ?2 WHERE id = ?1", params![id, status])?;
        changes.push(if status == AppStatus::Active { "resumed" } else { "suspended" }.to_owned());
    }
    if let Some(limit) = patch.rate_limit_per_minute {
        unit.sql.execute("UPDATE apps SET rate_limit = ?2 WHERE id = ?1", params![id, limit])?;
        changes.push(format!("rate limit {limit:?}"));
    }
    bump(unit.sql, id)?;
    let mut row = draft::of_operator(by, id, Action::AppChanged);
    row.detail = Some(changes.join(", "));
    unit.audit(row)?;
    load_app(unit.sql, id)
}

pub(super) fn config(sql: &Connection, id: AppId) -> Result<Option<AppConfig>, StoreError> {
    let found = sql
        .prepare_cached(
            "SELECT config_generation, rate_limit, name, idp, page, sign_in FROM apps WHERE id = ?1",
        )?
        .query_row([id], |row| {
            let texts = AppTexts { idp: row.get(3)?, page: row.get(4)?, sign_in: row.get(5)? };
            Ok((count(row, 0)?, row.get(1)?, row.get(2)?, texts))
        })
        .optional()?;
    found
        .map(|(generation, rate_limit_per_minute, name, texts)| {
            texts.into_config(id, generation, rate_limit_per_minute, name)
        })
        .transpose()
}

pub(super) fn set_idp(
    unit: &mut Unit<'_>,
    by: &Operator,
    id: AppId,
    idp: Option<&IdpConfig>,
) -> Result<AppConfig, StoreError> {
    must_exist(unit.sql, id)?;
    check::idp(idp)?;
    let text =
        idp.map(serde_json::to_string).transpose().map_err(|error| StoreError::Invalid(error.to_string()))?;
    unit.sql.execute("UPDATE apps SET idp = ?2 WHERE id = ?1", params![id, text])?;
    bump(unit.sql, id)?;
    let mut row = draft::of_operator(by, id, Action::IdpChanged);
    row.detail = Some(idp.map_or_else(|| "removed".to_owned(), |idp| idp.issuer.clone()));
    unit.audit(row)?;
    config(unit.sql, id)?.ok_or(StoreError::NotFound("app"))
}

// ---- Keys ---------------------------------------------------------------------------------------------------------------

const KEY: &str = "SELECT id, app_id, agent_id, name, prefix, scopes, status, created_at, expires_at, revoked_at FROM api_keys";

fn key_kind(agent: Option<AgentId>) -> KeyKind {
    agent.map_or(KeyKind::App, KeyKind::Agent)
}

fn key(row: &Row<'_>) -> rusqlite::Result<ApiKey> {
    Ok(ApiKey {
        id: row.get(0)?,
        app_id: row.get(1)?,
        kind: key_kind(row.get(2)?),
        name: row.get(3)?,
        prefix: row.get(4)?,
        scopes: ScopeSet(row.get(5)?).to_vec(),
        status: row.get(6)?,
        created_at: instant(row, 7)?,
        expires_at: maybe_instant(row, 8)?,
        revoked_at: maybe_instant(row, 9)?,
    })
}

fn load_key(sql: &Connection, app_id: AppId, id: KeyId) -> Result<ApiKey, StoreError> {
    sql.prepare_cached(&format!("{KEY} WHERE app_id = ?1 AND id = ?2"))?
        .query_row(params![app_id, id], key)
        .optional()?
        .ok_or(StoreError::NotFound("key"))
}

pub(super) fn material(sql: &Connection, digest: KeyDigest) -> Result<Option<KeyMaterial>, StoreError> {
    Ok(sql
        .prepare_cached(
            "SELECT app_id, id, agent_id, prefix, scopes, rate_limit, signing_key FROM api_keys WHERE digest = ?1",
        )?
        .query_row([digest.bytes()], |row| {
            let (app_id, key_id): (AppId, KeyId) = (row.get(0)?, row.get(1)?);
            let context = SealContext::of(app_id, Field::KeySigning, key_id.uuid(), 1);
            Ok(KeyMaterial {
                app_id,
                key_id,
                kind: key_kind(row.get(2)?),
                prefix: row.get(3)?,
                scopes: ScopeSet(row.get(4)?).to_vec(),
                rate_limit_per_minute: row.get(5)?,
                signing_key: SealedField { context, sealed: row.get(6)? },
            })
        })
        .optional()?)
}

/// The signing key of the newest key.
pub(super) fn sample(sql: &Connection) -> Result<Option<SealedField>, StoreError> {
    Ok(sql
        .prepare_cached("SELECT app_id, id, signing_key FROM api_keys ORDER BY rowid DESC LIMIT 1")?
        .query_row([], |row| {
            let (app_id, key_id): (AppId, KeyId) = (row.get(0)?, row.get(1)?);
            let context = SealContext::of(app_id, Field::KeySigning, key_id.uuid(), 1);
            Ok(SealedField { context, sealed: row.get(2)? })
        })
        .optional()?)
}

pub(super) fn create_key(unit: &mut Unit<'_>, by: &Operator, new: &NewKey) -> Result<ApiKey, StoreError> {
    check::name(&new.name, "a key")?;
    must_exist(unit.sql, new.app_id)?;
    if let KeyKind::Agent(agent) = new.kind
        && load_agent(unit.sql, new.app_id, agent)?.status == AgentStatus::Revoked
    {
        return Err(StoreError::Conflict("this agent is revoked: create another one".to_owned()));
    }
    let context = SealContext::of(new.app_id, Field::KeySigning, new.id.uuid(), 1);
    let signing_key = unit.envelope.seal(&context, &new.signing_key)?;
    let prefix: String = new.prefix.chars().take(16).collect();
    unit.sql
        .prepare_cached(
            "INSERT INTO api_keys (app_id, id, digest, agent_id, name, prefix, scopes, status, rate_limit, created_at, \
             expires_at, signing_key) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?
        .execute(params![
            new.app_id,
            new.id,
            new.digest.bytes(),
            new.kind.agent(),
            new.name,
            prefix,
            ScopeSet::of(&new.scopes).0,
            KeyStatus::Active,
            new.rate_limit_per_minute,
            Micros(by.at),
            new.expires_at.map(Micros),
            signing_key
        ])
        .map_err(|error| taken(error, || "this key exists already: mint another one".to_owned()))?;
    let mut row = draft::of_operator(by, new.app_id, Action::KeyCreated);
    row.key_id = Some(new.id);
    row.key_prefix = Some(prefix);
    row.agent_id = new.kind.agent();
    row.detail = Some(new.name.clone());
    unit.audit(row)?;
    load_key(unit.sql, new.app_id, new.id)
}

pub(super) fn list_keys(sql: &Connection, app_id: AppId) -> Result<Vec<ApiKey>, StoreError> {
    must_exist(sql, app_id)?;
    let mut statement = sql.prepare_cached(&format!("{KEY} WHERE app_id = ?1 ORDER BY created_at, id"))?;
    let keys = statement.query_map([app_id], key)?;
    Ok(keys.collect::<Result<_, _>>()?)
}

pub(super) fn change_key(
    unit: &mut Unit<'_>,
    by: &Operator,
    app_id: AppId,
    id: KeyId,
    patch: &KeyPatch,
) -> Result<ApiKey, StoreError> {
    let before = load_key(unit.sql, app_id, id)?;
    if before.status == KeyStatus::Revoked {
        return Err(StoreError::Conflict("this key is revoked: issue another one".to_owned()));
    }
    let mut changes = Vec::new();
    if let Some(deprecated) = patch.deprecated {
        let status = if deprecated { KeyStatus::Deprecated } else { KeyStatus::Active };
        let text = "UPDATE api_keys SET status = ?3 WHERE app_id = ?1 AND id = ?2";
        unit.sql.execute(text, params![app_id, id, status])?;
        changes.push(if deprecated { "deprecated" } else { "no longer deprecated" }.to_owned());
    }
    if let Some(expires_at) = patch.expires_at {
        let text = "UPDATE api_keys SET expires_at = ?3 WHERE app_id = ?1 AND id = ?2";
        unit.sql.execute(text, params![app_id, id, expires_at.map(Micros)])?;
        changes.push(expires_at.map_or_else(|| "does not expire".to_owned(), |end| format!("expires {end}")));
    }
    let mut row = draft::of_operator(by, app_id, Action::KeyChanged);
    row.key_id = Some(id);
    row.key_prefix = Some(before.prefix);
    row.detail = Some(changes.join(", "));
    unit.audit(row)?;
    load_key(unit.sql, app_id, id)
}

pub(super) fn revoke_key(
    unit: &mut Unit<'_>,
    by: &Operator,
    app_id: AppId,
    id: KeyId,
) -> Result<ApiKey, StoreError> {
    let before = load_key(unit.sql, app_id, id)?;
    if before.status == KeyStatus::Revoked {
        return Ok(before);
    }
    let text = "UPDATE api_keys SET status = ?3, revoked_at = ?4 WHERE app_id = ?1 AND id = ?2";
    unit.sql.execute(text, params![app_id, id, KeyStatus::Revoked, Micros(by.at)])?;
    let mut row = draft::of_operator(by, app_id, Action::KeyRevoked);
    row.key_id = Some(id);
    row.key_prefix = Some(before.prefix);
    unit.audit(row)?;
    load_key(unit.sql, app_id, id)
}

// ---- Agents -------------------------------------------------------------------------------------------------------------

const AGENT: &str = "SELECT id, app_id, name, status, created_at FROM agents";

fn agent(row: &Row<'_>) -> rusqlite::Result<Agent> {
    Ok(Agent {
        id: row.get(0)?,
        app_id: row.get(1)?,
        name: row.get(2)?,
        status: row.get(3)?,
        created_at: instant(row, 4)?,
    })
}

fn load_agent(sql: &Connection, app_id: AppId, id: AgentId) -> Result<Agent, StoreError> {
    sql.prepare_cached(&format!("{AGENT} WHERE app_id = ?1 AND id = ?2"))?
        .query_row(params![app_id, id], agent)
        .optional()?
        .ok_or(StoreError::NotFound("agent"))
}

pub(super) fn create_agent(unit: &mut Unit<'_>, by: &Operator, new: &NewAgent) -> Result<Agent, StoreError> {
    check::name(&new.name, "an agent")?;
    must_exist(unit.sql, new.app_id)?;
    unit.sql
        .prepare_cached(
            "INSERT INTO agents (app_id, id, name, status, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![new.app_id, new.id, new.name, AgentStatus::Active, Micros(by.at)])
        .map_err(|error| taken(error, || format!("the app has an agent named {:?}", new.name)))?;
    let mut row = draft::of_operator(by, new.app_id, Action::AgentCreated);
    row.agent_id = Some(new.id);
    row.detail = Some(new.name.clone());
    unit.audit(row)?;
    load_agent(unit.sql, new.app_id, new.id)
}

pub(super) fn list_agents(sql: &Connection, app_id: AppId) -> Result<Vec<Agent>, StoreError> {
    must_exist(sql, app_id)?;
    let mut statement = sql.prepare_cached(&format!("{AGENT} WHERE app_id = ?1 ORDER BY created_at, id"))?;
    let agents = statement.query_map([app_id], agent)?;
    Ok(agents.collect::<Result<_, _>>()?)
}

pub(super) fn set_agent_status(
    unit: &mut Unit<'_>,
    by: &Operator,
    app_id: AppId,
    id: AgentId,
    status: AgentStatus,
) -> Result<Agent, StoreError> {
    let before = load_agent(unit.sql, app_id, id)?;
    if before.status == status {
        return Ok(before);
    }
    if before.status == AgentStatus::Revoked {
        return Err(StoreError::Conflict("this agent is revoked for good: create another one".to_owned()));
    }
    let text = "UPDATE agents SET status = ?3 WHERE app_id = ?1 AND id = ?2";
    unit.sql.execute(text, params![app_id, id, status])?;
    let action = if status == AgentStatus::Revoked { Action::AgentRevoked } else { Action::AgentChanged };
    let mut row = draft::of_operator(by, app_id, action);
    row.agent_id = Some(id);
    row.detail = Some(
        match status {
            AgentStatus::Active => "resumed",
            AgentStatus::Inactive => "paused",
            AgentStatus::Revoked => "revoked",
        }
        .to_owned(),
    );
    unit.audit(row)?;
    load_agent(unit.sql, app_id, id)
}

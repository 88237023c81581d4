//! Managed agents.

use tokio_postgres::{Client, Row};

use super::{
    apps,
    columns::{execute, get, instant, maybe_row, micros, params, rows, taken},
    lanes::Unit,
};
use crate::{
    audit::Action,
    domain::{Agent, AgentId, AgentStatus, AppId, NewAgent, Operator},
    store::{StoreError, check, draft},
};

fn agent(row: &Row) -> Result<Agent, StoreError> {
    Ok(Agent {
        id: get(row, 0)?,
        app_id: get(row, 1)?,
        name: get(row, 2)?,
        status: get(row, 3)?,
        created_at: instant(row, 4)?,
    })
}

pub(super) async fn load(sql: &Client, app_id: AppId, id: AgentId) -> Result<Agent, StoreError> {
    let text = "SELECT id, app_id, name, status, created_at FROM agents WHERE app_id = $1 AND id = $2";
    let found = maybe_row(sql, text, params![app_id, id]).await?;
    found.as_ref().map(agent).transpose()?.ok_or(StoreError::NotFound("agent"))
}

pub(super) async fn create(unit: &mut Unit<'_>, by: &Operator, new: &NewAgent) -> Result<Agent, StoreError> {
    check::name(&new.name, "an agent")?;
    apps::must_exist(unit.sql, new.app_id).await?;
    execute(
        unit.sql,
        "INSERT INTO agents (app_id, id, name, status, created_at) VALUES ($1, $2, $3, $4, $5)",
        params![new.app_id, new.id, new.name, AgentStatus::Active, micros(by.at)],
    )
    .await
    .map_err(|error| taken(error, || format!("the app has an agent named {:?}", new.name)))?;
    let mut row = draft::of_operator(by, new.app_id, Action::AgentCreated);
    row.agent_id = Some(new.id);
    row.detail = Some(new.name.clone());
    unit.audit(row);
    load(unit.sql, new.app_id, new.id).await
}

pub(super) async fn list(sql: &Client, app_id: AppId) -> Result<Vec<Agent>, StoreError> {
    apps::must_exist(sql, app_id).await?;
    let text =
        "SELECT id, app_id, name, status, created_at FROM agents WHERE app_id = $1 ORDER BY created_at, id";
    rows(sql, text, params![app_id]).await?.iter().map(agent).collect()
}

pub(super) async fn set_status(
    unit: &mut Unit<'_>,
    by: &Operator,
    app_id: AppId,
    id: AgentId,
    status: AgentStatus,
) -> Result<Agent, StoreError> {
    let before = load(unit.sql, app_id, id).await?;
    if before.status == status {
        return Ok(before);
    }
    if before.status == AgentStatus::Revoked {
        return Err(StoreError::Conflict("this agent is revoked for good: create another one".to_owned()));
    }
    let text = "UPDATE agents SET status = $3 WHERE app_id = $1 AND id = $2";
    execute(unit.sql, text, params![app_id, id, status]).await?;
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
    unit.audit(row);
    load(unit.sql, app_id, id).await
}

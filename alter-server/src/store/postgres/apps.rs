//! Apps and what the serving side keeps of them.

use tokio_postgres::{Client, Row};

use super::{
    columns::{count, execute, get, instant, maybe_row, micros, params, rows, small, taken},
    lanes::Unit,
};
use crate::{
    audit::Action,
    domain::{App, AppConfig, AppId, AppStatus, IdpConfig, Operator},
    store::{AppPatch, StoreError, check, config::AppTexts, draft},
};

fn app(row: &Row) -> Result<App, StoreError> {
    Ok(App { id: get(row, 0)?, name: get(row, 1)?, status: get(row, 2)?, created_at: instant(row, 3)? })
}

async fn load(sql: &Client, id: AppId) -> Result<App, StoreError> {
    let text = "SELECT id, name, status, created_at FROM apps WHERE id = $1";
    maybe_row(sql, text, params![id]).await?.as_ref().map(app).transpose()?.ok_or(StoreError::NotFound("app"))
}

/// The app must be there.
pub(super) async fn must_exist(sql: &Client, id: AppId) -> Result<(), StoreError> {
    load(sql, id).await.map(|_| ())
}

/// What the serving side keeps of the app is no longer right.
pub(super) async fn bump(sql: &Client, id: AppId) -> Result<(), StoreError> {
    let text = "UPDATE apps SET config_generation = config_generation + 1 WHERE id = $1";
    execute(sql, text, params![id]).await.map(|_| ())
}

pub(super) async fn create(
    unit: &mut Unit<'_>,
    by: &Operator,
    id: AppId,
    name: &str,
) -> Result<App, StoreError> {
    check::name(name, "an app")?;
    if id == AppId::VAULT {
        return Err(StoreError::Invalid("this id stands for the vault itself".to_owned()));
    }
    execute(
        unit.sql,
        "INSERT INTO apps (id, name, status, config_generation, created_at) VALUES ($1, $2, $3, 1, $4)",
        params![id, name, AppStatus::Active, micros(by.at)],
    )
    .await
    .map_err(|error| taken(error, || format!("there is an app named {name:?}")))?;
    let mut row = draft::of_operator(by, id, Action::AppCreated);
    row.detail = Some(name.to_owned());
    unit.audit(row);
    load(unit.sql, id).await
}

pub(super) async fn list(sql: &Client) -> Result<Vec<App>, StoreError> {
    let text = "SELECT id, name, status, created_at FROM apps ORDER BY created_at, id";
    rows(sql, text, &[]).await?.iter().map(app).collect()
}

pub(super) async fn change(
    unit: &mut Unit<'_>,
    by: &Operator,
    id: AppId,
    patch: &AppPatch,
) -> Result<App, StoreError> {
    load(unit.sql, id).await?;
    let mut changes = Vec::new();
    if let Some(name) = &patch.name {
        check::name(name, "an app")?;
        execute(unit.sql, "UPDATE apps SET name = $2 WHERE id = $1", params![id, *name])
            .await
            .map_err(|error| taken(error, || format!("there is an app named {name:?}")))?;
        changes.push(format!("name {name:?}"));
    }
    if let Some(status) = patch.status {
        execute(unit.sql, "UPDATE apps SET status = $2 WHERE id = $1", params![id, status]).await?;
        changes.push(if status == AppStatus::Active { "resumed" } else { "suspended" }.to_owned());
    }
    if let Some(limit) = patch.rate_limit_per_minute {
        let text = "UPDATE apps SET rate_limit = $2 WHERE id = $1";
        execute(unit.sql, text, params![id, limit.map(i64::from)]).await?;
        changes.push(format!("rate limit {limit:?}"));
    }
    bump(unit.sql, id).await?;
    let mut row = draft::of_operator(by, id, Action::AppChanged);
    row.detail = Some(changes.join(", "));
    unit.audit(row);
    load(unit.sql, id).await
}

pub(super) async fn config(sql: &Client, id: AppId) -> Result<Option<AppConfig>, StoreError> {
    let text = "SELECT config_generation, rate_limit, name, idp, page, sign_in FROM apps WHERE id = $1";
    let Some(row) = maybe_row(sql, text, params![id]).await? else { return Ok(None) };
    let texts = AppTexts { idp: get(&row, 3)?, page: get(&row, 4)?, sign_in: get(&row, 5)? };
    texts.into_config(id, count(&row, 0)?, small(&row, 1)?, get(&row, 2)?).map(Some)
}

pub(super) async fn set_idp(
    unit: &mut Unit<'_>,
    by: &Operator,
    id: AppId,
    idp: Option<&IdpConfig>,
) -> Result<AppConfig, StoreError> {
    must_exist(unit.sql, id).await?;
    check::idp(idp)?;
    let text =
        idp.map(serde_json::to_string).transpose().map_err(|error| StoreError::Invalid(error.to_string()))?;
    execute(unit.sql, "UPDATE apps SET idp = $2 WHERE id = $1", params![id, text]).await?;
    bump(unit.sql, id).await?;
    let mut row = draft::of_operator(by, id, Action::IdpChanged);
    row.detail = Some(idp.map_or_else(|| "removed".to_owned(), |idp| idp.issuer.clone()));
    unit.audit(row);
    config(unit.sql, id).await?.ok_or(StoreError::NotFound("app"))
}

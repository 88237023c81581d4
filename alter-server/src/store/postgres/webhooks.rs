//! Endpoints that are told of changes.

use secrecy::{ExposeSecret, SecretSlice};
use tokio_postgres::{Client, Row};

use super::{
    apps,
    columns::{execute, get, instant, micros, params, rows, taken},
    lanes::Unit,
};
use crate::{
    audit::{Action, clean_url},
    domain::{AppId, NewWebhook, Operator, WebhookEndpoint, WebhookId},
    seal::Field,
    store::{StoreError, check, draft, event},
};

fn endpoint(row: &Row) -> Result<WebhookEndpoint, StoreError> {
    Ok(WebhookEndpoint {
        id: get(row, 0)?,
        app_id: get(row, 1)?,
        url: get(row, 2)?,
        events: event::events(get(row, 3)?),
        created_at: instant(row, 4)?,
    })
}

pub(super) async fn add(
    unit: &mut Unit<'_>,
    by: &Operator,
    new: &NewWebhook,
) -> Result<WebhookEndpoint, StoreError> {
    let WebhookEndpoint { id, app_id, url, events, .. } = &new.endpoint;
    apps::must_exist(unit.sql, *app_id).await?;
    check::webhook_url(url)?;
    let plain = SecretSlice::from(new.secret.expose_secret().as_bytes().to_vec());
    let context = draft::webhook_secret_context(*app_id, Field::WebhookSecret, *id);
    let secret = unit.envelope.seal(&context, &plain)?;
    execute(
        unit.sql,
        "INSERT INTO webhook_endpoints (app_id, id, url, events, created_at, secret) VALUES ($1, $2, $3, $4, $5, $6)",
        params![*app_id, *id, *url, event::events_text(events), micros(by.at), secret],
    )
    .await
    .map_err(|error| taken(error, || "there is an endpoint with this id".to_owned()))?;
    let mut row = draft::of_operator(by, *app_id, Action::WebhookChanged);
    row.detail = Some(format!("endpoint {id} added: {}", clean_url(url)));
    unit.audit(row);
    Ok(WebhookEndpoint { created_at: by.at, ..new.endpoint.clone() })
}

pub(super) async fn list(sql: &Client, app_id: AppId) -> Result<Vec<WebhookEndpoint>, StoreError> {
    apps::must_exist(sql, app_id).await?;
    let text = "SELECT id, app_id, url, events, created_at FROM webhook_endpoints WHERE app_id = $1 ORDER BY created_at, id";
    rows(sql, text, params![app_id]).await?.iter().map(endpoint).collect()
}

/// Removes an endpoint and what still waits for it.
pub(super) async fn remove(
    unit: &mut Unit<'_>,
    by: &Operator,
    app_id: AppId,
    id: WebhookId,
) -> Result<(), StoreError> {
    let text = "DELETE FROM webhook_endpoints WHERE app_id = $1 AND id = $2";
    if execute(unit.sql, text, params![app_id, id]).await? == 0 {
        return Err(StoreError::NotFound("webhook endpoint"));
    }
    let text = "DELETE FROM outbox WHERE app_id = $1 AND endpoint_id = $2";
    execute(unit.sql, text, params![app_id, id]).await?;
    let mut row = draft::of_operator(by, app_id, Action::WebhookChanged);
    row.detail = Some(format!("endpoint {id} removed"));
    unit.audit(row);
    Ok(())
}

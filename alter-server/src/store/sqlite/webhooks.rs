//! Places that are told of changes.

use rusqlite::{Connection, Row, params};
use secrecy::{ExposeSecret, SecretSlice};

use super::{
    apps,
    columns::{Micros, instant},
    writer::Unit,
};
use crate::{
    audit::Action,
    domain::{AppId, NewWebhook, Operator, WebhookEndpoint, WebhookId},
    seal::Field,
    store::{StoreError, check, draft, event},
};

fn endpoint(row: &Row<'_>) -> rusqlite::Result<WebhookEndpoint> {
    Ok(WebhookEndpoint {
        id: row.get(0)?,
        app_id: row.get(1)?,
        url: row.get(2)?,
        events: event::events(row.get_ref(3)?.as_str()?),
        created_at: instant(row, 4)?,
    })
}

pub(super) fn add(
    unit: &mut Unit<'_>,
    by: &Operator,
    new: &NewWebhook,
) -> Result<WebhookEndpoint, StoreError> {
    let WebhookEndpoint { id, app_id, ref url, ref events, .. } = new.endpoint;
    apps::must_exist(unit.sql, app_id)?;
    check::webhook_url(url)?;
    let plain = SecretSlice::from(new.secret.expose_secret().as_bytes().to_vec());
    let context = draft::webhook_secret_context(app_id, Field::WebhookSecret, id);
    let secret = unit.envelope.seal(&context, &plain)?;
    unit.sql.execute(
        "INSERT INTO webhook_endpoints (app_id, id, url, events, created_at, secret) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![app_id, id, url, event::events_text(events), Micros(by.at), secret],
    )?;
    let mut row = draft::of_operator(by, app_id, Action::WebhookChanged);
    row.detail = Some(format!("endpoint {id} added: {}", crate::audit::clean_url(url)));
    unit.audit(row)?;
    Ok(WebhookEndpoint { created_at: by.at, ..new.endpoint.clone() })
}

pub(super) fn list(sql: &Connection, app_id: AppId) -> Result<Vec<WebhookEndpoint>, StoreError> {
    apps::must_exist(sql, app_id)?;
    let mut statement = sql.prepare_cached(
        "SELECT id, app_id, url, events, created_at FROM webhook_endpoints WHERE app_id = ?1 ORDER BY created_at, id",
    )?;
    let endpoints = statement.query_map([app_id], endpoint)?;
    Ok(endpoints.collect::<Result<_, _>>()?)
}

pub(super) fn remove(
    unit: &mut Unit<'_>,
    by: &Operator,
    app_id: AppId,
    id: WebhookId,
) -> Result<(), StoreError> {
    let text = "DELETE FROM webhook_endpoints WHERE app_id = ?1 AND id = ?2";
    if unit.sql.execute(text, params![app_id, id])? == 0 {
        return Err(StoreError::NotFound("webhook endpoint"));
    }
    unit.sql.execute(
        "DELETE FROM outbox WHERE app_id = ?1 AND kind = 1 AND endpoint_id = ?2",
        params![app_id, id],
    )?;
    let mut row = draft::of_operator(by, app_id, Action::WebhookChanged);
    row.detail = Some(format!("endpoint {id} removed"));
    unit.audit(row)
}

//! Those who tell of users, and what they tell.

use secrecy::{ExposeSecret, SecretSlice};
use tokio_postgres::{Client, Row};

use super::{
    apps,
    columns::{execute, get, instant, maybe_row, micros, params, rows, taken},
    lanes::Unit,
    users,
};
use crate::{
    audit::{Action, AuditRow},
    domain::{AppId, HookShape, HookSource, KeyId, NewHookSource, Nonce, Operator, Refusal, WebhookId},
    seal::{Field, SealedField},
    store::{Heard, HookMessage, StoreError, draft},
};
use alter_core::wire::code::Code;

fn source(row: &Row) -> Result<HookSource, StoreError> {
    Ok(HookSource {
        id: get(row, 0)?,
        app_id: get(row, 1)?,
        shape: HookShape::parse(get(row, 2)?).map_err(|error| StoreError::Corrupt(error.to_string()))?,
        created_at: instant(row, 3)?,
    })
}

pub(super) async fn add(
    unit: &mut Unit<'_>,
    by: &Operator,
    new: &NewHookSource,
) -> Result<HookSource, StoreError> {
    let HookSource { id, app_id, shape, .. } = new.source;
    apps::must_exist(unit.sql, app_id).await?;
    let plain = SecretSlice::from(new.secret.expose_secret().as_bytes().to_vec());
    let context = draft::webhook_secret_context(app_id, Field::HookSecret, id);
    let secret = unit.envelope.seal(&context, &plain)?;
    execute(
        unit.sql,
        "INSERT INTO hook_sources (app_id, id, shape, created_at, secret) VALUES ($1, $2, $3, $4, $5)",
        params![app_id, id, shape.as_str(), micros(by.at), secret],
    )
    .await
    .map_err(|error| taken(error, || "there is a source with this id".to_owned()))?;
    let mut row = draft::of_operator(by, app_id, Action::WebhookChanged);
    row.detail = Some(format!("source {id} ({}) added", shape.as_str()));
    unit.audit(row);
    load(unit.sql, app_id, id).await?.map(|(source, _)| source).ok_or(StoreError::NotFound("webhook source"))
}

/// A source with its secret.
pub(super) async fn load(
    sql: &Client,
    app_id: AppId,
    id: WebhookId,
) -> Result<Option<(HookSource, SealedField)>, StoreError> {
    let text = "SELECT id, app_id, shape, created_at, secret FROM hook_sources WHERE app_id = $1 AND id = $2";
    let Some(row) = maybe_row(sql, text, params![app_id, id]).await? else { return Ok(None) };
    let context = draft::webhook_secret_context(app_id, Field::HookSecret, id);
    Ok(Some((source(&row)?, SealedField { context, sealed: get(&row, 4)? })))
}

pub(super) async fn list(sql: &Client, app_id: AppId) -> Result<Vec<HookSource>, StoreError> {
    apps::must_exist(sql, app_id).await?;
    let text =
        "SELECT id, app_id, shape, created_at FROM hook_sources WHERE app_id = $1 ORDER BY created_at, id";
    rows(sql, text, params![app_id]).await?.iter().map(source).collect()
}

pub(super) async fn remove(
    unit: &mut Unit<'_>,
    by: &Operator,
    app_id: AppId,
    id: WebhookId,
) -> Result<(), StoreError> {
    let text = "DELETE FROM hook_sources WHERE app_id = $1 AND id = $2";
    if execute(unit.sql, text, params![app_id, id]).await? == 0 {
        return Err(StoreError::NotFound("webhook source"));
    }
    let mut row = draft::of_operator(by, app_id, Action::WebhookChanged);
    row.detail = Some(format!("source {id} removed"));
    unit.audit(row);
    Ok(())
}

/// Takes a checked message, once: on whichever replica it comes again, it is known.
pub(super) async fn hear(
    unit: &mut Unit<'_>,
    message: &HookMessage,
    mut row: AuditRow,
) -> Result<Heard, StoreError> {
    let (app_id, id) = (message.app_id, message.source);
    if load(unit.sql, app_id, id).await?.is_none() {
        return Err(StoreError::NotFound("webhook source"));
    }
    // The source takes the place of a key: its messages are remembered beside the nonces of signed calls, and as long.
    let key_id = KeyId::from_uuid(id.uuid());
    if !unit.use_once(app_id, key_id, message.timestamp, Nonce::from_bytes(draft::hook_nonce(message))) {
        let refusal = Refusal::new(Code::NonceReplayed, "this message was heard before");
        draft::refuse(&mut row, Action::HookReceived, &refusal);
        unit.audit(row);
        return Ok(Heard::Replayed);
    }
    let by = row.caller.clone().unwrap_or_default();
    unit.audit(row.clone());
    let mut changed = Vec::new();
    for (who, status) in &message.changes {
        match users::change_status(unit, &row, &by, who, *status).await {
            Ok(change) => changed.push(change),
            // Nothing that the identity provider could do about it: nobody of ours, or deleted for good.
            Err(StoreError::NotFound(_) | StoreError::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Heard::Done(changed))
}

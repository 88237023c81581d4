//! Those who tell of users, and what they tell.

use rusqlite::{Connection, OptionalExtension, Row, params};
use secrecy::{ExposeSecret, SecretSlice};

use super::{
    apps,
    columns::{Micros, instant},
    users,
    writer::Unit,
};
use crate::{
    audit::Action,
    domain::{AppId, HookShape, HookSource, NewHookSource, Operator, WebhookId},
    seal::{Field, SealedField},
    store::{Heard, HookMessage, StoreError, draft},
};
use alter_core::wire::code::Code;

const SOURCE: &str = "SELECT id, app_id, shape, created_at FROM hook_sources";

fn source(row: &Row<'_>) -> rusqlite::Result<HookSource> {
    let wrong =
        |error| rusqlite::Error::FromSqlConversionFailure(2, rusqlite::types::Type::Text, Box::new(error));
    Ok(HookSource {
        id: row.get(0)?,
        app_id: row.get(1)?,
        shape: HookShape::parse(row.get_ref(2)?.as_str()?).map_err(wrong)?,
        created_at: instant(row, 3)?,
    })
}

pub(super) fn add(unit: &mut Unit<'_>, by: &Operator, new: &NewHookSource) -> Result<HookSource, StoreError> {
    let HookSource { id, app_id, shape, .. } = new.source;
    apps::must_exist(unit.sql, app_id)?;
    let plain = SecretSlice::from(new.secret.expose_secret().as_bytes().to_vec());
    let context = draft::webhook_secret_context(app_id, Field::HookSecret, id);
    let secret = unit.envelope.seal(&context, &plain)?;
    unit.sql.execute(
        "INSERT INTO hook_sources (app_id, id, shape, created_at, secret) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![app_id, id, shape.as_str(), Micros(by.at), secret],
    )?;
    let mut row = draft::of_operator(by, app_id, Action::WebhookChanged);
    row.detail = Some(format!("source {id} ({}) added", shape.as_str()));
    unit.audit(row)?;
    load(unit.sql, app_id, id)?.map(|(source, _)| source).ok_or(StoreError::NotFound("webhook source"))
}

/// A source with its secret.
pub(super) fn load(
    sql: &Connection,
    app_id: AppId,
    id: WebhookId,
) -> Result<Option<(HookSource, SealedField)>, StoreError> {
    const TEXT: &str =
        "SELECT id, app_id, shape, created_at, secret FROM hook_sources WHERE app_id = ?1 AND id = ?2";
    let found = sql.prepare_cached(TEXT)?.query_row(params![app_id, id], |row| {
        let context = draft::webhook_secret_context(app_id, Field::HookSecret, id);
        Ok((source(row)?, SealedField { context, sealed: row.get(4)? }))
    });
    Ok(found.optional()?)
}

pub(super) fn list(sql: &Connection, app_id: AppId) -> Result<Vec<HookSource>, StoreError> {
    apps::must_exist(sql, app_id)?;
    let mut statement = sql.prepare_cached(&format!("{SOURCE} WHERE app_id = ?1 ORDER BY created_at, id"))?;
    let sources = statement.query_map([app_id], source)?;
    Ok(sources.collect::<Result<_, _>>()?)
}

pub(super) fn remove(
    unit: &mut Unit<'_>,
    by: &Operator,
    app_id: AppId,
    id: WebhookId,
) -> Result<(), StoreError> {
    let text = "DELETE FROM hook_sources WHERE app_id = ?1 AND id = ?2";
    if unit.sql.execute(text, params![app_id, id])? == 0 {
        return Err(StoreError::NotFound("webhook source"));
    }
    let mut row = draft::of_operator(by, app_id, Action::WebhookChanged);
    row.detail = Some(format!("source {id} removed"));
    unit.audit(row)
}

/// Takes a checked message, once.
pub(super) fn hear(unit: &mut Unit<'_>, message: &HookMessage) -> Result<Heard, StoreError> {
    let (app_id, id) = (message.app_id, message.source);
    if load(unit.sql, app_id, id)?.is_none() {
        return Err(StoreError::NotFound("webhook source"));
    }
    let mut row = draft::of_hook(message);
    // The source takes the place of a key: its messages are remembered beside the nonces of signed calls, and as long.
    let used = unit
        .sql
        .prepare_cached(
            "INSERT OR IGNORE INTO nonces (app_id, timestamp, key_id, nonce) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![app_id, message.timestamp, id, draft::hook_nonce(message)])?;
    if used == 0 {
        let text = "this message was heard before";
        draft::refuse(
            &mut row,
            Action::HookReceived,
            &crate::domain::Refusal::new(Code::NonceReplayed, text),
        );
        unit.audit(row)?;
        return Ok(Heard::Replayed);
    }
    let by = row.caller.clone().unwrap_or_default();
    unit.audit(row.clone())?;
    let mut changed = Vec::new();
    for (who, status) in &message.changes {
        match users::change_status(unit, &row, &by, who, *status) {
            Ok(change) => changed.push(change),
            // Nothing that the identity provider could do about it: nobody of ours, or deleted for good.
            Err(StoreError::NotFound(_) | StoreError::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Heard::Done(changed))
}

//! Writing down that others are to be told.

use rusqlite::params;

use super::{columns::Micros, writer::Unit};
use crate::{
    domain::{JobId, WebhookId},
    store::{StoreError, event::Change, lease},
};

/// Adds one job for each endpoint of the app that wants the event.
pub(super) fn tell(unit: &Unit<'_>, change: &Change<'_>) -> Result<(), StoreError> {
    let mut endpoints =
        unit.sql.prepare_cached("SELECT id, events FROM webhook_endpoints WHERE app_id = ?1")?;
    let mut rows = endpoints.query([change.app_id])?;
    let mut payload = None;
    while let Some(row) = rows.next()? {
        if !change.is_wanted(row.get_ref(1)?.as_str().unwrap_or_default()) {
            continue;
        }
        let endpoint: WebhookId = row.get(0)?;
        let payload: &String = payload.get_or_insert_with(|| change.payload());
        unit.sql
            .prepare_cached(
                "INSERT INTO outbox (app_id, id, kind, state, grant_id, endpoint_id, payload, attempts, not_before, \
                 created_at, generation) VALUES (?1, ?2, 1, 0, ?3, ?4, ?5, 0, ?6, ?7, 0)",
            )?
            .execute(params![
                change.app_id,
                JobId::random(),
                change.grant.id,
                endpoint,
                payload,
                lease::wall_clock(),
                Micros(change.at)
            ])?;
    }
    Ok(())
}

//! Writing down that others are to be told: one job for each endpoint that wants the event.

use tokio_postgres::Client;

use super::{
    columns::{execute, micros, params},
    refresh::now,
};
use crate::store::{StoreError, event::Change};

/// Adds the jobs, in the same transaction as the change.
pub(super) async fn tell(sql: &Client, change: &Change<'_>) -> Result<(), StoreError> {
    let text = concat!(
        "INSERT INTO outbox (app_id, id, kind, state, grant_id, endpoint_id, payload, attempts, not_before, created_at, \
         generation) SELECT app_id, gen_random_uuid(), 1, 0, $2, id, $3, 0, ",
        now!(),
        ", $4, 0 FROM webhook_endpoints \
         WHERE app_id = $1 AND (events = '' OR $5 = ANY (string_to_array(events, chr(10))))"
    );
    let (app_id, id, at) = (change.app_id, change.grant.id, micros(change.at));
    execute(sql, text, params![app_id, id, change.payload(), at, change.event.as_str()]).await?;
    Ok(())
}

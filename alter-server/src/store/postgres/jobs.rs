//! Jobs of the outbox. Leases and pauses are counted by the database's clock, which is one for all replicas.

use jiff::Timestamp;
use tokio_postgres::{Client, Row};

use super::{
    columns::{count, execute, get, instant, integer, maybe_row, params, rows},
    events, grants,
    lanes::Unit,
    refresh::now,
};
use crate::{
    domain::{AppId, DeadJob, GrantEvent, GrantId, Job, JobId, Operator, Task},
    seal::{Field, SealContext, Sealed, SealedField},
    store::{JobEnd, StoreError, TakeJobs, draft, event::Change, lease},
};

/// `kind` of a revocation at the provider.
const REVOKE: i16 = 0;

/// Takes what is due. Takers do not wait for each other: what one is taking, the next leaves out.
pub(super) async fn take(sql: &Client, take: TakeJobs) -> Result<Vec<Job>, StoreError> {
    // `statement_timestamp` is one moment, so the index is used; a lease counts from the present.
    let text = concat!(
        "WITH due AS MATERIALIZED (SELECT app_id, id, not_before FROM outbox WHERE state = 0 \
         AND not_before <= (extract(epoch FROM statement_timestamp()) * 1000000)::bigint \
         ORDER BY not_before, id LIMIT $1 FOR UPDATE SKIP LOCKED), \
         taken AS (UPDATE outbox o SET attempts = o.attempts + 1, not_before = $2 + ",
        now!(),
        " FROM due WHERE o.app_id = due.app_id AND o.id = due.id RETURNING o.*, due.not_before AS since) \
         SELECT t.app_id, t.id, t.kind, t.grant_id, t.attempts, t.created_at, t.provider_id, t.generation, t.access_token, \
         t.refresh_token, t.endpoint_id, t.payload, e.url, e.secret FROM taken t \
         LEFT JOIN webhook_endpoints e ON e.app_id = t.app_id AND e.id = t.endpoint_id \
         WHERE t.kind = 0 OR e.id IS NOT NULL ORDER BY t.since, t.id"
    );
    let (limit, lasts) = (i64::from(take.limit), lease::micros_of(take.lease));
    rows(sql, text, params![limit, lasts]).await?.iter().map(job).collect()
}

fn job(row: &Row) -> Result<Job, StoreError> {
    let (app_id, grant_id): (AppId, GrantId) = (get(row, 0)?, get(row, 3)?);
    let task = if get::<i16>(row, 2)? == REVOKE {
        let generation = count(row, 7)?;
        let token = |column, field| {
            let sealed: Option<Sealed> = get(row, column)?;
            let context = SealContext::of(app_id, field, grant_id.uuid(), generation);
            Ok::<_, StoreError>(sealed.map(|sealed| SealedField { context, sealed }))
        };
        Task::RevokeAtProvider {
            provider: get(row, 6)?,
            access_token: token(8, Field::GrantAccessToken)?,
            refresh_token: token(9, Field::GrantRefreshToken)?,
        }
    } else {
        let endpoint: crate::domain::WebhookId = get(row, 10)?;
        let context = draft::webhook_secret_context(app_id, Field::WebhookSecret, endpoint);
        Task::Deliver {
            endpoint,
            url: get(row, 12)?,
            secret: SealedField { context, sealed: get(row, 13)? },
            payload: get(row, 11)?,
        }
    };
    let attempt = attempts(row, 4)?;
    Ok(Job { id: get(row, 1)?, app_id, grant_id, attempt, created_at: instant(row, 5)?, task })
}

fn attempts(row: &Row, column: usize) -> Result<u32, StoreError> {
    let number: i32 = get(row, column)?;
    u32::try_from(number).map_err(|_| StoreError::Corrupt("a job was tried less than never".to_owned()))
}

/// Ends a job, if it is still the taker's.
pub(super) async fn finish(
    unit: &mut Unit<'_>,
    (app_id, id, attempt): (AppId, JobId, u32),
    end: &JobEnd,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let attempt = i32::try_from(attempt).unwrap_or(i32::MAX);
    let (ended, text, done) = match end {
        JobEnd::Done { receipt } => {
            let text = "DELETE FROM outbox WHERE app_id = $1 AND id = $2 AND attempts = $3 AND state = 0 \
                 RETURNING kind, grant_id";
            (maybe_row(unit.sql, text, params![app_id, id, attempt]).await?, receipt, true)
        }
        JobEnd::Again { wait, error } => {
            let text = concat!(
                "UPDATE outbox SET last_error = $4, not_before = $5 + ",
                now!(),
                " WHERE app_id = $1 AND id = $2 AND attempts = $3 AND state = 0"
            );
            let wait = lease::micros_of(*wait);
            return Ok(execute(unit.sql, text, params![app_id, id, attempt, *error, wait]).await? == 1);
        }
        JobEnd::Dead { error } => {
            let text = "UPDATE outbox SET state = 1, last_error = $4 WHERE app_id = $1 AND id = $2 AND attempts = $3 \
                 AND state = 0 RETURNING kind, grant_id";
            (maybe_row(unit.sql, text, params![app_id, id, attempt, *error]).await?, error, false)
        }
    };
    let Some(ended) = ended else { return Ok(false) };
    if get::<i16>(&ended, 0)? == REVOKE {
        receipt_of(unit, app_id, get(&ended, 1)?, (text, done), at).await?;
    }
    Ok(true)
}

/// Keeps what became of a revocation at the provider.
async fn receipt_of(
    unit: &mut Unit<'_>,
    app_id: AppId,
    grant_id: GrantId,
    (text, done): (&str, bool),
    at: Timestamp,
) -> Result<(), StoreError> {
    let receipt = draft::receipt(text, done);
    let text = "UPDATE grants SET provider_revocation = $3 WHERE app_id = $1 AND id = $2";
    execute(unit.sql, text, params![app_id, grant_id, receipt]).await?;
    let Some(facts) = grants::facts_by_id(unit.sql, app_id, grant_id).await? else { return Ok(()) };
    unit.audit(draft::of_receipt(app_id, &facts, &receipt, done, at));
    let change = Change::new(app_id, GrantEvent::ProviderRevoked, &facts, at);
    events::tell(unit.sql, &Change { receipt: Some(&receipt), ..change }).await
}

/// Jobs that were given up, newest first.
pub(super) async fn dead(
    sql: &Client,
    app_id: AppId,
    limit: u32,
    offset: u64,
) -> Result<Vec<DeadJob>, StoreError> {
    let text = "SELECT o.id, o.app_id, o.grant_id, o.kind, coalesce(e.url, o.provider_id), o.attempts, o.last_error, \
         o.created_at FROM outbox o LEFT JOIN webhook_endpoints e ON e.app_id = o.app_id AND e.id = o.endpoint_id \
         WHERE o.app_id = $1 AND o.state = 1 ORDER BY o.created_at DESC, o.id LIMIT $2 OFFSET $3";
    let found = rows(sql, text, params![app_id, i64::from(limit.clamp(1, 1000)), integer(offset)]).await?;
    let read = |row: &Row| {
        Ok(DeadJob {
            id: get(row, 0)?,
            app_id: get(row, 1)?,
            grant_id: get(row, 2)?,
            task: if get::<i16>(row, 3)? == REVOKE { "revoke_at_provider" } else { "deliver" },
            target: get::<Option<String>>(row, 4)?.unwrap_or_default(),
            attempts: attempts(row, 5)?,
            last_error: get(row, 6)?,
            created_at: instant(row, 7)?,
        })
    };
    found.iter().map(read).collect()
}

/// Puts a dead job back.
pub(super) async fn requeue(
    unit: &mut Unit<'_>,
    by: &Operator,
    app_id: AppId,
    id: JobId,
) -> Result<(), StoreError> {
    let text = concat!(
        "UPDATE outbox SET state = 0, not_before = ",
        now!(),
        " WHERE app_id = $1 AND id = $2 AND state = 1 RETURNING grant_id"
    );
    changed(unit, by, (app_id, id), text, "tried again").await
}

/// Forgets a dead job.
pub(super) async fn forget(
    unit: &mut Unit<'_>,
    by: &Operator,
    app_id: AppId,
    id: JobId,
) -> Result<(), StoreError> {
    let text = "DELETE FROM outbox WHERE app_id = $1 AND id = $2 AND state = 1 RETURNING grant_id";
    changed(unit, by, (app_id, id), text, "dropped").await
}

async fn changed(
    unit: &mut Unit<'_>,
    by: &Operator,
    (app_id, id): (AppId, JobId),
    text: &str,
    what: &str,
) -> Result<(), StoreError> {
    let found = maybe_row(unit.sql, text, params![app_id, id]).await?;
    let grant_id = get(&found.ok_or(StoreError::NotFound("dead job"))?, 0)?;
    unit.audit(draft::of_dead_job(by, app_id, grant_id, id, what));
    Ok(())
}

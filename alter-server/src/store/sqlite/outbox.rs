//! Work after the fact. Leases are counted by the system's clock, as those of refreshes are.

use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    SqliteStore,
    columns::{Micros, count, instant, integer},
    ending, events, grants, webhooks,
    writer::Unit,
};
use crate::{
    audit::Action,
    domain::{
        AppId, DeadJob, GrantEvent, GrantId, Job, JobId, NewWebhook, Operator, ProviderId, Task,
        WebhookEndpoint, WebhookId,
    },
    seal::{Field, SealContext, Sealed, SealedField},
    store::{Answer, JobEnd, Outbox, StoreError, TakeJobs, draft, event::Change, lease},
};

impl Outbox for SqliteStore {
    fn take_jobs(&self, take: TakeJobs) -> Answer<'_, Vec<Job>> {
        async move {
            // Most looks find nothing, and those hold up no writer.
            if !self.read(due).await? {
                return Ok(Vec::new());
            }
            self.writer.run(move |unit| self::take(unit, &take)).await
        }
        .boxed()
    }

    fn finish_job(&self, app_id: AppId, id: JobId, attempt: u32, end: JobEnd) -> Answer<'_, bool> {
        let at = self.clock.now();
        self.writer.run(move |unit| finish(unit, (app_id, id), attempt, &end, at)).boxed()
    }

    fn dead_jobs(&self, app_id: AppId, limit: u32, offset: u64) -> Answer<'_, Vec<DeadJob>> {
        self.read(move |sql| dead(sql, app_id, limit, offset)).boxed()
    }

    fn requeue_job(&self, by: Operator, app_id: AppId, id: JobId) -> Answer<'_, ()> {
        self.writer.run(move |unit| requeue(unit, &by, app_id, id)).boxed()
    }

    fn drop_job(&self, by: Operator, app_id: AppId, id: JobId) -> Answer<'_, ()> {
        self.writer.run(move |unit| drop_dead(unit, &by, app_id, id)).boxed()
    }

    fn add_webhook(&self, by: Operator, new: NewWebhook) -> Answer<'_, WebhookEndpoint> {
        self.writer.run(move |unit| webhooks::add(unit, &by, &new)).boxed()
    }

    fn list_webhooks(&self, app_id: AppId) -> Answer<'_, Vec<WebhookEndpoint>> {
        self.read(move |sql| webhooks::list(sql, app_id)).boxed()
    }

    fn remove_webhook(&self, by: Operator, app_id: AppId, id: WebhookId) -> Answer<'_, ()> {
        self.writer.run(move |unit| webhooks::remove(unit, &by, app_id, id)).boxed()
    }

    fn purge_grants(
        &self,
        by: Operator,
        app_id: AppId,
        before: Timestamp,
        limit: u32,
    ) -> Answer<'_, Vec<GrantId>> {
        self.writer.run(move |unit| purge(unit, &by, app_id, before, limit)).boxed()
    }
}

fn due(sql: &Connection) -> Result<bool, StoreError> {
    let text = "SELECT EXISTS (SELECT 1 FROM outbox WHERE state = 0 AND not_before <= ?1)";
    Ok(sql.prepare_cached(text)?.query_row([lease::wall_clock()], |row| row.get(0))?)
}

fn take(unit: &Unit<'_>, take: &TakeJobs) -> Result<Vec<Job>, StoreError> {
    let now = lease::wall_clock();
    let mut statement = unit.sql.prepare_cached(
        "SELECT o.rowid, o.app_id, o.id, o.grant_id, o.attempts, o.created_at, o.provider_id, o.generation, \
         o.access_token, o.refresh_token, o.endpoint_id, o.payload, w.url, w.secret FROM outbox o \
         LEFT JOIN webhook_endpoints w ON w.app_id = o.app_id AND w.id = o.endpoint_id \
         WHERE o.state = 0 AND o.not_before <= ?1 ORDER BY o.not_before, o.rowid LIMIT ?2",
    )?;
    let found =
        statement.query_map(params![now, take.limit], |row| Ok((row.get::<_, i64>(0)?, job(row)?)))?;
    let found: Vec<_> = found.collect::<Result<_, _>>()?;
    let until = now.saturating_add(lease::micros_of(take.lease));
    let mut update = unit
        .sql
        .prepare_cached("UPDATE outbox SET attempts = attempts + 1, not_before = ?2 WHERE rowid = ?1")?;
    let mut jobs = Vec::with_capacity(found.len());
    for (row_id, job) in found {
        update.execute(params![row_id, until])?;
        jobs.push(job);
    }
    Ok(jobs)
}

fn job(row: &Row<'_>) -> rusqlite::Result<Job> {
    let (app_id, grant_id): (AppId, GrantId) = (row.get(1)?, row.get(3)?);
    let task = match row.get::<_, Option<ProviderId>>(6)? {
        Some(provider) => {
            let generation = count(row, 7)?;
            let sealed = |column, field| -> rusqlite::Result<Option<SealedField>> {
                let context = SealContext::of(app_id, field, grant_id.uuid(), generation);
                let sealed: Option<Sealed> = row.get(column)?;
                Ok(sealed.map(|sealed| SealedField { context, sealed }))
            };
            Task::RevokeAtProvider {
                provider,
                access_token: sealed(8, Field::GrantAccessToken)?,
                refresh_token: sealed(9, Field::GrantRefreshToken)?,
            }
        }
        None => {
            let endpoint: WebhookId = row.get(10)?;
            let context = draft::webhook_secret_context(app_id, Field::WebhookSecret, endpoint);
            Task::Deliver {
                endpoint,
                url: row.get(12)?,
                secret: SealedField { context, sealed: row.get(13)? },
                payload: row.get(11)?,
            }
        }
    };
    Ok(Job {
        id: row.get(2)?,
        app_id,
        grant_id,
        attempt: row.get::<_, u32>(4)? + 1,
        created_at: instant(row, 5)?,
        task,
    })
}

/// What ending a job needs to know of it.
struct Taken {
    grant_id: GrantId,
    /// Set if it is a revocation.
    provider: Option<ProviderId>,
}

fn finish(
    unit: &mut Unit<'_>,
    (app_id, id): (AppId, JobId),
    attempt: u32,
    end: &JobEnd,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let taken = unit
        .sql
        .prepare_cached(
            "SELECT grant_id, provider_id FROM outbox WHERE app_id = ?1 AND id = ?2 AND attempts = ?3 AND state = 0",
        )?
        .query_row(params![app_id, id, attempt], |row| {
            Ok(Taken { grant_id: row.get(0)?, provider: row.get(1)? })
        })
        .optional()?;
    let Some(taken) = taken else { return Ok(false) };
    match end {
        JobEnd::Done { receipt } => {
            unit.sql
                .prepare_cached("DELETE FROM outbox WHERE app_id = ?1 AND id = ?2")?
                .execute(params![app_id, id])?;
            receipt_of(unit, app_id, &taken, (receipt, true), at)?;
        }
        JobEnd::Again { wait, error } => again(unit, app_id, id, *wait, error)?,
        JobEnd::Dead { error } => {
            unit.sql
                .prepare_cached("UPDATE outbox SET state = 1, last_error = ?3 WHERE app_id = ?1 AND id = ?2")?
                .execute(params![app_id, id, error])?;
            receipt_of(unit, app_id, &taken, (error, false), at)?;
        }
    }
    Ok(true)
}

fn again(unit: &Unit<'_>, app_id: AppId, id: JobId, wait: Duration, error: &str) -> Result<(), StoreError> {
    let until = lease::wall_clock().saturating_add(lease::micros_of(wait));
    unit.sql
        .prepare_cached("UPDATE outbox SET not_before = ?3, last_error = ?4 WHERE app_id = ?1 AND id = ?2")?
        .execute(params![app_id, id, until, error])?;
    Ok(())
}

/// Keeps what became of a revocation at the provider.
fn receipt_of(
    unit: &mut Unit<'_>,
    app_id: AppId,
    taken: &Taken,
    (text, done): (&str, bool),
    at: Timestamp,
) -> Result<(), StoreError> {
    if taken.provider.is_none() {
        return Ok(());
    }
    let receipt = draft::receipt(text, done);
    unit.sql
        .prepare_cached("UPDATE grants SET provider_revocation = ?3 WHERE app_id = ?1 AND id = ?2")?
        .execute(params![app_id, taken.grant_id, receipt])?;
    let Some((facts, _)) = grants::facts_by_id(unit.sql, app_id, taken.grant_id)? else { return Ok(()) };
    unit.audit(draft::of_receipt(app_id, &facts, &receipt, done, at))?;
    let change = Change::new(app_id, GrantEvent::ProviderRevoked, &facts, at);
    events::tell(unit, &Change { receipt: Some(&receipt), ..change })
}

fn dead(sql: &Connection, app_id: AppId, limit: u32, offset: u64) -> Result<Vec<DeadJob>, StoreError> {
    let mut statement = sql.prepare_cached(
        "SELECT o.id, o.grant_id, o.kind, ifnull(o.provider_id, ifnull(w.url, '')), o.attempts, o.last_error, \
         o.created_at FROM outbox o LEFT JOIN webhook_endpoints w ON w.app_id = o.app_id AND w.id = o.endpoint_id \
         WHERE o.app_id = ?1 AND o.state = 1 ORDER BY o.created_at DESC, o.rowid DESC LIMIT ?2 OFFSET ?3",
    )?;
    let jobs = statement.query_map(params![app_id, limit.clamp(1, 1000), integer(offset)], |row| {
        Ok(DeadJob {
            id: row.get(0)?,
            app_id,
            grant_id: row.get(1)?,
            task: if row.get::<_, i64>(2)? == 0 { "revoke_at_provider" } else { "deliver" },
            target: row.get(3)?,
            attempts: row.get(4)?,
            last_error: row.get(5)?,
            created_at: instant(row, 6)?,
        })
    })?;
    Ok(jobs.collect::<Result<_, _>>()?)
}

/// The grant that a dead job is about.
fn dead_grant(sql: &Connection, app_id: AppId, id: JobId) -> Result<GrantId, StoreError> {
    let text = "SELECT grant_id FROM outbox WHERE app_id = ?1 AND id = ?2 AND state = 1";
    let found = sql.prepare_cached(text)?.query_row(params![app_id, id], |row| row.get(0)).optional()?;
    found.ok_or(StoreError::NotFound("dead job"))
}

fn requeue(unit: &mut Unit<'_>, by: &Operator, app_id: AppId, id: JobId) -> Result<(), StoreError> {
    let grant_id = dead_grant(unit.sql, app_id, id)?;
    unit.sql.execute(
        "UPDATE outbox SET state = 0, not_before = ?3 WHERE app_id = ?1 AND id = ?2",
        params![app_id, id, lease::wall_clock()],
    )?;
    unit.audit(draft::of_dead_job(by, app_id, grant_id, id, "tried again"))
}

fn drop_dead(unit: &mut Unit<'_>, by: &Operator, app_id: AppId, id: JobId) -> Result<(), StoreError> {
    let grant_id = dead_grant(unit.sql, app_id, id)?;
    unit.sql.execute("DELETE FROM outbox WHERE app_id = ?1 AND id = ?2", params![app_id, id])?;
    unit.audit(draft::of_dead_job(by, app_id, grant_id, id, "dropped"))
}

/// Removes revoked grants that nothing more is to be done about.
fn purge(
    unit: &mut Unit<'_>,
    by: &Operator,
    app_id: AppId,
    before: Timestamp,
    limit: u32,
) -> Result<Vec<GrantId>, StoreError> {
    let mut statement = unit.sql.prepare_cached(
        "SELECT g.id FROM grants g WHERE g.app_id = ?1 AND g.status = 1 AND g.revoked_at < ?2 \
         AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.app_id = g.app_id AND o.grant_id = g.id) \
         ORDER BY g.revoked_at LIMIT ?3",
    )?;
    let found = statement.query_map(params![app_id, Micros(before), limit], |row| row.get(0))?;
    let found: Vec<GrantId> = found.collect::<Result<_, _>>()?;
    for id in &found {
        let Some((facts, _)) = grants::facts_by_id(unit.sql, app_id, *id)? else { continue };
        let mut row = draft::of_operator(by, app_id, Action::GrantDeleted);
        draft::describe(&mut row, &facts);
        row.account = None;
        ending::forget(unit.sql, app_id, *id)?;
        unit.audit(row)?;
        events::tell(unit, &Change::new(app_id, GrantEvent::Deleted, &facts, by.at))?;
    }
    Ok(found)
}

//! Work after the fact: which unit of work each operation is. Taking waits for nobody's gate, and finishing shares the app's with
//! signed calls: neither takes anything away.

use futures_util::FutureExt;

use super::{PostgresStore, connect::Mode, ending, jobs, lanes::Gate, webhooks};
use crate::{
    domain::{AppId, DeadJob, GrantId, Job, JobId, NewWebhook, Operator, WebhookEndpoint, WebhookId},
    store::{Answer, JobEnd, Outbox, TakeJobs},
};

impl Outbox for PostgresStore {
    fn take_jobs(&self, take: TakeJobs) -> Answer<'_, Vec<Job>> {
        unit!(self, Gate::Open, (take), |unit| jobs::take(unit.sql, *take))
    }

    fn finish_job(&self, app_id: AppId, id: JobId, attempt: u32, end: JobEnd) -> Answer<'_, bool> {
        let (job, at) = ((app_id, id, attempt), self.clock.now());
        unit!(self, Gate::Shared(app_id), (job, end, at), |unit| jobs::finish(unit, *job, end, *at))
    }

    fn dead_jobs(&self, app_id: AppId, limit: u32, offset: u64) -> Answer<'_, Vec<DeadJob>> {
        read!(self, Read, (app_id, limit, offset), |sql| jobs::dead(sql, *app_id, *limit, *offset))
    }

    fn requeue_job(&self, by: Operator, app_id: AppId, id: JobId) -> Answer<'_, ()> {
        unit!(self, Gate::Exclusive(app_id), (by, app_id, id), |unit| jobs::requeue(unit, by, *app_id, *id))
    }

    fn drop_job(&self, by: Operator, app_id: AppId, id: JobId) -> Answer<'_, ()> {
        unit!(self, Gate::Exclusive(app_id), (by, app_id, id), |unit| jobs::forget(unit, by, *app_id, *id))
    }

    fn add_webhook(&self, by: Operator, new: NewWebhook) -> Answer<'_, WebhookEndpoint> {
        unit!(self, Gate::Exclusive(new.endpoint.app_id), (by, new), |unit| webhooks::add(unit, by, new))
    }

    fn list_webhooks(&self, app_id: AppId) -> Answer<'_, Vec<WebhookEndpoint>> {
        read!(self, Read, (app_id), |sql| webhooks::list(sql, *app_id))
    }

    fn remove_webhook(&self, by: Operator, app_id: AppId, id: WebhookId) -> Answer<'_, ()> {
        unit!(self, Gate::Exclusive(app_id), (by, app_id, id), |unit| webhooks::remove(
            unit, by, *app_id, *id
        ))
    }

    fn purge_grants(
        &self,
        by: Operator,
        app_id: AppId,
        before: jiff::Timestamp,
        limit: u32,
    ) -> Answer<'_, Vec<GrantId>> {
        unit!(self, Gate::Exclusive(app_id), (by, app_id, before, limit), |unit| ending::purge(
            unit, by, *app_id, *before, *limit
        ))
    }
}

//! Work after the fact.

use futures_util::FutureExt;

use super::SqliteStore;
use crate::{
    domain::{AppId, DeadJob, GrantId, Job, JobId, NewWebhook, Operator, WebhookEndpoint, WebhookId},
    store::{Answer, JobEnd, Outbox, StoreError, TakeJobs},
};

fn unbuilt<T: Send + 'static>() -> Answer<'static, T> {
    std::future::ready(Err(StoreError::Invalid("not built yet".to_owned()))).boxed()
}

impl Outbox for SqliteStore {
    fn take_jobs(&self, _take: TakeJobs) -> Answer<'_, Vec<Job>> {
        unbuilt()
    }

    fn finish_job(&self, _app_id: AppId, _id: JobId, _attempt: u32, _end: JobEnd) -> Answer<'_, bool> {
        unbuilt()
    }

    fn dead_jobs(&self, _app_id: AppId, _limit: u32, _offset: u64) -> Answer<'_, Vec<DeadJob>> {
        unbuilt()
    }

    fn requeue_job(&self, _by: Operator, _app_id: AppId, _id: JobId) -> Answer<'_, ()> {
        unbuilt()
    }

    fn drop_job(&self, _by: Operator, _app_id: AppId, _id: JobId) -> Answer<'_, ()> {
        unbuilt()
    }

    fn add_webhook(&self, _by: Operator, _new: NewWebhook) -> Answer<'_, WebhookEndpoint> {
        unbuilt()
    }

    fn list_webhooks(&self, _app_id: AppId) -> Answer<'_, Vec<WebhookEndpoint>> {
        unbuilt()
    }

    fn remove_webhook(&self, _by: Operator, _app_id: AppId, _id: WebhookId) -> Answer<'_, ()> {
        unbuilt()
    }

    fn purge_grants(
        &self,
        _by: Operator,
        _app_id: AppId,
        _before: jiff::Timestamp,
        _limit: u32,
    ) -> Answer<'_, Vec<GrantId>> {
        unbuilt()
    }
}

//! The outbox: work that follows from a change and is written down in the same unit of work, so that neither a crash nor a
//! provider that is down loses it.
//!
//! Every change of a grant's state adds one [`Task::Deliver`](crate::domain::Task) for each endpoint of the app that wants the
//! event; every end of a grant that has tokens moves them, still sealed, into one
//! [`Task::RevokeAtProvider`](crate::domain::Task).

use std::time::Duration;

use super::Answer;
use crate::domain::{AppId, DeadJob, GrantId, Job, JobId, NewWebhook, Operator, WebhookEndpoint, WebhookId};

/// Jobs to be taken.
#[derive(Debug, Clone, Copy)]
pub struct TakeJobs {
    /// At most so many.
    pub limit: u32,
    /// Nobody else gets them for so long.
    pub lease: Duration,
}

/// How a job ended this time.
#[derive(Debug, Clone)]
pub enum JobEnd {
    /// Done; of a revocation, what the provider answered: the receipt.
    Done {
        /// For the row, such as `refresh token, HTTP 200`.
        receipt: String,
    },
    /// Try again after `wait`.
    Again {
        /// Counted by the store's clock.
        wait: Duration,
        /// What went wrong: cleaned, no secret.
        error: String,
    },
    /// Given up: it stays as a dead letter. A revocation's tokens stay sealed with it, until an operator tries again or
    /// drops it.
    Dead {
        /// What went wrong: cleaned, no secret.
        error: String,
    },
}

/// Work after the fact; a part of [`super::Store`], by the same rules.
pub trait Outbox {
    /// Takes jobs that are due, oldest first, those of other takers whose lease ran out included.
    fn take_jobs(&self, take: TakeJobs) -> Answer<'_, Vec<Job>>;

    /// Ends a job that was taken as this attempt; `false` if it is somebody else's by now. Done and dead revocations leave a
    /// row ([`crate::audit::Action::ProviderRevoked`]) and an event.
    fn finish_job(&self, app_id: AppId, id: JobId, attempt: u32, end: JobEnd) -> Answer<'_, bool>;

    /// Jobs that were given up, newest first.
    fn dead_jobs(&self, app_id: AppId, limit: u32, offset: u64) -> Answer<'_, Vec<DeadJob>>;

    /// Puts a dead job back to be tried at once.
    fn requeue_job(&self, by: Operator, app_id: AppId, id: JobId) -> Answer<'_, ()>;

    /// Forgets a dead job, and what is sealed with it.
    fn drop_job(&self, by: Operator, app_id: AppId, id: JobId) -> Answer<'_, ()>;

    /// Adds an endpoint.
    fn add_webhook(&self, by: Operator, new: NewWebhook) -> Answer<'_, WebhookEndpoint>;

    /// The app's endpoints, oldest first.
    fn list_webhooks(&self, app_id: AppId) -> Answer<'_, Vec<WebhookEndpoint>>;

    /// Removes an endpoint and what still waits for it.
    fn remove_webhook(&self, by: Operator, app_id: AppId, id: WebhookId) -> Answer<'_, ()>;

    /// Removes revoked grants that ended before `before` and have no job left: only their ids remain, answered with 410.
    /// Up to `limit` at once.
    fn purge_grants(
        &self,
        by: Operator,
        app_id: AppId,
        before: jiff::Timestamp,
        limit: u32,
    ) -> Answer<'_, Vec<GrantId>>;
}

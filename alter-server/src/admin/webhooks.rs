//! Webhooks: endpoints that are told, and work that was given up.

use secrecy::SecretString;

use super::{Admin, AdminError};
use crate::{
    domain::{AppId, DeadJob, GrantEvent, JobId, NewWebhook, WebhookEndpoint, WebhookId},
    seal::SealError,
    store::StoreError,
    webhook::SigningSecret,
};

/// An endpoint with the secret that its messages are signed with: `whsec_` and base64. It is shown once.
#[derive(Debug)]
pub struct AddedWebhook {
    /// The endpoint.
    pub endpoint: WebhookEndpoint,
    /// The secret.
    pub secret: SecretString,
}

impl Admin {
    /// Has an endpoint told of what happens to the app's grants; no events is all of them. The secret is made here.
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`] unless the address is https, or http on loopback.
    pub async fn add_webhook(
        &self,
        app: AppId,
        url: &str,
        events: Vec<GrantEvent>,
    ) -> Result<AddedWebhook, AdminError> {
        let secret =
            SigningSecret::generate().ok_or(AdminError::Store(StoreError::Seal(SealError::Crypto)))?;
        let endpoint = WebhookEndpoint {
            id: WebhookId::random(),
            app_id: app,
            url: url.to_owned(),
            events,
            created_at: self.by().at,
        };
        let new = NewWebhook { endpoint, secret: secret.clone() };
        let endpoint = self.store().add_webhook(self.by(), new).await?;
        Ok(AddedWebhook { endpoint, secret })
    }

    /// The app's endpoints, oldest first.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn webhooks(&self, app: AppId) -> Result<Vec<WebhookEndpoint>, AdminError> {
        Ok(self.store().list_webhooks(app).await?)
    }

    /// Removes an endpoint and what still waits for it.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`].
    pub async fn remove_webhook(&self, app: AppId, id: WebhookId) -> Result<(), AdminError> {
        Ok(self.store().remove_webhook(self.by(), app, id).await?)
    }

    /// Deliveries and revocations that were given up, newest first.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn dead_jobs(&self, app: AppId, limit: u32, offset: u64) -> Result<Vec<DeadJob>, AdminError> {
        Ok(self.store().dead_jobs(app, limit, offset).await?)
    }

    /// Has a dead job tried again at once. One that is older than what it is tried for gets this one attempt.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`] if there is no such dead job.
    pub async fn retry_job(&self, app: AppId, id: JobId) -> Result<(), AdminError> {
        self.store().requeue_job(self.by(), app, id).await?;
        self.core.outbox.wake();
        Ok(())
    }

    /// Forgets a dead job, and the tokens that are sealed with it.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`] if there is no such dead job.
    pub async fn drop_job(&self, app: AppId, id: JobId) -> Result<(), AdminError> {
        Ok(self.store().drop_job(self.by(), app, id).await?)
    }
}

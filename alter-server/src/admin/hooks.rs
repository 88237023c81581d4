//! Identity providers that tell what became of users.

use secrecy::SecretString;
use url::Url;

use super::{Admin, AdminError, invalid};
use crate::{
    domain::{AppId, HookShape, HookSource, NewHookSource, WebhookId},
    webhook::inbound,
};

/// A source, and where its messages are to be sent.
#[derive(Debug)]
pub struct AddedHookSource {
    /// The source.
    pub source: HookSource,
    /// The path below the vault's address: `/hooks/…`.
    pub path: String,
    /// The whole address, if the vault knows its own.
    pub url: Option<Url>,
}

impl Admin {
    /// Has an identity provider heard. `secret` is what its messages are checked with: the signing secret (`whsec_…`) of
    /// [`HookShape::Generic`] and [`HookShape::Clerk`], the value of the header `Authorization` of the others.
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`] if the secret is not of the shape's form.
    pub async fn add_hook_source(
        &self,
        app: AppId,
        shape: HookShape,
        secret: SecretString,
    ) -> Result<AddedHookSource, AdminError> {
        inbound::check_secret(shape, &secret).map_err(invalid)?;
        let source = HookSource { id: WebhookId::random(), app_id: app, shape, created_at: self.by().at };
        let source = self.store().add_hook_source(self.by(), NewHookSource { source, secret }).await?;
        Ok(self.located(source))
    }

    /// The app's sources, oldest first, with their addresses.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn hook_sources(&self, app: AppId) -> Result<Vec<AddedHookSource>, AdminError> {
        let sources = self.store().list_hook_sources(app).await?;
        Ok(sources.into_iter().map(|source| self.located(source)).collect())
    }

    /// Removes a source: its messages are refused from now on.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`].
    pub async fn remove_hook_source(&self, app: AppId, id: WebhookId) -> Result<(), AdminError> {
        Ok(self.store().remove_hook_source(self.by(), app, id).await?)
    }

    fn located(&self, source: HookSource) -> AddedHookSource {
        let path = format!("/hooks/{}", inbound::SourceRef { app_id: source.app_id, id: source.id });
        let url = self.core.web.public_url.as_ref().map(|public| public.join(&path));
        AddedHookSource { source, path, url }
    }
}

//! Grants.

use jiff::Timestamp;

use super::{Admin, AdminError, invalid, named};
use crate::{
    domain::{
        AppId, Grant, GrantFilter, GrantHealth, GrantId, GrantPage, ImportGrant, NewGrant, Principal,
        SecretId,
    },
    store::{ImportedGrant, Revoked},
};

impl Admin {
    /// Reads a principal from text: `system`, `agent:NAME-OR-ID`, `user:ID-OR-SUBJECT`, `group:EXTERNAL-ID`.
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`] for another form, [`AdminError::NotFound`] if the app has no such agent or user.
    pub async fn principal(&self, app: AppId, text: &str) -> Result<Principal, AdminError> {
        match text.split_once(':') {
            None if text == "system" => Ok(Principal::System),
            Some(("agent", agent)) => Ok(Principal::Agent(self.agent(app, agent).await?.id)),
            Some(("group", group)) if !group.is_empty() => Ok(Principal::Group(group.to_owned())),
            Some(("user", user)) => {
                let mut offset = 0;
                loop {
                    let page = self.users(app, 1_000, offset).await?;
                    let found =
                        page.iter().find(|known| known.id.to_string() == user || known.subject == user);
                    if let Some(found) = found {
                        return Ok(Principal::User(found.id));
                    }
                    if page.len() < 1_000 {
                        return Err(AdminError::NotFound(format!(
                            "the app has no user {user:?}: users are known from their first call or an import on"
                        )));
                    }
                    offset += 1_000;
                }
            }
            _ => Err(invalid("a principal is system, agent:NAME, user:SUBJECT or group:NAME")),
        }
    }

    /// Gives a principal the use of a managed secret.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`] if the secret or the principal does not exist, [`AdminError::Conflict`] if a sibling has the
    /// label.
    pub async fn create_grant(
        &self,
        app: AppId,
        secret: SecretId,
        principal: Principal,
        label: Option<String>,
        expires_at: Option<Timestamp>,
    ) -> Result<Grant, AdminError> {
        let label = label.map(|label| named("label", &label)).transpose()?;
        if expires_at.is_some_and(|at| at <= self.core.clock.now()) {
            return Err(invalid("the grant would have expired already"));
        }
        let new = NewGrant {
            id: GrantId::random(),
            app_id: app,
            secret_id: secret,
            principal,
            label,
            grant_expires_at: expires_at,
        };
        Ok(self.store().create_grant(self.by(), new).await?)
    }

    /// Moves one account's tokens in. For many, see [`Admin::plan_import`].
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`], [`AdminError::NotFound`] if the provider does not exist.
    pub async fn import_grant(&self, import: ImportGrant) -> Result<ImportedGrant, AdminError> {
        Ok(self.store().import_grant(self.by(), import).await?)
    }

    /// The app's grants, newest first.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn grants(
        &self,
        app: AppId,
        filter: GrantFilter,
        limit: u32,
        offset: u64,
    ) -> Result<GrantPage, AdminError> {
        Ok(self.store().grants(app, filter, limit, offset).await?)
    }

    /// One grant.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`].
    pub async fn grant(&self, app: AppId, grant: GrantId) -> Result<Grant, AdminError> {
        Ok(self.store().grant(app, grant).await?)
    }

    /// How a grant is doing: its token's times, how refreshing went, and whether a person must connect again.
    /// [`GrantHealth::next_step`] says what to do.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`].
    pub async fn grant_health(&self, app: AppId, grant: GrantId) -> Result<GrantHealth, AdminError> {
        Ok(self.store().grant_health(app, grant).await?)
    }

    /// Revokes a grant: the very next call is refused, and its tokens are gone.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`].
    pub async fn revoke_grant(
        &self,
        app: AppId,
        grant: GrantId,
        reason: Option<String>,
    ) -> Result<Revoked, AdminError> {
        let revoked = self.store().revoke_grant_as_operator(self.by(), app, grant, reason).await?;
        self.core.outbox.wake();
        Ok(revoked)
    }
}

//! Apps, keys, agents and users.

use alter_core::wire::key::{ApiKey as WireKey, KeyKind as WireKind};
use jiff::Timestamp;
use secrecy::SecretSlice;

use super::{Admin, AdminError, invalid, named};
use crate::{
    domain::{
        Agent, AgentId, AgentStatus, ApiKey, App, AppId, AppStatus, KeyDigest, KeyId, KeyKind, NewAgent,
        NewKey, Scope, User,
    },
    store::{AppPatch, KeyPatch},
};

/// Highest limit of a key, in calls per minute.
const MAX_RATE: u32 = 100_000;

/// A key to be made: an app's, with every scope, for good, unless told otherwise.
#[derive(Debug, Clone)]
pub struct KeyRequest {
    name: String,
    agent: Option<AgentId>,
    scopes: Vec<Scope>,
    expires_at: Option<Timestamp>,
    rate_limit_per_minute: Option<u32>,
}

impl KeyRequest {
    /// A key with a name for people.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            agent: None,
            scopes: Scope::ALL.to_vec(),
            expires_at: None,
            rate_limit_per_minute: None,
        }
    }

    /// Makes it a managed agent's key, which reaches only what belongs to that agent.
    #[must_use]
    pub fn agent(mut self, agent: AgentId) -> Self {
        self.agent = Some(agent);
        self
    }

    /// What it may do; everything by default.
    #[must_use]
    pub fn scopes(mut self, scopes: impl IntoIterator<Item = Scope>) -> Self {
        self.scopes = scopes.into_iter().collect();
        self
    }

    /// Refused from this moment on, UTC.
    #[must_use]
    pub fn expires_at(mut self, at: Timestamp) -> Self {
        self.expires_at = Some(at);
        self
    }

    /// Calls per minute, 1 to 100,000; by default the app's limit.
    #[must_use]
    pub fn rate_limit_per_minute(mut self, calls: u32) -> Self {
        self.rate_limit_per_minute = Some(calls);
        self
    }
}

/// A key that was just made.
#[derive(Debug, Clone)]
pub struct MintedKey {
    /// The key itself. The vault keeps a digest of it: this is the only time it can be seen.
    pub key: WireKey,
    /// What the vault keeps.
    pub record: ApiKey,
}

impl Admin {
    /// Creates an app. Its name is unique in the vault.
    ///
    /// # Errors
    ///
    /// [`AdminError::Conflict`] if the name is taken.
    pub async fn create_app(&self, name: &str) -> Result<App, AdminError> {
        let name = named("app", name)?;
        Ok(self.store().create_app(self.by(), AppId::random(), name).await?)
    }

    /// All apps, oldest first.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn apps(&self) -> Result<Vec<App>, AdminError> {
        Ok(self.store().list_apps().await?)
    }

    /// Suspends an app (every signed call is refused with `key_not_active`) or resumes it.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`].
    pub async fn set_app_status(&self, app: AppId, status: AppStatus) -> Result<App, AdminError> {
        let patch = AppPatch { status: Some(status), ..AppPatch::default() };
        Ok(self.store().change_app(self.by(), app, patch).await?)
    }

    /// Sets how often each key of the app may call per minute (1 to 100,000); `None` takes the vault's default.
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`], [`AdminError::NotFound`].
    pub async fn set_app_rate_limit(&self, app: AppId, per_minute: Option<u32>) -> Result<App, AdminError> {
        check_rate(per_minute)?;
        let patch = AppPatch { rate_limit_per_minute: Some(per_minute), ..AppPatch::default() };
        Ok(self.store().change_app(self.by(), app, patch).await?)
    }

    /// Mints a key. Apps' keys are spelled `alter_rk_…`, agents' keys `alter_key_…` (spec/05 §16).
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`] if the request breaks a rule, [`AdminError::NotFound`] if app or agent do not exist.
    pub async fn create_key(&self, app: AppId, request: KeyRequest) -> Result<MintedKey, AdminError> {
        let name = named("key", &request.name)?;
        check_rate(request.rate_limit_per_minute)?;
        if request.scopes.is_empty() {
            return Err(invalid("a key needs at least one scope"));
        }
        if request.expires_at.is_some_and(|at| at <= self.core.clock.now()) {
            return Err(invalid("the key would have expired already"));
        }
        let kind = if request.agent.is_some() { WireKind::Legacy } else { WireKind::Runtime };
        let key = WireKey::mint(kind).map_err(|error| invalid(error.to_string()))?;
        let new = NewKey {
            id: KeyId::random(),
            app_id: app,
            kind: request.agent.map_or(KeyKind::App, KeyKind::Agent),
            name,
            prefix: key.prefix().to_owned(),
            digest: KeyDigest::of(key.expose()),
            signing_key: SecretSlice::from(key.signing_key().expose().to_vec()),
            scopes: request.scopes,
            expires_at: request.expires_at,
            rate_limit_per_minute: request.rate_limit_per_minute,
        };
        let record = self.store().create_key(self.by(), new).await?;
        Ok(MintedKey { key, record })
    }

    /// The app's keys, its agents' included, oldest first.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn keys(&self, app: AppId) -> Result<Vec<ApiKey>, AdminError> {
        Ok(self.store().list_keys(app).await?)
    }

    /// Revokes a key for good: the very next call with it is refused.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`].
    pub async fn revoke_key(&self, app: AppId, key: KeyId) -> Result<ApiKey, AdminError> {
        Ok(self.store().revoke_key(self.by(), app, key).await?)
    }

    /// Marks a key as deprecated, so that its users are warned on every answer, or takes the mark away.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`], [`AdminError::Conflict`] if it is revoked.
    pub async fn deprecate_key(
        &self,
        app: AppId,
        key: KeyId,
        deprecated: bool,
    ) -> Result<ApiKey, AdminError> {
        let patch = KeyPatch { deprecated: Some(deprecated), ..KeyPatch::default() };
        Ok(self.store().change_key(self.by(), app, key, patch).await?)
    }

    /// Sets or takes away the moment from which a key is refused.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`], [`AdminError::Conflict`] if it is revoked.
    pub async fn set_key_expiry(
        &self,
        app: AppId,
        key: KeyId,
        expires_at: Option<Timestamp>,
    ) -> Result<ApiKey, AdminError> {
        let patch = KeyPatch { expires_at: Some(expires_at), ..KeyPatch::default() };
        Ok(self.store().change_key(self.by(), app, key, patch).await?)
    }

    /// Creates a managed agent. It has no key yet.
    ///
    /// # Errors
    ///
    /// [`AdminError::Conflict`] if an agent that is not revoked has the name.
    pub async fn create_agent(&self, app: AppId, name: &str) -> Result<Agent, AdminError> {
        let name = named("agent", name)?;
        let agent = NewAgent { id: AgentId::random(), app_id: app, name };
        Ok(self.store().create_agent(self.by(), agent).await?)
    }

    /// The app's agents, oldest first.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn agents(&self, app: AppId) -> Result<Vec<Agent>, AdminError> {
        Ok(self.store().list_agents(app).await?)
    }

    /// The agent with this id or name; one that is not revoked comes first.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`].
    pub async fn agent(&self, app: AppId, id_or_name: &str) -> Result<Agent, AdminError> {
        let id = id_or_name.parse::<AgentId>().ok();
        let mut found: Vec<_> = self.agents(app).await?;
        found.retain(|agent| Some(agent.id) == id || agent.name == id_or_name);
        found.sort_by_key(|agent| agent.status == AgentStatus::Revoked);
        let missing = || AdminError::NotFound(format!("the app has no agent {id_or_name:?}"));
        found.into_iter().next().ok_or_else(missing)
    }

    /// Pauses, resumes or revokes an agent.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`], [`AdminError::Conflict`] if it is revoked already.
    pub async fn set_agent_status(
        &self,
        app: AppId,
        agent: AgentId,
        status: AgentStatus,
    ) -> Result<Agent, AdminError> {
        Ok(self.store().set_agent_status(self.by(), app, agent, status).await?)
    }

    /// The app's users, oldest first: those whose JWT was seen and those who own imported grants.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn users(&self, app: AppId, limit: u32, offset: u64) -> Result<Vec<User>, AdminError> {
        Ok(self.store().list_users(app, limit, offset).await?)
    }
}

fn check_rate(per_minute: Option<u32>) -> Result<(), AdminError> {
    if per_minute.is_none_or(|calls| (1..=MAX_RATE).contains(&calls)) {
        Ok(())
    } else {
        Err(invalid("a rate limit must be 1 to 100000 calls per minute"))
    }
}

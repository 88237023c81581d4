//! The store: what the vault keeps, as domain operations. SQLite for one process, PostgreSQL for many; one contract suite runs on both.
//!
//! Rules that every implementation keeps:
//!
//! * One call of a method is one unit of work: all of it is durable when the method answers, or none of it happened.
//! * The audit row of a unit of work is part of it. There is no way to change or release anything without a row.
//! * Decisions are the pure functions of `crate::resolve`; an implementation loads what they ask for and writes what they say.
//! * Nothing that another process can change is remembered between units of work.
//! * A unit of work goes on when its caller stops waiting: cancellation loses the answer, never half of the work.

mod check;
mod command;
mod config;
mod connect;
mod connection;
#[cfg(test)]
pub(crate) mod contract;
mod draft;
mod error;
mod event;
#[cfg(test)]
mod forward;
mod lease;
mod migration;
mod outbox;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod refresh;
pub mod sqlite;
mod trail;

use std::{fmt::Debug, time::Duration};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::broadcast;

pub use command::{
    AdmittedNote, AppPatch, AuditVerifyScope, ImportedGrant, KeyPatch, ListCommand, Outcome, RefusedCall,
    Release, ReleaseCommand, Released, ReleasedCredential, ReportCommand, RequestFacts, Resealed,
    RevokeCommand, Revoked, ScopeMismatchCommand,
};
pub use connect::{
    AdvanceSession, Advanced, Browser, BrowserNote, ChangedUser, Connections, CreateSession, Heard,
    HookMessage, NewConnection, PollSession, RevokeAsUser,
};
pub use error::StoreError;
pub use outbox::{JobEnd, Outbox, TakeJobs};
pub use trail::{ChainEnd, ChainState, CutCommand, CutEnd, ExportPage, Swept, Trail};
pub(crate) use trail::{SIGN_STEP, SWEEP_STEP};

use crate::{
    audit::{AuditFilter, AuditPage, Evidence, VerifyReport},
    domain::{
        Agent, AgentId, AgentStatus, ApiKey, App, AppConfig, AppId, CredentialVersion, Grant, GrantFilter,
        GrantHealth, GrantId, GrantPage, IdpConfig, ImportGrant, KeyDigest, KeyId, KeyMaterial,
        ManagedSecret, NewAgent, NewGrant, NewKey, NewSecret, Operator, Provider, ProviderId, PutProvider,
        SecretId, SecretMaterial, User,
    },
    seal::SealedField,
    store::refresh::{BeginRefresh, Begun, FinishRefresh, Finished, IdleQuery, LeaseRef, RefreshSignal},
};

/// Answer of a store operation.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// What the vault keeps.
///
/// Methods that serve signed calls answer [`Outcome`]: done, refused (the row is written) or stale (load the app's
/// configuration again and repeat). Methods for operators answer [`StoreError::NotFound`] and [`StoreError::Conflict`].
pub trait Store: Trail + Connections + Outbox + Debug + Send + Sync + 'static {
    // ---- What the serving side may remember -------------------------------------------------------------------------

    /// The immutable facts of the key with this digest, whatever its state; `None` if there is none.
    fn signing_material(&self, digest: KeyDigest) -> Answer<'_, Option<KeyMaterial>>;

    /// A sealed value of the vault, the newest of its kind; `None` in a vault without API keys. What opens it is the key
    /// ring of this vault.
    fn sealed_sample(&self) -> Answer<'_, Option<SealedField>>;

    /// The app's configuration at its present generation; `None` if there is no such app.
    fn app_config(&self, app_id: AppId) -> Answer<'_, Option<AppConfig>>;

    // ---- Signed calls -----------------------------------------------------------------------------------------------

    /// `POST /sdk/token`: admits the call, finds the one grant, and hands out its sealed credential, unless that is at its
    /// end. The audit row is durable before this answers.
    fn release(&self, command: ReleaseCommand) -> Answer<'_, Outcome<Released>>;

    /// `POST /sdk/oauth/audit/api-call`: keeps what a client says about its call.
    fn record_report(&self, command: ReportCommand) -> Answer<'_, Outcome<()>>;

    /// `POST /sdk/grants/{id}/report-scope-mismatch`: marks the grant.
    fn record_scope_mismatch(&self, command: ScopeMismatchCommand) -> Answer<'_, Outcome<()>>;

    /// `POST /sdk/grants/list`: an app key sees the app's grants (with a user token, that user's and the user's groups'),
    /// an agent key sees that agent's. The page is read after the call was admitted and its row written.
    fn list_grants(&self, command: ListCommand) -> Answer<'_, Outcome<GrantPage>>;

    /// `POST /sdk/oauth/grants/{id}/revoke`: when this answers, no further release of the grant can succeed.
    fn revoke_grant(&self, command: RevokeCommand) -> Answer<'_, Outcome<Revoked>>;

    /// Admits a call whose answer needs nothing else from the store (such as verify-token) and writes its row.
    fn note(&self, note: AdmittedNote) -> Answer<'_, Outcome<()>>;

    /// Writes the row of a call that was refused before it could be admitted.
    fn record_refusal(&self, refused: RefusedCall) -> Answer<'_, ()>;

    // ---- Refreshing -------------------------------------------------------------------------------------------------

    /// Takes the lease of a grant's refresh, if nobody else has it, and writes the note that its refresh token is about to
    /// be spent. Both are durable when this answers [`Begun::Taken`].
    fn begin_refresh(&self, begin: BeginRefresh) -> Answer<'_, Begun>;

    /// Lets the lease last for `lease` from now on; `false` if it is somebody else's by now.
    fn renew_refresh(&self, lease: LeaseRef, lasts: Duration) -> Answer<'_, bool>;

    /// Ends a refresh: new tokens, a pause, or the end of the grant, with its row, in one unit of work that checks the
    /// fence and the generation.
    fn finish_refresh(&self, finish: FinishRefresh) -> Answer<'_, Finished>;

    /// Tells of refreshes that ended, in whichever process. May miss some: whoever waits also looks from time to time.
    fn refresh_signals(&self) -> broadcast::Receiver<RefreshSignal>;

    /// How a grant is doing.
    fn grant_health(&self, app_id: AppId, id: GrantId) -> Answer<'_, GrantHealth>;

    /// Active grants of a provider whose refresh token has not been used for long.
    fn idle_grants(&self, query: IdleQuery) -> Answer<'_, Vec<CredentialVersion>>;

    /// When the oldest token of each provider was obtained, among active grants that can be refreshed.
    fn oldest_tokens(&self) -> Answer<'_, Vec<(ProviderId, Timestamp)>>;

    // ---- Operators: apps and keys -----------------------------------------------------------------------------------

    /// Creates an app. `Conflict` if the name is taken.
    fn create_app(&self, by: Operator, id: AppId, name: String) -> Answer<'_, App>;

    /// All apps, oldest first.
    fn list_apps(&self) -> Answer<'_, Vec<App>>;

    /// Changes what `patch` names.
    fn change_app(&self, by: Operator, id: AppId, patch: AppPatch) -> Answer<'_, App>;

    /// Creates a key. `Conflict` if the digest is known.
    fn create_key(&self, by: Operator, key: NewKey) -> Answer<'_, ApiKey>;

    /// The app's keys, oldest first.
    fn list_keys(&self, app_id: AppId) -> Answer<'_, Vec<ApiKey>>;

    /// Deprecates, undeprecates, sets the expiry. `Conflict` if the key is revoked.
    fn change_key(&self, by: Operator, app_id: AppId, id: KeyId, patch: KeyPatch) -> Answer<'_, ApiKey>;

    /// Revokes a key for good; again is no error.
    fn revoke_key(&self, by: Operator, app_id: AppId, id: KeyId) -> Answer<'_, ApiKey>;

    // ---- Operators: agents and users --------------------------------------------------------------------------------

    /// Creates an agent. `Conflict` if an agent of the app that is not revoked has the name.
    fn create_agent(&self, by: Operator, agent: NewAgent) -> Answer<'_, Agent>;

    /// The app's agents, oldest first.
    fn list_agents(&self, app_id: AppId) -> Answer<'_, Vec<Agent>>;

    /// Pauses, resumes or revokes an agent. `Conflict` if it is revoked already and `status` is not.
    fn set_agent_status(
        &self,
        by: Operator,
        app_id: AppId,
        id: AgentId,
        status: AgentStatus,
    ) -> Answer<'_, Agent>;

    /// The app's users, oldest first, at most `limit` after `offset`.
    fn list_users(&self, app_id: AppId, limit: u32, offset: u64) -> Answer<'_, Vec<User>>;

    // ---- Operators: identity provider, providers, managed secrets ---------------------------------------------------

    /// Sets (or with `None` removes) where the app's users come from. It is read with [`Self::app_config`].
    fn set_idp(&self, by: Operator, app_id: AppId, idp: Option<IdpConfig>) -> Answer<'_, AppConfig>;

    /// Creates or replaces a provider. `Invalid` if [`Provider::check`] refuses it, `Conflict` if its kind would change
    /// while it has grants or a secret.
    fn put_provider(&self, by: Operator, put: PutProvider) -> Answer<'_, Provider>;

    /// The app's providers by id.
    fn list_providers(&self, app_id: AppId) -> Answer<'_, Vec<Provider>>;

    /// The provider's OAuth client secret, sealed; `None` if none is kept.
    fn provider_client_secret(&self, app_id: AppId, provider: ProviderId) -> Answer<'_, Option<SealedField>>;

    /// Removes a provider. `Conflict` while it has grants that are active, or a managed secret.
    fn remove_provider(&self, by: Operator, app_id: AppId, id: ProviderId) -> Answer<'_, ()>;

    /// Creates a managed secret. `Conflict` if its provider has one already.
    fn create_secret(&self, by: Operator, secret: NewSecret) -> Answer<'_, ManagedSecret>;

    /// Replaces a managed secret's material; the next release hands out the new one.
    fn rotate_secret(
        &self,
        by: Operator,
        app_id: AppId,
        id: SecretId,
        material: SecretMaterial,
    ) -> Answer<'_, ManagedSecret>;

    /// The app's managed secrets, oldest first.
    fn list_secrets(&self, app_id: AppId) -> Answer<'_, Vec<ManagedSecret>>;

    // ---- Operators: grants ------------------------------------------------------------------------------------------

    /// Gives a principal the use of a managed secret.
    fn create_grant(&self, by: Operator, grant: NewGrant) -> Answer<'_, Grant>;

    /// Moves existing tokens in; see [`ImportGrant`].
    fn import_grant(&self, by: Operator, import: ImportGrant) -> Answer<'_, ImportedGrant>;

    /// One grant.
    fn grant(&self, app_id: AppId, id: GrantId) -> Answer<'_, Grant>;

    /// The app's grants, newest first.
    fn grants(&self, app_id: AppId, filter: GrantFilter, limit: u32, offset: u64) -> Answer<'_, GrantPage>;

    /// Revokes a grant as an operator; again is no error and changes nothing.
    fn revoke_grant_as_operator(
        &self,
        by: Operator,
        app_id: AppId,
        id: GrantId,
        reason: Option<String>,
    ) -> Answer<'_, Revoked>;

    // ---- Audit, keys, health ----------------------------------------------------------------------------------------

    /// Part of the trail.
    fn audit_page(&self, filter: AuditFilter) -> Answer<'_, AuditPage>;

    /// The sealed bodies of a report.
    fn audit_bodies(&self, app_id: AppId, id: crate::domain::AuditId) -> Answer<'_, Option<SealedField>>;

    /// [`Trail::verify_trail`] without evidence from outside.
    fn verify_audit(&self, scope: AuditVerifyScope) -> Answer<'_, VerifyReport> {
        self.verify_trail(scope, Evidence::default())
    }

    /// Wraps up to `batch` sealed values that come after `cursor` with the ring's writing key. Call again with
    /// [`Resealed::next`] until it is `None`. A value that changed meanwhile is left to its writer.
    fn reseal(&self, batch: u32, cursor: Option<String>) -> Answer<'_, Resealed>;

    /// Proves that a unit of work can be written.
    fn health(&self) -> Answer<'_, ()>;

    /// Takes no more work, finishes what was taken, marks this run's chains as cleanly closed. Again is no error.
    fn close(&self) -> Answer<'_, ()>;
}

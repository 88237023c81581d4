//! The store for many replicas: one PostgreSQL database (15 or newer) and any number of stateless processes.
//!
//! Each unit of work is one transaction (`lanes/unit.rs` says how revocation and release are kept apart, and whose chain a row
//! joins); nothing that another replica can change is remembered between them. A database that does not answer makes
//! [`StoreError::Unavailable`], and the next call tries anew: there is nothing to restart.
//!
//! `PgBouncer` in transaction mode may stand in between: no session state, no named prepared statements.

mod admit;
mod agents;
mod apps;
mod audit;
mod browsers;
mod calls;
mod candidates;
mod checkpoints;
#[cfg(test)]
pub(crate) mod cluster;
mod columns;
mod connect;
mod connect_sessions;
mod connection;
mod ending;
mod events;
#[cfg(test)]
mod forward;
mod grants;
mod hooks;
mod jobs;
mod keys;
mod lanes;
mod listen;
#[cfg(test)]
mod outage;
mod pages;
mod partitions;
#[cfg(test)]
mod pooler;
mod providers;
#[cfg(test)]
mod races;
mod refresh;
mod release;
#[cfg(test)]
mod replicas;
mod reseal;
mod retention;
pub(crate) mod rows;
mod schema;
mod secrets;
#[cfg(test)]
mod tests;
mod tls;
mod users;
mod webhooks;

use std::{fmt, sync::Arc, time::Duration};

use alter_core::clock::SharedClock;
use futures_util::FutureExt;
use jiff::Timestamp;
use tokio::sync::broadcast;

pub use connect::DatabaseUrl;
pub use partitions::NONCE_SECONDS;

use self::{
    connect::{Connections, Mode},
    lanes::{Gate, Lanes},
    listen::Listener,
};
use super::{
    AdmittedNote, Answer, AppPatch, ImportedGrant, KeyPatch, ListCommand, Outcome, RefusedCall,
    ReleaseCommand, Released, ReportCommand, Resealed, RevokeCommand, Revoked, ScopeMismatchCommand, Store,
    StoreError, draft,
    refresh::{BeginRefresh, Begun, FinishRefresh, Finished, IdleQuery, LeaseRef, RefreshSignal},
};
use crate::{
    audit::{Action, AuditFilter, AuditPage},
    domain::{
        Agent, AgentId, AgentStatus, ApiKey, App, AppConfig, AppId, AuditId, CredentialVersion, Grant,
        GrantFilter, GrantHealth, GrantId, GrantPage, IdpConfig, ImportGrant, KeyDigest, KeyId, KeyMaterial,
        ManagedSecret, NewAgent, NewGrant, NewKey, NewSecret, Operator, Provider, ProviderId, PutProvider,
        SecretId, SecretMaterial, User,
    },
    seal::{Envelope, SealedField},
};

/// The store on PostgreSQL. Clones share it.
#[derive(Clone)]
pub struct PostgresStore {
    lanes: Lanes,
    envelope: Envelope,
    clock: SharedClock,
    listener: Arc<Listener>,
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").finish_non_exhaustive()
    }
}

impl PostgresStore {
    /// Connects, brings the schema up to date (replicas that start together take turns) and makes the partitions of today.
    ///
    /// Every opening begins new audit chains. Any number of stores may be open on one database.
    ///
    /// # Errors
    ///
    /// [`StoreError::Invalid`] when the URL cannot be used, [`StoreError::SchemaTooNew`] and [`StoreError::SchemaDiffers`] when
    /// another version has written the schema, [`StoreError::Moved`] when the vault was moved away or is not complete, otherwise
    /// [`StoreError::Unavailable`].
    pub async fn open(url: &DatabaseUrl, envelope: Envelope, clock: SharedClock) -> Result<Self, StoreError> {
        let connections = Connections::new(url)?;
        schema::refuse_moved(&connections).await?;
        schema::migrate(&connections).await?;
        partitions::look_after(&connections, clock.now()).await?;
        let lanes = Lanes::new(connections, envelope.clone(), clock.clone());
        Ok(Self { lanes, envelope, clock, listener: Listener::new(url.clone()) })
    }

    /// Opens a copy that is not finished yet, to look at it.
    pub(crate) fn open_unfinished(
        url: &DatabaseUrl,
        envelope: Envelope,
        clock: SharedClock,
    ) -> Result<Self, StoreError> {
        let lanes = Lanes::new(Connections::new(url)?, envelope.clone(), clock.clone());
        Ok(Self { lanes, envelope, clock, listener: Listener::new(url.clone()) })
    }
}

/// A unit of work on an app: `gate`, what it is about, and what to do.
macro_rules! unit {
    ($store:ident, $gate:expr, ($($value:ident),*), |$unit:ident| $work:expr) => {{
        let gate = $gate;
        let lanes = $store.lanes.clone();
        async move {
            lanes
                .run(gate, ($($value,)*), |unbegun, ($($value,)*)| {
                    async move {
                        let mut begun = unbegun.begin().await?;
                        let $unit = &mut begun;
                        $work.await
                    }
                    .boxed()
                })
                .await
        }
        .boxed()
    }};
}

/// A read.
macro_rules! read {
    ($store:ident, $mode:ident, ($($value:ident),*), |$sql:ident| $look:expr) => {{
        let lanes = $store.lanes.clone();
        async move {
            lanes.read(Mode::$mode, ($($value,)*), |$sql, ($($value,)*)| async move { $look.await }.boxed()).await
        }
        .boxed()
    }};
}

// They use the macros above.
mod outbox;
mod sessions;
mod trail;

impl Store for PostgresStore {
    fn signing_material(&self, digest: KeyDigest) -> Answer<'_, Option<KeyMaterial>> {
        read!(self, Read, (digest), |sql| keys::material(sql, *digest))
    }

    fn sealed_sample(&self) -> Answer<'_, Option<SealedField>> {
        read!(self, Read, (), |sql| keys::sample(sql))
    }

    fn app_config(&self, app_id: AppId) -> Answer<'_, Option<AppConfig>> {
        read!(self, Read, (app_id), |sql| apps::config(sql, *app_id))
    }

    fn release(&self, command: ReleaseCommand) -> Answer<'_, Outcome<Released>> {
        let row = draft::of_release(&command);
        let lanes = self.lanes.clone();
        async move {
            let gate = Gate::Shared(row.app_id);
            lanes
                .run(gate, (command, row), |unbegun, (command, row)| {
                    release::release(unbegun, command, row.clone()).boxed()
                })
                .await
        }
        .boxed()
    }

    fn record_report(&self, command: ReportCommand) -> Answer<'_, Outcome<()>> {
        let drafted = draft::of_report(&command, &self.envelope);
        let (row, sealed) = match drafted {
            Ok(drafted) => drafted,
            Err(error) => return async move { Err(error) }.boxed(),
        };
        unit!(self, Gate::Shared(row.app_id), (command, row, sealed), |unit| calls::report(
            unit,
            command,
            row.clone(),
            sealed.as_ref()
        ))
    }

    fn record_scope_mismatch(&self, command: ScopeMismatchCommand) -> Answer<'_, Outcome<()>> {
        let mut row = draft::of_call(&command.admission, Action::ScopeMismatchReported);
        row.detail.clone_from(&command.detail);
        unit!(self, Gate::Shared(row.app_id), (command, row), |unit| calls::scope_mismatch(
            unit,
            command,
            row.clone()
        ))
    }

    fn list_grants(&self, command: ListCommand) -> Answer<'_, Outcome<GrantPage>> {
        let row = draft::of_call(&command.admission, Action::GrantListed);
        let (filter, at, app_id) = (command.filter.clone(), command.admission.at, row.app_id);
        let part = (command.limit.clamp(1, 1000), command.offset);
        async move {
            let admitted: Answer<'_, _> =
                unit!(self, Gate::Shared(app_id), (command, row), |unit| calls::list(
                    unit,
                    command,
                    row.clone()
                ));
            let whose = match admitted.await? {
                Outcome::Done(whose) => whose,
                Outcome::Refused(refusal) => return Ok(Outcome::Refused(refusal)),
                Outcome::Stale => return Ok(Outcome::Stale),
            };
            let page: Answer<'_, _> =
                read!(self, Read, (app_id, whose, filter, part, at), |sql| grants::page(
                    sql,
                    *app_id,
                    whose.as_deref(),
                    filter,
                    *part,
                    *at
                ));
            page.await.map(Outcome::Done)
        }
        .boxed()
    }

    fn revoke_grant(&self, command: RevokeCommand) -> Answer<'_, Outcome<Revoked>> {
        let mut row = draft::of_call(&command.admission, Action::GrantRevoked);
        row.reason.clone_from(&command.reason);
        unit!(self, Gate::Exclusive(row.app_id), (command, row), |unit| calls::revoke(
            unit,
            command,
            row.clone()
        ))
    }

    fn note(&self, note: AdmittedNote) -> Answer<'_, Outcome<()>> {
        let row = draft::of_note(&note);
        unit!(self, Gate::Shared(row.app_id), (note, row), |unit| calls::note(unit, note, row.clone()))
    }

    fn record_refusal(&self, refused: RefusedCall) -> Answer<'_, ()> {
        let row = draft::of_refused(refused);
        unit!(self, Gate::Open, (row), |unit| async {
            unit.audit(row.clone());
            Ok(())
        })
    }

    fn begin_refresh(&self, begin: BeginRefresh) -> Answer<'_, Begun> {
        let at = self.clock.now();
        unit!(self, Gate::Shared(begin.version.app_id), (begin, at), |unit| refresh::begin(unit, begin, *at))
    }

    fn renew_refresh(&self, lease: LeaseRef, lasts: Duration) -> Answer<'_, bool> {
        read!(self, Write, (lease, lasts), |sql| refresh::renew(sql, lease, *lasts))
    }

    fn finish_refresh(&self, finish: FinishRefresh) -> Answer<'_, Finished> {
        let signal = RefreshSignal { grant_id: finish.lease.version.grant_id };
        let ended: Answer<'_, _> =
            unit!(self, Gate::Shared(finish.lease.version.app_id), (finish), |unit| refresh::finish(
                unit, finish
            ));
        async move {
            let finished = ended.await?;
            if matches!(finished, Finished::Written { .. }) {
                self.listener.say(signal);
            }
            Ok(finished)
        }
        .boxed()
    }

    fn refresh_signals(&self) -> broadcast::Receiver<RefreshSignal> {
        self.listener.subscribe()
    }

    fn grant_health(&self, app_id: AppId, id: GrantId) -> Answer<'_, GrantHealth> {
        read!(self, Read, (app_id, id), |sql| refresh::health(sql, *app_id, *id))
    }

    fn idle_grants(&self, query: IdleQuery) -> Answer<'_, Vec<CredentialVersion>> {
        let at = self.clock.now();
        read!(self, Read, (query, at), |sql| refresh::idle(sql, query, *at))
    }

    fn oldest_tokens(&self) -> Answer<'_, Vec<(ProviderId, Timestamp)>> {
        let at = self.clock.now();
        read!(self, Read, (at), |sql| refresh::oldest(sql, *at))
    }

    fn create_app(&self, by: Operator, id: AppId, name: String) -> Answer<'_, App> {
        unit!(self, Gate::Exclusive(id), (by, id, name), |unit| apps::create(unit, by, *id, name))
    }

    fn list_apps(&self) -> Answer<'_, Vec<App>> {
        read!(self, Read, (), |sql| apps::list(sql))
    }

    fn change_app(&self, by: Operator, id: AppId, patch: AppPatch) -> Answer<'_, App> {
        unit!(self, Gate::Exclusive(id), (by, id, patch), |unit| apps::change(unit, by, *id, patch))
    }

    fn create_key(&self, by: Operator, key: NewKey) -> Answer<'_, ApiKey> {
        unit!(self, Gate::Exclusive(key.app_id), (by, key), |unit| keys::create(unit, by, key))
    }

    fn list_keys(&self, app_id: AppId) -> Answer<'_, Vec<ApiKey>> {
        read!(self, Read, (app_id), |sql| keys::list(sql, *app_id))
    }

    fn change_key(&self, by: Operator, app_id: AppId, id: KeyId, patch: KeyPatch) -> Answer<'_, ApiKey> {
        unit!(self, Gate::Exclusive(app_id), (by, app_id, id, patch), |unit| keys::change(
            unit, by, *app_id, *id, patch
        ))
    }

    fn revoke_key(&self, by: Operator, app_id: AppId, id: KeyId) -> Answer<'_, ApiKey> {
        unit!(self, Gate::Exclusive(app_id), (by, app_id, id), |unit| keys::revoke(unit, by, *app_id, *id))
    }

    fn create_agent(&self, by: Operator, agent: NewAgent) -> Answer<'_, Agent> {
        unit!(self, Gate::Exclusive(agent.app_id), (by, agent), |unit| agents::create(unit, by, agent))
    }

    fn list_agents(&self, app_id: AppId) -> Answer<'_, Vec<Agent>> {
        read!(self, Read, (app_id), |sql| agents::list(sql, *app_id))
    }

    fn set_agent_status(
        &self,
        by: Operator,
        app_id: AppId,
        id: AgentId,
        status: AgentStatus,
    ) -> Answer<'_, Agent> {
        unit!(self, Gate::Exclusive(app_id), (by, app_id, id, status), |unit| agents::set_status(
            unit, by, *app_id, *id, *status
        ))
    }

    fn list_users(&self, app_id: AppId, limit: u32, offset: u64) -> Answer<'_, Vec<User>> {
        read!(self, Read, (app_id, limit, offset), |sql| users::list(sql, *app_id, *limit, *offset))
    }

    fn set_idp(&self, by: Operator, app_id: AppId, idp: Option<IdpConfig>) -> Answer<'_, AppConfig> {
        unit!(self, Gate::Exclusive(app_id), (by, app_id, idp), |unit| apps::set_idp(
            unit,
            by,
            *app_id,
            idp.as_ref()
        ))
    }

    fn put_provider(&self, by: Operator, put: PutProvider) -> Answer<'_, Provider> {
        unit!(self, Gate::Exclusive(put.app_id), (by, put), |unit| providers::put(unit, by, put))
    }

    fn list_providers(&self, app_id: AppId) -> Answer<'_, Vec<Provider>> {
        read!(self, Read, (app_id), |sql| providers::list(sql, *app_id))
    }

    fn provider_client_secret(&self, app_id: AppId, provider: ProviderId) -> Answer<'_, Option<SealedField>> {
        read!(self, Read, (app_id, provider), |sql| providers::client_secret(sql, *app_id, provider))
    }

    fn remove_provider(&self, by: Operator, app_id: AppId, id: ProviderId) -> Answer<'_, ()> {
        unit!(self, Gate::Exclusive(app_id), (by, app_id, id), |unit| providers::remove(
            unit, by, *app_id, id
        ))
    }

    fn create_secret(&self, by: Operator, secret: NewSecret) -> Answer<'_, ManagedSecret> {
        unit!(self, Gate::Exclusive(secret.app_id), (by, secret), |unit| secrets::create(unit, by, secret))
    }

    fn rotate_secret(
        &self,
        by: Operator,
        app_id: AppId,
        id: SecretId,
        material: SecretMaterial,
    ) -> Answer<'_, ManagedSecret> {
        unit!(self, Gate::Exclusive(app_id), (by, app_id, id, material), |unit| secrets::rotate(
            unit, by, *app_id, *id, material
        ))
    }

    fn list_secrets(&self, app_id: AppId) -> Answer<'_, Vec<ManagedSecret>> {
        read!(self, Read, (app_id), |sql| secrets::list(sql, *app_id))
    }

    fn create_grant(&self, by: Operator, grant: NewGrant) -> Answer<'_, Grant> {
        unit!(self, Gate::Exclusive(grant.app_id), (by, grant), |unit| grants::create(unit, by, grant))
    }

    fn import_grant(&self, by: Operator, import: ImportGrant) -> Answer<'_, ImportedGrant> {
        unit!(self, Gate::Exclusive(import.app_id), (by, import), |unit| grants::import(unit, by, import))
    }

    fn grant(&self, app_id: AppId, id: GrantId) -> Answer<'_, Grant> {
        read!(self, Read, (app_id, id), |sql| grants::load(sql, *app_id, *id))
    }

    fn grants(&self, app_id: AppId, filter: GrantFilter, limit: u32, offset: u64) -> Answer<'_, GrantPage> {
        let (at, part) = (self.clock.now(), (limit.clamp(1, 1000), offset));
        read!(self, Read, (app_id, filter, part, at), |sql| grants::page(
            sql, *app_id, None, filter, *part, *at
        ))
    }

    fn revoke_grant_as_operator(
        &self,
        by: Operator,
        app_id: AppId,
        id: GrantId,
        reason: Option<String>,
    ) -> Answer<'_, Revoked> {
        unit!(self, Gate::Exclusive(app_id), (by, app_id, id, reason), |unit| ending::revoke_as_operator(
            unit,
            by,
            *app_id,
            *id,
            reason.as_deref()
        ))
    }

    fn audit_page(&self, filter: AuditFilter) -> Answer<'_, AuditPage> {
        read!(self, Read, (filter), |sql| audit::page(sql, filter))
    }

    fn audit_bodies(&self, app_id: AppId, id: AuditId) -> Answer<'_, Option<SealedField>> {
        read!(self, Read, (app_id, id), |sql| audit::bodies(sql, *app_id, *id))
    }

    fn reseal(&self, batch: u32, cursor: Option<String>) -> Answer<'_, Resealed> {
        unit!(self, Gate::Open, (batch, cursor), |unit| reseal::reseal(unit, *batch, cursor.as_deref()))
    }

    fn health(&self) -> Answer<'_, ()> {
        unit!(self, Gate::Open, (), |unit| can_write(unit))
    }

    fn close(&self) -> Answer<'_, ()> {
        async move {
            self.listener.close().await;
            self.lanes.close().await;
            Ok(())
        }
        .boxed()
    }
}

/// A transaction that takes a number may write; a standby refuses it. And the schema is still one that we may work on.
async fn can_write(unit: &mut lanes::Unit<'_>) -> Result<(), StoreError> {
    columns::rows(unit.sql, "SELECT 1 WHERE pg_current_xact_id() IS NOT NULL", &[]).await?;
    schema::still_fits(unit.sql).await
}

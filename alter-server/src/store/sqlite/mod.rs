//! The embedded store: one SQLite database in a folder of its own.
//!
//! One thread writes (`writer`); what is waiting shares one transaction and one `fsync`. Lists and walks over the trail use
//! connections of their own and never hold up the writer. Another process (the command line) may work on the same folder.

mod admit;
mod apps;
mod audit;
mod browsers;
mod calls;
mod checkpoints;
mod columns;
mod connect;
mod connection;
mod ending;
mod events;
#[cfg(test)]
mod forward;
mod grants;
mod hooks;
mod outbox;
mod pages;
mod providers;
mod refresh;
mod release;
mod reseal;
mod retention;
pub(crate) mod rows;
mod schema;
mod sessions;
#[cfg(test)]
mod tests;
mod trail;
mod users;
mod webhooks;
mod writer;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use alter_core::clock::SharedClock;
use futures_util::FutureExt;
use jiff::Timestamp;
use rusqlite::Connection;
use tokio::sync::broadcast;

pub(crate) use schema::{FILE as DATABASE_FILE, SCHEMA};

use super::{
    AdmittedNote, Answer, AppPatch, ImportedGrant, KeyPatch, ListCommand, Outcome, RefusedCall,
    ReleaseCommand, Released, ReportCommand, Resealed, RevokeCommand, Revoked, ScopeMismatchCommand, Store,
    StoreError, draft,
    refresh::{BeginRefresh, Begun, FinishRefresh, Finished, IdleQuery, LeaseRef, RefreshSignal, SIGNALS},
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

/// Seconds that a used nonce is kept: the window on both sides (2 × 300) and as much again for a clock that was set.
pub const NONCE_SECONDS: i64 = 1200;

/// Reading connections that are kept open.
const READERS: usize = 4;

/// The embedded store. Clones share it.
#[derive(Clone)]
pub struct SqliteStore {
    file: Arc<PathBuf>,
    readers: Arc<Mutex<Vec<Connection>>>,
    writer: writer::Writer,
    envelope: Envelope,
    clock: SharedClock,
    signals: broadcast::Sender<RefreshSignal>,
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("file", &self.file).finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens the database in `folder` (made with mode 0700 if missing), brings its schema up to date and starts the writer.
    ///
    /// Every opening begins new audit chains. Several stores, also of other processes, may be open on one folder.
    ///
    /// # Errors
    ///
    /// [`StoreError::Folder`] when the folder cannot be used, [`StoreError::SchemaTooNew`] and [`StoreError::SchemaDiffers`] when
    /// another version has written it, [`StoreError::Moved`] when the vault was moved away or is not complete, otherwise
    /// [`StoreError::Unavailable`].
    pub async fn open(folder: &Path, envelope: Envelope, clock: SharedClock) -> Result<Self, StoreError> {
        Self::open_any(folder, envelope, clock, false).await
    }

    /// Opens also a copy that is not finished yet, to look at it.
    pub(crate) async fn open_any(
        folder: &Path,
        envelope: Envelope,
        clock: SharedClock,
        unfinished: bool,
    ) -> Result<Self, StoreError> {
        let folder = folder.to_owned();
        let opened = blocking(move || {
            let file = schema::prepare_folder(&folder)?;
            let connection = schema::open_writer(&file)?;
            if let Some(marker) = rows::marker(&connection)?
                && !unfinished
            {
                return Err(StoreError::Moved(marker.refusal()));
            }
            schema::migrate(&connection)?;
            Ok((file, connection))
        });
        let (file, connection) = opened.await?;
        let writer = writer::Writer::start(connection, envelope.clone(), clock.clone())?;
        let signals = broadcast::Sender::new(SIGNALS);
        Ok(Self { file: Arc::new(file), readers: Arc::default(), writer, envelope, clock, signals })
    }

    /// Runs `work` on a reading connection, off the async threads.
    async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (file, readers) = (Arc::clone(&self.file), Arc::clone(&self.readers));
        blocking(move || {
            let kept = readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = match kept {
                Some(connection) => connection,
                None => schema::open_reader(&file)?,
            };
            let result = work(&connection);
            // A connection that is still inside a transaction would show an old view: it is not kept.
            if connection.is_autocommit() {
                let mut readers = readers.lock().unwrap_or_else(PoisonError::into_inner);
                if readers.len() < READERS {
                    readers.push(connection);
                }
            }
            result
        })
        .await
    }
}

async fn blocking<T, F>(work: F) -> Result<T, StoreError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, StoreError> + Send + 'static,
{
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|gone| {
        Err(StoreError::Unavailable { what: "a read ended abnormally", source: Box::new(gone) })
    })
}

impl Store for SqliteStore {
    fn signing_material(&self, digest: KeyDigest) -> Answer<'_, Option<KeyMaterial>> {
        self.read(move |sql| apps::material(sql, digest)).boxed()
    }

    fn sealed_sample(&self) -> Answer<'_, Option<SealedField>> {
        self.read(apps::sample).boxed()
    }

    fn app_config(&self, app_id: AppId) -> Answer<'_, Option<AppConfig>> {
        self.read(move |sql| apps::config(sql, app_id)).boxed()
    }

    fn release(&self, command: ReleaseCommand) -> Answer<'_, Outcome<Released>> {
        // Everything that needs no database happens on the caller's thread.
        let row = draft::of_release(&command);
        self.writer.run(move |unit| release::release(unit, &command, row)).boxed()
    }

    fn record_report(&self, command: ReportCommand) -> Answer<'_, Outcome<()>> {
        let drafted = draft::of_report(&command, &self.envelope);
        async move {
            let (row, sealed) = drafted?;
            self.writer.run_patiently(move |unit| calls::report(unit, &command, row, sealed.as_ref())).await
        }
        .boxed()
    }

    fn record_scope_mismatch(&self, command: ScopeMismatchCommand) -> Answer<'_, Outcome<()>> {
        let mut row = draft::of_call(&command.admission, Action::ScopeMismatchReported);
        row.detail.clone_from(&command.detail);
        self.writer.run(move |unit| calls::scope_mismatch(unit, &command, row)).boxed()
    }

    fn list_grants(&self, command: ListCommand) -> Answer<'_, Outcome<GrantPage>> {
        async move {
            let row = draft::of_call(&command.admission, Action::GrantListed);
            let (filter, at) = (command.filter.clone(), command.admission.at);
            let (app_id, limit, offset) =
                (command.admission.app_id, command.limit.clamp(1, 1000), command.offset);
            let whose = match self.writer.run(move |unit| calls::list(unit, &command, row)).await? {
                Outcome::Done(whose) => whose,
                Outcome::Refused(refusal) => return Ok(Outcome::Refused(refusal)),
                Outcome::Stale => return Ok(Outcome::Stale),
            };
            let page = self
                .read(move |sql| grants::page(sql, app_id, whose.as_deref(), &filter, (limit, offset), at));
            page.await.map(Outcome::Done)
        }
        .boxed()
    }

    fn revoke_grant(&self, command: RevokeCommand) -> Answer<'_, Outcome<Revoked>> {
        let mut row = draft::of_call(&command.admission, Action::GrantRevoked);
        row.reason.clone_from(&command.reason);
        self.writer.run(move |unit| calls::revoke(unit, &command, row)).boxed()
    }

    fn note(&self, note: AdmittedNote) -> Answer<'_, Outcome<()>> {
        let row = draft::of_note(&note);
        self.writer.run(move |unit| calls::note(unit, &note, row)).boxed()
    }

    fn record_refusal(&self, refused: RefusedCall) -> Answer<'_, ()> {
        let row = draft::of_refused(refused);
        self.writer.run(move |unit| unit.audit(row)).boxed()
    }

    fn begin_refresh(&self, begin: BeginRefresh) -> Answer<'_, Begun> {
        let at = self.clock.now();
        self.writer.run(move |unit| refresh::begin(unit, &begin, at)).boxed()
    }

    fn renew_refresh(&self, lease: LeaseRef, lasts: Duration) -> Answer<'_, bool> {
        self.writer.run(move |unit| refresh::renew(unit, &lease, lasts)).boxed()
    }

    fn finish_refresh(&self, finish: FinishRefresh) -> Answer<'_, Finished> {
        async move {
            let grant_id = finish.lease.version.grant_id;
            let finished = self.writer.run(move |unit| refresh::finish(unit, &finish)).await?;
            if matches!(finished, Finished::Written { .. }) {
                // Nobody may be listening.
                let _ = self.signals.send(RefreshSignal { grant_id });
            }
            Ok(finished)
        }
        .boxed()
    }

    fn refresh_signals(&self) -> broadcast::Receiver<RefreshSignal> {
        self.signals.subscribe()
    }

    fn grant_health(&self, app_id: AppId, id: GrantId) -> Answer<'_, GrantHealth> {
        self.read(move |sql| refresh::health(sql, app_id, id)).boxed()
    }

    fn idle_grants(&self, query: IdleQuery) -> Answer<'_, Vec<CredentialVersion>> {
        let at = self.clock.now();
        self.read(move |sql| refresh::idle(sql, &query, at)).boxed()
    }

    fn oldest_tokens(&self) -> Answer<'_, Vec<(ProviderId, Timestamp)>> {
        let at = self.clock.now();
        self.read(move |sql| refresh::oldest(sql, at)).boxed()
    }

    fn create_app(&self, by: Operator, id: AppId, name: String) -> Answer<'_, App> {
        self.writer.run(move |unit| apps::create_app(unit, &by, id, &name)).boxed()
    }

    fn list_apps(&self) -> Answer<'_, Vec<App>> {
        self.read(apps::list_apps).boxed()
    }

    fn change_app(&self, by: Operator, id: AppId, patch: AppPatch) -> Answer<'_, App> {
        self.writer.run(move |unit| apps::change_app(unit, &by, id, &patch)).boxed()
    }

    fn create_key(&self, by: Operator, key: NewKey) -> Answer<'_, ApiKey> {
        self.writer.run(move |unit| apps::create_key(unit, &by, &key)).boxed()
    }

    fn list_keys(&self, app_id: AppId) -> Answer<'_, Vec<ApiKey>> {
        self.read(move |sql| apps::list_keys(sql, app_id)).boxed()
    }

    fn change_key(&self, by: Operator, app_id: AppId, id: KeyId, patch: KeyPatch) -> Answer<'_, ApiKey> {
        self.writer.run(move |unit| apps::change_key(unit, &by, app_id, id, &patch)).boxed()
    }

    fn revoke_key(&self, by: Operator, app_id: AppId, id: KeyId) -> Answer<'_, ApiKey> {
        self.writer.run(move |unit| apps::revoke_key(unit, &by, app_id, id)).boxed()
    }

    fn create_agent(&self, by: Operator, agent: NewAgent) -> Answer<'_, Agent> {
        self.writer.run(move |unit| apps::create_agent(unit, &by, &agent)).boxed()
    }

    fn list_agents(&self, app_id: AppId) -> Answer<'_, Vec<Agent>> {
        self.read(move |sql| apps::list_agents(sql, app_id)).boxed()
    }

    fn set_agent_status(
        &self,
        by: Operator,
        app_id: AppId,
        id: AgentId,
        status: AgentStatus,
    ) -> Answer<'_, Agent> {
        self.writer.run(move |unit| apps::set_agent_status(unit, &by, app_id, id, status)).boxed()
    }

    fn list_users(&self, app_id: AppId, limit: u32, offset: u64) -> Answer<'_, Vec<User>> {
        self.read(move |sql| users::list(sql, app_id, limit, offset)).boxed()
    }

    fn set_idp(&self, by: Operator, app_id: AppId, idp: Option<IdpConfig>) -> Answer<'_, AppConfig> {
        self.writer.run(move |unit| apps::set_idp(unit, &by, app_id, idp.as_ref())).boxed()
    }

    fn put_provider(&self, by: Operator, put: PutProvider) -> Answer<'_, Provider> {
        self.writer.run(move |unit| providers::put(unit, &by, &put)).boxed()
    }

    fn list_providers(&self, app_id: AppId) -> Answer<'_, Vec<Provider>> {
        self.read(move |sql| providers::list(sql, app_id)).boxed()
    }

    fn provider_client_secret(&self, app_id: AppId, provider: ProviderId) -> Answer<'_, Option<SealedField>> {
        self.read(move |sql| providers::client_secret(sql, app_id, &provider)).boxed()
    }

    fn remove_provider(&self, by: Operator, app_id: AppId, id: ProviderId) -> Answer<'_, ()> {
        self.writer.run(move |unit| providers::remove(unit, &by, app_id, &id)).boxed()
    }

    fn create_secret(&self, by: Operator, secret: NewSecret) -> Answer<'_, ManagedSecret> {
        self.writer.run(move |unit| providers::create_secret(unit, &by, &secret)).boxed()
    }

    fn rotate_secret(
        &self,
        by: Operator,
        app_id: AppId,
        id: SecretId,
        material: SecretMaterial,
    ) -> Answer<'_, ManagedSecret> {
        self.writer.run(move |unit| providers::rotate_secret(unit, &by, app_id, id, &material)).boxed()
    }

    fn list_secrets(&self, app_id: AppId) -> Answer<'_, Vec<ManagedSecret>> {
        self.read(move |sql| providers::list_secrets(sql, app_id)).boxed()
    }

    fn create_grant(&self, by: Operator, grant: NewGrant) -> Answer<'_, Grant> {
        self.writer.run(move |unit| grants::create(unit, &by, &grant)).boxed()
    }

    fn import_grant(&self, by: Operator, import: ImportGrant) -> Answer<'_, ImportedGrant> {
        self.writer.run(move |unit| grants::import(unit, &by, &import)).boxed()
    }

    fn grant(&self, app_id: AppId, id: GrantId) -> Answer<'_, Grant> {
        self.read(move |sql| grants::load(sql, app_id, id)).boxed()
    }

    fn grants(&self, app_id: AppId, filter: GrantFilter, limit: u32, offset: u64) -> Answer<'_, GrantPage> {
        let at = self.clock.now();
        let limit = limit.clamp(1, 1000);
        self.read(move |sql| grants::page(sql, app_id, None, &filter, (limit, offset), at)).boxed()
    }

    fn revoke_grant_as_operator(
        &self,
        by: Operator,
        app_id: AppId,
        id: GrantId,
        reason: Option<String>,
    ) -> Answer<'_, Revoked> {
        self.writer.run(move |unit| grants::revoke_as_operator(unit, &by, app_id, id, reason)).boxed()
    }

    fn audit_page(&self, filter: AuditFilter) -> Answer<'_, AuditPage> {
        self.read(move |sql| audit::page(sql, &filter)).boxed()
    }

    fn audit_bodies(&self, app_id: AppId, id: AuditId) -> Answer<'_, Option<SealedField>> {
        self.read(move |sql| audit::bodies(sql, app_id, id)).boxed()
    }

    fn reseal(&self, batch: u32, cursor: Option<String>) -> Answer<'_, Resealed> {
        self.writer.run(move |unit| reseal::reseal(unit, batch, cursor.as_deref())).boxed()
    }

    fn health(&self) -> Answer<'_, ()> {
        self.writer.run(|unit| schema::still_fits(unit.sql)).boxed()
    }

    fn close(&self) -> Answer<'_, ()> {
        async move {
            self.writer.close().await;
            self.readers.lock().unwrap_or_else(PoisonError::into_inner).clear();
            Ok(())
        }
        .boxed()
    }
}

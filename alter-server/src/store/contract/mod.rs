//! What every store must do. A store calls [`store_contract!`] with a function that opens a fresh one.

mod admission;
mod audit;
mod cases;
mod connections;
mod grants;
mod operators;
mod outbox;
mod proof;
mod refresh;
mod refresh_model;
mod release;
mod retention;
mod sessions;
mod users;
mod wallet;

use std::sync::{Arc, atomic::AtomicU64, atomic::Ordering};

use alter_core::{clock::Clock, clock::ManualClock, wire::code::Code};
use secrecy::{ExposeSecret, SecretSlice};

use crate::{
    audit::{Action, AuditFilter, AuditRow},
    domain::{
        Actor, Address, Admission, AgentId, App, AppId, GrantId, HostPattern, Identity, ImportGrant,
        ImportOwner, Injection, KeyDigest, KeyId, KeyKind, NewAgent, NewGrant, NewKey, NewSecret, Nonce,
        Operator, Principal, Provider, ProviderId, ProviderKind, PutProvider, Refusal, Scope, SecretId,
        SecretMaterial,
    },
    seal::Envelope,
    store::{
        AuditVerifyScope, Outcome, Release, ReleaseCommand, Released, ReleasedCredential, RequestFacts,
        RevokeCommand, Revoked, Store,
    },
};

pub(crate) use admission::*;
pub(crate) use audit::*;
pub(crate) use cases::{connect_contract, store_contract};
pub(crate) use connections::*;
pub(crate) use grants::*;
pub(crate) use operators::*;
pub(crate) use outbox::*;
pub(crate) use proof::*;
pub(crate) use refresh::*;
pub(crate) use refresh_model::*;
pub(crate) use release::*;
pub(crate) use retention::*;
pub(crate) use sessions::*;
pub(crate) use users::*;
pub(crate) use wallet::*;

/// A fresh store and what tests need around it.
pub(crate) struct World {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) envelope: Envelope,
    pub(crate) clock: Arc<ManualClock>,
    nonce: AtomicU64,
    /// Keeps what the store lives in.
    pub(crate) _keep: Box<dyn std::any::Any + Send + Sync>,
    sql: Option<Sql>,
}

/// Runs statements on the database behind the store's back.
type Sql = Box<dyn Fn(String) -> futures_util::future::BoxFuture<'static, ()> + Send + Sync>;

/// The moment at which every test begins.
pub(crate) const START: i64 = 1_767_225_600;

/// A key and what it belongs to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    pub(crate) app_id: AppId,
    pub(crate) key_id: KeyId,
}

impl World {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        envelope: Envelope,
        clock: Arc<ManualClock>,
        keep: Box<dyn std::any::Any + Send + Sync>,
    ) -> Self {
        Self { store, envelope, clock, nonce: AtomicU64::new(1), _keep: keep, sql: None }
    }

    pub(crate) fn with_sql(
        mut self,
        sql: impl Fn(String) -> futures_util::future::BoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> Self {
        self.sql = Some(Box::new(sql));
        self
    }

    /// What somebody does who can write the database.
    pub(crate) async fn tamper(&self, text: impl Into<String>) {
        let sql = self.sql.as_ref().expect("a store whose tests know its database");
        sql(text.into()).await;
    }

    fn on_postgres(&self) -> bool {
        format!("{:?}", self.store).contains("Postgres")
    }

    /// Bytes as the database writes them.
    pub(crate) fn blob(&self, bytes: &[u8]) -> String {
        let text = hex::encode(bytes);
        if self.on_postgres() { format!("'\\x{text}'::bytea") } else { format!("x'{text}'") }
    }

    /// An id as the database writes it.
    pub(crate) fn id(&self, id: uuid::Uuid) -> String {
        if self.on_postgres() { format!("'{id}'::uuid") } else { self.blob(id.as_bytes()) }
    }

    pub(crate) fn operator(&self) -> Operator {
        Operator { name: "test:operator".to_owned(), at: self.clock.now() }
    }

    pub(crate) async fn app(&self, name: &str) -> App {
        self.store.create_app(self.operator(), AppId::random(), name.to_owned()).await.unwrap()
    }

    pub(crate) async fn key(&self, app_id: AppId, kind: KeyKind, scopes: &[Scope]) -> Key {
        let key_id = KeyId::random();
        let key = NewKey {
            id: key_id,
            app_id,
            kind,
            name: "a key".to_owned(),
            prefix: "alter_rk_abcd".to_owned(),
            digest: KeyDigest::of(&key_id.to_string()),
            signing_key: SecretSlice::from(vec![7; 32]),
            scopes: scopes.to_vec(),
            expires_at: None,
            rate_limit_per_minute: None,
        };
        self.store.create_key(self.operator(), key).await.unwrap();
        Key { app_id, key_id }
    }

    /// An app with a key that may do everything, and the provider `google` bound to `api.example.com`.
    pub(crate) async fn app_with_google(&self, name: &str) -> Key {
        let app = self.app(name).await;
        self.put_google(app.id, "api.example.com").await;
        self.key(app.id, KeyKind::App, &Scope::ALL).await
    }

    pub(crate) async fn put_google(&self, app_id: AppId, host: &str) {
        let put = PutProvider {
            app_id,
            provider: provider("google", ProviderKind::OAuth, host),
            client_secret: None,
        };
        self.store.put_provider(self.operator(), put).await.unwrap();
    }

    pub(crate) async fn agent(&self, app_id: AppId, name: &str) -> (AgentId, Key) {
        let id = AgentId::random();
        let agent = NewAgent { id, app_id, name: name.to_owned() };
        self.store.create_agent(self.operator(), agent).await.unwrap();
        (id, self.key(app_id, KeyKind::Agent(id), &Scope::ALL).await)
    }

    /// A managed secret at the provider `billing`, host `billing.example.com`.
    pub(crate) async fn secret(&self, app_id: AppId) -> SecretId {
        let definition = Provider {
            injection: Injection { header: "X-Key".to_owned(), format: "{token}".to_owned() },
            ..provider("billing", ProviderKind::ManagedSecret, "billing.example.com")
        };
        let put = PutProvider { app_id, provider: definition, client_secret: None };
        self.store.put_provider(self.operator(), put).await.unwrap();
        let id = SecretId::random();
        let secret = NewSecret {
            id,
            app_id,
            provider: id_of("billing"),
            name: "Billing".to_owned(),
            material: SecretMaterial::token("billing-secret-1"),
        };
        self.store.create_secret(self.operator(), secret).await.unwrap();
        id
    }

    pub(crate) async fn secret_grant(
        &self,
        app_id: AppId,
        secret_id: SecretId,
        principal: Principal,
    ) -> GrantId {
        let id = GrantId::random();
        let grant = NewGrant { id, app_id, secret_id, principal, label: None, grant_expires_at: None };
        self.store.create_grant(self.operator(), grant).await.unwrap();
        id
    }

    pub(crate) fn import_of(
        &self,
        app_id: AppId,
        owner: ImportOwner,
        account: &str,
        token: &str,
    ) -> ImportGrant {
        ImportGrant {
            app_id,
            provider: id_of("google"),
            owner,
            account_identifier: Some(account.to_owned()),
            account_display_name: None,
            label: None,
            access_token: token.into(),
            refresh_token: Some(format!("refresh-{token}").into()),
            token_expires_at: None,
            scopes: vec!["read".to_owned(), "write".to_owned()],
            grant_expires_at: None,
        }
    }

    pub(crate) async fn import(&self, app_id: AppId, subject: &str, account: &str, token: &str) -> GrantId {
        let import = self.import_of(app_id, ImportOwner::Identity(identity(subject)), account, token);
        self.store.import_grant(self.operator(), import).await.unwrap().grant.facts.id
    }

    pub(crate) async fn admission(&self, key: Key, scope: Scope) -> Admission {
        let config = self.store.app_config(key.app_id).await.unwrap().unwrap();
        let number = self.nonce.fetch_add(1, Ordering::Relaxed);
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&number.to_be_bytes());
        Admission {
            app_id: key.app_id,
            key_id: key.key_id,
            config_generation: config.generation,
            at: self.clock.now(),
            timestamp: self.clock.now().as_second(),
            nonce: Nonce::from_bytes(nonce),
            scope,
            actor: Actor::default(),
            trace_parent: None,
            request_id: uuid::Uuid::from_bytes(nonce),
            remote: None,
        }
    }

    pub(crate) async fn ask(&self, key: Key, address: Address, user: Option<Identity>) -> ReleaseCommand {
        let host = match &address {
            Address::Provider { provider, .. } if provider == "billing" => "billing.example.com",
            _ => "api.example.com",
        };
        ReleaseCommand {
            admission: self.admission(key, Scope::TokensRetrieve).await,
            address,
            user,
            request: RequestFacts::new("GET", &format!("https://{host}/v1/me?access_token=zzz")),
            reason: Some("because".to_owned()),
            last_resort: false,
            unsaved: None,
        }
    }

    /// Releases by provider for a user and answers the opened token.
    pub(crate) async fn token_of(&self, key: Key, subject: &str) -> Result<String, Box<Refusal>> {
        let command = self.ask(key, by_provider("google"), Some(identity(subject))).await;
        self.release(command).await.map(|release| self.open(&release))
    }

    pub(crate) async fn release(&self, command: ReleaseCommand) -> Result<Release, Box<Refusal>> {
        match decided(self.store.release(command).await.unwrap())? {
            Released::Credential(release) => Ok(*release),
            Released::NotFresh(spent) => panic!("the token must be refreshed first: {spent:?}"),
        }
    }

    pub(crate) fn open(&self, release: &Release) -> String {
        let bytes = match &release.credential {
            ReleasedCredential::OAuth { access_token, .. } => self.envelope.open(access_token).unwrap(),
            ReleasedCredential::Unsaved { .. } => return String::new(),
            ReleasedCredential::ManagedSecret { material, .. } => {
                let opened = self.envelope.open(material).unwrap();
                let material = SecretMaterial::from_bytes(&opened).unwrap();
                return material.token.expose_secret().to_owned();
            }
        };
        String::from_utf8(bytes.expose_secret().to_vec()).unwrap()
    }

    pub(crate) async fn revoke(
        &self,
        key: Key,
        id: GrantId,
        user: Option<&str>,
    ) -> Result<Revoked, Box<Refusal>> {
        let command = RevokeCommand {
            admission: self.admission(key, Scope::GrantsWrite).await,
            grant_id: id,
            user: user.map(identity),
            reason: None,
        };
        decided(self.store.revoke_grant(command).await.unwrap())
    }

    pub(crate) async fn rows(&self, app_id: AppId) -> Vec<AuditRow> {
        let filter = AuditFilter { app_id: Some(app_id), limit: 10_000, ..AuditFilter::default() };
        self.store.audit_page(filter).await.unwrap().rows
    }

    pub(crate) async fn last_row(&self, app_id: AppId, action: Action) -> AuditRow {
        let rows = self.rows(app_id).await;
        rows.into_iter().rev().find(|row| row.action == action).expect("a row of that action")
    }

    pub(crate) async fn assert_chains_verify(&self) {
        let report = self.store.verify_audit(AuditVerifyScope::Everything).await.unwrap();
        assert!(report.ok(), "{report:?}");
    }
}

pub(crate) fn provider(id: &str, kind: ProviderKind, host: &str) -> Provider {
    Provider {
        id: id_of(id),
        kind,
        name: id.to_owned(),
        hosts: vec![host.parse::<HostPattern>().unwrap()],
        injection: Injection::default(),
        additional: Vec::new(),
        oauth: None,
    }
}

pub(crate) fn id_of(text: &str) -> ProviderId {
    text.parse().unwrap()
}

pub(crate) fn identity(subject: &str) -> Identity {
    Identity {
        issuer: "https://idp.example".to_owned(),
        subject: subject.to_owned(),
        email: Some(format!("{subject}@example.com")),
        name: None,
        groups: Vec::new(),
    }
}

pub(crate) fn by_provider(provider: &str) -> Address {
    Address::Provider { provider: provider.to_owned(), account: None, label: None, app_user_id: None }
}

/// The decision of a call that must not be stale.
pub(crate) fn decided<T: std::fmt::Debug>(outcome: Outcome<T>) -> Result<T, Box<Refusal>> {
    match outcome {
        Outcome::Done(value) => Ok(value),
        Outcome::Refused(refusal) => Err(refusal),
        Outcome::Stale => panic!("the call was stale"),
    }
}

pub(crate) fn code<T: std::fmt::Debug>(result: Result<T, Box<Refusal>>) -> Code {
    result.expect_err("a refusal").code
}

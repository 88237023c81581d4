//! A sandbox and a vault that is served over a socket, and applications that live in it.

use std::{collections::BTreeMap, net::SocketAddr, path::Path};

use alter_sandbox::{Credential, DEFAULT_AUDIENCE, Sandbox, TokenAlgorithm, TokenRequest};
use alter_server::{
    KekSource, Vault, VaultConfig,
    admin::{Admin, InjectionStyle, KeyRequest},
    audit::{AuditFilter, AuditRow},
    domain::{
        AgentId, AppId, ClaimMapping, GrantId, Identity, IdpConfig, ImportGrant, ImportOwner, KeyId,
        OAuthSettings, Principal, Provider, ProviderId, ProviderKind, SecretId,
    },
    seal::KeyRing,
};
use jiff::Timestamp;
use secrecy::SecretString;
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};

use super::plain_client;

/// The provider of the users' tokens.
pub(crate) const PROVIDER: &str = "sandbox";

/// Calls per minute and key that no test reaches.
const PLENTY: u32 = 100_000;

/// A running sandbox and a vault that trusts it, gone when dropped.
pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) vault: Vault,
    /// Where the vault listens, without a slash at the end.
    pub(crate) base_url: String,
    pub(crate) http: reqwest::Client,
    pub(crate) data: TempDir,
    server: JoinHandle<()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl World {
    /// Starts both on free ports, the vault on an empty folder.
    pub(crate) async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        // No RSA key is made: it takes a tenth of a second and ES256 shows the same.
        let sandbox = Sandbox::builder().algorithms([TokenAlgorithm::Es256]).start().await.unwrap();
        let vault = open(data.path()).await;
        let (base_url, server) = serve(&vault).await;
        Self { sandbox, vault, base_url, http: plain_client(), data, server }
    }

    /// A second vault on the same folder, as another process would open it.
    pub(crate) async fn beside(&self) -> Vault {
        open(self.data.path()).await
    }

    /// The operator.
    pub(crate) fn admin(&self) -> Admin {
        self.vault.admin("test")
    }

    /// An address of the sandbox's API.
    pub(crate) fn api(&self, path: &str) -> String {
        format!("{}{path}", self.sandbox.api_url())
    }

    /// An honest token of the identity provider.
    pub(crate) fn jwt(&self, sub: &str) -> String {
        self.sandbox.mint(TokenRequest::subject(sub))
    }

    /// Creates an app with the sandbox as identity provider and provider.
    pub(crate) async fn tenant(&self, name: &str) -> Tenant {
        Tenant::create(&self.admin(), &self.sandbox, name).await
    }

    /// The whole trail, oldest first.
    pub(crate) async fn rows(&self) -> Vec<AuditRow> {
        rows(&self.admin(), None).await
    }
}

/// Reads the trail of one app, or of the whole vault.
pub(crate) async fn rows(admin: &Admin, app_id: Option<AppId>) -> Vec<AuditRow> {
    let mut filter = AuditFilter { app_id, limit: 10_000, ..AuditFilter::default() };
    let mut rows = Vec::new();
    loop {
        let page = admin.audit(filter.clone()).await.unwrap();
        rows.extend(page.rows);
        filter.after = page.next;
        if filter.after.is_none() {
            return rows;
        }
    }
}

/// Opens the vault of a folder, whose key file lies in it.
pub(crate) async fn open(folder: &Path) -> Vault {
    let keys = folder.join("kek");
    // Made here and named: what the developer has in ALTER_KEK is not for this vault.
    KeyRing::from_file_or_generate(&keys).unwrap();
    Vault::open(VaultConfig::new(folder).kek(KekSource::File(keys))).await.unwrap()
}

/// Serves a vault on a free port of loopback.
pub(crate) async fn serve(vault: &Vault) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    let app = vault.router().into_make_service_with_connect_info::<SocketAddr>();
    let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (base_url, server)
}

/// An app of the vault, with an agent.
#[derive(Debug)]
pub(crate) struct Tenant {
    pub(crate) app: AppId,
    pub(crate) key: String,
    pub(crate) key_id: KeyId,
    pub(crate) agent: AgentId,
    pub(crate) agent_key: String,
    issuer: String,
    admin: Admin,
}

impl Tenant {
    /// See [`World::tenant`]; here for a vault that is not in a [`World`].
    pub(crate) async fn create(admin: &Admin, sandbox: &Sandbox, name: &str) -> Self {
        let app = admin.create_app(name).await.unwrap().id;
        admin.set_app_rate_limit(app, Some(PLENTY)).await.unwrap();
        let idp = IdpConfig {
            issuer: sandbox.issuer(),
            jwks_url: None,
            audiences: vec![DEFAULT_AUDIENCE.to_owned()],
            algorithms: ["RS256", "ES256", "EdDSA"].map(str::to_owned).to_vec(),
            leeway_seconds: 30,
            claims: ClaimMapping::default(),
        };
        admin.set_idp(app, idp).await.unwrap();
        let client = sandbox.client();
        let endpoints = sandbox.oauth_endpoints();
        let provider = Provider {
            oauth: Some(OAuthSettings {
                token_url: Some(endpoints.token),
                client_id: Some(client.client_id),
                ..OAuthSettings::default()
            }),
            ..provider(sandbox.addr(), PROVIDER, ProviderKind::OAuth, &InjectionStyle::Bearer)
        };
        admin.put_provider(app, provider, Some(SecretString::from(client.client_secret))).await.unwrap();
        let minted = admin.create_key(app, KeyRequest::named("backend")).await.unwrap();
        let agent = admin.create_agent(app, "helper").await.unwrap().id;
        let agent_key = admin.create_key(app, KeyRequest::named("helper").agent(agent)).await.unwrap();
        Self {
            app,
            key: minted.key.expose().to_owned(),
            key_id: minted.record.id,
            agent,
            agent_key: agent_key.key.expose().to_owned(),
            issuer: sandbox.issuer(),
            admin: admin.clone(),
        }
    }

    /// Connects an account of a user at the sandbox and moves its tokens in.
    pub(crate) async fn connect(&self, sandbox: &Sandbox, sub: &str, account: &str) -> (GrantId, Credential) {
        let credential = sandbox.connect(sub, account);
        let (access, refresh) = (&credential.access_token, &credential.refresh_token);
        (self.import(PROVIDER, sub, account, access, refresh).await, credential)
    }

    /// Moves tokens in.
    pub(crate) async fn import(
        &self,
        provider: &str,
        sub: &str,
        account: &str,
        access_token: &str,
        refresh_token: &str,
    ) -> GrantId {
        self.import_until(provider, sub, account, (access_token, refresh_token), None).await
    }

    /// Moves tokens in whose access token ends, or has ended, at that moment.
    pub(crate) async fn import_until(
        &self,
        provider: &str,
        sub: &str,
        account: &str,
        (access_token, refresh_token): (&str, &str),
        token_expires_at: Option<Timestamp>,
    ) -> GrantId {
        let import = ImportGrant {
            app_id: self.app,
            provider: provider.parse().unwrap(),
            owner: ImportOwner::Identity(Identity {
                issuer: self.issuer.clone(),
                subject: sub.to_owned(),
                email: None,
                name: None,
                groups: Vec::new(),
            }),
            account_identifier: Some(account.to_owned()),
            account_display_name: None,
            label: None,
            access_token: SecretString::from(access_token),
            refresh_token: Some(SecretString::from(refresh_token)),
            token_expires_at,
            scopes: vec!["read".to_owned()],
            grant_expires_at: None,
        };
        self.admin.import_grant(import).await.unwrap().grant.facts.id
    }

    /// Keeps a managed secret that the sandbox's API accepts, under a provider of its own.
    pub(crate) async fn secret(
        &self,
        sandbox: &Sandbox,
        slug: &str,
        style: &InjectionStyle,
        value: &str,
    ) -> SecretId {
        sandbox.register_api_key(slug, value);
        self.secret_at(sandbox.addr(), slug, style, value).await
    }

    /// Keeps a managed secret for the service at that address.
    pub(crate) async fn secret_at(
        &self,
        addr: SocketAddr,
        slug: &str,
        style: &InjectionStyle,
        value: &str,
    ) -> SecretId {
        let id: ProviderId = slug.parse().unwrap();
        let provider = provider(addr, slug, ProviderKind::ManagedSecret, style);
        self.admin.put_provider(self.app, provider, None).await.unwrap();
        let value = SecretString::from(value);
        self.admin.create_secret(self.app, id, slug, value, BTreeMap::new()).await.unwrap().id
    }

    /// Makes a provider of users' tokens at that address.
    pub(crate) async fn provider_at(&self, addr: SocketAddr, id: &str) {
        let provider = provider(addr, id, ProviderKind::OAuth, &InjectionStyle::Bearer);
        self.admin.put_provider(self.app, provider, None).await.unwrap();
    }

    /// Makes a provider of users' tokens at that address, with a token endpoint.
    pub(crate) async fn refreshing_at(&self, addr: SocketAddr, id: &str, oauth: OAuthSettings, secret: &str) {
        let bare = provider(addr, id, ProviderKind::OAuth, &InjectionStyle::Bearer);
        let provider = Provider { oauth: Some(oauth), ..bare };
        self.admin.put_provider(self.app, provider, Some(SecretString::from(secret))).await.unwrap();
    }

    /// Gives a principal the use of a managed secret.
    pub(crate) async fn grant(&self, secret: SecretId, principal: Principal) -> GrantId {
        self.admin.create_grant(self.app, secret, principal, None, None).await.unwrap().facts.id
    }

    /// Mints another key of the app.
    pub(crate) async fn another_key(&self, name: &str) -> (KeyId, String) {
        let minted = self.admin.create_key(self.app, KeyRequest::named(name)).await.unwrap();
        (minted.record.id, minted.key.expose().to_owned())
    }
}

/// A provider whose credentials may go to that address and nowhere else.
fn provider(addr: SocketAddr, id: &str, kind: ProviderKind, style: &InjectionStyle) -> Provider {
    let (injection, additional) = style.injections();
    Provider {
        id: id.parse().unwrap(),
        kind,
        name: id.to_owned(),
        hosts: vec![addr.to_string().parse().unwrap()],
        injection,
        additional,
        oauth: None,
    }
}

//! Vault and outside world together: `alter-server dev`, and the ground that [`crate::testkit`] stands on.
//!
//! Everything a first call needs is there: an app with a key, an agent with a key, the sandbox as identity provider and as
//! OAuth provider, two users with connected accounts, and a managed secret. Nothing leaves the machine.

mod ready;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use alter_sandbox::{Sandbox, SandboxError, TokenRequest};
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;

pub use ready::{
    Ready, ReadyAgent, ReadyApp, ReadyConnect, ReadyGrant, ReadyIdp, ReadyProvider, ReadySecret, ReadyUser,
};

use crate::{
    admin::{Admin, AdminError, InjectionStyle, KeyRequest},
    domain::{
        Agent, App, AppId, ClaimMapping, GrantFilter, GrantId, HostPattern, Identity, IdpConfig, ImportGrant,
        ImportOwner, OAuthSettings, Principal, Provider, ProviderId, ProviderKind, SecretId, SignInSettings,
        UserTokenKind,
    },
    vault::{Vault, VaultConfig, VaultError},
};

const APP: &str = "dev";
const AGENT: &str = "dev-agent";
/// What applications on this machine are served from.
const ORIGINS: [&str; 4] =
    ["http://localhost:*", "http://127.0.0.1:*", "https://localhost:*", "https://127.0.0.1:*"];
/// Where the wallet is, below the vault's address.
const WALLET: &str = "/wallet";
const SECRET_SLUG: &str = "sandbox-key";
/// Users and their accounts.
const USERS: [(&str, &[&str]); 2] =
    [("user-1", &["user-1@work"]), ("user-2", &["user-2@work", "user-2@home"])];
/// What pages call their address when they are only served in process.
const NOWHERE: &str = "http://localhost:8720";
/// How long the printed users' tokens live.
const TOKEN_TTL: i64 = 24 * 3_600;
/// Development is not throttled: this is more than one machine can do.
const RATE_LIMIT: u32 = 1_000_000;
/// Where the sandbox listened, so that issuer and users are the same after a restart.
const SANDBOX_FILE: &str = "sandbox-addr";

/// Why development mode did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DevError {
    /// The vault did not open.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Something could not be set up.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The sandbox did not start.
    #[error(
        "{0}. The data folder belongs to a sandbox at that address: stop whatever uses it, or take another --data-dir"
    )]
    Sandbox(#[from] SandboxError),
    /// The system refused a file or a socket.
    #[error("{what}")]
    Io {
        /// Which.
        what: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The system gave no randomness.
    #[error("the system gave no random bytes")]
    Random,
}

/// A vault and a sandbox that know each other.
#[derive(Debug)]
pub struct Dev {
    /// The vault.
    pub vault: Vault,
    /// The outside world.
    pub sandbox: Sandbox,
    /// What was set up.
    pub ready: Ready,
    folder: DataFolder,
}

impl Dev {
    /// Opens a vault in `data_dir` (by default a temporary folder that is removed at the end), starts a sandbox and sets
    /// everything up. What is there already keeps its ids; keys are minted anew. `base_url` is what will be printed.
    ///
    /// # Errors
    ///
    /// [`DevError`].
    pub async fn start(data_dir: Option<PathBuf>, base_url: String) -> Result<Self, DevError> {
        Self::start_with(data_dir, base_url, |config| config).await
    }

    /// As [`Self::start`], with the vault's configuration changed by `configure` before it is opened.
    ///
    /// # Errors
    ///
    /// [`DevError`].
    pub async fn start_with(
        data_dir: Option<PathBuf>,
        base_url: String,
        configure: impl FnOnce(VaultConfig) -> VaultConfig,
    ) -> Result<Self, DevError> {
        let folder = DataFolder::new(data_dir)?;
        let config = match std::num::NonZeroU32::new(RATE_LIMIT) {
            Some(limit) => VaultConfig::new(folder.path.as_path()).rate_limit_per_minute(limit),
            None => VaultConfig::new(folder.path.as_path()),
        };
        let public = if base_url.is_empty() { NOWHERE } else { &base_url };
        let config = match public.parse() {
            Ok(public) => config.public_url(public),
            Err(_) => config,
        };
        let vault = Vault::open(configure(config)).await?;
        let sandbox = start_sandbox(&folder).await?;
        let ready = set_up(&vault.admin("dev"), &sandbox, base_url).await?;
        Ok(Self { vault, sandbox, ready, folder })
    }

    /// Where the vault keeps its data.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.folder.path
    }

    /// Closes the vault, stops the sandbox and removes a temporary data folder.
    ///
    /// # Errors
    ///
    /// When the vault's last writes failed.
    pub async fn stop(self) -> Result<(), DevError> {
        let closed = self.vault.close().await;
        self.sandbox.stop().await;
        drop(self.folder);
        Ok(closed?)
    }
}

/// The data folder; a temporary one goes away with this value.
#[derive(Debug)]
struct DataFolder {
    path: PathBuf,
    temporary: bool,
}

impl DataFolder {
    fn new(path: Option<PathBuf>) -> Result<Self, DevError> {
        use std::os::unix::fs::DirBuilderExt;

        let temporary = path.is_none();
        let path = path.unwrap_or_else(|| {
            std::env::temp_dir().join(format!("alter-dev-{}", uuid::Uuid::new_v4().simple()))
        });
        let what = || format!("cannot make the data folder {}", path.display());
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|source| DevError::Io { what: what(), source })?;
        Ok(Self { path, temporary })
    }
}

impl Drop for DataFolder {
    fn drop(&mut self) {
        if self.temporary {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// Starts the sandbox where it was before: its address is the issuer's name, and with another issuer all users would be
/// other people.
async fn start_sandbox(folder: &DataFolder) -> Result<Sandbox, DevError> {
    let file = folder.path.join(SANDBOX_FILE);
    let before = std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse::<SocketAddr>().ok());
    let listen = before.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let sandbox = Sandbox::builder().listen(listen).start().await?;
    if before.is_none() {
        let written = std::fs::write(&file, sandbox.addr().to_string());
        written
            .map_err(|source| DevError::Io { what: format!("cannot write {}", file.display()), source })?;
    }
    Ok(sandbox)
}

async fn set_up(admin: &Admin, sandbox: &Sandbox, base_url: String) -> Result<Ready, DevError> {
    let app = match admin.app(APP).await {
        Ok(app) => app,
        Err(AdminError::NotFound(_)) => admin.create_app(APP).await?,
        Err(error) => return Err(error.into()),
    };
    let agent = match admin.agent(app.id, AGENT).await {
        Ok(agent) => agent,
        Err(AdminError::NotFound(_)) => admin.create_agent(app.id, AGENT).await?,
        Err(error) => return Err(error.into()),
    };
    let app_key = admin.create_key(app.id, KeyRequest::named("dev")).await?;
    let agent_key = admin.create_key(app.id, KeyRequest::named("dev-agent").agent(agent.id)).await?;
    let idp = IdpConfig {
        issuer: sandbox.issuer(),
        jwks_url: None,
        audiences: vec![alter_sandbox::DEFAULT_AUDIENCE.to_owned()],
        algorithms: vec!["RS256".to_owned(), "ES256".to_owned(), "EdDSA".to_owned()],
        leeway_seconds: 0,
        claims: ClaimMapping::default(),
    };
    if admin.app_config(app.id).await?.idp.as_ref() != Some(&idp) {
        admin.set_idp(app.id, idp).await?;
    }
    sign_in(admin, app.id, sandbox).await?;
    let provider = put_provider(admin, app.id, sandbox, &sandbox.provider()).await?;
    let second = put_provider(admin, app.id, sandbox, &sandbox.second_provider()).await?;
    let origins = origins(admin, app.id).await?;
    let mut users = Vec::with_capacity(USERS.len());
    for (sub, accounts) in USERS {
        let mut grants = Vec::with_capacity(accounts.len());
        for account in accounts {
            let grant_id = connect(admin, app.id, &provider, sandbox, sub, account).await?;
            grants.push(ReadyGrant { grant_id, provider: provider.clone(), account: (*account).to_owned() });
        }
        let token = SecretString::from(sandbox.mint(TokenRequest::subject(sub).ttl(TOKEN_TTL)));
        users.push(ReadyUser { sub: sub.to_owned(), token, grants });
    }
    let managed_secret = managed_secret(admin, &app, &agent, sandbox).await?;
    Ok(Ready {
        connect: ReadyConnect {
            base_url: base_url.clone(),
            providers: vec![provider.clone(), second],
            origins,
        },
        wallet_url: if base_url.is_empty() { String::new() } else { format!("{base_url}{WALLET}") },
        base_url,
        app: ReadyApp { id: app.id, key: app_key.key },
        agent: ReadyAgent { id: agent.id, name: agent.name, key: agent_key.key },
        idp: ReadyIdp {
            issuer: sandbox.issuer(),
            audience: alter_sandbox::DEFAULT_AUDIENCE.to_owned(),
            mint_url: sandbox.mint_url(),
        },
        provider: ReadyProvider {
            id: provider,
            api_url: sandbox.api_url(),
            control_url: sandbox.control_url(),
        },
        users,
        managed_secret,
    })
}

/// Users sign in on the vault's pages at the sandbox, whose access tokens are what the app takes for its users.
async fn sign_in(admin: &Admin, app: AppId, sandbox: &Sandbox) -> Result<(), DevError> {
    let client = sandbox.sign_in_client();
    let settings = SignInSettings {
        client_id: client.client_id,
        authorize_url: None,
        token_url: None,
        scopes: vec!["email".to_owned(), "profile".to_owned()],
        authorize_params: [("audience".to_owned(), alter_sandbox::DEFAULT_AUDIENCE.to_owned())].into(),
        user_token: UserTokenKind::AccessToken,
    };
    admin.set_sign_in(app, settings, Some(SecretString::from(client.client_secret))).await?;
    Ok(())
}

/// The sandbox's host and port; nothing else may be reached with its credentials.
fn host(sandbox: &Sandbox) -> Result<HostPattern, AdminError> {
    let pattern = sandbox.addr().to_string().parse();
    pattern.map_err(|error: crate::domain::InvalidProvider| AdminError::Invalid(error.to_string()))
}

fn id(text: &str) -> Result<ProviderId, AdminError> {
    text.parse().map_err(|error: crate::domain::InvalidProvider| AdminError::Invalid(error.to_string()))
}

/// One of the sandbox's OAuth providers, as an operator would describe it.
async fn put_provider(
    admin: &Admin,
    app: AppId,
    sandbox: &Sandbox,
    outside: &alter_sandbox::Provider,
) -> Result<ProviderId, DevError> {
    let endpoints = outside.endpoints();
    let client = outside.client();
    let (injection, additional) = InjectionStyle::Bearer.injections();
    let words = [("read", "Read your sandbox account"), ("write", "Change your sandbox account")];
    let provider = Provider {
        id: id(outside.id())?,
        kind: ProviderKind::OAuth,
        name: outside.title().to_owned(),
        hosts: vec![host(sandbox)?],
        injection,
        additional,
        oauth: Some(OAuthSettings {
            issuer: Some(endpoints.issuer),
            iss_required: true,
            authorize_url: Some(endpoints.authorize),
            token_url: Some(endpoints.token),
            revoke_url: Some(endpoints.revoke),
            userinfo_url: Some(endpoints.userinfo),
            client_id: Some(client.client_id),
            scopes: words.map(|(scope, _)| scope.to_owned()).to_vec(),
            scope_texts: words.map(|(scope, text)| (scope.to_owned(), text.to_owned())).into(),
            select_account_params: [("prompt".to_owned(), "select_account".to_owned())].into(),
            ..OAuthSettings::default()
        }),
    };
    let secret = SecretString::from(client.client_secret);
    Ok(admin.put_provider(app, provider, Some(secret)).await?.id)
}

/// Where results may go: to applications on this machine, unless somebody said otherwise.
async fn origins(admin: &Admin, app: AppId) -> Result<Vec<String>, DevError> {
    let mut page = admin.app_config(app).await?.page;
    if page.origins.is_empty() {
        page.origins = ORIGINS.map(str::to_owned).to_vec();
        page = admin.set_page(app, page).await?.page;
    }
    Ok(page.origins)
}

/// Connects a user's account at the sandbox and moves the tokens in, as from a home-made table.
async fn connect(
    admin: &Admin,
    app: AppId,
    provider: &ProviderId,
    sandbox: &Sandbox,
    sub: &str,
    account: &str,
) -> Result<GrantId, DevError> {
    let credential = sandbox.connect(sub, account);
    let lifetime =
        SignedDuration::try_from(Duration::from_secs(credential.expires_in)).unwrap_or(SignedDuration::ZERO);
    let identity = Identity {
        issuer: sandbox.issuer(),
        subject: sub.to_owned(),
        email: None,
        name: None,
        groups: Vec::new(),
    };
    let import = ImportGrant {
        app_id: app,
        provider: provider.clone(),
        owner: ImportOwner::Identity(identity),
        account_identifier: Some(account.to_owned()),
        account_display_name: None,
        label: None,
        access_token: SecretString::from(credential.access_token),
        refresh_token: Some(SecretString::from(credential.refresh_token)),
        token_expires_at: Timestamp::now().checked_add(lifetime).ok(),
        scopes: credential.scope.split(' ').map(str::to_owned).collect(),
        grant_expires_at: None,
    };
    Ok(admin.import_grant(import).await?.grant.facts.id)
}

/// A key for the sandbox's API that the operator keeps: fresh at each start, since the sandbox forgets.
async fn managed_secret(
    admin: &Admin,
    app: &App,
    agent: &Agent,
    sandbox: &Sandbox,
) -> Result<ReadySecret, DevError> {
    let mut random = [0_u8; 24];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| DevError::Random)?;
    let value = format!("sbx_key_{}", hex::encode(random));
    sandbox.register_api_key(SECRET_SLUG, &value);
    let value = SecretString::from(value);
    let (injection, additional) = InjectionStyle::Header("X-Api-Key".to_owned()).injections();
    let provider = Provider {
        id: id(SECRET_SLUG)?,
        kind: ProviderKind::ManagedSecret,
        name: "Sandbox with a key".to_owned(),
        hosts: vec![host(sandbox)?],
        injection,
        additional,
        oauth: None,
    };
    let slug = admin.put_provider(app.id, provider, None).await?.id;
    let secret = match admin.secret(app.id, slug.as_str()).await {
        Ok(secret) => {
            admin.rotate_secret(app.id, secret.id, value, std::collections::BTreeMap::new()).await?
        }
        Err(AdminError::NotFound(_)) => {
            let none = std::collections::BTreeMap::new();
            admin.create_secret(app.id, slug.clone(), "Sandbox key", value, none).await?
        }
        Err(error) => return Err(error.into()),
    };
    let grant_id = secret_grant(admin, app.id, &slug, secret.id, Principal::System).await?;
    let agent_grant_id = secret_grant(admin, app.id, &slug, secret.id, Principal::Agent(agent.id)).await?;
    Ok(ReadySecret { id: secret.id, slug, grant_id, agent_grant_id })
}

async fn secret_grant(
    admin: &Admin,
    app: AppId,
    slug: &ProviderId,
    secret: SecretId,
    principal: Principal,
) -> Result<GrantId, DevError> {
    let filter = GrantFilter {
        provider: Some(slug.to_string()),
        status: Some("active".to_owned()),
        ..GrantFilter::default()
    };
    let known = admin.grants(app, filter, 1_000, 0).await?.grants;
    if let Some(grant) = known.iter().find(|grant| grant.facts.principal == principal) {
        return Ok(grant.facts.id);
    }
    Ok(admin.create_grant(app, secret, principal, None, None).await?.facts.id)
}

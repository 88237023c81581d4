//! What an operator does once: a vault, an app with a key, where its users come from and how they sign in, and the API whose
//! accounts they connect.

use std::error::Error;

use alter_core::wire::key::ApiKey;
use alter_sandbox::{DEFAULT_AUDIENCE, Sandbox, TokenRequest};
use alter_server::{
    Vault, VaultConfig,
    admin::{InjectionStyle, KeyRequest},
    audit::AuditFilter,
    domain::{
        AppId, ClaimMapping, IdpConfig, OAuthSettings, Provider, ProviderKind, SignInSettings, UserTokenKind,
    },
    store::AuditVerifyScope,
    testkit::{Browser, Person},
};
use secrecy::SecretString;
use tempfile::TempDir;

/// Where the vault's pages would be if a browser with a window were to see them. This program serves them in process.
const PAGES: &str = "http://localhost:8720";

/// The running vault, the running outside world, and what was set up in them.
#[derive(Debug)]
pub struct World {
    /// The vault, in this process.
    pub vault: Vault,
    /// The identity provider and the API.
    pub sandbox: Sandbox,
    /// The application's key.
    pub key: ApiKey,
    app: AppId,
    folder: TempDir,
}

impl World {
    /// Starts and sets up everything.
    ///
    /// # Errors
    ///
    /// When a step of the set-up is refused.
    pub async fn start() -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let vault = Vault::open(VaultConfig::new(folder.path()).public_url(PAGES.parse()?)).await?;
        let sandbox = Sandbox::builder().start().await?;
        let admin = vault.admin("quickstart");

        let app = admin.create_app("quickstart").await?.id;
        let key = admin.create_key(app, KeyRequest::named("backend")).await?.key;

        // Where users' JWTs come from. In production: your Auth0, Clerk, Okta or other OpenID Connect issuer.
        let idp = IdpConfig {
            issuer: sandbox.issuer(),
            jwks_url: None,
            audiences: vec![DEFAULT_AUDIENCE.to_owned()],
            algorithms: vec!["ES256".to_owned()],
            leeway_seconds: 0,
            claims: ClaimMapping::default(),
        };
        admin.set_idp(app, idp).await?;

        // How they sign in on the vault's pages: there, nobody connects an account for anybody but themselves.
        let client = sandbox.sign_in_client();
        let sign_in = SignInSettings {
            client_id: client.client_id,
            authorize_url: None,
            token_url: None,
            scopes: Vec::new(),
            authorize_params: [("audience".to_owned(), DEFAULT_AUDIENCE.to_owned())].into(),
            user_token: UserTokenKind::AccessToken,
        };
        admin.set_sign_in(app, sign_in, Some(SecretString::from(client.client_secret))).await?;

        // The API, the only host that its credentials may be sent to, and where people allow it and tokens are made.
        let endpoints = sandbox.oauth_endpoints();
        let client = sandbox.client();
        let (injection, additional) = InjectionStyle::Bearer.injections();
        let provider = Provider {
            id: "sandbox".parse()?,
            kind: ProviderKind::OAuth,
            name: "Sandbox".to_owned(),
            hosts: vec![sandbox.addr().to_string().parse()?],
            injection,
            additional,
            oauth: Some(OAuthSettings {
                issuer: Some(endpoints.issuer),
                authorize_url: Some(endpoints.authorize),
                token_url: Some(endpoints.token),
                revoke_url: Some(endpoints.revoke),
                userinfo_url: Some(endpoints.userinfo),
                client_id: Some(client.client_id),
                scopes: vec!["read".to_owned()],
                ..OAuthSettings::default()
            }),
        };
        admin.put_provider(app, provider, Some(SecretString::from(client.client_secret))).await?;

        Ok(Self { vault, sandbox, key, app, folder })
    }

    /// The JWT that the identity provider gives a user.
    #[must_use]
    pub fn sign_in(&self, sub: &str) -> String {
        self.sandbox.mint(TokenRequest::subject(sub))
    }

    /// The browser of a user: it walks through the vault's and the sandbox's real pages, and has no window.
    #[must_use]
    pub fn browser(&self, sub: &str) -> Browser {
        let person = Person::new(sub).account(format!("{sub}@example.com"));
        Browser::new(&self.sandbox, person).vault(&self.vault)
    }

    /// Prints the rows of the application's calls, oldest first, and what the check of the trail says.
    ///
    /// # Errors
    ///
    /// When the trail cannot be read.
    pub async fn print_audit(&self) -> Result<(), Box<dyn Error>> {
        let admin = self.vault.admin("quickstart");
        let page =
            admin.audit(AuditFilter { app_id: Some(self.app), limit: 100, ..AuditFilter::default() }).await?;
        for row in page.rows.iter().filter(|row| row.request_id.is_some()) {
            let outcome = row.code.as_deref().unwrap_or("ok");
            println!(
                "   {:<15} {:<22} {:<10} {}",
                row.action.as_str(),
                outcome,
                row.caller.as_deref().unwrap_or("-"),
                row.reason.as_deref().unwrap_or("-"),
            );
        }
        let report = admin.verify_audit(AuditVerifyScope::App(self.app)).await?;
        println!("   The chain of hashes holds: {}", if report.ok() { "yes" } else { "NO" });
        Ok(())
    }

    /// Closes the vault, stops the sandbox, removes the folder.
    ///
    /// # Errors
    ///
    /// When the vault's last writes failed.
    pub async fn stop(self) -> Result<(), Box<dyn Error>> {
        self.vault.close().await?;
        self.sandbox.stop().await;
        Ok(self.folder.close()?)
    }
}

//! What an operator does once: a vault, an app with a key, where its users come from, which API they use, and the import
//! of the tokens that the application held until now.

use std::error::Error;

use alter_core::wire::key::ApiKey;
use alter_sandbox::{DEFAULT_AUDIENCE, Sandbox, TokenRequest};
use alter_server::{
    Vault, VaultConfig,
    admin::{InjectionStyle, KeyRequest},
    audit::AuditFilter,
    domain::{AppId, ClaimMapping, GrantId, IdpConfig, OAuthSettings, Provider, ProviderKind},
    store::AuditVerifyScope,
};
use secrecy::SecretString;
use serde_json::json;
use tempfile::TempDir;

/// The running vault, the running outside world, and what was set up in them.
#[derive(Debug)]
pub struct World {
    /// The vault, in this process.
    pub vault: Vault,
    /// The identity provider and the API.
    pub sandbox: Sandbox,
    /// The application's key.
    pub key: ApiKey,
    /// Each user's grant.
    pub grants: Vec<(&'static str, GrantId)>,
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
        let vault = Vault::open(VaultConfig::new(folder.path())).await?;
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

        // The API, the only host that its credentials may be sent to, and where its tokens are refreshed.
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
                token_url: Some(sandbox.oauth_endpoints().token),
                client_id: Some(client.client_id),
                ..OAuthSettings::default()
            }),
        };
        admin.put_provider(app, provider, Some(SecretString::from(client.client_secret))).await?;

        // The table of tokens that people have before they have a vault, as one JSON object per line.
        let users = ["alice", "bob"];
        let lines: Vec<String> = users.iter().map(|sub| table_row(&sandbox, sub)).collect();
        let plan = admin.plan_import(app, &SecretString::from(lines.join("\n"))).await?;
        let plan = plan.map_err(|faults| faults[0].to_string())?;
        let imported =
            admin.run_import(plan).await.map_err(|(_, line, error)| format!("line {line}: {error}"))?;
        let grants = users.into_iter().zip(imported.iter().map(|line| line.grant_id)).collect();

        Ok(Self { vault, sandbox, key, grants, app, folder })
    }

    /// The JWT that the identity provider gives a user.
    #[must_use]
    pub fn sign_in(&self, sub: &str) -> String {
        self.sandbox.mint(TokenRequest::subject(sub))
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
                "   {:<14} {:<22} {:<10} {}",
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

fn table_row(sandbox: &Sandbox, sub: &str) -> String {
    let account = format!("{sub}@example.com");
    let credential = sandbox.connect(sub, &account);
    json!({
        "sub": sub,
        "provider": "sandbox",
        "account": account,
        "access_token": credential.access_token,
        "refresh_token": credential.refresh_token,
        "scopes": credential.scope.split(' ').collect::<Vec<_>>(),
    })
    .to_string()
}

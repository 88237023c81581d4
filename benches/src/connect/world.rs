//! A vault in a process of its own, and around it what a connect needs: an app, its users' identity provider, a provider.

use alter_core::wire::key::ApiKey;
use alter_sandbox::{DEFAULT_AUDIENCE, TokenRequest};
use alter_server::{
    Vault,
    admin::{Admin, InjectionStyle, KeyRequest},
    domain::{
        AppId, ClaimMapping, IdpConfig, OAuthSettings, Provider as Defined, ProviderKind, SignInSettings,
        UserTokenKind,
    },
};
use secrecy::SecretString;

use super::provider::Provider;
use crate::{
    Outcome,
    postgres::Server,
    process::Process,
    store::{Kind, Site},
};

pub(super) const PROVIDER: &str = "sandbox";

pub(super) struct World {
    pub(super) kind: Kind,
    pub(super) provider: Provider,
    pub(super) key: ApiKey,
    pub(super) vault: Process,
    pub(super) server: Option<Server>,
    _site: Site,
}

impl World {
    pub(super) async fn start(kind: Kind) -> Outcome<Self> {
        let server = (kind == Kind::Postgres).then(Server::start);
        let provider = Provider::start().await?;
        let site = Site::new(server.as_ref()).await?;
        let vault = Vault::open(site.place.config()).await?;
        let admin = vault.admin("bench");
        let app = admin.create_app("bench").await?;
        let key = admin.create_key(app.id, KeyRequest::named("bench")).await?.key;
        identity_provider(&admin, app.id, &provider).await?;
        oauth_provider(&admin, app.id, &provider).await?;
        vault.close().await?;
        Ok(Self { kind, provider, key, vault: site.place.serve()?, server, _site: site })
    }

    /// Scheme, host and port of the vault, which are its public address as well.
    pub(super) fn url(&self) -> Outcome<String> {
        Ok(format!("http://{}", self.vault.addr()?))
    }

    /// A token of this user, good for an hour.
    pub(super) fn token(&self, user: &str) -> String {
        self.provider.sandbox.mint(TokenRequest::subject(user).ttl(3600))
    }

    pub(super) async fn stop(self) {
        drop(self.vault);
        self.provider.stop().await;
    }
}

async fn identity_provider(admin: &Admin, app: AppId, provider: &Provider) -> Outcome<()> {
    let sandbox = &provider.sandbox;
    let direct = sandbox.sign_in_endpoints();
    let jwks = format!("http://{}/idp/jwks", provider.host);
    let idp = IdpConfig {
        issuer: sandbox.issuer(),
        jwks_url: Some(jwks),
        audiences: vec![DEFAULT_AUDIENCE.to_owned()],
        algorithms: vec!["RS256".to_owned(), "ES256".to_owned(), "EdDSA".to_owned()],
        leeway_seconds: 0,
        claims: ClaimMapping::default(),
    };
    admin.set_idp(app, idp).await?;
    let client = sandbox.sign_in_client();
    let settings = SignInSettings {
        client_id: client.client_id,
        authorize_url: Some(direct.authorize.clone()),
        token_url: Some(provider.behind(&direct.token)),
        scopes: vec!["email".to_owned(), "profile".to_owned()],
        authorize_params: [("audience".to_owned(), DEFAULT_AUDIENCE.to_owned())].into(),
        user_token: UserTokenKind::AccessToken,
    };
    admin.set_sign_in(app, settings, Some(SecretString::from(client.client_secret))).await?;
    Ok(())
}

async fn oauth_provider(admin: &Admin, app: AppId, provider: &Provider) -> Outcome<()> {
    let endpoints = provider.endpoints(provider.sandbox.oauth_endpoints());
    let client = provider.sandbox.client();
    let (injection, additional) = InjectionStyle::Bearer.injections();
    let defined = Defined {
        id: PROVIDER.parse()?,
        kind: ProviderKind::OAuth,
        name: "Sandbox".to_owned(),
        hosts: vec![provider.host.parse()?],
        injection,
        additional,
        oauth: Some(OAuthSettings {
            authorize_url: Some(endpoints.authorize),
            token_url: Some(endpoints.token),
            revoke_url: Some(endpoints.revoke),
            userinfo_url: Some(endpoints.userinfo),
            client_id: Some(client.client_id),
            scopes: vec!["read".to_owned(), "write".to_owned()],
            ..OAuthSettings::default()
        }),
    };
    admin.put_provider(app, defined, Some(SecretString::from(client.client_secret))).await?;
    Ok(())
}

//! A provider that rotates and detects reuse, an app of the vault, and grants whose tokens have just expired.

use std::collections::BTreeMap;

use alter_sandbox::{Faults, Sandbox, TokenAlgorithm};
use alter_server::{
    admin::KeyRequest,
    domain::{
        AppId, Grant, GrantFilter, GrantId, Identity, ImportGrant, ImportOwner, Injection, OAuthSettings,
        Provider, ProviderKind, RefreshSettings,
    },
    store::AuditVerifyScope,
};
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;

use super::{caller::Caller, place::Place};

/// Calls per minute and key: as many as can be set.
const PLENTY: u32 = 100_000;

/// The outside world and an app that lives in it.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) place: Place,
    pub(crate) sandbox: Sandbox,
    pub(crate) caller: Caller,
    app: AppId,
}

/// A grant to be made.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Its provider, one of those of the stage.
    pub(crate) provider: &'static str,
    /// Its user, of whom it is the only grant; also the name of the account.
    pub(crate) user: String,
    /// How the provider treats it.
    pub(crate) faults: Faults,
}

impl Stage {
    /// Makes an app with these providers, all of them the one sandbox.
    pub(crate) async fn make(place: Place, providers: &[(&'static str, RefreshSettings)]) -> Self {
        let sandbox = Sandbox::builder().algorithms([TokenAlgorithm::Es256]).start().await.unwrap();
        let vault = place.open().await;
        let admin = vault.admin("test");
        let app = admin.create_app("refreshing").await.unwrap().id;
        admin.set_app_rate_limit(app, Some(PLENTY)).await.unwrap();
        let (client, endpoints) = (sandbox.client(), sandbox.oauth_endpoints());
        for (id, refresh) in providers {
            let provider = Provider {
                id: id.parse().unwrap(),
                kind: ProviderKind::OAuth,
                name: (*id).to_owned(),
                hosts: vec![sandbox.addr().to_string().parse().unwrap()],
                injection: Injection::default(),
                additional: Vec::new(),
                oauth: Some(OAuthSettings {
                    token_url: Some(endpoints.token.clone()),
                    client_id: Some(client.client_id.clone()),
                    refresh: refresh.clone(),
                    ..OAuthSettings::default()
                }),
            };
            let secret = SecretString::from(client.client_secret.as_str());
            admin.put_provider(app, provider, Some(secret)).await.unwrap();
        }
        let key = admin.create_key(app, KeyRequest::named("backend")).await.unwrap().key;
        vault.close().await.unwrap();
        let caller = Caller::new(key.expose(), format!("{}/me", sandbox.api_url()));
        Self { place, sandbox, caller, app }
    }

    /// Makes grants whose access token has expired, and tells the provider how to treat them.
    pub(crate) async fn expired(&self, wanted: &[Wanted]) -> Vec<GrantId> {
        self.ending_in(-10, wanted).await
    }

    /// Makes grants whose access token ends in so many seconds.
    pub(crate) async fn ending_in(&self, seconds: i64, wanted: &[Wanted]) -> Vec<GrantId> {
        let vault = self.place.open().await;
        let mut grants = Vec::with_capacity(wanted.len());
        for Wanted { provider, user, faults } in wanted {
            let credential = self.sandbox.connect(user, user);
            let owner = ImportOwner::Identity(Identity {
                issuer: self.sandbox.issuer(),
                subject: user.clone(),
                email: None,
                name: None,
                groups: Vec::new(),
            });
            let import = ImportGrant {
                app_id: self.app,
                provider: provider.parse().unwrap(),
                owner,
                account_identifier: Some(user.clone()),
                account_display_name: None,
                label: None,
                access_token: credential.access_token.into(),
                refresh_token: Some(credential.refresh_token.into()),
                token_expires_at: Timestamp::now().checked_add(SignedDuration::from_secs(seconds)).ok(),
                scopes: vec!["read".to_owned()],
                grant_expires_at: None,
            };
            let imported = vault.admin("test").import_grant(import).await.unwrap();
            grants.push(imported.grant.facts.id);
            self.sandbox.set_account_faults(user, user, faults.clone());
        }
        vault.close().await.unwrap();
        grants
    }

    /// The app's grants as they are kept now, once the audit chains have been verified.
    pub(crate) async fn kept(&self) -> BTreeMap<GrantId, Grant> {
        let vault = self.place.open().await;
        let admin = vault.admin("test");
        let page = admin.grants(self.app, GrantFilter::default(), 1000, 0).await.unwrap();
        let verified = admin.verify_audit(AuditVerifyScope::Everything).await.unwrap();
        assert!(verified.ok(), "{verified:?}");
        vault.close().await.unwrap();
        page.grants.into_iter().map(|grant| (grant.facts.id, grant)).collect()
    }

    /// How many rows of the audit trail say that.
    #[cfg(test)]
    pub(crate) async fn rows(&self, action: alter_server::audit::Action) -> usize {
        let vault = self.place.open().await;
        let filter = alter_server::audit::AuditFilter {
            app_id: Some(self.app),
            limit: 10_000,
            ..alter_server::audit::AuditFilter::default()
        };
        let page = vault.admin("test").audit(filter).await.unwrap();
        vault.close().await.unwrap();
        page.rows.iter().filter(|row| row.action == action).count()
    }

    /// How often the provider was asked for tokens of that user.
    #[cfg(test)]
    pub(crate) fn calls(&self, user: &str) -> u64 {
        self.sandbox.account_counts(user, user).token_calls
    }

    /// Whether the provider's API takes the access token.
    pub(crate) async fn accepts(&self, access_token: &str) -> bool {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("{}/me", self.sandbox.api_url());
        http.get(url).bearer_auth(access_token).send().await.unwrap().status() == http::StatusCode::OK
    }
}

//! The ground that the tests of connecting stand on.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use alter_server::{
    audit::AuditRow,
    domain::{HostPattern, Injection, OAuthSettings, PageSettings, Provider, ProviderKind},
    testkit::TestVault,
};
use axum::Router;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::{
    browser::{Browser, Page, answer_of, poll, session},
    support::trail,
};

/// A vault, its router, and the outside world; the app has registered `https://shop.example` and any port of localhost.
pub(crate) struct Kit {
    pub(crate) kit: TestVault,
    pub(crate) router: Router,
}

impl Kit {
    pub(crate) async fn start() -> Self {
        Self::with(TestVault::start().await.unwrap()).await
    }

    pub(crate) async fn with(kit: TestVault) -> Self {
        let page = PageSettings {
            origins: vec!["https://shop.example".to_owned(), "http://localhost:*".to_owned()],
            ..PageSettings::default()
        };
        kit.admin().set_page(kit.app_id(), page).await.unwrap();
        Self { router: kit.vault().router(), kit }
    }

    pub(crate) fn browser(&self) -> Browser {
        Browser::new(&self.router)
    }

    /// A session for the sandbox's first provider, unless it says otherwise.
    pub(crate) async fn session(&self, mut more: Value) -> Value {
        let named = more.as_object_mut().unwrap().entry("allowed_providers");
        named.or_insert_with(|| json!(["sandbox"]));
        session(&self.kit, &self.router, more).await
    }

    /// A session for a user of the app.
    pub(crate) async fn session_of(&self, sub: &str, mut more: Value) -> Value {
        more["user_token"] = self.kit.mint(sub).into();
        self.session(more).await
    }

    pub(crate) async fn poll(&self, session: &Value) -> Value {
        poll(&self.kit.app_key(), &self.router, session).await
    }

    pub(crate) async fn status(&self, session: &Value) -> String {
        self.poll(session).await["status"].as_str().unwrap().to_owned()
    }

    /// Rows that say that something was refused with `code`.
    pub(crate) async fn refused(&self, code: &str) -> Vec<AuditRow> {
        let rows = trail(&self.kit).await;
        rows.into_iter().filter(|row| row.code.as_deref() == Some(code)).collect()
    }

    /// How many grants were made by connecting.
    pub(crate) async fn connected(&self) -> usize {
        trail(&self.kit).await.iter().filter(|row| row.action.as_str() == "grant.connected").count()
    }

    /// The sandbox's first or second provider as the app's, with its settings changed.
    pub(crate) async fn provider(&self, id: &str, second: bool, more: Value) {
        let sandbox = self.kit.sandbox();
        let site = if second { sandbox.second_provider() } else { sandbox.provider() };
        let endpoints = site.endpoints();
        let mut settings = json!({
            "authorize_url": endpoints.authorize, "token_url": endpoints.token, "revoke_url": endpoints.revoke,
            "userinfo_url": endpoints.userinfo, "client_id": site.client().client_id, "scopes": ["read", "write"],
        });
        let name = more.get("name").and_then(Value::as_str).unwrap_or(site.title()).to_owned();
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let provider = Provider {
            id: id.parse().unwrap(),
            kind: ProviderKind::OAuth,
            name,
            hosts: vec![sandbox.addr().to_string().parse::<HostPattern>().unwrap()],
            injection: Injection::default(),
            additional: Vec::new(),
            oauth: Some(serde_json::from_value::<OAuthSettings>(settings).unwrap()),
        };
        let secret = SecretString::from(site.client().client_secret);
        self.kit.admin().put_provider(self.kit.app_id(), provider, Some(secret)).await.unwrap();
    }

    /// The issuer of the sandbox's first provider.
    pub(crate) fn issuer(&self) -> String {
        let authorize = self.kit.sandbox().oauth_endpoints().authorize;
        authorize.strip_suffix("/authorize").unwrap().to_owned()
    }
}

/// The link of a session.
pub(crate) fn link(session: &Value) -> &str {
    session["connect_url"].as_str().or(session["auth_url"].as_str()).unwrap()
}

/// Signs in as `sub` from a page that asks for it.
pub(crate) async fn sign_in(browser: &mut Browser, page: &Page, sub: &str) -> Page {
    let go = browser.press(page, "/sign-in", &[]).await;
    let back = answer_of(go.provider_url(), sub).await;
    browser.get(&back).await
}

//! The three ways in run the same code: in process, mounted under a prefix, over a socket; and development mode starts
//! again where it was.

use crate::support::{releases, send, signed, token_body, trail};
use alter_core::{App, UserToken};
use alter_server::{dev::Dev, testkit::TestVault};
use axum::Router;
use http::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn a_client_in_the_same_process_calls_as_each_user() {
    let kit = TestVault::start().await.unwrap();
    let app = kit.vault().app_client(&kit.app_key()).caller("reports").build().unwrap();
    let url = format!("{}/me", kit.api_url());

    let user = app.for_user(UserToken::parse(kit.mint("user-1")).unwrap());
    let me: Value =
        user.request(Method::GET, &url).provider("sandbox").send().await.unwrap().json().await.unwrap();
    assert_eq!((&me["sub"], &me["account"]), (&json!("user-1"), &json!("user-1@work")));

    let user = app.for_user(UserToken::parse(kit.mint("user-2")).unwrap());
    let ambiguous = user.request(Method::GET, &url).provider("sandbox").send().await.unwrap_err();
    assert_eq!(ambiguous.code().map(ToString::to_string).as_deref(), Some("ambiguous_grant"));
    let me: Value = user
        .request(Method::GET, &url)
        .provider("sandbox")
        .account("user-2@home")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!((&me["sub"], &me["account"]), (&json!("user-2"), &json!("user-2@home")));

    // Reports are sent in the background; closing waits for them.
    app.close().await;
    let trail = trail(&kit).await;
    let reports: Vec<_> = trail.iter().filter(|row| row.action.as_str() == "call.reported").collect();
    assert_eq!(reports.len(), 2);
    for row in reports {
        assert_eq!((row.caller.as_deref(), row.status), (Some("reports"), Some(200)));
        assert!(row.token_generation.is_some() && row.grant_id.is_some());
    }
    assert!(kit.admin().verify_audit(alter_server::store::AuditVerifyScope::Everything).await.unwrap().ok());
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn an_agent_reaches_its_managed_secret_and_nothing_else() {
    let kit = TestVault::start().await.unwrap();
    let agent = kit.vault().agent_client(&kit.agent_key()).build().unwrap();
    let url = format!("{}/me", kit.api_url());
    let me: Value =
        agent.request(Method::GET, &url).provider("sandbox-key").send().await.unwrap().json().await.unwrap();
    assert_eq!(me["sub"], "sandbox-key");
    let theirs = kit.grants("user-1")[0].grant_id;
    assert!(agent.request(Method::GET, &url).grant(theirs.uuid()).send().await.is_err());
    let system = kit.ready().managed_secret.grant_id;
    assert!(agent.request(Method::GET, &url).grant(system.uuid()).send().await.is_err());
    agent.close().await;
    assert_eq!(releases(&kit).await, 1);
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn a_vault_under_a_prefix_checks_the_path_that_was_signed() {
    let kit = TestVault::start().await.unwrap();
    let mounted: Router = Router::new().nest("/internal/vault", kit.vault().router());
    let mut call = signed(&kit.app_key(), "/sdk/token", &token_body(&kit));
    call.target = "/internal/vault/sdk/token".to_owned();
    assert_eq!(send(&mounted, &call).await.status, 200);

    // Also over a socket, with the prefix in the client's base URL.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/internal/vault", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move { axum::serve(listener, mounted).await });
    let app = App::builder(kit.app_key().expose()).backend_url(url).build().unwrap();
    let user = app.for_user(UserToken::parse(kit.mint("user-1")).unwrap());
    let me = user.request(Method::GET, format!("{}/me", kit.api_url())).provider("sandbox").send().await;
    assert_eq!(me.unwrap().json::<Value>().await.unwrap()["sub"], "user-1");
    app.close().await;
    serving.abort();
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn a_served_vault_stops_when_it_is_told_and_closes_its_chains() {
    let kit = TestVault::start().await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let vault = kit.vault().clone();
    let serving = tokio::spawn(async move {
        vault
            .serve(listener, async {
                let _ = stopped.await;
            })
            .await
    });
    let app = App::builder(kit.app_key().expose()).backend_url(url).build().unwrap();
    let user = app.for_user(UserToken::parse(kit.mint("user-1")).unwrap());
    let call = || user.request(Method::GET, format!("{}/me", kit.api_url())).provider("sandbox").send();
    assert!(call().await.is_ok());
    app.close().await;
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
    kit.vault().close().await.unwrap();
    let late = send(&kit.vault().router(), &signed(&kit.app_key(), "/sdk/token", &token_body(&kit))).await;
    assert_eq!((late.status.as_u16(), late.code()), (503, "service_unavailable"));
    assert!(!late.holds_a_credential() && late.headers.contains_key("retry-after"));
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn development_mode_starts_again_with_the_same_ids() {
    let folder = tempfile::tempdir().unwrap();
    let start = || Dev::start(Some(folder.path().to_owned()), "http://127.0.0.1:1".to_owned());
    let first = start().await.unwrap();
    let before = serde_json::to_value(&first.ready).unwrap();
    first.stop().await.unwrap();
    let second = start().await.unwrap();
    let after = serde_json::to_value(&second.ready).unwrap();
    for path in [
        "/app/id",
        "/agent/id",
        "/agent/name",
        "/idp/issuer",
        "/provider/id",
        "/provider/api_url",
        "/users/0/grants",
        "/users/1/grants",
        "/managed_secret",
    ] {
        assert!(before.pointer(path).is_some(), "{path}");
        assert_eq!(before.pointer(path), after.pointer(path), "{path}");
    }
    assert_ne!(before["app"]["key"], after["app"]["key"]);
    // The credentials are those of the sandbox that runs now.
    let app = second.vault.app_client(&second.ready.app.key).build().unwrap();
    for (sub, grant) in second.ready.users.iter().flat_map(|user| user.grants.iter().map(|g| (&user.sub, g)))
    {
        let url = format!("{}/me", second.ready.provider.api_url);
        let me: Value = app
            .request(Method::GET, url)
            .grant(grant.grant_id.uuid())
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert_eq!((&me["sub"], &me["account"]), (&json!(sub), &json!(grant.account)));
    }
    app.close().await;
    second.stop().await.unwrap();
}

#[tokio::test]
async fn the_line_of_development_mode_has_the_names_of_the_contract() {
    let kit = TestVault::start().await.unwrap();
    let line = serde_json::to_value(kit.ready()).unwrap();
    for path in [
        "/base_url",
        "/app/id",
        "/app/key",
        "/agent/id",
        "/agent/name",
        "/agent/key",
        "/idp/issuer",
        "/idp/mint_url",
        "/provider/id",
        "/provider/api_url",
        "/provider/control_url",
        "/users/0/sub",
        "/users/0/token",
        "/users/0/grants/0/grant_id",
        "/users/0/grants/0/provider",
        "/users/0/grants/0/account",
        "/managed_secret/id",
        "/managed_secret/slug",
        "/managed_secret/grant_id",
        "/managed_secret/agent_grant_id",
    ] {
        assert!(line.pointer(path).is_some_and(Value::is_string), "{path}");
    }
    assert_eq!(line["users"][0]["grants"].as_array().unwrap().len(), 1);
    assert_eq!(line["users"][1]["grants"].as_array().unwrap().len(), 2);
    assert!(line["agent"]["key"].as_str().unwrap().starts_with("alter_key_"));
    let debug = format!("{kit:?}");
    for secret in ["/app/key", "/agent/key", "/users/0/token"] {
        assert!(!debug.contains(line.pointer(secret).unwrap().as_str().unwrap()), "{secret}");
    }
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn a_vault_is_not_opened_with_the_keys_of_another() {
    use alter_server::{KekSource, Vault, VaultConfig, VaultError, admin::KeyRequest};

    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let vault = Vault::open(VaultConfig::new(folder.path())).await.unwrap();
    let app = vault.admin("test").create_app("shop").await.unwrap();
    vault.admin("test").create_key(app.id, KeyRequest::named("backend")).await.unwrap();
    vault.close().await.unwrap();
    let other = Vault::open(VaultConfig::new(elsewhere.path())).await.unwrap();
    other.close().await.unwrap();

    let theirs = KekSource::File(elsewhere.path().join("kek"));
    let refused = Vault::open(VaultConfig::new(folder.path()).kek(theirs)).await.unwrap_err();
    assert!(matches!(refused, VaultError::WrongKeys { .. }), "{refused}");
    Vault::open(VaultConfig::new(folder.path())).await.unwrap().close().await.unwrap();
}

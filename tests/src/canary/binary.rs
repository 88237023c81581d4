//! The program as operators run it, with `RUST_LOG=trace`.

use std::fs;

use alter_core::{App, UserToken, wire::key::ApiKey};
use alter_sandbox::{Sandbox, TokenAlgorithm, TokenRequest};
use http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::search_folder;
use crate::harness::{
    Draft, Needles, Served, Tenant, cli, plain_client,
    world::{PROVIDER, open},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_logs_and_prints_no_secret_at_trace() {
    let data = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::builder().algorithms([TokenAlgorithm::Es256]).start().await.unwrap();
    let mut needles = Needles::default();
    let vault = open(data.path()).await;
    let tenant = Tenant::create(&vault.admin("test"), &sandbox, "binary").await;
    vault.close().await.unwrap();
    let ring = fs::read_to_string(data.path().join("kek")).unwrap();
    needles.text("key-encryption key", ring.trim().split_once(':').unwrap().1);
    needles.api_key("key", &tenant.key).api_key("agent's key", &tenant.agent_key);
    needles.text("client secret", &sandbox.client().client_secret["sbx_cs_".len()..]);

    // What operators type in.
    let command = async |arguments: &[&str], input: &str| {
        let folder = data.path().to_owned();
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        let input = input.to_owned();
        tokio::task::spawn_blocking(move || {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            cli(&folder, &arguments, "trace", &input)
        })
        .await
        .unwrap()
    };
    let mut printed = Vec::new();
    let tokens = sandbox.connect("alice", "work");
    needles.text("access token", &tokens.access_token["sbx_at_".len()..]);
    needles.text("refresh token", &tokens.refresh_token["sbx_rt_".len()..]);
    let line = json!({
        "sub": "alice", "provider": PROVIDER, "account": "work",
        "access_token": tokens.access_token, "refresh_token": tokens.refresh_token,
    });
    let import = command(&["grant", "import", "-"], &line.to_string()).await;
    assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
    printed.push(("grant import", import));
    let wrong = line.to_string().replace("\"sub\"", "\"subject\"");
    printed.push(("grant import, wrong", command(&["grant", "import", "-"], &wrong).await));
    let invented = format!("{}\"\\{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    needles.text("managed secret", &invented);
    let host = sandbox.addr().to_string();
    let put = [
        "provider",
        "add",
        "billing",
        "--kind",
        "managed-secret",
        "--host",
        &host,
        "--inject",
        "query:api_key",
    ];
    let put = command(&put, "").await;
    assert!(put.status.success(), "{}", String::from_utf8_lossy(&put.stderr));
    printed.push(("provider put", put));
    let create = command(&["secret", "create", "billing"], &invented).await;
    assert!(create.status.success(), "{}", String::from_utf8_lossy(&create.stderr));
    printed.push(("secret create", create));
    printed.push(("secret create, again", command(&["secret", "create", "billing"], &invented).await));
    printed.push(("secret list", command(&["secret", "list"], "").await));
    printed
        .push(("grant create", command(&["grant", "create", "billing", "--principal", "system"], "").await));
    // A fresh key is printed once, for whoever asked; its log must not have it.
    let minted = command(&["key", "create", "another"], "").await;
    assert!(minted.status.success(), "{}", String::from_utf8_lossy(&minted.stderr));
    let said: Value = serde_json::from_slice(&minted.stdout).unwrap();
    let key = said
        .as_object()
        .unwrap()
        .values()
        .filter_map(Value::as_str)
        .find(|text| ApiKey::parse(*text).is_ok());
    needles.api_key("minted key", key.expect("the key is printed"));
    let minted_log = minted.stderr;

    // What the server sees.
    let folder = data.path().to_owned();
    let served = tokio::task::spawn_blocking(move || Served::start(&folder, "trace")).await.unwrap();
    let token = sandbox.mint(TokenRequest::subject("alice"));
    needles.jwt("alice's JWT", &token);
    let forged = sandbox.mint(TokenRequest::subject("alice").forged());
    needles.jwt("forged JWT", &forged);
    sandbox.register_api_key("billing", &invented);
    let app =
        App::builder(tenant.key.as_str()).backend_url(&served.base_url).caller("canary").build().unwrap();
    let url = format!("{}/me", sandbox.api_url());
    for token in [&token, &forged] {
        let user = app.for_user(UserToken::parse(token.as_str()).unwrap());
        let result = user.request(Method::GET, url.as_str()).provider(PROVIDER).send().await;
        needles.assert_absent("a result", format!("{result:?}").as_bytes());
        drop(user.grants().list().send().await);
        drop(app.verify_user_token(user.user_token()).await);
    }
    let me: Value = app
        .request(Method::GET, url.as_str())
        .provider("billing")
        .as_app()
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(me["sub"], "billing");
    let http = plain_client();
    for draft in [
        Draft::by_provider(PROVIDER, Some(&token), "https://elsewhere.example/").signed(&tenant.key),
        Draft::by_provider(PROVIDER, Some(&token), &url).signed(&tenant.agent_key),
        Draft::by_provider(PROVIDER, Some(&token), &url)
            .signed(&tenant.key)
            .body(&json!({"user_token": token})),
        Draft::post("/sdk/token", &json!({"user_token": [token]})).signed(&tenant.key),
    ] {
        let reply = draft.send(&http, &served.base_url).await;
        assert_ne!(reply.status, 200);
        needles.assert_absent("a refusal", &reply.everything());
    }
    app.close().await;
    let rotated = command(&["rotate"], "").await;
    assert!(rotated.status.success(), "{}", String::from_utf8_lossy(&rotated.stderr));
    printed.push(("rotate", rotated));
    let ring = fs::read_to_string(data.path().join("kek")).unwrap();
    for (number, entry) in ring.lines().filter(|line| line.contains(':')).enumerate() {
        needles.text(&format!("key-encryption key {number}"), entry.trim().split_once(':').unwrap().1);
    }
    printed.push(("audit list", command(&["audit", "list", "--all", "--limit", "10000"], "").await));
    printed.push(("audit verify", command(&["audit", "verify"], "").await));
    let while_running = search_folder(&needles, data.path());
    assert!(while_running.iter().any(|name| name == "vault.db-wal"), "{while_running:?}");
    let (well, log) = tokio::task::spawn_blocking(move || served.terminate()).await.unwrap();
    assert!(well, "{}", String::from_utf8_lossy(&log));

    assert!(String::from_utf8_lossy(&log).contains("TRACE"), "the log is of every level");
    needles.assert_absent("the server's log", &log);
    needles.assert_absent("the log of key create", &minted_log);
    for (what, output) in &printed {
        needles.assert_absent(&format!("what {what} prints"), &output.stdout);
        needles.assert_absent(&format!("what {what} logs"), &output.stderr);
    }
    search_folder(&needles, data.path());
}

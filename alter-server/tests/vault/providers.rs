//! Providers from the catalogue: on the wire, and as an operator adds them.

use std::{path::Path, process::Command};

use alter_core::wire::{
    catalog::{PATH, ProviderCatalog},
    key::ApiKey,
    sign::{self, Stamp},
};
use alter_server::{
    admin::KeyRequest,
    catalog::{self, Registration},
    domain::Scope,
    testkit::TestVault,
};
use http::{HeaderMap, HeaderValue, Method, header::HeaderName};
use serde_json::{Value, json};

use crate::support::{Signed, now, send, trail};

/// A signed `GET` without a body, as published clients send it.
fn get(key: &ApiKey) -> Signed {
    let mut headers = HeaderMap::new();
    let name: HeaderName = alter_core::wire::header::API_KEY;
    headers.insert(name, HeaderValue::from_str(key.expose()).unwrap());
    let stamp = Stamp::fresh(now()).unwrap();
    sign::sign(&key.signing_key(), &Method::GET, PATH, &stamp, &[], &mut headers).unwrap();
    Signed { method: Method::GET, target: PATH.to_owned(), headers, body: Vec::new() }
}

#[tokio::test]
async fn an_app_is_told_which_providers_its_users_can_connect() {
    let kit = TestVault::start().await.unwrap();
    let router = kit.vault().router();
    for (id, values) in [("github", None), ("zendesk", Some(("subdomain", "acme"))), ("ebay", None)] {
        let mut registration = Registration::new("ID");
        registration.values = values.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        let provider = catalog::find(id).unwrap().provider(registration).unwrap();
        kit.admin().put_provider(kit.app_id(), provider, None).await.unwrap();
    }
    let request = get(&kit.app_key());
    let answer = send(&router, &request).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    let listed: ProviderCatalog = serde_json::from_value(answer.body).unwrap();
    let ids: Vec<&str> = listed.providers.keys().map(String::as_str).collect();
    assert_eq!(
        ids,
        ["github", "sandbox", "sandbox-two", "zendesk"],
        "eBay cannot be connected, a managed secret neither"
    );
    let github = &listed.providers["github"];
    assert_eq!((github.display_name.as_str(), github.status.as_str()), ("GitHub", "active"));
    assert_eq!(github.category.as_deref(), Some("developer tools"));
    assert_eq!(github.default_scopes, ["read:user", "user:email"]);
    assert_eq!(github.available_scopes["read:user"].description, "See your profile");
    assert!(github.available_scopes["read:user"].is_default && !github.available_scopes["repo"].is_default);
    assert_eq!(send(&router, &request).await.code(), "nonce_replayed", "a signed request counts once");
    let rows = trail(&kit).await;
    assert!(rows.iter().any(|row| row.action.as_str() == "providers.listed"));
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn a_key_without_the_scope_is_told_nothing() {
    let kit = TestVault::start().await.unwrap();
    let router = kit.vault().router();
    let request = KeyRequest::named("narrow").scopes(vec![Scope::GrantsRead]);
    let minted = kit.admin().create_key(kit.app_id(), request).await.unwrap();
    let answer = send(&router, &get(&minted.key)).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (403, "insufficient_scope"));
    kit.stop().await.unwrap();
}

fn run(folder: &Path, words: &[&str]) -> (i32, Value, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alter-server"));
    let output = command
        .args(["--json", "--data-dir"])
        .arg(folder)
        .args(words)
        .env_remove("ALTER_KEK")
        .output()
        .unwrap();
    let json = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code().unwrap(), json, String::from_utf8(output.stderr).unwrap())
}

#[test]
fn an_operator_adds_a_provider_by_its_id_and_is_told_what_is_missing() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("vault");
    // No vault is needed to look.
    let (code, all, _) = run(&folder, &["provider", "catalog"]);
    assert_eq!(code, 0);
    assert!(all.as_array().unwrap().len() >= 60);
    let (_, xero, _) = run(&folder, &["provider", "catalog", "xero"]);
    assert_eq!(xero["oauth"]["token_url"], "https://identity.xero.com/connect/token");

    run(&folder, &["app", "create", "shop"]);
    let secret = place.path().join("secret");
    std::fs::write(&secret, "a client's secret\n").unwrap();
    let add = |words: &[&str]| {
        let more = ["--client-id", "ID", "--client-secret-file", secret.to_str().unwrap()];
        run(&folder, &[&["provider", "add"], words, &more].concat())
    };
    let (code, google, _) =
        add(&["--from-catalog", "google", "--scope", "openid,email", "--host", "api.example.test"]);
    assert_eq!(code, 0);
    assert_eq!(google["oauth"]["scopes"], json!(["openid", "email"]));
    assert_eq!(google["hosts"], json!(["*.googleapis.com", "api.example.test"]));
    assert!(!google.to_string().contains("client's secret"));
    let (code, acme, _) = add(&["--from-catalog", "zendesk", "help-desk", "--set", "subdomain=acme"]);
    assert_eq!((code, &acme["id"], &acme["hosts"]), (0, &json!("help-desk"), &json!(["acme.zendesk.com"])));

    let own = place.path().join("own.toml");
    let text = "id = 'own'\nname = 'Own'\nhosts = ['api.own.example']\n[oauth]\ntoken_url = 'https://id.own.example/t'\n";
    std::fs::write(&own, text).unwrap();
    let (code, made, _) = add(&["--from-file", own.to_str().unwrap()]);
    assert_eq!((code, &made["id"]), (0, &json!("own")));
    std::fs::write(&own, text.replace("token_url", "token-url")).unwrap();

    for (words, code, told) in [
        (&["--from-catalog", "gogle"][..], 4, "near: google"),
        (&["--from-catalog", "zendesk"], 2, "--set subdomain=acme"),
        (&["--from-catalog", "zendesk", "--set", "subdomain=evil.example/"], 2, "one label of a host name"),
        (&["--from-catalog", "google", "--set", "region=eu"], 2, "no such variable"),
        (&["--from-catalog", "google", "--token-url", "https://x.example"], 2, "cannot be used with"),
        (&["--from-file", own.to_str().unwrap()], 2, "no such member: oauth.token-url"),
        (&["--from-file", "/nowhere"], 1, "cannot read /nowhere"),
    ] {
        let (found, _, text) = add(words);
        assert_eq!(found, code, "{words:?}: {text}");
        assert!(text.contains(told), "{words:?}: {text}");
    }
    let (code, _, text) = run(&folder, &["provider", "add", "--from-catalog", "google"]);
    assert!(code == 2 && text.contains("--client-id"), "{text}");
    let (_, kept, _) = run(&folder, &["provider", "list"]);
    assert_eq!(kept.as_array().unwrap().len(), 3);
}

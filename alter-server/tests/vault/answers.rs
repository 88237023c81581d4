//! Answers as the specification has them: members, headers, and what is left out.

use std::collections::BTreeMap;

use crate::support::{now, send, sign_at, signed, token_body, trail};
use alter_core::wire::{header, token::TokenResponse};
use alter_server::{
    admin::{InjectionStyle, KeyRequest},
    domain::{Principal, Provider, ProviderKind},
    testkit::TestVault,
};
use http::Method;
use secrecy::SecretString;
use serde_json::{Value, json};

/// No member of an answer may be null: published clients refuse some of them (spec/01 §5.1, spec/03 §3.1).
fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(members) => members.values().any(has_null),
        _ => false,
    }
}

#[tokio::test]
async fn a_token_answer_keeps_every_rule_of_the_specification() {
    let kit = TestVault::start().await.unwrap();
    let router = kit.vault().router();
    let answer = send(&router, &signed(&kit.app_key(), "/sdk/token", &token_body(&kit))).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(answer.headers["cache-control"], "no-store");
    for name in ["x-request-id", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"] {
        assert!(answer.headers.contains_key(name), "{name}");
    }
    assert!(!answer.headers.contains_key("x-alter-actor-id"), "nobody was named");
    assert!(!answer.headers.contains_key("set-cookie"));
    assert!(!has_null(&answer.body), "{:?}", answer.body);
    TokenResponse::parse(answer.body.to_string().as_bytes()).unwrap();
    assert_eq!(answer.body["grant_id"], json!(kit.grants("user-1")[0].grant_id));
    assert_eq!(answer.body["provider_id"], "sandbox");
    assert_eq!(answer.body["allowed_hosts"], json!([kit.sandbox().addr().to_string()]));
    assert!(answer.body["expires_in"].as_u64().is_some_and(|seconds| seconds > 3_000));
    assert!(answer.body["token_generation"].is_string());
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn a_named_caller_has_one_actor_and_an_agent_none() {
    let kit = TestVault::start().await.unwrap();
    let router = kit.vault().router();
    let named = async |name: &str, kind: &str| {
        let extra = [(header::CALLER, name), (header::CALLER_TYPE, kind)];
        let call = sign_at(&kit.app_key(), "/sdk/token", &token_body(&kit), now(), &extra);
        let answer = send(&router, &call).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        answer.headers.get("x-alter-actor-id").map(|id| id.to_str().unwrap().to_owned())
    };
    let mailer = named("mailer", "service").await.unwrap();
    assert_eq!(mailer.len(), 36);
    assert_eq!(named("mailer", "service").await.unwrap(), mailer);
    assert_ne!(named("mailer", "agent").await.unwrap(), mailer);
    assert_ne!(named("payroll", "service").await.unwrap(), mailer);
    // An error answer names the actor as well, and an echoed actor id is taken.
    let extra = [
        (header::CALLER, "mailer"),
        (header::CALLER_TYPE, "service"),
        (header::ACTOR_ID, mailer.as_str()),
        (header::CONTEXT, r#"{"run_id":"r-1"}"#),
    ];
    let call = sign_at(
        &kit.app_key(),
        "/sdk/token",
        &json!({"provider_id": "none", "request": null}),
        now(),
        &extra,
    );
    let answer = send(&router, &call).await;
    assert!(answer.status.is_client_error());
    assert_eq!(answer.headers["x-alter-actor-id"], mailer.as_str());
    let row = trail(&kit).await.pop().unwrap();
    assert_eq!(
        (row.caller.as_deref(), row.context.as_deref()),
        (Some("mailer"), Some(r#"{"run_id":"r-1"}"#))
    );
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn the_users_of_a_deprecated_key_are_warned() {
    let kit = TestVault::start().await.unwrap();
    let router = kit.vault().router();
    let minted = kit.admin().create_key(kit.app_id(), KeyRequest::named("old")).await.unwrap();
    let call = async || send(&router, &signed(&minted.key, "/sdk/token", &token_body(&kit))).await;
    assert!(!call().await.headers.contains_key("x-alter-key-deprecated"));
    kit.admin().deprecate_key(kit.app_id(), minted.record.id, true).await.unwrap();
    assert_eq!(call().await.headers["x-alter-key-deprecated"], "true");
    kit.admin().deprecate_key(kit.app_id(), minted.record.id, false).await.unwrap();
    assert!(!call().await.headers.contains_key("x-alter-key-deprecated"));
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn a_list_has_pages_and_both_kinds_of_grants() {
    let kit = TestVault::start().await.unwrap();
    let router = kit.vault().router();
    let list = async |body: Value| send(&router, &signed(&kit.app_key(), "/sdk/grants/list", &body)).await;
    let all = list(json!({"limit": 100, "offset": 0})).await;
    assert_eq!(all.status, 200);
    assert!(!has_null(&all.body), "{:?}", all.body);
    assert_eq!((&all.body["total"], &all.body["has_more"]), (&json!(5), &json!(false)));
    let page = list(json!({"limit": 2, "offset": 2})).await;
    assert_eq!(page.body["grants"].as_array().unwrap().len(), 2);
    assert_eq!(page.body["has_more"], true);
    for grant in all.body["grants"].as_array().unwrap() {
        let needed: &[&str] = match grant["grant_kind"].as_str().unwrap() {
            "oauth" => &["grant_id", "provider_id", "status", "created_at", "principal_type"],
            _ => &["grant_id", "managed_secret_id", "managed_secret_slug", "managed_secret_name", "status"],
        };
        assert!(needed.iter().all(|name| grant[name].is_string()), "{grant}");
    }
    let mine = list(json!({"limit": 100, "offset": 0, "user_token": kit.mint("user-1")})).await;
    assert_eq!(mine.body["total"], 1);
    for limit in [0, 1_001] {
        assert_eq!(list(json!({"limit": limit, "offset": 0})).await.code(), "invalid_request");
    }
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn a_revoked_grant_is_refused_by_the_next_call() {
    let kit = TestVault::start().await.unwrap();
    let router = kit.vault().router();
    let grant = kit.grants("user-1")[0].grant_id;
    let revoke = format!("/sdk/oauth/grants/{grant}/revoke");
    let answer = send(&router, &signed(&kit.app_key(), &revoke, &json!({"reason": "left"}))).await;
    assert_eq!(answer.status, 200);
    assert_eq!((&answer.body["success"], &answer.body["grant_id"]), (&json!(true), &json!(grant)));
    assert!(answer.body["message"].as_str().is_some_and(|text| !text.is_empty()));
    assert!(answer.body["revoked_at"].as_str().is_some_and(|text| !text.is_empty()));
    let next = send(&router, &signed(&kit.app_key(), "/sdk/token", &token_body(&kit))).await;
    assert_eq!((next.status.as_u16(), next.code()), (403, "grant_revoked"));
    let odd = signed(&kit.app_key(), "/sdk/oauth/grants/not-a-uuid/revoke", &json!({}));
    assert_eq!(send(&router, &odd).await.status, 404);
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn reports_are_kept_with_what_the_call_says_and_without_credentials() {
    let kit = TestVault::start().await.unwrap();
    let router = kit.vault().router();
    let grant = kit.grants("user-1")[0].grant_id;
    let report = json!({
        "grant_id": grant, "provider_id": "sandbox", "token_generation": null, "method": "post",
        "url": "https://user:s3cret@api.example.test/x", "request_headers": {"Authorization": "Bearer s3cret"},
        "request_body": {"a": [1, 2]}, "response_status": 401, "response_headers": null,
        "response_body": "no", "latency_ms": 12, "reason": "why", "context": {"run": "1"},
    });
    let answer = send(&router, &signed(&kit.app_key(), "/sdk/oauth/audit/api-call", &report)).await;
    assert_eq!((answer.status.as_u16(), &answer.body), (204, &Value::Null));
    let row = trail(&kit).await.pop().unwrap();
    assert_eq!((row.method.as_deref(), row.status, row.latency_ms), (Some("POST"), Some(401), Some(12)));
    assert_eq!((row.reason.as_deref(), row.context.as_deref()), (Some("why"), Some(r#"{"run":"1"}"#)));
    assert!(!format!("{row:?}").contains("s3cret"));

    let mismatch = json!({
        "provider_status_code": 403, "provider_error_code": "insufficient_scope", "missing_scopes": ["admin"],
        "raw_www_authenticate": "Bearer error=\"insufficient_scope\"", "api_endpoint": "https://api.example.test/x",
        "detection_source": "www_authenticate_rfc6750", "sdk_correlation_id": "AAAAAAAAAAAAAAAAAAAAAA",
    });
    let path = format!("/sdk/grants/{grant}/report-scope-mismatch");
    assert_eq!(send(&router, &signed(&kit.app_key(), &path, &mismatch)).await.status, 204);
    let next = send(&router, &signed(&kit.app_key(), "/sdk/token", &token_body(&kit))).await;
    assert!(next.body["scope_mismatch"] == true || next.code() == "scope_mismatch", "{:?}", next.body);
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn a_verified_token_answers_its_subject_only() {
    let kit = TestVault::start().await.unwrap();
    let router = kit.vault().router();
    let body = json!({"token": kit.mint("user-9")});
    let answer = send(&router, &signed(&kit.app_key(), "/sdk/auth/verify-token", &body)).await;
    assert_eq!((answer.status.as_u16(), answer.body), (200, json!({"sub": "user-9"})));
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn each_style_of_injection_reaches_the_api_and_a_query_secret_is_in_no_header() {
    let kit = TestVault::start().await.unwrap();
    let (admin, app) = (kit.admin(), kit.app_id());
    for (slug, style) in [
        ("by-bearer", InjectionStyle::Bearer),
        ("by-header", InjectionStyle::Header("X-Api-Key".into())),
        ("by-basic", InjectionStyle::Basic),
        ("by-query", InjectionStyle::Query("api_key".into())),
    ] {
        let value = format!("sbx_key:{slug}");
        kit.sandbox().register_api_key(slug, &value);
        let (injection, additional) = style.injections();
        let provider = Provider {
            id: slug.parse().unwrap(),
            kind: ProviderKind::ManagedSecret,
            name: slug.to_owned(),
            hosts: vec![kit.sandbox().addr().to_string().parse().unwrap()],
            injection,
            additional,
            oauth: None,
        };
        let id = admin.put_provider(app, provider, None).await.unwrap().id;
        let value = SecretString::from(value);
        let secret = admin.create_secret(app, id, slug, value, BTreeMap::new()).await.unwrap();
        admin.create_grant(app, secret.id, Principal::System, None, None).await.unwrap();

        let client = kit.vault().app_client(&kit.app_key()).build().unwrap();
        let url = format!("{}/me?keep=1", kit.api_url());
        let me: Value = client
            .request(Method::GET, url)
            .provider(slug)
            .as_app()
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert_eq!(me["sub"], slug);
        client.close().await;
    }
    let call = signed(
        &kit.app_key(),
        "/sdk/token",
        &json!({"provider_id": "by-query", "reason": null, "request": {"method": "GET", "url": kit.api_url()}}),
    );
    let answer = send(&kit.vault().router(), &call).await;
    assert_eq!(
        (&answer.body["access_token"], &answer.body["injection_header"]),
        (&json!("query"), &json!("X-Alter-Injection"))
    );
    assert_eq!(
        answer.body["additional_injections"],
        json!([{"target": "query_param", "key": "api_key", "value_source": "additional_credentials.value"}])
    );
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn unknown_routes_and_health_answer_json() {
    let kit = TestVault::start().await.unwrap();
    let router = kit.vault().router();
    let nowhere = send(&router, &signed(&kit.app_key(), "/sdk/proxy", &json!({}))).await;
    assert_eq!((nowhere.status.as_u16(), nowhere.code()), (404, "not_found"));
    let mut get = signed(&kit.app_key(), "/sdk/token", &json!({}));
    get.method = Method::GET;
    assert_eq!(send(&router, &get).await.status, 405);
    for (path, status) in [("/healthz", "ok"), ("/readyz", "ready")] {
        get.target = path.to_owned();
        let answer = send(&router, &get).await;
        assert_eq!((answer.status.as_u16(), answer.body), (200, json!({"status": status})));
    }
    kit.vault().close().await.unwrap();
    let closed = send(&router, &get).await;
    assert_eq!((closed.status.as_u16(), closed.code()), (503, "service_unavailable"));
    kit.stop().await.unwrap();
}

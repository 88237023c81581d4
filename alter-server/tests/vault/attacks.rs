//! What must not get through: each is refused with its code, releases nothing, and leaves a row that says so.

use crate::support::{Signed, now, refusals, releases, send, sign_at, sign_bytes, signed, token_body};
use alter_core::wire::{header, key::ApiKey, key::KeyKind};
use alter_sandbox::{Faults, TokenAlgorithm, TokenRequest};
use alter_server::{
    Vault, VaultConfig,
    admin::KeyRequest,
    domain::{AgentStatus, AppStatus, IdpConfig, Scope},
    store::AuditVerifyScope,
    testkit::TestVault,
};
use axum::Router;
use http::HeaderValue;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

/// Sends `attack` and checks code, status, silence and row.
async fn refused(kit: &TestVault, router: &Router, attack: &Signed, status: u16, code: &str) {
    let (rows, released) = (refusals(kit, code).await, releases(kit).await);
    let answer = send(router, attack).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (status, code), "{:?}", answer.body);
    assert!(!answer.holds_a_credential());
    assert!(answer.headers.contains_key("x-request-id"));
    assert_eq!(releases(kit).await, released, "{code}: something was released");
    assert_eq!(refusals(kit, code).await, rows + 1, "{code}: no row says so");
}

#[tokio::test]
async fn a_request_that_was_changed_on_the_way_is_refused() {
    let kit = TestVault::start().await.unwrap();
    let router = kit.vault().router();
    let good = signed(&kit.app_key(), "/sdk/token", &token_body(&kit));

    let mut changed = good.clone();
    changed.headers.insert(header::SIGNATURE, HeaderValue::from_str(&"0".repeat(64)).unwrap());
    refused(&kit, &router, &changed, 401, "invalid_signature").await;

    let mut changed = good.clone();
    changed.body = token_body(&kit).to_string().replace("GET", "PUT").into_bytes();
    refused(&kit, &router, &changed, 401, "invalid_signature").await;

    let mut changed = good.clone();
    changed.target = "/sdk/grants/list".to_owned();
    refused(&kit, &router, &changed, 401, "invalid_signature").await;

    let mut changed = good.clone();
    changed.target = "/sdk/token?more=1".to_owned();
    refused(&kit, &router, &changed, 401, "invalid_signature").await;

    let mut changed = good.clone();
    changed.headers.insert(header::TIMESTAMP, HeaderValue::from(now() + 1));
    changed.headers.insert(header::NONCE, HeaderValue::from_static("00000000000000000000000000000000"));
    refused(&kit, &router, &changed, 401, "invalid_signature").await;

    for name in [header::API_KEY, header::SIGNATURE, header::TIMESTAMP, header::NONCE, header::CONTENT_SHA256]
    {
        let mut missing = good.clone();
        missing.headers.remove(&name);
        refused(&kit, &router, &missing, 401, "signature_required").await;
        let mut twice = good.clone();
        let value = twice.headers[&name].clone();
        twice.headers.append(&name, value);
        refused(&kit, &router, &twice, 401, "signature_required").await;
    }

    // The untouched request is good, once.
    let answer = send(&router, &good).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    refused(&kit, &router, &good, 401, "nonce_replayed").await;
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn actor_headers_can_be_neither_stripped_nor_added() {
    let kit = TestVault::start().await.unwrap();
    let router = kit.vault().router();
    let named = [(header::CALLER, "mailer"), (header::CALLER_TYPE, "service")];
    let good = sign_at(&kit.app_key(), "/sdk/token", &token_body(&kit), now(), &named);

    let mut stripped = good.clone();
    for name in [header::CALLER, header::CALLER_TYPE, header::SIGNATURE_V2] {
        stripped.headers.remove(&name);
    }
    refused(&kit, &router, &stripped, 401, "invalid_signature").await;

    let mut stripped = good.clone();
    stripped.headers.remove(header::SIGNATURE_V2);
    refused(&kit, &router, &stripped, 401, "invalid_signature").await;

    let mut other = good.clone();
    other.headers.insert(header::CALLER, HeaderValue::from_static("payroll"));
    refused(&kit, &router, &other, 401, "invalid_signature").await;

    let mut added = signed(&kit.app_key(), "/sdk/token", &token_body(&kit));
    added.headers.insert(header::CALLER, HeaderValue::from_static("payroll"));
    refused(&kit, &router, &added, 401, "invalid_signature").await;
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn a_request_from_another_time_is_refused() {
    let kit = TestVault::start().await.unwrap();
    let router = kit.vault().router();
    for skew in [-400, 400, -100_000_000] {
        let late = sign_at(&kit.app_key(), "/sdk/token", &token_body(&kit), now() + skew, &[]);
        refused(&kit, &router, &late, 401, "timestamp_out_of_window").await;
    }
    for skew in [-250, 250] {
        let good = sign_at(&kit.app_key(), "/sdk/token", &token_body(&kit), now() + skew, &[]);
        assert_eq!(send(&router, &good).await.status, 200);
    }
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn a_key_that_is_unknown_expired_revoked_or_suspended_is_refused() {
    let kit = TestVault::start().await.unwrap();
    let (router, admin, app) = (kit.vault().router(), kit.admin(), kit.app_id());

    let stranger = ApiKey::mint(KeyKind::Runtime).unwrap();
    refused(&kit, &router, &signed(&stranger, "/sdk/token", &token_body(&kit)), 401, "invalid_key").await;

    let minted = admin.create_key(app, KeyRequest::named("soon over")).await.unwrap();
    let body = token_body(&kit);
    assert_eq!(send(&router, &signed(&minted.key, "/sdk/token", &body)).await.status, 200);
    let past = Timestamp::now().checked_sub(SignedDuration::from_secs(1)).unwrap();
    admin.set_key_expiry(app, minted.record.id, Some(past)).await.unwrap();
    refused(&kit, &router, &signed(&minted.key, "/sdk/token", &body), 401, "key_expired").await;

    let minted = admin.create_key(app, KeyRequest::named("revoked")).await.unwrap();
    assert_eq!(send(&router, &signed(&minted.key, "/sdk/token", &body)).await.status, 200);
    admin.revoke_key(app, minted.record.id).await.unwrap();
    refused(&kit, &router, &signed(&minted.key, "/sdk/token", &body), 401, "key_revoked").await;
    // Also when the body would be refused: a revoked key learns nothing.
    refused(&kit, &router, &signed(&minted.key, "/sdk/token", &json!([])), 401, "key_revoked").await;

    let minted =
        admin.create_key(app, KeyRequest::named("narrow").scopes([Scope::GrantsRead])).await.unwrap();
    refused(&kit, &router, &signed(&minted.key, "/sdk/token", &body), 403, "insufficient_scope").await;

    admin.set_app_status(app, AppStatus::Suspended).await.unwrap();
    refused(&kit, &router, &signed(&kit.app_key(), "/sdk/token", &body), 401, "key_not_active").await;
    admin.set_app_status(app, AppStatus::Active).await.unwrap();
    assert_eq!(send(&router, &signed(&kit.app_key(), "/sdk/token", &body)).await.status, 200);
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn an_agent_that_is_paused_or_revoked_or_speaks_for_another_is_refused() {
    let kit = TestVault::start().await.unwrap();
    let (router, admin, app) = (kit.vault().router(), kit.admin(), kit.app_id());
    let agent = kit.ready().agent.id;
    let body = json!({
        "provider_id": "sandbox-key",
        "reason": null,
        "request": {"method": "GET", "url": format!("{}/me", kit.api_url())},
    });
    assert_eq!(send(&router, &signed(&kit.agent_key(), "/sdk/token", &body)).await.status, 200);

    let other = admin.create_agent(app, "other").await.unwrap();
    let other_id = other.id.to_string();
    let speaks = [(header::CALLER, other_id.as_str()), (header::CALLER_TYPE, "agent")];
    let wrong = sign_at(&kit.agent_key(), "/sdk/token", &body, now(), &speaks);
    refused(&kit, &router, &wrong, 400, "caller_agent_mismatch").await;

    let nobody = uuid::Uuid::new_v4().to_string();
    let speaks = [(header::CALLER, nobody.as_str()), (header::CALLER_TYPE, "agent")];
    let wrong = sign_at(&kit.app_key(), "/sdk/token", &body, now(), &speaks);
    refused(&kit, &router, &wrong, 404, "caller_agent_unresolved").await;

    admin.set_agent_status(app, agent, AgentStatus::Inactive).await.unwrap();
    refused(&kit, &router, &signed(&kit.agent_key(), "/sdk/token", &body), 401, "agent_inactive").await;
    admin.set_agent_status(app, agent, AgentStatus::Revoked).await.unwrap();
    refused(&kit, &router, &signed(&kit.agent_key(), "/sdk/token", &body), 401, "agent_revoked").await;
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn a_users_token_that_is_forged_expired_or_meant_for_others_is_refused() {
    let kit = TestVault::start().await.unwrap();
    let router = kit.vault().router();
    let honest = || TokenRequest::subject("user-1");
    let hostile = [
        ("alg none", kit.sandbox().mint(honest().algorithm(TokenAlgorithm::None))),
        ("the public key as an HMAC secret", kit.sandbox().mint(honest().algorithm(TokenAlgorithm::Hs256))),
        ("wrong issuer", kit.sandbox().mint(honest().issuer("https://elsewhere.example.test"))),
        ("wrong audience", kit.sandbox().mint(honest().audience("another-service"))),
        ("expired", kit.sandbox().mint(honest().ttl(-60))),
        ("not valid yet", kit.sandbox().mint(honest().not_before(600))),
        ("unknown key", kit.sandbox().mint(honest().kid("nobody"))),
        ("forged", kit.sandbox().mint(honest().forged())),
        ("no expiry", kit.sandbox().mint(honest().without("exp"))),
        ("critical header", kit.sandbox().mint(honest().header("crit", json!(["exp"])))),
        ("oversized", kit.sandbox().mint(honest().claim("pad", json!("x".repeat(9_000))))),
        ("not a token", "two words".to_owned()),
        ("empty", String::new()),
    ];
    for (what, token) in hostile {
        let mut body = token_body(&kit);
        body["user_token"] = json!(token);
        println!("{what}");
        let attack = signed(&kit.app_key(), "/sdk/token", &body);
        refused(&kit, &router, &attack, 401, "jwt_validation_error").await;
        let attack = signed(&kit.app_key(), "/sdk/auth/verify-token", &json!({"token": token}));
        refused(&kit, &router, &attack, 401, "jwt_validation_error").await;
    }
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn a_users_token_is_worth_nothing_without_an_identity_provider_and_waits_for_keys() {
    let kit = TestVault::start().await.unwrap();
    let router = kit.vault().router();
    kit.admin().remove_idp(kit.app_id()).await.unwrap();
    let call = signed(&kit.app_key(), "/sdk/token", &token_body(&kit));
    refused(&kit, &router, &call, 401, "jwt_validation_error").await;
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn a_user_reaches_nobody_elses_grant() {
    let kit = TestVault::start().await.unwrap();
    let router = kit.vault().router();
    let theirs = kit.grants("user-2")[0].grant_id;
    let mut body = token_body(&kit);
    body.as_object_mut().unwrap().remove("provider_id");
    body["grant_id"] = json!(theirs);
    refused(&kit, &router, &signed(&kit.app_key(), "/sdk/token", &body), 404, "grant_not_found").await;
    let revoke = format!("/sdk/oauth/grants/{theirs}/revoke");
    let body = json!({"user_token": kit.mint("user-1")});
    refused(&kit, &router, &signed(&kit.app_key(), &revoke, &body), 404, "grant_not_found").await;
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn a_credential_is_not_released_for_another_host() {
    let kit = TestVault::start().await.unwrap();
    let router = kit.vault().router();
    let here = kit.api_url();
    let address = kit.sandbox().addr();
    for url in [
        "https://evil.example/me".to_owned(),
        format!("http://user:pw@{address}/me"),
        format!("http://{address}\\@evil.example/me"),
        format!("http://{address}@evil.example/"),
        format!("{here}/../control"),
        format!("{here}/%2e%2e/control"),
        format!("{here}/a b"),
        format!("{here}/a\tb"),
        format!("http://{}:1/me", address.ip()),
        format!("http:{address}/me?://{address}/"),
        format!("http:user:pw@{address}/me?://{address}/"),
        format!("http:///{address}/me"),
        String::new(),
        "/me".to_owned(),
    ] {
        let mut body = token_body(&kit);
        body["request"]["url"] = json!(url);
        refused(&kit, &router, &signed(&kit.app_key(), "/sdk/token", &body), 422, "blocked_destination")
            .await;
    }
    let mut body = token_body(&kit);
    body["request"] = json!(null);
    refused(&kit, &router, &signed(&kit.app_key(), "/sdk/token", &body), 422, "blocked_destination").await;
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn a_narrowing_that_cannot_be_honoured_is_refused() {
    let kit = TestVault::start().await.unwrap();
    let router = kit.vault().router();
    for (name, value, status, code) in [
        (header::SCOPE_CONSTRAINTS, "grants:read", 403, "insufficient_scope"),
        (header::SCOPE_CONSTRAINTS, "everything", 400, "constraint_not_narrowing"),
        (header::REQUEST_RULE, "e30", 400, "constraint_not_narrowing"),
    ] {
        let attack = sign_at(&kit.app_key(), "/sdk/token", &token_body(&kit), now(), &[(name, value)]);
        refused(&kit, &router, &attack, status, code).await;
    }
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn a_body_that_is_odd_or_too_large_is_refused() {
    let kit = TestVault::start().await.unwrap();
    let router = kit.vault().router();
    for body in
        [json!({}), json!([]), json!({"grant_id": "x", "provider_id": "y"}), json!({"provider_id": 7})]
    {
        refused(&kit, &router, &signed(&kit.app_key(), "/sdk/token", &body), 400, "invalid_request").await;
    }
    let mut huge = token_body(&kit);
    huge["reason"] = json!("x".repeat(1024 * 1024));
    refused(&kit, &router, &signed(&kit.app_key(), "/sdk/token", &huge), 413, "body_too_large").await;
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn strangers_cannot_fill_the_trail() {
    let kit = TestVault::start().await.unwrap();
    let router = kit.vault().router();
    let stranger = ApiKey::mint(KeyKind::Runtime).unwrap();
    for _ in 0..200 {
        let attack = signed(&stranger, "/sdk/token", &json!({}));
        assert_eq!(send(&router, &attack).await.code(), "invalid_key");
    }
    let rows = refusals(&kit, "invalid_key").await;
    assert!((1..200).contains(&rows), "{rows}");
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn a_key_over_its_limit_is_told_when_to_come_back() {
    let kit = TestVault::start().await.unwrap();
    let router = kit.vault().router();
    let request = KeyRequest::named("slow").rate_limit_per_minute(2);
    let minted = kit.admin().create_key(kit.app_id(), request).await.unwrap();
    for left in ["1", "0"] {
        let answer = send(&router, &signed(&minted.key, "/sdk/grants/list", &json!({}))).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["x-ratelimit-limit"], "2");
        assert_eq!(answer.headers["x-ratelimit-remaining"], left);
    }
    let rows = refusals(&kit, "rate_limit_exceeded").await;
    let answer = send(&router, &signed(&minted.key, "/sdk/grants/list", &json!({}))).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (429, "rate_limit_exceeded"));
    assert_eq!(answer.body["scope"], "api_key");
    assert_eq!((&answer.body["limit"], &answer.body["window_seconds"]), (&json!(2), &json!(60)));
    let wait: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait) && answer.body["retry_after"] == json!(wait));
    assert_eq!(refusals(&kit, "rate_limit_exceeded").await, rows + 1);
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn without_the_issuers_keys_nobody_is_let_in_and_everybody_is_asked_to_wait() {
    let kit = TestVault::start().await.unwrap();
    let router = kit.vault().router();
    kit.sandbox().set_faults(Faults::default().jwks_status(500));
    let call = signed(&kit.app_key(), "/sdk/token", &token_body(&kit));
    refused(&kit, &router, &call, 503, "service_unavailable").await;
    let answer = send(&router, &signed(&kit.app_key(), "/sdk/token", &token_body(&kit))).await;
    assert!(answer.headers.contains_key("retry-after"));
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn a_change_of_the_configuration_counts_for_the_very_next_call() {
    let kit = TestVault::start().await.unwrap();
    let router = kit.vault().router();
    let call = async || send(&router, &signed(&kit.app_key(), "/sdk/token", &token_body(&kit))).await;
    assert_eq!(call().await.status, 200);
    let idp = kit.admin().app_config(kit.app_id()).await.unwrap().idp.unwrap();

    // Of another process, as the command line is: nothing is shared but the folder.
    let beside = Vault::open(VaultConfig::new(kit.data_dir())).await.unwrap();
    let operator = beside.admin("beside");
    let stricter = IdpConfig { audiences: vec!["another".to_owned()], ..idp.clone() };
    operator.set_idp(kit.app_id(), stricter).await.unwrap();
    assert_eq!(call().await.code(), "jwt_validation_error");
    operator.set_idp(kit.app_id(), idp).await.unwrap();
    assert_eq!(call().await.status, 200);
    operator.revoke_grant(kit.app_id(), kit.grants("user-1")[0].grant_id, None).await.unwrap();
    assert_eq!(call().await.code(), "grant_revoked");
    beside.close().await.unwrap();
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn keys_turn_while_calls_are_served() {
    let kit = TestVault::start().await.unwrap();
    let router = kit.vault().router();
    let call = async || send(&router, &signed(&kit.app_key(), "/sdk/token", &token_body(&kit))).await;
    let before = call().await.body;

    let beside = Vault::open(VaultConfig::new(kit.data_dir())).await.unwrap();
    let rotated = beside.admin("beside").rotate_keys().await.unwrap();
    assert!(rotated.changed > 0 && rotated.seen >= rotated.changed);
    beside.close().await.unwrap();

    // The serving process meets a key that it does not know yet, and finds it in the file.
    let after = call().await;
    assert_eq!(after.status, 200, "{:?}", after.body);
    assert_eq!(after.body["access_token"], before["access_token"]);
    let again = kit.admin().reseal().await.unwrap();
    assert_eq!((again.writing_key, again.changed), (rotated.writing_key, 0));
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn a_report_with_an_absurd_number_does_not_break_the_trail() {
    let kit = TestVault::start().await.unwrap();
    let router = kit.vault().router();
    let report = json!({
        "grant_id": kit.grants("user-1")[0].grant_id, "provider_id": "sandbox", "method": "GET",
        "url": "https://api.example.test/x", "response_status": 200, "response_body": "", "latency_ms": u64::MAX,
    });
    let answer = send(&router, &signed(&kit.app_key(), "/sdk/oauth/audit/api-call", &report)).await;
    assert_eq!(answer.status, 204, "{:?}", answer.body);
    let report = kit.admin().verify_audit(AuditVerifyScope::Everything).await.unwrap();
    assert!(report.ok(), "{report:?}");
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn a_lost_user_is_not_taken_for_no_user() {
    let kit = TestVault::start().await.unwrap();
    let router = kit.vault().router();
    let secret = &kit.ready().managed_secret;
    let request = json!({"method": "GET", "url": format!("{}/me", kit.api_url())});
    // The app's own grant, which the same call without the member may use.
    let mut body = json!({"grant_id": secret.grant_id, "request": request});
    assert_eq!(send(&router, &signed(&kit.app_key(), "/sdk/token", &body)).await.status, 200);
    body["user_token"] = json!(null);
    refused(&kit, &router, &signed(&kit.app_key(), "/sdk/token", &body), 400, "invalid_request").await;
    body["user_token"] = json!("");
    refused(&kit, &router, &signed(&kit.app_key(), "/sdk/token", &body), 401, "jwt_validation_error").await;
    let body = json!({"user_token": null});
    refused(&kit, &router, &signed(&kit.app_key(), "/sdk/grants/list", &body), 400, "invalid_request").await;
    let path = format!("/sdk/oauth/grants/{}/revoke", secret.grant_id);
    refused(&kit, &router, &signed(&kit.app_key(), &path, &body), 400, "invalid_request").await;
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn a_member_that_comes_twice_is_refused() {
    let kit = TestVault::start().await.unwrap();
    let router = kit.vault().router();
    let good = token_body(&kit).to_string();
    for twice in [
        format!("{},\"user_token\":\"{}\"}}", &good[..good.len() - 1], kit.mint("user-2")),
        format!("{},\"provider_id\":\"sandbox\"}}", &good[..good.len() - 1]),
    ] {
        let call = sign_bytes(&kit.app_key(), "/sdk/token", twice.into_bytes(), now(), &[]);
        refused(&kit, &router, &call, 400, "invalid_request").await;
    }
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn a_path_that_is_signed_in_one_spelling_is_not_routed_in_another() {
    let kit = TestVault::start().await.unwrap();
    let router = kit.vault().router();
    for odd in [
        "/sdk/%74oken",
        "//sdk/token",
        "/sdk/token/",
        "/sdk//token",
        "/sdk/./token",
        "/sdk%2Ftoken",
        "/SDK/token",
    ] {
        let released = releases(&kit).await;
        let answer = send(&router, &signed(&kit.app_key(), odd, &token_body(&kit))).await;
        assert_eq!(answer.status, 404, "{odd}");
        assert_eq!(releases(&kit).await, released, "{odd}");
    }
    let mut other = signed(&kit.app_key(), "/sdk/token", &token_body(&kit));
    other.method = http::Method::PUT;
    assert_eq!(send(&router, &other).await.status, 405);
    kit.stop().await.unwrap();
}

#[tokio::test]
async fn a_part_of_an_unsigned_prefix_names_no_grant() {
    let kit = TestVault::start().await.unwrap();
    let mounted = Router::new().nest("/tenants/{id}", kit.vault().router());
    let (signed_for, other) = (kit.grants("user-1")[0].grant_id, kit.grants("user-2")[0].grant_id);
    let path = format!("/sdk/oauth/grants/{signed_for}/revoke");
    let mut call = signed(&kit.app_key(), &path, &json!({}));
    call.target = format!("/tenants/{other}{path}");
    let answer = send(&mounted, &call).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    assert_eq!(answer.body["grant_id"], json!(signed_for));
    kit.stop().await.unwrap();
}

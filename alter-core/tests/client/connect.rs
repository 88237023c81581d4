//! Connect sessions: what is sent, how the end is awaited, what each end means (spec/03 §1).

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use alter_core::{
    Agent, App, ConnectBuilder, ConnectEvent, ConnectProgress, ConnectSession, Error, Kind, Retry,
    error::{Auth, Conflict, Connect, ConnectTimeout, Grant, InvalidInput, Throttle},
    wire::{connect::ConnectSessionRequest, secret::SecretText},
};
use axum::response::Response;
use http::StatusCode;
use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::fixture::{AGENT_KEY, GRANT, KEY, Stub, app, in_process, json_response, token, verify};

const SESSION: &str = "/sdk/oauth/connect/session";
const POLL: &str = "/sdk/oauth/connect/session/poll";
const URL: &str = "https://vault.example/pre/sdk/oauth/connect#session=canary-session-4711";

fn made() -> Value {
    json!({
        "session_token": "canary-session-4711", "connect_url": URL, "expires_in": 600,
        "expires_at": "2026-01-01T00:10:00Z", "single_provider": true, "more": 1,
    })
}

fn grant() -> Value {
    json!({"grant_id": GRANT, "provider_id": "google", "scopes": ["a"], "account_identifier": "ann@example.com"})
}

/// An answer; `Retry-After` where it is not zero.
#[derive(Clone)]
struct Answer(u16, Value, u64);

impl Answer {
    fn response(&self) -> Response {
        let mut response = json_response(self.0, &self.1);
        if self.2 > 0 {
            response.headers_mut().insert("retry-after", self.2.into());
        }
        response
    }
}

fn ok(body: Value) -> Answer {
    Answer(200, body, 0)
}

fn pending() -> Answer {
    ok(json!({"status": "pending"}))
}

fn done() -> Answer {
    ok(json!({"status": "completed", "grants": [grant()]}))
}

fn failed(code: &str) -> Answer {
    ok(
        json!({"status": "error", "error": {"error_code": code, "error_message": "m", "retry_after_seconds": 7}}),
    )
}

/// A vault that makes one session and then answers polls in turn, the last answer again and again.
fn vault(polls: Vec<Answer>) -> Stub {
    let turn = Arc::new(Mutex::new(0));
    Stub::new(move |seen| {
        verify(&seen, KEY);
        assert!(seen.header("x-alter-context").is_none());
        let answer = if seen.target == POLL {
            assert_eq!(seen.json(), json!({"session_token": "canary-session-4711"}));
            let mut turn = turn.lock().unwrap();
            let at = (*turn).min(polls.len() - 1);
            *turn += 1;
            polls[at].clone()
        } else {
            assert_eq!(seen.target, SESSION);
            ok(made())
        };
        async move { answer.response() }
    })
}

async fn session(vault: &Stub) -> ConnectSession {
    app(vault).connect_session().as_app().create().await.unwrap()
}

async fn waited(polls: Vec<Answer>) -> (Result<String, Error>, usize, Duration) {
    let vault = vault(polls);
    let session = session(&vault).await;
    let began = Instant::now();
    let outcome = session.wait().await.map(|connected| connected.grant().grant_id.clone());
    (outcome, vault.got(POLL).len(), began.elapsed())
}

fn body(vault: &Stub) -> String {
    String::from_utf8(vault.only(SESSION).body.to_vec()).unwrap()
}

#[tokio::test]
async fn the_smallest_session_has_four_nulls() {
    let vault = vault(vec![pending()]);
    let session = session(&vault).await;
    assert_eq!(
        body(&vault),
        r#"{"allowed_providers":null,"return_url":null,"allowed_origin":null,"metadata":null}"#
    );
    assert_eq!(session.url(), URL);
    assert_eq!(session.token().expose(), "canary-session-4711");
    assert_eq!(session.base_url(), "https://vault.example/pre");
    assert_eq!(session.expires_in(), Duration::from_secs(600));
    assert!(session.single_provider() && !session.direct());
    assert!(!format!("{session:?} {:?}", session.handle()).contains("canary"));
}

#[tokio::test]
async fn every_setting_arrives_where_the_protocol_wants_it() {
    let vault = vault(vec![pending()]);
    let cookie = "a-cookie-value-of-32-characters!";
    app(&vault)
        .for_user(token("jwt"))
        .connect_session()
        .providers([" Google "])
        .return_url("https://shop.example/done")
        .allowed_origin("https://shop.example")
        .metadata_ip([192, 0, 2, 1].into())
        .metadata_user_agent("Browser\n/1")
        .direct()
        .switch_account()
        .without_user_rules()
        .max_ttl(Duration::from_secs(3_600))
        .default_ttl(Duration::from_secs(60))
        .required_scopes("google", ["calendar"])
        .label("work")
        .allowed_methods(["GET"])
        .agent("helper")
        .delegable(false)
        .scope_constraint(["calendar"])
        .browser_binding(cookie)
        .create()
        .await
        .unwrap();
    assert_eq!(
        body(&vault),
        concat!(
            r#"{"allowed_providers":[" Google "],"return_url":"https://shop.example/done","#,
            r#""allowed_origin":"https://shop.example","#,
            r#""metadata":{"ip_address":"192.0.2.1","user_agent":"Browser/1"},"direct":true,"switch_account":true,"#,
            r#""allow_user_policy_rules":false,"grant_policy":{"max_ttl_seconds":3600,"default_ttl_seconds":60},"#,
            r#""required_scopes":{"google":["calendar"]},"#,
            r#""requested_grant":{"label":"work","restrictions":{"allowed_methods":["GET"]}},"#,
            r#""agent":"helper","delegable":false,"scope_constraint":["calendar"],"user_token":"jwt","#,
            r#""browser_binding":"BINDING"}"#,
        )
        .replace("BINDING", &sha256(cookie))
    );
}

fn sha256(text: &str) -> String {
    hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()))
}

#[tokio::test]
async fn a_session_is_a_users_unless_it_says_otherwise() {
    let vault = vault(vec![pending()]);
    let app = app(&vault);
    let lost = app.connect_session().provider("google").create().await.unwrap_err();
    assert_eq!(lost.kind(), &Kind::Auth(Auth::NoIdentity));
    assert!(vault.seen().is_empty(), "a lost user must not make the account the application's own");
    app.scope(token("jwt"), app.connect_session().provider("google").create()).await.unwrap();
    assert_eq!(vault.only(SESSION).json()["user_token"], "jwt");
    let both = app.for_user(token("jwt")).connect_session().as_app().create().await.unwrap_err();
    assert_eq!(both.kind(), &Kind::InvalidInput(InvalidInput::UserToken));
}

#[tokio::test]
async fn a_setting_that_breaks_a_bound_is_refused_before_anything_is_sent() {
    let vault = vault(vec![pending()]);
    let app = app(&vault);
    type Setting = fn(ConnectBuilder) -> ConnectBuilder;
    let refusals: [(&str, Setting); 15] = [
        ("allowed_providers", |s| s.providers(Vec::<String>::new())),
        ("allowed_providers", |s| s.provider(" ")),
        ("direct", |s| s.providers(["a", "b"]).direct()),
        ("return_url", |s| s.return_url("javascript:alert(1)")),
        ("allowed_origin", |s| s.allowed_origin("https://shop.example/cart")),
        ("grant_policy", |s| s.max_ttl(Duration::from_millis(999))),
        ("required_scopes", |s| s.required_scopes("google", ["a b"])),
        ("requested_grant.label", |s| s.label("")),
        ("requested_grant.label", |s| s.allowed_methods(["GET"])),
        ("not a UUID", |s| s.provider("google").repair("nope")),
        ("repair_grant_id", |s| s.repair(GRANT)),
        ("repair_grant_id", |s| s.provider("google").repair(GRANT).label("x")),
        ("agent", |s| s.agent("helper")),
        ("scope_constraint", |s| s.scope_constraint(["*"])),
        ("browser binding", |s| s.browser_binding("short")),
    ];
    for (named, refuse) in refusals {
        let error = refuse(app.connect_session().as_app()).create().await.unwrap_err();
        assert_eq!(error.kind(), &Kind::InvalidInput(InvalidInput::Session), "{named}");
        assert!(error.to_string().contains(named), "{named}: {error}");
    }
    assert!(vault.seen().is_empty());
}

#[tokio::test]
async fn what_the_vault_refuses_has_its_kind() {
    let config = Kind::Connect(Connect::Configuration);
    for (status, code, kind) in [
        (409, "managed_oauth_scope_approval_required", config),
        (404, "agent_not_found", Kind::Auth(Auth::Agent)),
        (404, "caller_agent_unresolved", Kind::Auth(Auth::Caller)),
        (404, "whatever", Kind::Grant(Grant::NotFound)),
        (400, "caller_agent_mismatch", Kind::Auth(Auth::Caller)),
        (400, "agent_requires_user_token", Kind::Backend),
        (400, "scope_not_allowed", Kind::Backend),
        (400, "agent_cannot_delegate_to_other_agent", Kind::Backend),
        (422, "invalid_scope_constraint", Kind::Backend),
        (401, "jwt_validation_error", Kind::Auth(Auth::UserToken)),
        (402, "grant_limit_exceeded", Kind::Backend),
        (503, "service_unavailable", Kind::Backend),
    ] {
        let vault = Stub::new(move |_| async move { Answer(status, json!({"error": code}), 9).response() });
        let error = app(&vault).connect_session().as_app().create().await.unwrap_err();
        assert_eq!((error.kind(), error.code().unwrap().as_str()), (&kind, code));
        assert_eq!(error.retry_after().is_some(), status == 503, "{code}");
        assert_eq!(vault.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_page_that_is_no_web_page_is_not_followed() {
    for url in ["file:///etc/passwd", "javascript:alert(1)", "calculator:", "http://vault.example/", "/x", ""]
    {
        let vault = Stub::new(move |_| async move {
            let mut answer = made();
            answer["connect_url"] = json!(url);
            json_response(200, &answer)
        });
        let error = app(&vault).connect_session().as_app().create().await.unwrap_err();
        assert_eq!(error.kind(), &Kind::Malformed, "{url}");
    }
}

#[tokio::test]
async fn a_widget_without_a_page_of_the_vault_gets_the_vaults_address() {
    let vault = Stub::new(|_| async {
        let mut answer = made();
        answer["connect_url"] = json!("https://pages.example/c#session=x");
        json_response(200, &answer)
    });
    let app = App::builder(KEY)
        .backend(in_process(&vault))
        .backend_url("https://api.example/pre/")
        .reqwest(reqwest::ClientBuilder::no_proxy)
        .build()
        .unwrap();
    let session = app.connect_session().as_app().create().await.unwrap();
    assert_eq!(session.base_url(), "https://api.example/pre");
}

#[tokio::test(start_paused = true)]
async fn the_end_is_awaited_with_a_poll_every_two_seconds() {
    let (outcome, polls, took) = waited(vec![pending(), pending(), done()]).await;
    assert_eq!((outcome.unwrap().as_str(), polls, took.as_secs()), (GRANT, 3, 4));
}

#[tokio::test(start_paused = true)]
async fn one_last_poll_is_made_at_the_deadline() {
    let vault = vault(vec![pending()]);
    let session = session(&vault).await;
    let wait = session.wait().timeout(Duration::from_millis(300)).interval(Duration::from_millis(100));
    let error = wait.await.unwrap_err();
    assert_eq!(vault.got(POLL).len(), 4);
    let Kind::Connect(Connect::TimedOut { reason, .. }) = error.kind() else { panic!("{error:?}") };
    assert_eq!((*reason, error.retry()), (ConnectTimeout::Deadline, Retry::AfterUserAction));
    for wait in [session.wait().timeout(Duration::ZERO), session.wait().interval(Duration::ZERO)] {
        assert_eq!(wait.await.unwrap_err().kind(), &Kind::InvalidInput(InvalidInput::Session));
    }
}

#[tokio::test(start_paused = true)]
async fn each_end_of_a_session_has_its_kind() {
    let flow = || Kind::Connect(Connect::Flow { failed: vec![] });
    for (code, kind, retry) in [
        ("connect_denied", Kind::Connect(Connect::Denied), Retry::AfterUserAction),
        ("connect_config_error", Kind::Connect(Connect::Configuration), Retry::Never),
        ("invalid_redirect_uri", Kind::Connect(Connect::Configuration), Retry::Never),
        ("invalid_client", Kind::Connect(Connect::Configuration), Retry::Never),
        ("unauthorized_client", Kind::Connect(Connect::Configuration), Retry::Never),
        ("provider_configuration_unavailable", Kind::Connect(Connect::Configuration), Retry::Never),
        ("shared_dev_credential_unavailable", Kind::Connect(Connect::Configuration), Retry::Never),
        ("managed_oauth_scope_approval_required", Kind::Connect(Connect::Configuration), Retry::Never),
        ("service_unavailable", Kind::Backend, Retry::AfterBackoff),
        ("identity_provider_inactive", Kind::Conflict(Conflict::Other), Retry::Never),
        ("identity_group_name_ambiguous", Kind::Conflict(Conflict::Other), Retry::Never),
        ("anything_else", flow(), Retry::AfterUserAction),
    ] {
        // It is the session's end, even where the same word from the exchange would be tried again.
        let (outcome, polls, _) = waited(vec![failed(code), done()]).await;
        let error = outcome.unwrap_err();
        assert_eq!((error.kind(), error.retry(), polls), (&kind, retry, 1), "{code}");
        assert_eq!(error.code().unwrap().as_str(), code);
        let status = error.status().map(|status| status.as_u16());
        match code {
            "service_unavailable" => {
                assert_eq!((status, error.retry_after()), (Some(503), Some(Duration::from_secs(7))));
            }
            _ => assert_eq!(status, matches!(kind, Kind::Conflict(_)).then_some(409), "{code}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_session_and_an_expired_one_are_told_apart() {
    let expired = || ok(json!({"status": "expired"}));
    let unknown = waited(vec![expired()]).await.0.unwrap_err();
    assert_eq!(unknown.kind(), &Kind::Connect(Connect::Flow { failed: vec![] }));
    let declining = ok(json!({"status": "pending", "declined_providers": [
        {"provider_id": "slack", "error_code": "connect_denied", "declined_at": "t"},
        {"provider_id": "gh", "error_code": "connect_denied"}]}));
    let error = waited(vec![declining, pending(), expired()]).await.0.unwrap_err();
    let Kind::Connect(Connect::TimedOut { reason, declined }) = error.kind() else { panic!("{error:?}") };
    assert_eq!(*reason, ConnectTimeout::SessionExpired);
    let ids: Vec<_> = declined.iter().map(|declined| declined.provider_id.as_str()).collect();
    assert_eq!(ids, ["gh", "slack"]);
}

#[tokio::test(start_paused = true)]
async fn a_session_without_a_grant_is_no_success() {
    let completed = |failed: Value| ok(json!({"status": "completed", "failed_grants": failed}));
    for (reason, code) in [
        ("not_selected", "grant_activation_failed"),
        ("activation_failed", "grant_activation_failed"),
        ("too_long", "grant_policy_application_failed"),
    ] {
        let list = json!([{"provider_id": "google", "reason": reason, "message": "m"}]);
        let error = waited(vec![completed(list)]).await.0.unwrap_err();
        let Kind::Connect(Connect::Flow { failed }) = error.kind() else { panic!("{error:?}") };
        assert_eq!((failed[0].reason.as_str(), error.code().unwrap().as_str()), (reason, code));
    }
    let neither = waited(vec![ok(json!({"status": "completed"}))]).await.0.unwrap_err();
    assert_eq!(neither.kind(), &Kind::Malformed);
    let odd = waited(vec![ok(json!({"status": "odd"})), done()]).await.0.unwrap_err();
    assert_eq!((odd.kind(), odd.retry()), (&Kind::Connect(Connect::Flow { failed: vec![] }), Retry::Never));
    let broken = waited(vec![ok(json!({"status": "completed", "grants": null}))]).await.0.unwrap_err();
    assert_eq!(broken.kind(), &Kind::Malformed);
}

#[tokio::test(start_paused = true)]
async fn what_came_about_and_what_did_not_are_both_told() {
    let vault = vault(vec![ok(json!({
        "status": "completed", "grants": [grant(), grant()],
        "failed_grants": [{"provider_id": "slack", "reason": "not_selected", "message": "m"}],
    }))]);
    let session = session(&vault).await;
    let ConnectProgress::Connected(connected) = session.poll().await.unwrap() else { panic!() };
    assert_eq!((connected.grants().len(), connected.failed().len()), (2, 1));
    assert_eq!(connected.grant().account_identifier.as_deref(), Some("ann@example.com"));
    assert!(!format!("{connected:?}").contains("ann@"));
    assert_eq!(session.wait().await.unwrap(), connected, "the end can be had again");
}

#[tokio::test(start_paused = true)]
async fn a_throttle_is_waited_out_as_the_vault_says() {
    let busy = |after| Answer(429, json!({"error": "rate_limit_exceeded"}), after);
    let (outcome, polls, took) = waited(vec![busy(7), busy(0), done()]).await;
    assert!(outcome.is_ok());
    assert_eq!((polls, took.as_secs()), (3, 9));
    let (outcome, polls, took) = waited(vec![busy(200)]).await;
    let error = outcome.unwrap_err();
    assert_eq!((polls, took.as_secs()), (3, 300));
    let Kind::Connect(Connect::TimedOut { reason, .. }) = error.kind() else { panic!("{error:?}") };
    assert_eq!(*reason, ConnectTimeout::Throttled);
    assert_eq!((error.retry(), error.retry_after()), (Retry::AfterBackoff, Some(Duration::from_secs(200))));
}

#[tokio::test(start_paused = true)]
async fn another_429_ends_the_waiting() {
    let (outcome, polls, _) =
        waited(vec![Answer(429, json!({"error": "billing_quota_exceeded"}), 1), done()]).await;
    assert_eq!((outcome.unwrap_err().kind(), polls), (&Kind::Throttled(Throttle::Other), 1));
    let (outcome, polls, _) = waited(vec![Answer(429, json!({"error": "quota_exceeded"}), 1), done()]).await;
    assert_eq!((outcome.unwrap_err().kind(), polls), (&Kind::Throttled(Throttle::Quota), 1));
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_may_pass_does_not_end_the_waiting() {
    let down = |status| Answer(status, json!({"error": "internal_error"}), 0);
    let (outcome, polls, took) =
        waited(vec![down(500), down(502), down(503), down(504), down(500), done()]).await;
    assert!(outcome.is_ok());
    assert_eq!((polls, took.as_secs()), (6, 2 + 4 + 8 + 16 + 30));
    let (outcome, polls, _) = waited(vec![down(503)]).await;
    let error = outcome.unwrap_err();
    assert_eq!(
        (error.kind(), polls),
        (&Kind::Backend, 6),
        "after five in a row it gives up with the last one"
    );
    let recovering: Vec<_> = (0..20).flat_map(|_| [down(503), pending()]).chain([done()]).collect();
    assert!(waited(recovering).await.0.is_ok(), "they count in a row only");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_ends_the_waiting() {
    for (status, code) in [(401, "invalid_key"), (403, "insufficient_scope"), (400, "invalid_request")] {
        let (outcome, polls, _) = waited(vec![Answer(status, json!({"error": code}), 0), done()]).await;
        assert_eq!((outcome.unwrap_err().code().unwrap().as_str(), polls), (code, 1));
    }
    let redirected = waited(vec![Answer(302, json!({"status": "completed"}), 0)]).await.0.unwrap_err();
    assert_eq!(redirected.kind(), &Kind::Malformed);
}

#[tokio::test(start_paused = true)]
async fn what_happens_meanwhile_is_told_once() {
    let declining = || {
        ok(json!({"status": "pending", "declined_providers": [
            {"provider_id": "slack", "error_code": "connect_denied"}]}))
    };
    let vault = vault(vec![
        declining(),
        declining(),
        Answer(429, json!({"error": "rate_limit_exceeded"}), 9),
        Answer(503, json!({}), 0),
        done(),
    ]);
    let told = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&told);
    let wait = session(&vault).await.wait().on_event(move |event| keep.lock().unwrap().push(event.clone()));
    wait.await.unwrap();
    let told = told.lock().unwrap();
    assert!(matches!(&told[0], ConnectEvent::Declined(declined) if declined.provider_id == "slack"));
    assert_eq!(
        told[1..],
        [
            ConnectEvent::Throttled { pause: Duration::from_secs(9) },
            ConnectEvent::Unreachable { pause: Duration::from_secs(2) },
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_session_is_polled_by_its_token_elsewhere() {
    let vault = vault(vec![done()]);
    let handle = app(&vault).connect_handle(SecretText::from("canary-session-4711"));
    let ConnectProgress::Connected(connected) = handle.poll().await.unwrap() else { panic!() };
    assert_eq!(connected.grant().provider_id, "google");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_wait_asks_no_more_and_a_closed_client_ends_it() {
    let vault = vault(vec![pending()]);
    let app = app(&vault);
    let session = app.connect_session().as_app().create().await.unwrap();
    let five = Duration::from_secs(5);
    assert!(tokio::time::timeout(five, session.wait()).await.is_err());
    let polls = vault.got(POLL).len();
    tokio::time::sleep(five).await;
    assert_eq!((polls, vault.got(POLL).len()), (3, 3));
    let waiting = tokio::spawn(session.wait().into_future());
    tokio::time::sleep(Duration::from_secs(1)).await;
    app.close().await;
    assert_eq!(waiting.await.unwrap().unwrap_err().kind(), &Kind::Closed);
}

#[tokio::test(start_paused = true)]
async fn connecting_gives_the_url_and_then_the_grant() {
    let vault = vault(vec![pending(), done()]);
    let shown = Arc::new(Mutex::new(String::new()));
    let keep = Arc::clone(&shown);
    let connected = app(&vault)
        .connect_session()
        .provider("google")
        .as_app()
        .connect_with(move |url| keep.lock().unwrap().push_str(url))
        .timeout(Duration::from_secs(60))
        .await
        .unwrap();
    assert_eq!(connected.grant().grant_id, GRANT);
    assert_eq!(*shown.lock().unwrap(), URL);
}

fn error_of(status: u16, body: &Value) -> Error {
    Error::from_vault(
        StatusCode::from_u16(status).unwrap(),
        &http::HeaderMap::new(),
        body.to_string().as_bytes(),
    )
}

#[tokio::test]
async fn an_error_leads_to_a_session_in_two_lines() {
    for (status, code, repaired) in [
        (404, "grant_not_found", false),
        (403, "grant_expired", false),
        (403, "grant_revoked", false),
        (410, "grant_deleted", false),
        (403, "credential_revoked", true),
        (400, "credential_revoked", true),
    ] {
        let vault = vault(vec![pending()]);
        let app = app(&vault).for_user(token("jwt"));
        let error = error_of(
            status,
            &json!({"error": code, "provider_id": "google", "grant_id": GRANT, "app_user_id": "u-1"}),
        );
        assert!(error.needs_connection());
        let session = app.connect_session_for(&error).create().await.unwrap();
        assert_eq!(session.url(), URL);
        let sent = vault.only(SESSION).json();
        assert_eq!(sent["allowed_providers"], json!(["google"]), "{code}");
        assert_eq!(sent.get("repair_grant_id").is_some(), repaired, "{code}");
        assert!(sent.get("app_user_id").is_none());
    }
}

#[tokio::test]
async fn an_error_of_an_agent_names_the_agent() {
    let vault = vault(vec![pending()]);
    let app = app(&vault).for_user(token("jwt"));
    let error =
        error_of(404, &json!({"error": "no_delegated_grant", "provider_id": "google", "agent_id": "a-1"}));
    app.connect_session_for(&error).create().await.unwrap();
    assert_eq!(vault.only(SESSION).json()["agent"], "a-1");
    let nameless = error_of(404, &json!({"error": "no_delegated_grant", "provider_id": "google"}));
    let refused = app.connect_session_for(&nameless).create().await.unwrap_err();
    assert_eq!(refused.kind(), &Kind::InvalidInput(InvalidInput::Session));
    assert!(refused.to_string().contains(".agent("), "{refused}");
    app.connect_session_for(&nameless).agent("helper").create().await.unwrap();
}

#[tokio::test]
async fn an_agents_own_client_needs_no_name() {
    let vault = Stub::new(|seen| {
        verify(&seen, AGENT_KEY);
        async { json_response(200, &made()) }
    });
    let agent = Agent::builder(AGENT_KEY)
        .backend(in_process(&vault))
        .reqwest(reqwest::ClientBuilder::no_proxy)
        .build()
        .unwrap();
    let error = error_of(404, &json!({"error": "no_delegated_grant", "provider_id": "google"}));
    agent.connect_session_for(&error).create().await.unwrap();
    assert!(vault.only(SESSION).json().get("agent").is_none());
}

#[tokio::test]
async fn an_error_that_names_no_provider_wants_one_and_another_error_is_refused() {
    let vault = vault(vec![pending()]);
    let app = app(&vault).for_user(token("jwt"));
    let by_id = error_of(403, &json!({"error": "grant_revoked", "grant_id": GRANT}));
    let refused = app.connect_session_for(&by_id).create().await.unwrap_err();
    assert!(refused.to_string().contains(".provider("), "{refused}");
    let other = error_of(403, &json!({"error": "ip_not_allowed", "provider_id": "google"}));
    assert!(!other.needs_connection());
    let refused = app.connect_session_for(&other).create().await.unwrap_err();
    assert_eq!(refused.kind(), &Kind::InvalidInput(InvalidInput::Session));
    assert!(vault.seen().is_empty());
    app.connect_session_for(&by_id).provider("google").create().await.unwrap();
}

#[tokio::test]
async fn a_link_is_there_where_it_helps_and_its_failure_changes_nothing() {
    let revoked = error_of(403, &json!({"error": "grant_revoked", "provider_id": "google"}));
    let good = vault(vec![pending()]);
    let user = app(&good).for_user(token("jwt"));
    let link = user.connect_session_for(&revoked).link().await.unwrap();
    let answer = alter_core::answer::Answer::from(&revoked).with_link(Some(&link));
    assert_eq!((answer.code(), &answer.body["connect_url"]), ("reauthorization_required", &json!(URL)));
    assert!(!format!("{link:?}").contains("canary"));
    let denied = error_of(403, &json!({"error": "ip_not_allowed", "provider_id": "google"}));
    assert!(user.connect_session_for(&denied).link().await.is_none());
    assert_eq!(good.seen().len(), 1);
    let down = Stub::new(|_| async { StatusCode::SERVICE_UNAVAILABLE });
    let user = app(&down).for_user(token("jwt"));
    assert!(user.connect_session_for(&revoked).link().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_fails_does_not_end_the_waiting() {
    let turn = Arc::new(Mutex::new(0));
    let vault = tower::service_fn(move |request: http::Request<bytes::Bytes>| {
        let is_poll = request.uri().path() == POLL;
        let mut turn = turn.lock().unwrap();
        *turn += u32::from(is_poll);
        let answer = match *turn {
            0 => Ok(json_response(200, &made())),
            1 => Err(std::io::Error::other("connection reset")),
            _ => Ok(done().response()),
        };
        std::future::ready(answer)
    });
    let app = App::builder(KEY).backend(vault).reqwest(reqwest::ClientBuilder::no_proxy).build().unwrap();
    let session = app.connect_session().as_app().create().await.unwrap();
    assert_eq!(session.wait().await.unwrap().grant().grant_id, GRANT);
}

#[tokio::test]
async fn a_repair_that_the_vault_does_not_know_becomes_a_new_connection() {
    let refusing = |code: &'static str| {
        Stub::new(move |seen| {
            let repairs = seen.json().get("repair_grant_id").is_some();
            async move {
                if repairs {
                    json_response(404, &json!({"error": code}))
                } else {
                    json_response(200, &made())
                }
            }
        })
    };
    let broken = json!({"error": "credential_revoked", "provider_id": "google", "grant_id": GRANT});
    let error = error_of(403, &broken);
    let vault = refusing("grant_not_found");
    app(&vault).for_user(token("jwt")).connect_session_for(&error).create().await.unwrap();
    assert_eq!(vault.got(SESSION)[0]["repair_grant_id"], GRANT);
    assert_eq!(vault.got(SESSION).len(), 2);
    let vault = refusing("agent_not_found");
    let refused = app(&vault).for_user(token("jwt")).connect_session_for(&error).create().await.unwrap_err();
    assert_eq!((refused.kind(), vault.got(SESSION).len()), (&Kind::Auth(Auth::Agent), 1));
    let vault = refusing("grant_not_found");
    let asked = app(&vault).connect_session().as_app().provider("google").repair(GRANT);
    assert_eq!(asked.create().await.unwrap_err().kind(), &Kind::Grant(Grant::NotFound));
    assert_eq!(vault.got(SESSION).len(), 1, "what the program asked for is not changed");
}

#[tokio::test]
async fn a_call_by_provider_tells_the_provider_even_if_the_vault_does_not() {
    let vault = Stub::new(|seen| async move {
        if seen.target == SESSION {
            json_response(200, &made())
        } else {
            json_response(404, &json!({"error": "grant_not_found"}))
        }
    });
    let user = app(&vault).for_user(token("jwt"));
    let call = user.request(http::Method::GET, "https://www.googleapis.com/x").provider("google");
    let error = call.send().await.unwrap_err();
    let session = user.connect_session_for(&error).create().await.unwrap();
    assert_eq!((session.url(), &vault.only(SESSION).json()["allowed_providers"]), (URL, &json!(["google"])));
}

fn set(session: ConnectBuilder, setting: u8, text: &str) -> ConnectBuilder {
    match setting {
        0 => session.provider(text),
        1 => session.providers(["google", "slack"]),
        2 => session.return_url(format!("https://shop.example/{text}")),
        3 => session.allowed_origin(format!("https://{text}")),
        4 => session.metadata_user_agent(text),
        5 => session.direct(),
        6 => session.switch_account(),
        7 => session.required_scopes(text, [text]),
        8 => session.label(text),
        9 => session.max_ttl(Duration::from_secs(text.len() as u64)),
        10 => session.default_ttl(Duration::from_secs(2)),
        11 => session.repair(GRANT),
        12 => session.agent(text),
        13 => session.scope_constraint([text]),
        14 => session.browser_binding(&text.repeat(8)),
        _ => session.user_token(token("jwt")),
    }
}

#[test]
fn whatever_is_sent_keeps_the_bounds_of_the_wire() {
    let vault = vault(vec![pending()]);
    let app = app(&vault);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let cases = (prop::collection::vec(0u8..16, 0..6), "[ a-zA-Z*\"]{0,4}");
    let mut runner =
        TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() });
    let outcome = runner.run(&cases, |(settings, text)| {
        let before = vault.seen().len();
        let session = settings.iter().fold(app.connect_session(), |session, at| set(session, *at, &text));
        let outcome = runtime.block_on(session.create());
        match (outcome, &vault.seen()[before..]) {
            (Ok(_), [sent]) => {
                let read: ConnectSessionRequest = serde_json::from_slice(&sent.body).unwrap();
                prop_assert!(read.check().is_ok() && read.user_token.is_some());
            }
            (Err(error), []) => {
                let local = matches!(error.kind(), Kind::InvalidInput(_) | Kind::Auth(Auth::NoIdentity));
                prop_assert!(local, "{error:?}");
            }
            (outcome, sent) => prop_assert!(false, "{outcome:?} {sent:?}"),
        }
        Ok(())
    });
    outcome.unwrap();
    assert!(!vault.seen().is_empty(), "some are sent");
}

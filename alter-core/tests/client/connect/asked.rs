//! What is sent, and what is refused before it is.

use std::time::Duration;

use alter_core::{
    App, ConnectBuilder, Kind,
    error::{Auth, Connect, Grant, InvalidInput},
    wire::connect::ConnectSessionRequest,
};
use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::json;

use crate::fixture::{GRANT, KEY, Stub, app, in_process, json_response, token};

use super::*;

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

//! From an error to the session that mends it.

use alter_core::{
    Agent, Error, Kind,
    error::{Auth, Grant, InvalidInput},
};
use http::StatusCode;
use serde_json::{Value, json};

use crate::fixture::{AGENT_KEY, GRANT, Stub, app, in_process, json_response, token, verify};

use super::*;

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

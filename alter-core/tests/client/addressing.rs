//! Who a call is for, and which credential it uses.

use alter_core::{
    Agent, App, Error, Kind, UserToken,
    error::{Auth, Grant, InvalidInput},
    scope::{self, Identity},
};
use http::Method;
use serde_json::json;

use crate::fixture::{
    AGENT_KEY, GRANT, KEY, Stub, TOKEN, app, builder, in_process, json_response, provider, token, vault,
    verify,
};

const URL: &str = "https://api.example.com/x";

fn is_no_identity(error: &Error) -> bool {
    matches!(error.kind(), Kind::Auth(Auth::NoIdentity))
}

#[tokio::test]
async fn the_wire_says_what_the_call_says() {
    let (vault, (provider, url)) = (vault(), provider().await);
    let app = builder(&vault).caller("svc").build().unwrap();
    app.request(Method::GET, format!("{url}/me"))
        .provider("google")
        .account("a@b.c")
        .label("work")
        .app_user_id("u-1")
        .user_token(token("jwt.jwt.jwt"))
        .reason("why")
        .context("run_id", "r-1")
        .send()
        .await
        .unwrap();
    let asked = vault.only(TOKEN);
    assert_eq!(
        String::from_utf8(asked.body.to_vec()).unwrap(),
        format!(
            concat!(
                r#"{{"provider_id":"google","reason":"why","request":{{"method":"GET","url":"{}/me"}},"#,
                r#""user_token":"jwt.jwt.jwt","app_user_id":"u-1","account":"a@b.c","label":"work"}}"#
            ),
            url
        )
    );
    assert_eq!(asked.header("x-alter-caller"), Some("svc"));
    assert_eq!(asked.header("x-alter-caller-type"), Some("service"));
    assert_eq!(asked.header("x-alter-context"), Some(r#"{"run_id":"r-1"}"#));
    assert_eq!(provider.seen().len(), 1);
    assert!(provider.seen()[0].headers.keys().all(|name| !name.as_str().starts_with("x-")));
}

#[tokio::test]
async fn the_most_explicit_identity_wins() {
    let (vault, (_, url)) = (vault(), provider().await);
    let sent = || vault.got(TOKEN).last().unwrap()["user_token"].clone();
    let app = builder(&vault).user_token_getter(|| UserToken::parse("getter")).build().unwrap();
    let user = app.for_user(token("bound"));
    app.scope(token("scope"), async {
        user.request(Method::GET, &url).provider("p").user_token(token("call")).send().await.unwrap();
        assert_eq!(sent(), "call");
        user.request(Method::GET, &url).provider("p").send().await.unwrap();
        assert_eq!(sent(), "bound");
        app.request(Method::GET, &url).provider("p").send().await.unwrap();
        assert_eq!(sent(), "getter");
    })
    .await;
    let app = crate::fixture::app(&vault);
    scope::scope(token("scope"), app.request(Method::GET, &url).provider("p").send()).await.unwrap();
    assert_eq!(sent(), "scope");
    let other = crate::fixture::app(&vault);
    let lost = other.scope(token("other"), app.request(Method::GET, &url).provider("p").send()).await;
    assert!(is_no_identity(&lost.unwrap_err()));
}

#[tokio::test]
async fn a_lost_identity_never_widens_access() {
    let vault = vault();
    let app = app(&vault);
    let lost = app.request(Method::GET, URL).provider("google").send().await.unwrap_err();
    assert!(is_no_identity(&lost), "{lost:?}");
    let id = app.request(Method::GET, URL).provider("google").app_user_id("u").send().await.unwrap_err();
    assert!(is_no_identity(&id));
    let anonymous = app.scope(Identity::Anonymous, app.request(Method::GET, URL).provider("google").send());
    let anonymous = anonymous.await.unwrap_err();
    assert!(matches!(anonymous.kind(), Kind::Auth(Auth::Anonymous)), "{anonymous:?}");
    let spawned = app
        .scope(token("t"), async {
            let app = app.clone();
            tokio::spawn(async move { app.request(Method::GET, URL).provider("google").send().await }).await
        })
        .await;
    assert!(is_no_identity(&spawned.unwrap().unwrap_err()));
    assert!(is_no_identity(&app.grants().list().send().await.unwrap_err()));
    assert!(vault.seen().is_empty());
}

#[tokio::test]
async fn as_app_means_the_application_and_sends_no_user() {
    let (vault, (_, url)) = (vault(), provider().await);
    let app = app(&vault);
    let call = app.request(Method::GET, &url).provider("p").as_app().send();
    app.scope(token("ambient"), call).await.unwrap();
    assert_eq!(vault.got(TOKEN)[0].get("user_token"), None);
    let bound = app.for_user(token("t")).request(Method::GET, &url).provider("p").as_app().send().await;
    assert!(matches!(bound.unwrap_err().kind(), Kind::InvalidInput(InvalidInput::UserToken)));
}

#[tokio::test]
async fn a_getter_that_fails_is_an_error_and_never_falls_through() {
    let vault = vault();
    let app = builder(&vault)
        .user_token_getter_async(|| async { Err::<UserToken, _>("canary-getter-text") })
        .build()
        .unwrap();
    let failed =
        app.scope(token("ambient"), app.request(Method::GET, URL).grant(GRANT).send()).await.unwrap_err();
    assert!(matches!(failed.kind(), Kind::Auth(Auth::TokenSource)));
    assert!(!format!("{failed} {failed:?}").contains("canary"));
    assert!(vault.seen().is_empty());
}

#[tokio::test]
async fn require_user_refuses_every_call_without_one() {
    let vault = vault();
    let app = builder(&vault).require_user().build().unwrap();
    for refused in [
        app.request(Method::GET, URL).grant(GRANT).send().await.unwrap_err(),
        app.request(Method::GET, URL).provider("p").as_app().send().await.unwrap_err(),
        app.grants().list().as_app().send().await.unwrap_err(),
        app.grants().revoke(GRANT).send().await.unwrap_err(),
    ] {
        assert!(is_no_identity(&refused));
    }
    assert!(vault.seen().is_empty());
}

#[tokio::test]
async fn a_grant_needs_no_user_but_gets_one_when_there_is() {
    let (vault, (_, url)) = (vault(), provider().await);
    let app = app(&vault);
    app.request(Method::GET, &url).grant(GRANT.to_uppercase()).send().await.unwrap();
    app.scope(token("t"), app.request(Method::GET, &url).grant(GRANT).send()).await.unwrap();
    let asked = vault.got(TOKEN);
    assert_eq!((&asked[0]["grant_id"], asked[0].get("user_token")), (&json!(GRANT), None));
    assert_eq!(asked[1]["user_token"], "t");
    let refused = app.request(Method::GET, &url).grant("not-a-uuid").send().await.unwrap_err();
    assert!(matches!(refused.kind(), Kind::InvalidInput(InvalidInput::Address)));
}

#[tokio::test]
async fn an_agent_may_address_by_provider_without_a_user() {
    let (_, url) = provider().await;
    let vault = Stub::new(|seen| {
        verify(&seen, AGENT_KEY);
        let missing = seen.target == TOKEN && seen.json()["provider_id"] == "missing";
        let status = if missing { 404 } else { 200 };
        let body = if missing {
            json!({"error": "grant_not_found", "message": "no such grant", "provider_id": "missing"})
        } else {
            crate::fixture::token_answer(&json!({}))
        };
        async move { json_response(status, &body) }
    });
    let agent = Agent::builder(AGENT_KEY).backend(in_process(&vault)).caller("robot").build().unwrap();
    agent.request(Method::GET, &url).provider("p").send().await.unwrap();
    assert_eq!(vault.seen()[0].header("x-alter-caller-type"), Some("agent"));
    let missing = agent.request(Method::GET, &url).provider("missing").send().await.unwrap_err();
    assert!(matches!(missing.kind(), Kind::Grant(Grant::NotDelegated)));
    assert_eq!(missing.recovery().unwrap().provider_id.as_deref(), Some("missing"));
}

#[test]
fn a_key_that_contradicts_the_client_is_refused_when_it_is_built() {
    let is_key =
        |error: Error| assert!(matches!(error.kind(), Kind::InvalidInput(InvalidInput::Key)), "{error:?}");
    is_key(App::builder(AGENT_KEY).build().unwrap_err());
    is_key(Agent::builder(KEY).build().unwrap_err());
    is_key(App::builder("alter_pk_mnopqrstuvwxyz23456723_aglyfa").build().unwrap_err());
    is_key(App::builder("").build().unwrap_err());
    is_key(App::builder("alter_rk_abcdefghijklmnopqrstuv_iwpyka").build().unwrap_err());
    assert!(Agent::builder("alter_key_A1b2C3d4E5f6G7h8I9j0-_K1l2M3n4O5p6Q7r8S9").build().is_ok());
    let setting = App::builder(KEY).backend_url("http://vault.example").build().unwrap_err();
    assert!(matches!(setting.kind(), Kind::InvalidInput(InvalidInput::BackendUrl)));
    assert!(App::builder(KEY).caller(" x").build().is_err());
    assert!(App::builder(KEY).report_capacity(0).build().is_err());
}

#[tokio::test]
async fn one_users_client_moves_into_a_task_and_stays_that_users() {
    fn owned<T: Clone + Send + Sync + 'static>(_: &T) {}
    let (vault, (_, url)) = (vault(), provider().await);
    let user = app(&vault).for_user(token("owner"));
    owned(&user);
    let task = scope::spawn(async move { user.request(Method::GET, url).provider("p").send().await });
    task.await.unwrap().unwrap();
    assert_eq!(vault.got(TOKEN)[0]["user_token"], "owner");
}

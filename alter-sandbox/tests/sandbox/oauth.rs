//! Code flow, refresh, revocation.

use std::time::Duration;

use alter_sandbox::{Faults, Sandbox};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::{Response, Url};
use serde_json::Value;

use super::{get, http, json, sandbox};

const REDIRECT: &str = "http://127.0.0.1:9999/callback?keep=1";
pub(super) const VERIFIER: &str = "a-verifier-of-at-least-forty-three-characters-long";

pub(super) fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes()))
}

/// The parameters of a good authorization request.
fn request(sandbox: &Sandbox) -> Vec<(&'static str, String)> {
    vec![
        ("response_type", "code".to_owned()),
        ("client_id", sandbox.client().client_id),
        ("redirect_uri", REDIRECT.to_owned()),
        ("scope", "openid read".to_owned()),
        ("state", "st&te=1".to_owned()),
        ("nonce", "n-1".to_owned()),
        ("code_challenge", challenge(VERIFIER)),
        ("code_challenge_method", "S256".to_owned()),
        ("sandbox_sub", "user-1".to_owned()),
        ("sandbox_account", "work".to_owned()),
    ]
}

async fn authorize(sandbox: &Sandbox, params: &[(&str, String)]) -> Response {
    http().get(sandbox.oauth_endpoints().authorize).query(params).send().await.unwrap()
}

/// The parameters with which the browser came back.
fn came_back(response: &Response) -> Vec<(String, String)> {
    assert_eq!(response.status(), 302);
    let url = Url::parse(response.headers()["location"].to_str().unwrap()).unwrap();
    assert!(url.as_str().starts_with("http://127.0.0.1:9999/callback?keep=1&"), "{url}");
    url.query_pairs().into_owned().collect()
}

fn value(pairs: &[(String, String)], name: &str) -> String {
    pairs.iter().find(|(seen, _)| seen == name).map(|(_, value)| value.clone()).unwrap_or_default()
}

async fn code(sandbox: &Sandbox) -> String {
    value(&came_back(&authorize(sandbox, &request(sandbox)).await), "code")
}

pub(super) async fn token(sandbox: &Sandbox, form: &[(&str, &str)]) -> Response {
    let client = sandbox.client();
    let call = http().post(sandbox.oauth_endpoints().token);
    call.basic_auth(client.client_id, Some(client.client_secret)).form(form).send().await.unwrap()
}

async fn redeem(sandbox: &Sandbox, code: &str, redirect_uri: &str, verifier: &str) -> Response {
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", redirect_uri),
        ("code_verifier", verifier),
    ];
    token(sandbox, &form).await
}

pub(super) async fn refresh(sandbox: &Sandbox, refresh_token: &str) -> Response {
    token(sandbox, &[("grant_type", "refresh_token"), ("refresh_token", refresh_token)]).await
}

pub(super) async fn refused(response: Response, error: &str) {
    assert_eq!(response.status(), 400);
    assert_eq!(response.headers()["cache-control"], "no-store");
    let body = json(response).await;
    assert_eq!(body["error"], error, "{body}");
    assert!(body["error_description"].is_string());
}

pub(super) fn text(body: &Value, name: &str) -> String {
    body[name].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_code_flow_with_pkce_ends_in_a_credential_that_works() {
    let sandbox = sandbox().await;
    let back = came_back(&authorize(&sandbox, &request(&sandbox)).await);
    assert_eq!(value(&back, "state"), "st&te=1", "the state comes back untouched");
    let response = redeem(&sandbox, &value(&back, "code"), REDIRECT, VERIFIER).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["cache-control"], "no-store");
    let body = json(response).await;
    assert_eq!((&body["token_type"], &body["expires_in"]), (&"Bearer".into(), &3600.into()));
    assert_eq!(body["scope"], "openid read");

    let (access, provider) = (text(&body, "access_token"), sandbox.oauth_endpoints());
    assert_eq!(value(&back, "iss"), provider.issuer);
    let me = json(get(&format!("{}/me", sandbox.api_url()), &access).await).await;
    assert_eq!((&me["sub"], &me["account"]), (&"user-1".into(), &"work".into()));
    let user = json(get(&sandbox.oauth_endpoints().userinfo, &access).await).await;
    assert_eq!(
        user,
        serde_json::json!({"sub": "user-1", "account": "work", "email": "work@example.test", "name": "work"})
    );

    let claims = super::idp::verified_of(&sandbox, &provider.issuer, &text(&body, "id_token")).await;
    assert_eq!((&claims["sub"], &claims["nonce"]), (&"user-1".into(), &"n-1".into()));
    assert_eq!(claims["aud"], sandbox.client().client_id);
}

#[tokio::test]
async fn a_wrong_verifier_is_refused_and_uses_the_code_up() {
    let sandbox = sandbox().await;
    let code = code(&sandbox).await;
    refused(redeem(&sandbox, &code, REDIRECT, "something else entirely").await, "invalid_grant").await;
    refused(redeem(&sandbox, &code, REDIRECT, VERIFIER).await, "invalid_grant").await;
}

#[tokio::test]
async fn a_code_used_twice_is_refused_and_takes_the_first_tokens_with_it() {
    let sandbox = sandbox().await;
    let code = code(&sandbox).await;
    let first = json(redeem(&sandbox, &code, REDIRECT, VERIFIER).await).await;
    refused(redeem(&sandbox, &code, REDIRECT, VERIFIER).await, "invalid_grant").await;
    let me = get(&format!("{}/me", sandbox.api_url()), &text(&first, "access_token")).await;
    assert_eq!(me.status(), 401);
    refused(refresh(&sandbox, &text(&first, "refresh_token")).await, "invalid_grant").await;
}

#[tokio::test]
async fn a_code_is_good_for_a_minute_and_for_its_own_redirect_uri() {
    let sandbox = sandbox().await;
    let other = code(&sandbox).await;
    refused(redeem(&sandbox, &other, "http://127.0.0.1:9999/callback", VERIFIER).await, "invalid_grant")
        .await;
    let late = code(&sandbox).await;
    sandbox.advance(Duration::from_secs(60));
    refused(redeem(&sandbox, &late, REDIRECT, VERIFIER).await, "invalid_grant").await;
}

#[tokio::test]
async fn a_bad_authorization_request_goes_back_only_to_a_registered_address() {
    let sandbox = sandbox().await;
    let with = |name: &str, value: &str| {
        let mut params = request(&sandbox);
        params.retain(|(seen, _)| *seen != name);
        params.push((Box::leak(name.to_owned().into_boxed_str()), value.to_owned()));
        params
    };
    for (name, value, error) in [
        ("code_challenge_method", "plain", "invalid_request"),
        ("code_challenge", "short", "invalid_request"),
        ("response_type", "token", "unsupported_response_type"),
        ("prompt", "none login", "invalid_request"),
    ] {
        let back = came_back(&authorize(&sandbox, &with(name, value)).await);
        assert_eq!((self::value(&back, "error").as_str(), self::value(&back, "code").as_str()), (error, ""));
        assert_eq!(self::value(&back, "state"), "st&te=1");
    }
    let mut twice = request(&sandbox);
    twice.push(("scope", "write".to_owned()));
    for params in [
        with("redirect_uri", "https://example.com/callback"),
        with("redirect_uri", "http://user@127.0.0.1/callback"),
        with("redirect_uri", "http://127.0.0.1.example.com/"),
        with("client_id", "somebody-else"),
        twice,
    ] {
        let response = authorize(&sandbox, &params).await;
        assert_eq!(response.status(), 400);
        assert!(!response.headers().contains_key("location"));
    }
}

#[tokio::test]
async fn a_refresh_without_rotation_keeps_the_refresh_token() {
    let sandbox = sandbox().await;
    let first = sandbox.connect("user-1", "work");
    for _ in 0..2 {
        let body = json(refresh(&sandbox, &first.refresh_token).await).await;
        assert_eq!(text(&body, "refresh_token"), first.refresh_token);
        assert_ne!(text(&body, "access_token"), first.access_token);
    }
    let counts = sandbox.counts();
    assert_eq!((counts.token_calls, counts.refreshes, counts.refused_refreshes), (2, 2, 0));
}

#[tokio::test]
async fn a_refresh_with_rotation_spends_the_refresh_token() {
    let sandbox = sandbox().await;
    sandbox.set_faults(Faults::default().rotate(true).expires_in(60));
    let first = sandbox.connect("user-1", "work");
    let second = json(refresh(&sandbox, &first.refresh_token).await).await;
    assert_ne!(text(&second, "refresh_token"), first.refresh_token);
    assert_eq!(second["expires_in"], 60);
    refused(refresh(&sandbox, &first.refresh_token).await, "invalid_grant").await;
    assert_eq!(refresh(&sandbox, &text(&second, "refresh_token")).await.status(), 200);
    assert_eq!((sandbox.counts().refreshes, sandbox.counts().refused_refreshes), (2, 1));
}

#[tokio::test]
async fn a_refresh_may_narrow_the_scope_and_never_widen_it() {
    let sandbox = sandbox().await;
    let held = sandbox.connect("user-1", "work").refresh_token;
    let ask = async |scope| {
        let form = [("grant_type", "refresh_token"), ("refresh_token", held.as_str()), ("scope", scope)];
        token(&sandbox, &form).await
    };
    assert_eq!(json(ask("read").await).await["scope"], "read");
    refused(ask("read admin").await, "invalid_scope").await;
}

#[tokio::test]
async fn the_client_must_prove_who_it_is_in_exactly_one_way() {
    let sandbox = sandbox().await;
    let client = sandbox.client();
    let held = sandbox.connect("user-1", "work").refresh_token;
    let endpoint = sandbox.oauth_endpoints().token;
    let form = [("grant_type", "refresh_token"), ("refresh_token", held.as_str())];
    let mut posted = form.to_vec();
    posted
        .extend([("client_id", client.client_id.as_str()), ("client_secret", client.client_secret.as_str())]);
    let in_form = http().post(&endpoint).form(&posted).send().await.unwrap();
    assert_eq!(in_form.status(), 200);

    let anonymous = http().post(&endpoint).form(&form).send().await.unwrap();
    assert_eq!(anonymous.status(), 401);
    assert!(anonymous.headers()["www-authenticate"].to_str().unwrap().starts_with("Basic"));
    assert_eq!(json(anonymous).await["error"], "invalid_client");
    let wrong = http().post(&endpoint).basic_auth(&client.client_id, Some("no")).form(&form);
    assert_eq!(wrong.send().await.unwrap().status(), 401);
    let both = http().post(&endpoint).basic_auth(&client.client_id, Some("no")).form(&posted);
    refused(both.send().await.unwrap(), "invalid_request").await;
    refused(token(&sandbox, &[("grant_type", "password")]).await, "unsupported_grant_type").await;
    refused(token(&sandbox, &[("scope", "a"), ("scope", "b")]).await, "invalid_request").await;
}

#[tokio::test]
async fn a_revoked_refresh_token_takes_the_whole_grant_with_it() {
    let sandbox = sandbox().await;
    let client = sandbox.client();
    let (dead, alive) = (sandbox.connect("user-1", "work"), sandbox.connect("user-1", "home"));
    for token in [dead.refresh_token.as_str(), "never-issued"] {
        let call = http().post(sandbox.oauth_endpoints().revoke);
        let call = call.basic_auth(&client.client_id, Some(&client.client_secret)).form(&[("token", token)]);
        assert_eq!(call.send().await.unwrap().status(), 200);
    }
    let me = format!("{}/me", sandbox.api_url());
    assert_eq!(get(&me, &dead.access_token).await.status(), 401);
    refused(refresh(&sandbox, &dead.refresh_token).await, "invalid_grant").await;
    assert_eq!(get(&me, &alive.access_token).await.status(), 200);

    assert_eq!(sandbox.disconnect("user-1", "home"), 1);
    assert_eq!(get(&me, &alive.access_token).await.status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_refreshes_at_once_with_rotation_exactly_one_wins() {
    let sandbox = sandbox().await;
    sandbox.set_faults(Faults::default().rotate(true));
    let held = sandbox.connect("user-1", "work").refresh_token;
    let statuses = futures_util::future::join_all((0..32).map(|_| refresh(&sandbox, &held))).await;
    let won = statuses.iter().filter(|answer| answer.status() == 200).count();
    assert_eq!(won, 1);
    let counts = sandbox.counts();
    assert_eq!((counts.token_calls, counts.refreshes, counts.refused_refreshes), (32, 1, 31));
}

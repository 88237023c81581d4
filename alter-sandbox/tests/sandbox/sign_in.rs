//! Signing in at the identity provider.

use std::time::Duration;

use alter_sandbox::{AuthorizeFault, DEFAULT_AUDIENCE, Faults, IdTokenFault, Sandbox, TokenAlgorithm};
use reqwest::Url;
use serde_json::Value;

use super::{
    browser::{Browser, Page},
    get, http,
    idp::{verified, verify},
    json as body,
    oauth::text,
    pages::redeem,
    sandbox,
};

async fn tokens(sandbox: &Sandbox, back: &Page) -> Value {
    let code = back.back("code").unwrap();
    let response = redeem(&sandbox.sign_in_endpoints(), &sandbox.sign_in_client(), &code).await;
    assert_eq!(response.headers()["cache-control"], "no-store");
    body(response).await
}

#[tokio::test]
async fn a_person_signs_in_once_and_the_next_time_is_silent() {
    let (sandbox, mut browser) = (sandbox().await, Browser::default());
    let page = browser.sign_in_at_idp(&sandbox, &[]).await;
    assert_eq!((page.url.path(), page.h1()), ("/idp/signin", "Sign in to Sandbox ID"));
    let back = browser.sign_in(&page, "user-1").await;
    assert_eq!(back.back("iss").unwrap(), sandbox.issuer());
    let claims = verified(&sandbox, &text(&tokens(&sandbox, &back).await, "id_token")).await;
    assert_eq!((&claims["sub"], &claims["nonce"]), (&"user-1".into(), &"nonce-1".into()));
    assert_eq!(claims["aud"], sandbox.sign_in_client().client_id);
    assert_eq!((&claims["email"], &claims["name"]), (&"user-1@example.test".into(), &"user-1".into()));
    assert!(claims["auth_time"].as_i64().unwrap() <= claims["iat"].as_i64().unwrap() + 1);

    for more in [&[][..], &[("prompt", "none")]] {
        let back = browser.sign_in_at_idp(&sandbox, more).await;
        let claims = verified(&sandbox, &text(&tokens(&sandbox, &back).await, "id_token")).await;
        assert_eq!(claims["sub"], "user-1");
    }
    let page = browser.sign_in_at_idp(&sandbox, &[("prompt", "login")]).await;
    assert!(page.is_at("/idp/signin"));
    let mut around = page.url.clone();
    around.set_path("/idp/accounts");
    let accounts = browser.get(around).await;
    let again = browser.submit(&accounts, &[("account", "user-1")]).await;
    assert!(again.is_at("/idp/signin"), "there is no way around a sign-in that the client wants");
    browser.sign_in(&page, "user-2").await;
    let back = browser.sign_in_at_idp(&sandbox, &[]).await;
    let claims = verified(&sandbox, &text(&tokens(&sandbox, &back).await, "id_token")).await;
    assert_eq!(claims["sub"], "user-2", "whoever signed in last is signed in");
    let page = browser.sign_in_at_idp(&sandbox, &[("prompt", "select_account")]).await;
    assert!(page.is_at("/idp/accounts"));
    let back = browser.submit(&page, &[("account", "user-1")]).await;
    let claims = verified(&sandbox, &text(&tokens(&sandbox, &back).await, "id_token")).await;
    assert_eq!(claims["sub"], "user-1");
    assert_eq!(sandbox.counts().token_calls, 0, "signing in is not a call at the OAuth provider");
}

#[tokio::test]
async fn a_sign_in_that_is_too_old_is_asked_for_again() {
    let (sandbox, mut browser) = (sandbox().await, Browser::default());
    let page = browser.sign_in_at_idp(&sandbox, &[]).await;
    browser.sign_in(&page, "user-1").await;
    sandbox.advance(Duration::from_secs(61));
    assert!(browser.sign_in_at_idp(&sandbox, &[("max_age", "3600")]).await.back("code").is_some());
    assert!(browser.sign_in_at_idp(&sandbox, &[("max_age", "60")]).await.is_at("/idp/signin"));
    let back = browser.sign_in_at_idp(&sandbox, &[("max_age", "60"), ("prompt", "none")]).await;
    assert_eq!(back.back("error").as_deref(), Some("login_required"));
    let back = browser.sign_in_at_idp(&sandbox, &[("max_age", "soon")]).await;
    assert_eq!(back.back("error").as_deref(), Some("invalid_request"));
}

#[tokio::test]
async fn the_end_session_endpoint_signs_out_and_returns_to_loopback_only() {
    let (sandbox, mut browser) = (sandbox().await, Browser::default());
    let page = browser.sign_in_at_idp(&sandbox, &[]).await;
    browser.sign_in(&page, "user-1").await;
    let discovery = format!("{}/.well-known/openid-configuration", sandbox.issuer());
    let document = body(http().get(discovery).send().await.unwrap()).await;
    let end = document["end_session_endpoint"].as_str().unwrap().to_owned();
    let to = |uri: &str| {
        let params = [("post_logout_redirect_uri", uri), ("state", "s-1")];
        Url::parse_with_params(&end, params).unwrap()
    };
    let page = browser.get(to("https://attacker.example/")).await;
    assert_eq!(page.h1(), "Signed out of Sandbox ID");
    assert!(browser.sign_in_at_idp(&sandbox, &[]).await.is_at("/idp/signin"));
    let back = browser.get(to("http://127.0.0.1:9999/callback/bye")).await;
    assert_eq!(back.back("state").as_deref(), Some("s-1"));
}

#[tokio::test]
async fn the_access_token_is_the_applications_user_token_where_that_is_asked_for() {
    let (sandbox, mut browser) = (sandbox().await, Browser::default());
    let userinfo = sandbox.sign_in_endpoints().userinfo;
    let by_scope = format!("openid {DEFAULT_AUDIENCE}");
    for more in [("resource", DEFAULT_AUDIENCE), ("audience", DEFAULT_AUDIENCE), ("scope", &by_scope)] {
        let back = browser.sign_in_at_idp(&sandbox, &[more, ("sandbox_sub", "user-1")]).await;
        let access = text(&tokens(&sandbox, &back).await, "access_token");
        let claims = verified(&sandbox, &access).await;
        assert_eq!((&claims["sub"], &claims["aud"]), (&"user-1".into(), &DEFAULT_AUDIENCE.into()));
        assert_eq!(body(get(&userinfo, &access).await).await["sub"], "user-1");
    }
    let back = browser.sign_in_at_idp(&sandbox, &[("sandbox_sub", "user-1")]).await;
    let opaque = text(&tokens(&sandbox, &back).await, "access_token");
    assert!(opaque.starts_with("sbx_at_"));
    assert_eq!(get(&userinfo, &opaque).await.status(), 200);
    assert_eq!(get(&format!("{}/me", sandbox.api_url()), &opaque).await.status(), 401);
    assert_eq!(get(&sandbox.oauth_endpoints().userinfo, &opaque).await.status(), 401);
}

#[tokio::test]
async fn a_code_of_the_identity_provider_is_good_once_and_for_its_client_only() {
    let (sandbox, mut browser) = (sandbox().await, Browser::default());
    let (endpoints, client) = (sandbox.sign_in_endpoints(), sandbox.sign_in_client());
    let back = browser.sign_in_at_idp(&sandbox, &[("sandbox_sub", "user-1")]).await;
    let code = back.back("code").unwrap();
    assert_eq!(redeem(&endpoints, &sandbox.client(), &code).await.status(), 401);
    assert_eq!(redeem(&sandbox.oauth_endpoints(), &sandbox.client(), &code).await.status(), 400);
    let first = body(redeem(&endpoints, &client, &code).await).await;
    assert_eq!(redeem(&endpoints, &client, &code).await.status(), 400);
    let userinfo = get(&endpoints.userinfo, &text(&first, "access_token")).await;
    assert_eq!(userinfo.status(), 401, "the replay has revoked what the code was exchanged for");
}

#[tokio::test]
async fn each_lie_in_an_id_token_is_told() {
    let (sandbox, mut browser) = (sandbox().await, Browser::default());
    for fault in IdTokenFault::ALL.iter().copied() {
        sandbox.set_faults(Faults::default().id_token_fault(fault));
        let back = browser.sign_in_at_idp(&sandbox, &[("sandbox_sub", "user-1")]).await;
        let tokens = tokens(&sandbox, &back).await;
        if fault == IdTokenFault::Missing {
            assert!(tokens.get("id_token").is_none());
            continue;
        }
        let verified = verify(&sandbox, &text(&tokens, "id_token")).await;
        match fault {
            IdTokenFault::None => assert_eq!(verified.unwrap()["nonce"], "nonce-1"),
            IdTokenFault::WrongNonce => assert_eq!(verified.unwrap()["nonce"], "another-nonce"),
            IdTokenFault::NoNonce => assert!(verified.unwrap().get("nonce").is_none()),
            IdTokenFault::WrongAudience => assert_eq!(verified.unwrap()["aud"], "another-client"),
            _ => assert!(verified.is_err(), "{fault:?}"),
        }
    }
}

#[tokio::test]
async fn the_sign_in_has_faults_of_its_own() {
    let (sandbox, mut browser) = (sandbox().await, Browser::default());
    sandbox.set_faults(Faults::default().sign_in_fault(AuthorizeFault::OtherIssuer));
    let back = browser.sign_in_at_idp(&sandbox, &[("sandbox_sub", "user-1")]).await;
    assert_eq!(back.back("iss").unwrap(), sandbox.oauth_endpoints().issuer);
    let back = browser.connect(&sandbox, &[("sandbox_sub", "user-1")]).await;
    assert_eq!(back.back("iss").unwrap(), sandbox.oauth_endpoints().issuer);
}

#[tokio::test]
async fn discovery_is_complete_and_tokens_are_signed_with_what_it_publishes() {
    let sandbox = Sandbox::builder()
        .algorithms([TokenAlgorithm::EdDsa])
        .sign_in_client("the-vault", "its-secret")
        .start()
        .await
        .unwrap();
    let discovery = format!("{}/.well-known/openid-configuration", sandbox.issuer());
    let document = body(http().get(discovery).send().await.unwrap()).await;
    let endpoints = sandbox.sign_in_endpoints();
    assert_eq!(document["authorization_endpoint"], endpoints.authorize);
    assert_eq!(document["token_endpoint"], endpoints.token);
    assert_eq!(document["userinfo_endpoint"], endpoints.userinfo);
    assert_eq!(document["end_session_endpoint"], endpoints.sign_out);
    assert_eq!(document["response_types_supported"], serde_json::json!(["code"]));
    assert_eq!(document["code_challenge_methods_supported"], serde_json::json!(["S256"]));
    let back = Browser::default().sign_in_at_idp(&sandbox, &[("sandbox_sub", "user-1")]).await;
    let claims = verified(&sandbox, &text(&tokens(&sandbox, &back).await, "id_token")).await;
    assert_eq!(claims["aud"], "the-vault");
}

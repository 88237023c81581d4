//! Keys over a real socket on loopback.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    http::StatusCode,
    response::Redirect,
    routing::{any, get},
};
use serde_json::json;
use tokio::net::TcpListener;

use super::issuer::{NOW, Signer, jwks};
use crate::{
    clock::ManualClock,
    jwt::{HttpKeys, JwtVerifier, KeySource, KeySourceError, TokenRules},
};

/// Serves on a free port; gives the address of its root without a slash at the end.
async fn serve(router: impl FnOnce(&str) -> Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let router = router(&base);
    tokio::spawn(async move { axum::serve(listener, router).await });
    base
}

fn discovery(issuer: &str, jwks_uri: &str) -> String {
    json!({"issuer": issuer, "jwks_uri": jwks_uri, "authorization_endpoint": "ignored"}).to_string()
}

#[tokio::test]
async fn keys_are_found_by_discovery_and_verify_a_token() {
    let signer = Signer::ed("k");
    let set = jwks(&[&signer]).to_string();
    let base = serve(|base| {
        let document = discovery(base, &format!("{base}/keys"));
        Router::new()
            .route("/.well-known/openid-configuration", get(async move || document))
            .route("/keys", get(async move || set))
    })
    .await;
    let keys = HttpKeys::discover(&base).await.unwrap();
    assert_eq!(keys.url().as_str(), format!("{base}/keys"));
    let verifier = JwtVerifier::new(TokenRules::new(&base).unwrap(), Arc::new(keys), ManualClock::at(NOW));
    assert_eq!(verifier.verify(&signer.token(&json!({"iss": base}))).await.unwrap().subject, "user-1");
}

#[tokio::test]
async fn discovery_keeps_to_the_issuer_and_to_safe_addresses() {
    for (named, keys, expected) in [
        (Some("http://127.0.0.1:1"), "http://127.0.0.1:1/keys", "another issuer"),
        (None, "http://keys.example.com/", "https"),
        (None, "file:///etc/passwd", "https"),
        (None, "https://user:pass@keys.example.com/", "https"),
        (None, "keys", "absolute"),
    ] {
        let base = serve(|base| {
            let document = discovery(named.unwrap_or(base), keys);
            Router::new().route("/.well-known/openid-configuration", get(async move || document))
        })
        .await;
        let error = HttpKeys::discover(&base).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let shown = format!("{:?}", HttpKeys::at("https://id.example.com/keys?code=secret").unwrap());
    assert_eq!(shown, "HttpKeys(https://id.example.com/keys)");
    assert!(matches!(HttpKeys::discover("http://id.example.com").await, Err(KeySourceError::Address(_))));
}

#[tokio::test]
async fn an_issuer_with_a_slash_at_its_end_is_found_and_compared_with_it() {
    let base = serve(|base| {
        let document = discovery(&format!("{base}/"), &format!("{base}/keys"));
        Router::new().route("/.well-known/openid-configuration", get(async move || document))
    })
    .await;
    assert!(HttpKeys::discover(&format!("{base}/")).await.is_ok());
    assert_eq!(HttpKeys::discover(&base).await.unwrap_err(), KeySourceError::OtherIssuer);
}

#[tokio::test]
async fn redirects_errors_and_floods_are_not_taken() {
    let base = serve(|_| {
        Router::new()
            .route("/moved", get(async || Redirect::temporary("/good")))
            .route("/good", get(async || r#"{"keys":[]}"#))
            .route("/down", any(async || StatusCode::BAD_GATEWAY))
            .route("/large", get(async || "x".repeat(1024 * 1024 + 1)))
            .route("/full", get(async || "x".repeat(1024 * 1024)))
    })
    .await;
    let fetch = async |path: &str| HttpKeys::at(&format!("{base}{path}")).unwrap().fetch().await;
    assert_eq!(fetch("/moved").await, Err(KeySourceError::Status(307)));
    assert_eq!(fetch("/down").await, Err(KeySourceError::Status(502)));
    assert_eq!(fetch("/large").await, Err(KeySourceError::TooLarge));
    assert_eq!(fetch("/full").await.unwrap().len(), 1024 * 1024);
    assert!(fetch("/good").await.is_ok());
    let nobody = HttpKeys::at("http://127.0.0.1:1/").unwrap().fetch().await;
    assert!(matches!(nobody, Err(KeySourceError::Unreachable(_))), "{nobody:?}");
}

#[tokio::test]
async fn an_answer_that_trickles_is_cut_off_after_five_seconds() {
    // The only test that waits in real time: the limit is reqwest's own, over a real socket.
    let base = serve(|_| {
        Router::new().route(
            "/",
            get(async || {
                tokio::time::sleep(Duration::from_secs(60)).await;
                "{}"
            }),
        )
    })
    .await;
    let start = std::time::Instant::now();
    let error = HttpKeys::at(&base).unwrap().fetch().await.unwrap_err();
    assert_eq!(error, KeySourceError::Unreachable("timed out".into()));
    assert!((4..8).contains(&start.elapsed().as_secs()));
}

//! Tokens that are verified at the edge.

use std::convert::Infallible;

use alter_core::jwt::JwtVerifier;
use alter_tower::{AlterLayer, Caller};
use http::Request;
use serde_json::json;
use tower::{Layer, ServiceExt, service_fn};

use crate::{app, bearer, issuer::Issuer, read, request, text};

async fn ask(verifier: JwtVerifier, request: Request<()>) -> (u16, String, Option<String>) {
    let service = service_fn(|request: Request<()>| async move {
        let caller = Caller::of(request.extensions()).unwrap();
        assert_eq!(caller.verified().is_some(), caller.token().is_some());
        Ok::<_, Infallible>(text(
            caller.verified().map_or("anonymous".to_owned(), |user| user.subject.clone()),
        ))
    });
    let response = AlterLayer::new(app()).verify(verifier).layer(service).oneshot(request).await.unwrap();
    let header = response.headers().get("www-authenticate").or(response.headers().get("retry-after"));
    let header = header.map(|value| value.to_str().unwrap().to_owned());
    let (status, body) = read(response).await;
    (status, body, header)
}

#[tokio::test]
async fn a_good_token_gives_the_handler_a_verified_user() {
    let issuer = Issuer::new();
    let verifier = issuer.verifier();
    for _ in 0..2 {
        assert_eq!(ask(verifier.clone(), bearer(&issuer.token("alice"))).await.1, "alice");
    }
    assert_eq!(ask(verifier, request(&[])).await.1, "anonymous");
}

#[tokio::test]
async fn a_bad_token_is_refused_before_the_handler() {
    let (issuer, stranger) = (Issuer::new(), Issuer::new());
    let good = issuer.token("alice");
    let changed = good.replacen('.', ".e", 1);
    for token in
        [issuer.token_until("alice", 1_000), stranger.token("alice"), changed, "not-a-jwt".to_owned()]
    {
        let (status, body, challenge) = ask(issuer.verifier(), bearer(&token)).await;
        assert_eq!((status, challenge.as_deref()), (401, Some("Bearer error=\"invalid_token\"")), "{token}");
        assert!(body.contains("invalid_token") && !body.contains(&token), "{body}");
    }
}

#[tokio::test]
async fn a_token_that_cannot_be_checked_is_refused_for_now() {
    let issuer = Issuer::new();
    let keyless = issuer.verifier_with(&json!("nothing"));
    let (status, body, retry_after) = ask(keyless, bearer(&issuer.token("alice"))).await;
    assert_eq!((status, retry_after.as_deref()), (503, Some("5")), "{body}");
    assert!(body.contains("identity_unavailable"), "{body}");
}

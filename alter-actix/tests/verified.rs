//! Who a verified token is of, in a handler.
#![cfg(feature = "verify")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../alter-tower/tests/layer/issuer.rs"]
mod issuer;

use actix_web::{
    test::{TestRequest, call_service, init_service, read_body},
    web,
};
use alter_actix::{AlterMiddleware, App, VerifiedUser};
use issuer::Issuer;
use serde_json::json;

fn middleware() -> AlterMiddleware {
    AlterMiddleware::new(App::builder("alter_rk_abcdefghijklmnopqrstuv_iwpykn").build().unwrap())
}

async fn user(user: VerifiedUser) -> String {
    user.subject.clone()
}

async fn maybe(user: Option<VerifiedUser>) -> String {
    user.map_or("stranger".to_owned(), |user| user.subject.clone())
}

async fn ask(middleware: AlterMiddleware, path: &str, token: Option<&str>) -> (u16, String) {
    let service = actix_web::App::new()
        .route("/user", web::get().to(user))
        .route("/maybe", web::get().to(maybe))
        .wrap(middleware);
    let mut request = TestRequest::get().uri(path);
    if let Some(token) = token {
        request = request.insert_header(("authorization", format!("Bearer {token}")));
    }
    let response = call_service(&init_service(service).await, request.to_request()).await;
    (response.status().as_u16(), String::from_utf8(read_body(response).await.to_vec()).unwrap())
}

#[actix_web::test]
async fn a_handler_is_told_who_was_verified() {
    let issuer = Issuer::new();
    let verifier = issuer.verifier();
    let layer = || middleware().verify(verifier.clone());
    for path in ["/user", "/maybe"] {
        assert_eq!(ask(layer(), path, Some(&issuer.token("alice"))).await, (200, "alice".to_owned()));
        let (status, body) = ask(layer(), path, Some(&issuer.token_until("alice", 1_000))).await;
        assert!(status == 401 && body.contains("invalid_token"), "{body}");
        assert_eq!(ask(layer(), path, Some(&Issuer::new().token("alice"))).await.0, 401);
    }
    assert_eq!(ask(layer(), "/user", None).await.0, 401);
    assert_eq!(ask(layer(), "/maybe", None).await, (200, "stranger".to_owned()));
    let keyless = middleware().verify(issuer.verifier_with(&json!("nothing")));
    assert_eq!(ask(keyless, "/maybe", Some(&issuer.token("alice"))).await.0, 503);
}

#[actix_web::test]
async fn a_token_that_nobody_verified_never_counts_as_verified() {
    let issuer = Issuer::new();
    assert_eq!(ask(middleware(), "/user", Some(&issuer.token("alice"))).await.0, 500);
    // actix-web makes `None` of an extractor's failure; the log says that the route is not set up.
    assert_eq!(ask(middleware(), "/maybe", Some(&issuer.token("alice"))).await.1, "stranger");
    assert_eq!(ask(middleware(), "/user", None).await.0, 401);
}

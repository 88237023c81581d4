//! Who a verified token is of, in a handler.
#![cfg(feature = "verify")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../alter-tower/tests/layer/issuer.rs"]
mod issuer;

use alter_axum::{AlterLayer, App, VerifiedUser};
use axum::{Router, body::Body, routing::get};
use http::{Request, Response};
use http_body_util::BodyExt;
use issuer::Issuer;
use serde_json::json;
use tower::ServiceExt;

fn app() -> App {
    App::builder("alter_rk_abcdefghijklmnopqrstuv_iwpykn").build().unwrap()
}

fn router() -> Router {
    Router::new().route("/user", get(|user: VerifiedUser| async move { user.subject.clone() })).route(
        "/maybe",
        get(|user: Option<VerifiedUser>| async move {
            user.map_or("stranger".to_owned(), |user| user.subject.clone())
        }),
    )
}

async fn ask(router: &Router, path: &str, token: Option<&str>) -> (u16, String) {
    let mut request = Request::get(path);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let response: Response<_> = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    (status, String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
}

#[tokio::test]
async fn a_handler_is_told_who_was_verified() {
    let issuer = Issuer::new();
    let router = router().layer(AlterLayer::new(app()).verify(issuer.verifier()));
    for path in ["/user", "/maybe"] {
        assert_eq!(ask(&router, path, Some(&issuer.token("alice"))).await, (200, "alice".to_owned()));
        let (status, body) = ask(&router, path, Some(&issuer.token_until("alice", 1_000))).await;
        assert!(status == 401 && body.contains("invalid_token"), "{body}");
        assert_eq!(ask(&router, path, Some(&Issuer::new().token("alice"))).await.0, 401);
    }
    assert_eq!(ask(&router, "/user", None).await.0, 401);
    assert_eq!(ask(&router, "/maybe", None).await, (200, "stranger".to_owned()));
    let keyless =
        self::router().layer(AlterLayer::new(app()).verify(issuer.verifier_with(&json!("nothing"))));
    assert_eq!(ask(&keyless, "/maybe", Some(&issuer.token("alice"))).await.0, 503);
}

#[tokio::test]
async fn a_token_that_nobody_verified_never_counts_as_verified() {
    let issuer = Issuer::new();
    let router = router().layer(AlterLayer::new(app()));
    for path in ["/user", "/maybe"] {
        assert_eq!(ask(&router, path, Some(&issuer.token("alice"))).await.0, 500, "{path}");
    }
    assert_eq!(ask(&router, "/user", None).await.0, 401);
}

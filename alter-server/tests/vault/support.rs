//! A caller that signs by hand, so that each header can be wrong.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::convert::Infallible;

use alter_core::wire::{
    header,
    key::ApiKey,
    sign::{self, Stamp},
};
use alter_server::{
    audit::{AuditFilter, AuditRow},
    testkit::TestVault,
};
use axum::{Router, body::Body, response::Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

/// A signed request, not yet sent.
#[derive(Debug, Clone)]
pub(crate) struct Signed {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn code(&self) -> &str {
        self.body["error"].as_str().unwrap_or_default()
    }

    pub(crate) fn holds_a_credential(&self) -> bool {
        self.body.to_string().contains("sbx_") || self.body.get("access_token").is_some()
    }
}

pub(crate) fn sign_at(
    key: &ApiKey,
    target: &str,
    body: &Value,
    at: i64,
    extra: &[(HeaderName, &str)],
) -> Signed {
    sign_bytes(key, target, body.to_string().into_bytes(), at, extra)
}

pub(crate) fn sign_bytes(
    key: &ApiKey,
    target: &str,
    body: Vec<u8>,
    at: i64,
    extra: &[(HeaderName, &str)],
) -> Signed {
    let mut headers = HeaderMap::new();
    headers.insert(header::API_KEY, HeaderValue::from_str(key.expose()).unwrap());
    for (name, value) in extra {
        headers.insert(name.clone(), HeaderValue::from_str(value).unwrap());
    }
    let stamp = Stamp::fresh(at).unwrap();
    sign::sign(&key.signing_key(), &Method::POST, target, &stamp, &body, &mut headers).unwrap();
    Signed { method: Method::POST, target: target.to_owned(), headers, body }
}

pub(crate) fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

pub(crate) fn signed(key: &ApiKey, target: &str, body: &Value) -> Signed {
    sign_at(key, target, body, now(), &[])
}

pub(crate) async fn send(router: &Router, signed: &Signed) -> Answer {
    let mut request = Request::builder().method(signed.method.clone()).uri(&signed.target);
    *request.headers_mut().unwrap() = signed.headers.clone();
    let request = request.body(Body::from(signed.body.clone())).unwrap();
    let answer: Result<Response, Infallible> = router.clone().oneshot(request).await;
    let (parts, body) = answer.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
    Answer { status: parts.status, headers: parts.headers, body }
}

/// The body of a token request of `user-1` for the sandbox's provider.
pub(crate) fn token_body(kit: &TestVault) -> Value {
    json!({
        "provider_id": "sandbox",
        "reason": null,
        "request": {"method": "GET", "url": format!("{}/me", kit.api_url())},
        "user_token": kit.mint("user-1"),
    })
}

/// The trail, oldest first.
pub(crate) async fn trail(kit: &TestVault) -> Vec<AuditRow> {
    let filter =
        AuditFilter { app_id: None, after: None, newest_first: false, limit: 10_000, grants: Vec::new() };
    kit.admin().audit(filter).await.unwrap().rows
}

/// How many rows of the trail say that a call was refused with `code`.
pub(crate) async fn refusals(kit: &TestVault, code: &str) -> usize {
    trail(kit).await.iter().filter(|row| row.code.as_deref() == Some(code)).count()
}

/// How many credentials were handed out.
pub(crate) async fn releases(kit: &TestVault) -> usize {
    trail(kit).await.iter().filter(|row| row.action.as_str() == "token.released").count()
}

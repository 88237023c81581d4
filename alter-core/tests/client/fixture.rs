//! A vault as a router and a provider as a server, both of which write down what they see and answer as told.

use std::{
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use alter_core::{
    App, AppBuilder, UserToken,
    wire::sign::{Signed, SigningKey},
};
use axum::{
    Router,
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::{Service, ServiceExt};

pub(crate) const KEY: &str = "alter_rk_abcdefghijklmnopqrstuv_iwpykn";
pub(crate) const AGENT_KEY: &str = "alter_ak_222222222222222222zzzz_2fv3tx";
pub(crate) const GRANT: &str = "11111111-2222-3333-4444-555555555555";
pub(crate) const CREDENTIAL: &str = "canary-credential-4711";

/// A request that arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

type Script = Arc<dyn Fn(Seen) -> BoxFuture<'static, Response> + Send + Sync>;

/// Something that is called and answers as told.
#[derive(Clone)]
pub(crate) struct Stub {
    seen: Arc<Mutex<Vec<Seen>>>,
    script: Script,
}

impl Stub {
    pub(crate) fn new<F, R>(script: impl Fn(Seen) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = R> + Send + 'static,
        R: IntoResponse,
    {
        let script: Script = Arc::new(move |seen| {
            let answer = script(seen);
            Box::pin(async move { answer.await.into_response() })
        });
        Self { seen: Arc::default(), script }
    }

    pub(crate) fn router(&self) -> Router {
        let stub = self.clone();
        Router::new().fallback(move |request: Request| {
            let stub = stub.clone();
            async move {
                let (parts, body) = request.into_parts();
                let target = parts.uri.path_and_query().unwrap().to_string();
                // A caller that goes away in the middle of its body is part of some tests.
                let Ok(body) = body.collect().await else { return StatusCode::BAD_REQUEST.into_response() };
                let body = body.to_bytes();
                let seen = Seen { method: parts.method, target, headers: parts.headers, body };
                stub.seen.lock().unwrap().push(seen.clone());
                (stub.script)(seen).await
            }
        })
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The JSON bodies that a path got.
    pub(crate) fn got(&self, path: &str) -> Vec<Value> {
        self.seen().iter().filter(|seen| seen.target == path).map(Seen::json).collect()
    }

    /// The one request that a path got.
    pub(crate) fn only(&self, path: &str) -> Seen {
        let mut seen = self.seen().into_iter().filter(|seen| seen.target.starts_with(path));
        let first = seen.next().unwrap_or_else(|| panic!("{path} was not called"));
        assert!(seen.next().is_none(), "{path} was called twice");
        first
    }
}

pub(crate) const TOKEN: &str = "/sdk/token";
pub(crate) const REPORT: &str = "/sdk/oauth/audit/api-call";

/// The token answer of most tests, with more or other fields.
pub(crate) fn token_answer(more: &Value) -> Value {
    let mut answer = json!({
        "access_token": CREDENTIAL, "grant_id": GRANT, "provider_id": "google",
        "token_generation": "99999999-8888-4777-8666-555555555555",
    });
    answer.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    answer
}

pub(crate) fn json_response(status: u16, body: &Value) -> Response {
    (StatusCode::from_u16(status).unwrap(), body.to_string()).into_response()
}

/// A vault that checks every signature and gives out one credential.
pub(crate) fn vault() -> Stub {
    vault_with(json!({}))
}

pub(crate) fn vault_with(more: Value) -> Stub {
    Stub::new(move |seen| {
        let answer = answer(&seen, &more);
        async move { answer }
    })
}

pub(crate) fn answer(seen: &Seen, more: &Value) -> Response {
    verify(seen, KEY);
    match seen.target.as_str() {
        TOKEN => json_response(200, &token_answer(more)),
        REPORT => StatusCode::NO_CONTENT.into_response(),
        other if other.ends_with("/report-scope-mismatch") => StatusCode::NO_CONTENT.into_response(),
        other => panic!("{other} is not expected"),
    }
}

pub(crate) fn verify(seen: &Seen, key: &str) {
    assert_eq!(seen.header("x-api-key"), Some(key));
    assert!(seen.header("user-agent").unwrap().starts_with("alter-core/"));
    let signed = Signed::read(&seen.headers).unwrap();
    let key = SigningKey::derive(key);
    signed.verify(&key, &seen.method, &seen.target, &seen.headers, &seen.body).unwrap();
}

pub(crate) fn builder(vault: &Stub) -> AppBuilder {
    App::builder(KEY).backend(in_process(vault)).reqwest(reqwest::ClientBuilder::no_proxy)
}

pub(crate) fn in_process(
    vault: &Stub,
) -> impl Service<
    http::Request<Bytes>,
    Response = Response,
    Error = std::convert::Infallible,
    Future: Send + 'static,
> + Clone
+ Send
+ Sync
+ 'static {
    vault.router().map_request(|request: http::Request<Bytes>| request.map(Body::from))
}

pub(crate) fn app(vault: &Stub) -> App {
    builder(vault).build().unwrap()
}

pub(crate) fn token(text: &str) -> UserToken {
    UserToken::parse(text).unwrap()
}

/// Serves a router on a free loopback port and gives its URL.
pub(crate) async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}")
}

/// A provider that answers `{"ok":true}`.
pub(crate) async fn provider() -> (Stub, String) {
    let stub = Stub::new(|_| async { json!({"ok": true}).to_string() });
    let url = serve(stub.router()).await;
    (stub, url)
}

/// Waits until something holds; for what happens on another task and has no handle.
pub(crate) async fn until(what: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it never came to be");
}

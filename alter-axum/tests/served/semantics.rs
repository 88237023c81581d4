//! What a service must do, whichever framework it is built on: one list, run against axum and against actix-web over
//! real sockets. Each framework's `main.rs` serves the same routes.
//!
//! | Route | Layer | Handler answers |
//! |---|---|---|
//! | `/who` | optional | the token of `AlterClient` |
//! | `/maybe` | optional | that of `Option<AlterClient>`, or `stranger` |
//! | `/scoped` | optional | who is in scope for the application's own client |
//! | `/spawned` | optional | three tasks: with the moved client, with `scope::spawn`, bare |
//! | `/stream` | optional | five chunks, each telling who is in scope when it is made |
//! | `/agent` | optional | the token of `AlterAgent` |
//! | `/token` | optional | the fingerprint of `UserToken` |
//! | `/fail/{code}` | optional | an `AlterError` with that code of the vault |
//! | `/panic` | optional | nothing, it panics |
//! | `/strict/scoped`, `/strict/healthz` | required, skips `/healthz` | who is in scope |
//! | `/two` | two layers; the inner one reads `x-internal` | the callers of both applications |
//! | `/reworded/{code}`, `/reworded/who` | required, answers in capitals | as above |
//! | `/bare`, `/bare/agent` | none; one without an agent | never reached |

use std::net::SocketAddr;

use alter_core::{
    Agent, App, Error,
    scope::{self, Identity, ScopeKey},
    wire::key::{ApiKey, KeyKind},
};
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};

pub(crate) fn app() -> App {
    App::builder(ApiKey::mint(KeyKind::Runtime).unwrap().expose().to_owned()).build().unwrap()
}

pub(crate) fn agent() -> Agent {
    Agent::builder(ApiKey::mint(KeyKind::Agent).unwrap().expose().to_owned()).build().unwrap()
}

/// A failure that the vault would have caused.
pub(crate) fn failure(code: &str) -> Error {
    let status = alter_core::wire::code::Code::from(code).status().unwrap();
    let body = json!({
        "error": code, "message": "CANARY", "provider_id": "google", "retry_after": 7,
        "candidates": [{"grant_id": "g-1", "account_identifier": "a@x"}, {"grant_id": "g-2", "account_identifier": "b@x"}],
    });
    Error::from_vault(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.to_string().as_bytes())
}

/// Who is in scope for the client with that key.
pub(crate) fn who(key: ScopeKey) -> String {
    match scope::current_for(key) {
        Some(Identity::User(token)) => token.expose().to_owned(),
        Some(_) => "anonymous".to_owned(),
        None => "out of scope".to_owned(),
    }
}

/// What `/spawned` answers: the client that was moved, `scope::spawn`, and a bare task.
pub(crate) async fn spawned(client: alter_core::UserClient, key: ScopeKey) -> String {
    let moved = tokio::spawn(async move { client.user_token().expose().to_owned() });
    let taken = scope::spawn(async move { who(key) });
    let bare = tokio::spawn(async move { who(key) });
    format!("{} {} {}", moved.await.unwrap(), taken.await.unwrap(), bare.await.unwrap())
}

pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// Asks over a real socket.
#[derive(Clone)]
pub(crate) struct Asker(SocketAddr, reqwest::Client);

impl Asker {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self(address, reqwest::Client::builder().no_proxy().build().unwrap())
    }

    pub(crate) fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> reqwest::RequestBuilder {
        let mut request = self.1.request(method, format!("http://{}{path}", self.0));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request
    }

    pub(crate) async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Got {
        let response = self.request(method, path, headers).send().await.unwrap();
        Got {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            text: response.text().await.unwrap(),
        }
    }

    pub(crate) async fn get(&self, path: &str, authorization: &[&str]) -> Got {
        let headers: Vec<_> = authorization.iter().map(|value| ("authorization", *value)).collect();
        self.ask(Method::GET, path, &headers).await
    }
}

pub(crate) async fn a_handler_acts_for_its_caller(asker: Asker) {
    for (path, stranger) in [("/who", None), ("/maybe", Some("stranger")), ("/scoped", Some("anonymous"))] {
        for scheme in ["Bearer", "bearer", "BEARER"] {
            let got = asker.get(path, &[&format!("{scheme} a.b.c")]).await;
            assert_eq!((got.status, got.text.as_str()), (200, "a.b.c"), "{path}");
        }
        let got = asker.get(path, &[]).await;
        match stranger {
            Some(text) => assert_eq!((got.status, got.text.as_str()), (200, text), "{path}"),
            None => assert_eq!(
                (got.status, got.json()["error"].as_str(), got.header("www-authenticate")),
                (401, Some("missing_bearer"), Some("Bearer")),
            ),
        }
    }
    let fingerprint = alter_core::UserToken::parse("a.b.c").unwrap().fingerprint();
    assert_eq!(asker.get("/token", &["Bearer a.b.c"]).await.text, fingerprint);
    assert_eq!(asker.get("/agent", &["Bearer a.b.c"]).await.text, "a.b.c");
    assert_eq!(asker.get("/agent", &[]).await.status, 401);
}

pub(crate) async fn a_broken_token_never_reaches_a_handler(asker: Asker) {
    let large = format!("Bearer {}", "a".repeat(8_193));
    for path in ["/who", "/maybe", "/scoped", "/strict/scoped", "/panic"] {
        for values in [
            &["Bearer a", "Bearer b"][..],
            &["Bearer a", "Bearer a"],
            &["Basic dTpw"],
            &["Bearer"],
            &["Bearer a b"],
            &["Bearer a,b"],
            &["Bearer ==="],
            &["Bearer \u{e9}"],
            &[large.as_str()],
        ] {
            let got = asker.get(path, values).await;
            assert_eq!(
                (got.status, got.json()["error"].as_str()),
                (401, Some("invalid_bearer")),
                "{values:?}"
            );
            assert!(got.header("www-authenticate").unwrap().starts_with("Bearer"));
            assert_eq!(got.header("content-type"), Some("application/json"));
            assert_eq!(got.header("cache-control"), Some("no-store"));
        }
    }
}

pub(crate) async fn a_token_is_required_where_the_layer_says(asker: Asker) {
    let got = asker.get("/strict/scoped", &[]).await;
    assert_eq!((got.status, got.json()["error"].as_str()), (401, Some("missing_bearer")));
    assert_eq!(asker.get("/strict/scoped", &["Bearer a.b.c"]).await.text, "a.b.c");
    for authorization in [&[][..], &["Basic dTpw"], &["Bearer a.b.c"]] {
        assert_eq!(asker.get("/strict/healthz", authorization).await.text, "anonymous");
    }
    let preflight = [("origin", "https://x"), ("access-control-request-method", "GET")];
    assert_eq!(asker.ask(Method::OPTIONS, "/strict/scoped", &preflight).await.text, "anonymous");
}

pub(crate) async fn the_caller_goes_along_only_where_it_is_taken(asker: Asker) {
    let got = asker.get("/spawned", &["Bearer a.b.c"]).await;
    assert_eq!(got.text, "a.b.c a.b.c out of scope");
    assert_eq!(asker.get("/stream", &["Bearer a.b.c"]).await.text, "a.b.c;".repeat(5));
    assert_eq!(asker.get("/stream", &[]).await.text, "anonymous;".repeat(5));
}

pub(crate) async fn two_applications_stay_apart(asker: Asker) {
    let ask = |headers: &'static [(&'static str, &'static str)]| {
        let asker = asker.clone();
        async move { asker.ask(Method::GET, "/two", headers).await.text }
    };
    assert_eq!(ask(&[("authorization", "Bearer web"), ("x-internal", "int")]).await, "web int int");
    assert_eq!(ask(&[("authorization", "Bearer web")]).await, "web anonymous stranger");
    assert_eq!(ask(&[("x-internal", "int")]).await, "anonymous int int");
}

pub(crate) async fn failures_have_their_status_and_say_nothing_of_the_inside(asker: Asker) {
    for (code, status, answered) in [
        ("jwt_validation_error", 401, "invalid_token"),
        ("grant_not_found", 403, "connection_required"),
        ("grant_revoked", 403, "reauthorization_required"),
        ("ambiguous_grant", 409, "ambiguous_grant"),
        ("ip_not_allowed", 403, "policy_denied"),
        ("step_up_required", 401, "step_up_required"),
        ("token_refresh_in_progress", 503, "refresh_in_progress"),
        ("rate_limit_exceeded", 429, "rate_limited"),
        ("quota_exceeded", 429, "quota_exceeded"),
        ("invalid_key", 500, "internal_error"),
        ("insufficient_scope", 500, "internal_error"),
        ("internal_error", 502, "upstream_unavailable"),
    ] {
        let got = asker.get(&format!("/fail/{code}"), &[]).await;
        assert_eq!((got.status, got.json()["error"].as_str()), (status, Some(answered)), "{code}");
        assert!(!got.text.contains("CANARY"), "{code}: {}", got.text);
        assert_eq!(got.header("www-authenticate").is_some(), status == 401, "{code}");
        let waits = matches!(status, 429 | 503).then_some("7");
        assert_eq!(got.header("retry-after"), waits, "{code}");
    }
    let choice = asker.get("/fail/ambiguous_grant", &[]).await.json();
    assert_eq!(choice["accounts"][1]["account"], "b@x");
}

pub(crate) async fn answers_can_be_reworded_in_one_place(asker: Asker) {
    let got = asker.get("/reworded/who", &[]).await;
    assert_eq!((got.status, got.json()["error"].as_str()), (401, Some("MISSING_BEARER")));
    let got = asker.get("/reworded/grant_revoked", &["Bearer a.b.c"]).await;
    assert_eq!((got.status, got.json()["error"].as_str()), (403, Some("REAUTHORIZATION_REQUIRED")));
    assert_eq!(asker.get("/reworded/who", &["Bearer a.b.c"]).await.text, "a.b.c");
}

pub(crate) async fn a_route_that_is_not_set_up_is_our_fault_and_says_no_more(asker: Asker) {
    for path in ["/bare", "/bare/agent"] {
        let got = asker.get(path, &["Bearer a.b.c"]).await;
        assert_eq!((got.status, got.json()["error"].as_str()), (500, Some("internal_error")), "{path}");
        assert!(!got.text.to_lowercase().contains("layer") && !got.text.contains("Middleware"));
    }
}

pub(crate) async fn nobody_ever_sees_the_caller_of_another(asker: Asker) {
    const REQUESTS: usize = 5_000;
    let mut running = tokio::task::JoinSet::new();
    for index in 0..REQUESTS {
        let asker = asker.clone();
        running.spawn(async move {
            let user = format!("user-{}", index % 50);
            let bearer = format!("Bearer {user}");
            let authorization: &[&str] = if index % 7 == 0 { &[] } else { &[&bearer] };
            let name = if index % 7 == 0 { "anonymous".to_owned() } else { user.clone() };
            match index % 5 {
                0 => assert_eq!(asker.get("/scoped", authorization).await.text, name),
                1 => assert_eq!(asker.get("/stream", authorization).await.text, format!("{name};").repeat(5)),
                2 => assert_eq!(asker.get("/who", &[&bearer]).await.text, user),
                3 => {
                    let got = asker.get("/spawned", &[&bearer]).await;
                    assert_eq!(got.text, format!("{user} {user} out of scope"));
                }
                // The caller goes away in the middle of it.
                _ if index % 25 == 4 => {
                    let request = asker.request(Method::GET, "/stream", &[("authorization", &bearer)]).send();
                    let _ = tokio::time::timeout(std::time::Duration::from_micros(500), request).await;
                }
                // The handler panics. What the caller gets is the framework's affair.
                _ if index % 25 == 9 => {
                    let _ = asker.request(Method::GET, "/panic", &[("authorization", &bearer)]).send().await;
                }
                _ => {
                    let headers = [("authorization", bearer.as_str()), ("x-internal", "int")];
                    assert_eq!(
                        asker.ask(Method::GET, "/two", &headers).await.text,
                        format!("{user} int int")
                    );
                }
            }
        });
        if running.len() >= 64 {
            running.join_next().await.unwrap().unwrap();
        }
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
}

/// One test per line of the list, against the server that `$start` gives the address of.
macro_rules! tests {
    ($start:path: $($name:ident),* $(,)?) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            $crate::semantics::$name($crate::semantics::Asker::new($start())).await;
        })*
    };
}
pub(crate) use tests;

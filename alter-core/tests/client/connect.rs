//! Connect sessions: what is sent, how the end is awaited, what each end means (spec/03 §1).

mod asked;
mod awaited;
mod mended;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use alter_core::{ConnectSession, Error};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::fixture::{GRANT, KEY, Stub, app, json_response, verify};

const SESSION: &str = "/sdk/oauth/connect/session";
const POLL: &str = "/sdk/oauth/connect/session/poll";
const URL: &str = "https://vault.example/pre/sdk/oauth/connect#session=canary-session-4711";

fn made() -> Value {
    json!({
        "session_token": "canary-session-4711", "connect_url": URL, "expires_in": 600,
        "expires_at": "2026-01-01T00:10:00Z", "single_provider": true, "more": 1,
    })
}

fn grant() -> Value {
    json!({"grant_id": GRANT, "provider_id": "google", "scopes": ["a"], "account_identifier": "ann@example.com"})
}

/// An answer; `Retry-After` where it is not zero.
#[derive(Clone)]
struct Answer(u16, Value, u64);

impl Answer {
    fn response(&self) -> Response {
        let mut response = json_response(self.0, &self.1);
        if self.2 > 0 {
            response.headers_mut().insert("retry-after", self.2.into());
        }
        response
    }
}

fn ok(body: Value) -> Answer {
    Answer(200, body, 0)
}

fn pending() -> Answer {
    ok(json!({"status": "pending"}))
}

fn done() -> Answer {
    ok(json!({"status": "completed", "grants": [grant()]}))
}

fn failed(code: &str) -> Answer {
    ok(
        json!({"status": "error", "error": {"error_code": code, "error_message": "m", "retry_after_seconds": 7}}),
    )
}

/// A vault that makes one session and then answers polls in turn, the last answer again and again.
fn vault(polls: Vec<Answer>) -> Stub {
    let turn = Arc::new(Mutex::new(0));
    Stub::new(move |seen| {
        verify(&seen, KEY);
        assert!(seen.header("x-alter-context").is_none());
        let answer = if seen.target == POLL {
            assert_eq!(seen.json(), json!({"session_token": "canary-session-4711"}));
            let mut turn = turn.lock().unwrap();
            let at = (*turn).min(polls.len() - 1);
            *turn += 1;
            polls[at].clone()
        } else {
            assert_eq!(seen.target, SESSION);
            ok(made())
        };
        async move { answer.response() }
    })
}

async fn session(vault: &Stub) -> ConnectSession {
    app(vault).connect_session().as_app().create().await.unwrap()
}

async fn waited(polls: Vec<Answer>) -> (Result<String, Error>, usize, Duration) {
    let vault = vault(polls);
    let session = session(&vault).await;
    let began = Instant::now();
    let outcome = session.wait().await.map(|connected| connected.grant().grant_id.clone());
    (outcome, vault.got(POLL).len(), began.elapsed())
}

fn body(vault: &Stub) -> String {
    String::from_utf8(vault.only(SESSION).body.to_vec()).unwrap()
}

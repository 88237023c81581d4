//! The sandbox over real sockets: what it promises to those who test against it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod api;
mod browser;
mod counts;
mod faults;
mod idp;
mod oauth;
mod pages;
mod program;
mod revocation;
mod rotation;
mod sign_in;
mod token_faults;

use alter_sandbox::Sandbox;
use reqwest::{Client, ClientBuilder, Response};
use serde_json::Value;

async fn sandbox() -> Sandbox {
    Sandbox::builder().start().await.unwrap()
}

/// No redirects, no proxy, no cookies: what is seen is what the sandbox answered.
fn builder() -> ClientBuilder {
    Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy()
}

/// A new connection for every call. One client for each test, since making one reads all root certificates.
fn http() -> Client {
    thread_local! {
        static HTTP: Client = builder().pool_max_idle_per_host(0).build().unwrap();
    }
    HTTP.with(Client::clone)
}

async fn get(url: &str, bearer: &str) -> Response {
    http().get(url).bearer_auth(bearer).send().await.unwrap()
}

async fn json(response: Response) -> Value {
    response.json().await.unwrap()
}

/// Seconds since the epoch of an HTTP date.
fn date(text: &str) -> i64 {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).unwrap().as_second()
}

#[tokio::test]
async fn an_address_that_others_can_reach_is_refused() {
    let error = Sandbox::builder().listen("0.0.0.0:0".parse().unwrap()).start().await.unwrap_err();
    assert!(matches!(error, alter_sandbox::SandboxError::NotLoopback { .. }), "{error}");
    assert!(error.to_string().contains("127.0.0.1:0"), "the message says what to use: {error}");
}

#[tokio::test]
async fn a_taken_address_is_a_typed_error() {
    let first = sandbox().await;
    let error = Sandbox::builder().listen(first.addr()).start().await.unwrap_err();
    assert!(matches!(error, alter_sandbox::SandboxError::Bind { .. }), "{error}");
}

#[tokio::test]
async fn stop_lets_a_request_in_flight_finish_and_then_nothing_answers() {
    let sandbox = sandbox().await;
    let credential = sandbox.connect("user-1", "work");
    let url = format!("{}/stream?chunks=3&delay_ms=100", sandbox.api_url());
    let streaming = get(&url, &credential.access_token).await;
    let me = format!("{}/me", sandbox.api_url());
    let (body, ()) = tokio::join!(streaming.text(), sandbox.stop());
    assert_eq!(body.unwrap().lines().count(), 3);
    assert!(http().get(me).send().await.is_err());
}

#[tokio::test]
async fn stop_does_not_wait_for_a_peer_that_never_asked() {
    let sandbox = sandbox().await;
    let _silent = tokio::net::TcpStream::connect(sandbox.addr()).await.unwrap();
    // Its connection has been accepted once a later one has been answered.
    http().get(sandbox.control_url()).send().await.unwrap();
    let started = std::time::Instant::now();
    sandbox.stop().await;
    assert!(started.elapsed() < std::time::Duration::from_secs(3), "{:?}", started.elapsed());
}

#[tokio::test]
async fn it_listens_on_the_other_loopback_too() {
    let Ok(sandbox) = Sandbox::builder().listen("[::1]:0".parse().unwrap()).start().await else {
        return; // a machine without IPv6
    };
    let credential = sandbox.connect("user-1", "work");
    let me = get(&format!("{}/me", sandbox.api_url()), &credential.access_token).await;
    assert_eq!(me.status(), 200);
    assert!(sandbox.issuer().starts_with("http://[::1]:"));
}

#[tokio::test]
async fn drop_cuts_what_is_in_flight() {
    let sandbox = sandbox().await;
    let credential = sandbox.connect("user-1", "work");
    let url = format!("{}/stream?chunks=100&delay_ms=1000", sandbox.api_url());
    let streaming = get(&url, &credential.access_token).await;
    drop(sandbox);
    assert!(streaming.text().await.is_err());
}

#[tokio::test]
async fn debug_shows_no_secret() {
    let sandbox = sandbox().await;
    let (client, credential) = (sandbox.client(), sandbox.connect("user-1", "work"));
    let shown = format!("{sandbox:?} {client:?} {credential:?} {:?}", sandbox.faults());
    for secret in [&client.client_secret, &credential.access_token, &credential.refresh_token] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

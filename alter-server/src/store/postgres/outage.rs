//! A vault whose database goes away and comes back.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use alter_core::wire::{
    header,
    key::ApiKey,
    sign::{self, Stamp},
};
use axum::{Router, body::Body};
use base64::Engine as _;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use secrecy::SecretString;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::cluster::Database;
use crate::{
    KekSource, Vault, VaultConfig,
    admin::KeyRequest,
    domain::{Injection, Principal, Provider, ProviderKind},
    seal::KeyRing,
};

struct World {
    vault: Vault,
    router: Router,
    key: ApiKey,
    grant: String,
}

impl World {
    async fn open(url: String) -> Self {
        let key = base64::engine::general_purpose::STANDARD.encode([7; 32]);
        let ring = KeyRing::parse(&SecretString::from(format!("one:{key}"))).unwrap();
        let vault = Vault::open(VaultConfig::postgres(url).kek(KekSource::Ring(ring))).await.unwrap();
        let admin = vault.admin("test");
        let app = admin.create_app("shop").await.unwrap();
        let key = admin.create_key(app.id, KeyRequest::named("backend").rate_limit_per_minute(100_000)).await;
        let provider = Provider {
            name: "billing".to_owned(),
            id: "billing".parse().unwrap(),
            kind: ProviderKind::ManagedSecret,
            hosts: vec!["billing.example.test".parse().unwrap()],
            injection: Injection::default(),
            additional: Vec::new(),
            oauth: None,
        };
        let provider = admin.put_provider(app.id, provider, None).await.unwrap();
        let value = SecretString::from("s3cret");
        let secret = admin.create_secret(app.id, provider.id, "billing", value, Default::default()).await;
        let grant =
            admin.create_grant(app.id, secret.unwrap().id, Principal::System, None, None).await.unwrap();
        let router = vault.router();
        Self { vault, router, key: key.unwrap().key, grant: grant.facts.id.to_string() }
    }

    async fn ask(&self, request: Request<Body>) -> (StatusCode, HeaderMap) {
        let answer = self.router.clone().oneshot(request).await.unwrap();
        (answer.status(), answer.headers().clone())
    }

    async fn get(&self, path: &str) -> StatusCode {
        self.ask(Request::get(path).body(Body::empty()).unwrap()).await.0
    }

    async fn call(&self, path: &str) -> (StatusCode, HeaderMap) {
        let body = match path {
            "/sdk/token" => json!({
                "grant_id": self.grant,
                "request": {"method": "GET", "url": "https://billing.example.test/"},
            }),
            _ => json!({}),
        };
        let body = body.to_string().into_bytes();
        let mut request = Request::post(path).body(Body::from(body.clone())).unwrap();
        let headers = request.headers_mut();
        headers.insert(header::API_KEY, HeaderValue::from_str(self.key.expose()).unwrap());
        let stamp = Stamp::fresh(jiff::Timestamp::now().as_second()).unwrap();
        sign::sign(&self.key.signing_key(), &Method::POST, path, &stamp, &body, headers).unwrap();
        self.ask(request).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_database_it_says_so_everywhere_and_comes_back_by_itself() {
    let database = Database::alone().await;
    let world = World::open(database.text()).await;
    assert_eq!(world.call("/sdk/token").await.0, StatusCode::OK);
    assert_eq!(world.get("/readyz").await, StatusCode::OK);

    let cluster = Arc::clone(&database.cluster);
    tokio::task::spawn_blocking(move || cluster.crash()).await.unwrap();
    let gone = Instant::now();
    let paths = [
        "/sdk/token".to_owned(),
        "/sdk/grants/list".to_owned(),
        "/sdk/oauth/audit/api-call".to_owned(),
        "/sdk/auth/verify-token".to_owned(),
        format!("/sdk/oauth/grants/{}/revoke", world.grant),
        format!("/sdk/grants/{}/report-scope-mismatch", world.grant),
    ];
    for path in paths.iter().cycle().take(600) {
        let (status, headers) = world.call(path).await;
        assert_eq!(
            (status, headers["retry-after"].to_str().unwrap()),
            (StatusCode::SERVICE_UNAVAILABLE, "1"),
            "{path}"
        );
    }
    assert_eq!(world.get("/readyz").await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(world.get("/healthz").await, StatusCode::OK);
    assert!(gone.elapsed() < Duration::from_secs(5), "refused at once: {:?}", gone.elapsed());

    let cluster = Arc::clone(&database.cluster);
    tokio::task::spawn_blocking(move || cluster.launch()).await.unwrap();
    assert_eq!(world.get("/readyz").await, StatusCode::OK);
    assert_eq!(world.call("/sdk/token").await.0, StatusCode::OK);
    world.vault.close().await.unwrap();
}

/// Passes bytes on, until its machine is gone: connections are taken by nobody and nothing is answered.
async fn way(to: SocketAddr) -> (SocketAddr, CancellationToken, impl FnOnce()) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (gone, back) = (CancellationToken::new(), CancellationToken::new());
    let (end, again) = (gone.clone(), back.clone());
    tokio::spawn(async move {
        loop {
            let Some(accepted) = end.run_until_cancelled(listener.accept()).await else {
                again.cancelled().await;
                // Who knocked meanwhile has given up.
                return forever(listener, to).await;
            };
            let (stream, _) = accepted.unwrap();
            let end = end.clone();
            tokio::spawn(async move { end.run_until_cancelled(pass(stream, to)).await });
        }
    });
    (address, gone, move || back.cancel())
}

async fn forever(listener: TcpListener, to: SocketAddr) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(pass(stream, to));
    }
}

async fn pass(mut here: TcpStream, to: SocketAddr) {
    let mut there = TcpStream::connect(to).await.unwrap();
    let _ = tokio::io::copy_bidirectional(&mut here, &mut there).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_answers_nothing_is_waited_for_by_few() {
    let database = Database::create().await;
    let url = database.text();
    let place = url.trim_start_matches("postgres://alter@");
    let (to, name) = place.split_once('/').unwrap();
    let (address, gone, back) = way(to.parse().unwrap()).await;
    let world = World::open(format!("postgres://alter@{address}/{name}")).await;
    assert_eq!(world.call("/sdk/token").await.0, StatusCode::OK);

    gone.cancel();
    let many = |count| join_all((0..count).map(|_| world.call("/sdk/token")));
    let began = Instant::now();
    let first = many(200).await;
    assert!(first.iter().all(|(status, headers)| *status == 503 && headers["retry-after"] == "1"));
    // The first ones found it out, which takes the time that a connection may take to be made.
    assert!(began.elapsed() < Duration::from_secs(7), "{:?}", began.elapsed());

    // From then on a task tries, and calls are told at once.
    let began = Instant::now();
    for _ in 0..20 {
        assert!(many(50).await.iter().all(|(status, _)| *status == 503));
    }
    assert_eq!(world.get("/readyz").await, StatusCode::SERVICE_UNAVAILABLE);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());

    back();
    let began = Instant::now();
    while world.call("/sdk/token").await.0 != 200 {
        assert!(began.elapsed() < Duration::from_secs(8));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(many(50).await.iter().all(|(status, _)| *status == 200));
    world.vault.close().await.unwrap();
}

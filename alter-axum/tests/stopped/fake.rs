//! A vault and a provider in the place of the network, for what happens when a service stops.
//!
//! The vault releases `for-<user token>`. The provider answers with the credential that it was called with, once
//! [`Outside::let_go`] was called. The vault counts the reports.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use alter_core::{
    App,
    wire::{
        key::{ApiKey, KeyKind},
        report, token,
    },
};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};
use tower::service_fn;

#[derive(Clone)]
pub(crate) struct Outside {
    calls: watch::Sender<usize>,
    gate: Arc<Semaphore>,
    reports: Arc<AtomicUsize>,
}

impl Outside {
    pub(crate) fn new() -> Self {
        Self { calls: watch::channel(0).0, gate: Arc::new(Semaphore::new(0)), reports: Arc::default() }
    }

    pub(crate) fn app(&self) -> App {
        let (vault, provider) = (self.clone(), self.clone());
        App::builder(ApiKey::mint(KeyKind::Runtime).unwrap().expose().to_owned())
            .backend(service_fn(move |request| {
                let vault = vault.clone();
                async move { Ok::<_, Infallible>(vault.vault(request).await) }
            }))
            .provider_service(service_fn(move |request| {
                let provider = provider.clone();
                async move { Ok::<_, Infallible>(provider.provider(&request).await) }
            }))
            .build()
            .unwrap()
    }

    async fn vault(&self, request: Request<Bytes>) -> Response<Full<Bytes>> {
        match request.uri().path() {
            token::PATH => {
                let asked: Value = serde_json::from_slice(request.body()).unwrap();
                let user = asked["user_token"].as_str().unwrap();
                let body = json!({
                    "access_token": format!("for-{user}"), "grant_id": uuid::Uuid::nil(), "provider_id": "p",
                });
                Response::new(Full::new(body.to_string().into()))
            }
            report::API_CALL_PATH => {
                // Slower than the server needs to stop.
                tokio::time::sleep(Duration::from_millis(50)).await;
                self.reports.fetch_add(1, Ordering::SeqCst);
                Response::new(Full::new("{}".into()))
            }
            path => {
                let mut response = Response::new(Full::new(path.to_owned().into()));
                *response.status_mut() = StatusCode::NOT_FOUND;
                response
            }
        }
    }

    async fn provider<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        self.calls.send_modify(|calls| *calls += 1);
        let pass = self.gate.acquire().await.unwrap();
        pass.forget();
        let credential = request.headers()["authorization"].to_str().unwrap().to_owned();
        Response::new(Full::new(credential.into()))
    }

    /// Waits until so many calls have reached the provider.
    pub(crate) async fn reached(&self, calls: usize) {
        self.calls.subscribe().wait_for(|reached| *reached >= calls).await.unwrap();
    }

    /// Lets so many calls be answered.
    pub(crate) fn let_go(&self, calls: usize) {
        self.gate.add_permits(calls);
    }

    /// How many reports the vault has.
    pub(crate) fn reports(&self) -> usize {
        self.reports.load(Ordering::SeqCst)
    }
}

/// Asks as one of several users, over a real socket, and checks that the answer is made with that user's credential.
pub(crate) async fn ask(client: reqwest::Client, address: std::net::SocketAddr, user: usize) {
    let response = client
        .get(format!("http://{address}/call"))
        .header("authorization", format!("Bearer user-{user}"))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.text().await.unwrap(), format!("Bearer for-user-{user}"));
}

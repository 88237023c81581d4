//! The provider as the vault sees it: the sandbox behind a forwarder that notes how long each answer took.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use alter_sandbox::{OauthEndpoints, Sandbox};
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use tokio::task::JoinHandle;

use crate::{Failure, Outcome};

/// Largest body of the vault's, in bytes.
const BODY: usize = 64 * 1024;

/// How often a path was asked for, and how long all of its answers took.
pub(super) type Asked = BTreeMap<String, (usize, Duration)>;

/// A sandbox, and the address at which the vault is told that its endpoints are.
pub(super) struct Provider {
    pub(super) sandbox: Sandbox,
    /// `127.0.0.1:PORT` of the forwarder.
    pub(super) host: String,
    asked: Arc<Mutex<Asked>>,
    served: JoinHandle<()>,
}

#[derive(Clone)]
struct Forwarder {
    http: reqwest::Client,
    /// Scheme, host and port of the sandbox.
    to: String,
    asked: Arc<Mutex<Asked>>,
}

impl Provider {
    pub(super) async fn start() -> Outcome<Self> {
        let sandbox = Sandbox::builder().start().await?;
        let listener = crate::loopback().await?;
        let host = listener.local_addr()?.to_string();
        let asked = Arc::<Mutex<Asked>>::default();
        let forwarder = Forwarder {
            http: reqwest::Client::builder().no_proxy().build()?,
            to: format!("http://{}", sandbox.addr()),
            asked: Arc::clone(&asked),
        };
        let router = Router::new().fallback(forward).with_state(forwarder);
        let served = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                eprintln!("the forwarder ended: {error}");
            }
        });
        Ok(Self { sandbox, host, asked, served })
    }

    /// The same endpoint behind the forwarder.
    pub(super) fn behind(&self, url: &str) -> String {
        url.replacen(&self.sandbox.addr().to_string(), &self.host, 1)
    }

    /// Endpoints of which those that the vault asks are behind the forwarder; the browser's are not.
    pub(super) fn endpoints(&self, direct: OauthEndpoints) -> OauthEndpoints {
        let mut endpoints = direct;
        for url in [&mut endpoints.token, &mut endpoints.userinfo, &mut endpoints.revoke] {
            *url = self.behind(url);
        }
        endpoints
    }

    /// What was asked since the last time, and how long the answers took.
    pub(super) fn take(&self) -> Asked {
        std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) async fn stop(self) {
        self.served.abort();
        self.sandbox.stop().await;
    }
}

/// All answers of them together.
pub(super) fn total(asked: &Asked) -> Duration {
    asked.values().map(|(_, took)| *took).sum()
}

async fn forward(State(forwarder): State<Forwarder>, request: Request<Body>) -> Response {
    let path = request.uri().path().to_owned();
    let began = Instant::now();
    let answer = forwarder.ask(request).await;
    let took = began.elapsed();
    {
        let mut asked = forwarder.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = asked.entry(path).or_default();
        *entry = (entry.0 + 1, entry.1 + took);
    }
    answer.unwrap_or_else(|error| (StatusCode::BAD_GATEWAY, error.to_string()).into_response())
}

impl Forwarder {
    async fn ask(&self, request: Request<Body>) -> Outcome<Response> {
        let (parts, body) = request.into_parts();
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let mut headers = HeaderMap::new();
        for name in [header::AUTHORIZATION, header::CONTENT_TYPE, header::ACCEPT] {
            if let Some(value) = parts.headers.get(&name) {
                headers.insert(name, value.clone());
            }
        }
        let body = to_bytes(body, BODY).await.map_err(|error| Failure::from(error.to_string()))?;
        let url = format!("{}{target}", self.to);
        let answer = self.http.request(parts.method, url).headers(headers).body(body).send().await?;
        let (status, kind) = (answer.status(), answer.headers().get(header::CONTENT_TYPE).cloned());
        let mut response = (status, answer.bytes().await?).into_response();
        if let Some(kind) = kind {
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
        }
        Ok(response)
    }
}

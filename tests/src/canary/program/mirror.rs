//! Providers that do the worst with what they are sent: one answers with it, one answers with something that is not
//! HTTP and made of it, one is not there.

use std::net::SocketAddr;

use axum::{
    Router,
    body::Body,
    extract::{Path, Request},
    http::HeaderMap,
    response::Response,
    routing::post,
};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};

pub(super) struct Mirror {
    /// Answers with what it was sent, under the status that its path names.
    pub(super) addr: SocketAddr,
    /// Sends the request back as if it were an answer.
    pub(super) garbage: SocketAddr,
    /// Nobody listens there.
    pub(super) dead: SocketAddr,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Mirror {
    pub(super) async fn start() -> Self {
        let bind = || TcpListener::bind("127.0.0.1:0");
        let (mirror, garbage, dead) = (bind().await.unwrap(), bind().await.unwrap(), bind().await.unwrap());
        let [addr, garbage_addr, dead_addr] = [&mirror, &garbage, &dead].map(|at| at.local_addr().unwrap());
        drop(dead);
        let router = Router::new().route("/token/{how}", post(tell)).fallback(reflect);
        let tasks = [
            tokio::spawn(async move { axum::serve(mirror, router).await.unwrap() }),
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = garbage.accept().await {
                    let mut request = vec![0; 16_384];
                    let length = stream.read(&mut request).await.unwrap_or(0);
                    let _ = stream.write_all(&request[..length]).await;
                }
            }),
        ];
        Self { addr, garbage: garbage_addr, dead: dead_addr, tasks }
    }
}

async fn reflect(request: Request) -> Response {
    let target = request.uri().to_string();
    let status = request.uri().path().trim_start_matches('/').parse::<u16>();
    let mut seen = format!("{} {target}\n", request.method());
    for (name, value) in request.headers() {
        seen.push_str(&format!("{name}: {}\n", value.to_str().unwrap_or_default()));
    }
    let mut response = Response::new(Body::from(seen.clone()));
    *response.status_mut() =
        status.ok().and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or_default();
    let line = seen.replace('\n', "; ");
    let mut put = |name: header::HeaderName, value: &str| {
        response.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
    };
    put(header::LOCATION, &target);
    put(header::SET_COOKIE, &line);
    put(header::HeaderName::from_static("x-seen"), &line);
    let quoted = line.replace('\\', "\\\\").replace('"', "\\\"");
    put(header::WWW_AUTHENTICATE, &format!("Bearer error=\"insufficient_scope\", scope=\"{quoted}\""));
    response
}

/// Token endpoints that quote what they are sent, wherever an answer has room for it.
async fn tell(Path(how): Path<String>, headers: HeaderMap, body: String) -> Response {
    let form = reqwest::Url::parse(&format!("http://form/?{body}")).unwrap();
    let mut seen = body;
    for (_, value) in form.query_pairs() {
        seen.push_str(&format!(" {value}"));
    }
    if let Some(basic) = headers.get(header::AUTHORIZATION) {
        seen.push_str(&format!(" {}", basic.to_str().unwrap_or_default()));
    }
    let first = form.query_pairs().find(|(name, _)| name == "refresh_token");
    let token = first.map(|(_, value)| value.into_owned()).unwrap_or_default();
    let (status, answer) = match how.as_str() {
        // The tokens to come are made of the old one, so that the test knows them.
        "new" => (200, json!({"access_token": token.replace("old", "new"), "refresh_token": token.replace("old", "next"),
            "expires_in": 3600, "scope": "read"}).to_string()),
        "odd" => (200, json!({"access_token": format!("{token}\n"), "refresh_token": seen}).to_string()),
        "dead" => (400, json!({"error": "invalid_grant", "error_description": seen}).to_string()),
        "client" => (401, json!({"error": "invalid_client", "error_description": seen}).to_string()),
        "named" => (400, json!({"error": seen}).to_string()),
        "object" => (400, json!({"error": {"status": seen, "message": seen}}).to_string()),
        "busy" => (503, seen),
        "page" => (403, format!("<html>{seen}</html>")),
        _ => (200, seen),
    };
    let mut response = Response::new(Body::from(answer));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

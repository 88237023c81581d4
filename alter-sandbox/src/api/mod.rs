//! The provider's API: it answers with whom it authenticated and records every call it saw.

mod caller;

use std::{convert::Infallible, sync::Arc, time::Duration};

use aws_lc_rs::digest;
use axum::{
    Extension, Json, Router,
    body::Body,
    extract::{Path, RawQuery, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use serde_json::{Value, json};

pub(crate) use caller::{ApiKey, Caller, bearer_token, register};

use crate::{
    date,
    params::Params,
    state::{State as Remembered, World},
};

/// Where the API is mounted.
pub(crate) const PREFIX: &str = "/api";

/// Calls that are remembered; the oldest are forgotten first.
const MAX_CALLS: usize = 100_000;
/// Longest path and call id that are remembered, in characters.
const MAX_TEXT: usize = 512;
const MAX_CHUNKS: u64 = 100_000;
const MAX_CHUNK_DELAY_MS: u64 = 60_000;

/// The header in which a caller may number its calls.
const CALL_ID: HeaderName = HeaderName::from_static("x-call-id");
/// Headers whose values `echo` shows; nothing secret belongs in them.
const ECHOED: &str = "x-echo-";

/// One call that the API saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Call {
    /// The request's `X-Call-Id`, if it had one.
    pub call_id: Option<String>,
    /// Whom the API authenticated; `None` if it refused the credential.
    pub sub: Option<String>,
    /// The account, if the credential was an OAuth access token.
    pub account: Option<String>,
    /// HTTP method.
    pub method: String,
    /// Path as it came, without the query.
    pub path: String,
    /// When it came: milliseconds since the Unix epoch, UTC.
    pub at: i64,
}

pub(crate) fn routes(world: &Arc<World>) -> Router<Arc<World>> {
    Router::new()
        .route("/me", get(me))
        .route("/echo", any(echo))
        .route("/echo/{*rest}", any(echo))
        .route("/stream", get(chunks))
        .route("/status/{code}", any(status))
        .route("/cookie", get(cookie))
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "not_found") })
        .layer(from_fn_with_state(Arc::clone(world), front_door))
}

/// 401 of RFC 6750 §3.1.
pub(crate) fn unauthorized() -> Response {
    let mut response = problem(StatusCode::UNAUTHORIZED, "invalid_token");
    let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}

fn problem(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}

/// Authenticates and records every call before anything answers it.
async fn front_door(State(world): State<Arc<World>>, mut request: Request, next: Next) -> Response {
    let (caller, fault) = {
        let mut state = world.lock();
        let now_ms = world.clock.now_ms();
        let caller = caller::identify(&state, request.headers(), request.uri().query(), now_ms);
        record(&mut state, &request, caller.as_ref(), now_ms);
        let status = state.faults.api_status.and_then(|code| StatusCode::from_u16(code).ok());
        (caller, status.map(|status| (status, date::retry_after(&state.faults, status, now_ms))))
    };
    if let Some((status, retry_after)) = fault {
        let mut response = match status {
            StatusCode::UNAUTHORIZED => unauthorized(),
            status => problem(status, "sandbox_fault"),
        };
        response.headers_mut().extend(retry_after.map(|value| (header::RETRY_AFTER, value)));
        return response;
    }
    let Some(caller) = caller else { return unauthorized() };
    request.extensions_mut().insert(caller);
    next.run(request).await
}

fn record(state: &mut Remembered, request: &Request, caller: Option<&Caller>, now_ms: i64) {
    state.tally.api_calls += 1;
    if state.calls.len() >= MAX_CALLS {
        state.calls.pop_front();
    }
    let text = |text: &str| text.chars().take(MAX_TEXT).collect::<String>();
    state.calls.push_back(Call {
        call_id: request.headers().get(CALL_ID).and_then(|id| id.to_str().ok()).map(text),
        sub: caller.map(|caller| caller.sub.clone()),
        account: caller.and_then(|caller| caller.account.clone()),
        method: request.method().to_string(),
        path: text(&full_path(request)),
        at: now_ms,
    });
}

/// The path as it was sent: this router is nested, and sees it without its prefix.
fn full_path(request: &Request) -> String {
    format!("{PREFIX}{}", request.uri().path())
}

async fn me(Extension(caller): Extension<Caller>) -> Response {
    Json(json!({"sub": caller.sub, "account": caller.account, "header": caller.fingerprint})).into_response()
}

async fn echo(Extension(caller): Extension<Caller>, request: Request) -> Response {
    let path = full_path(&request);
    let (parts, body) = request.into_parts();
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut length = 0_u64;
    let mut frames = body.into_data_stream();
    while let Some(frame) = frames.next().await {
        let Ok(frame) = frame else { return problem(StatusCode::BAD_REQUEST, "body_broke_off") };
        hash.update(&frame);
        length += frame.len() as u64;
    }
    let query: Vec<[String; 2]> =
        url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
            .map(|(name, value)| {
                let value = if name == "api_key" { "[hidden]".to_owned() } else { value.into_owned() };
                [name.into_owned(), value]
            })
            .collect();
    Json(json!({
        "method": parts.method.as_str(),
        "path": path,
        "query": query,
        "body_length": length,
        "body_sha256": hex::encode(hash.finish()),
        "content_type": parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()),
        "header_names": header_names(&parts.headers),
        "headers": echoed(&parts.headers),
        "sub": caller.sub,
        "account": caller.account,
        "scope": caller.scope,
    }))
    .into_response()
}

/// Every header line's name, repeated ones as often as they came.
fn header_names(headers: &HeaderMap) -> Vec<&str> {
    headers.iter().map(|(name, _)| name.as_str()).collect()
}

fn echoed(headers: &HeaderMap) -> Vec<[String; 2]> {
    let shown = headers.iter().filter(|(name, _)| name.as_str().starts_with(ECHOED));
    shown
        .map(|(name, value)| [name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()])
        .collect()
}

/// NDJSON, one line per chunk, `?chunks=` of them with `?delay_ms=` between.
async fn chunks(Extension(caller): Extension<Caller>, RawQuery(query): RawQuery) -> Response {
    let (Some(chunks), Some(delay_ms)) = (
        number(query.as_deref(), "chunks", 3, MAX_CHUNKS),
        number(query.as_deref(), "delay_ms", 0, MAX_CHUNK_DELAY_MS),
    ) else {
        return problem(StatusCode::BAD_REQUEST, "chunks is at most 100000, delay_ms at most 60000");
    };
    let delay = Duration::from_millis(delay_ms);
    let lines = stream::iter(0..chunks).then(move |chunk| {
        let line = format!("{}\n", json!({"sub": caller.sub, "account": caller.account, "chunk": chunk}));
        async move {
            if chunk > 0 && !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            Ok::<Bytes, Infallible>(Bytes::from(line))
        }
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

fn number(query: Option<&str>, name: &str, default: u64, max: u64) -> Option<u64> {
    let params = Params::parse(query.unwrap_or_default().as_bytes()).ok()?;
    match params.get(name) {
        None => Some(default),
        Some(text) => text.parse().ok().filter(|number| *number <= max),
    }
}

/// Any status from 200 on. A redirect leads to `/api/me`; `?retry_after=` sets that header;
/// `?challenge=insufficient_scope&scope=` asks for more scope as RFC 6750 §3.1 does.
async fn status(Path(code): Path<u16>, RawQuery(query): RawQuery) -> Response {
    let status = StatusCode::from_u16(code).ok().filter(|_| (200..=599).contains(&code));
    let (Some(status), Ok(params)) = (status, Params::parse(query.unwrap_or_default().as_bytes())) else {
        return problem(StatusCode::BAD_REQUEST, "a status from 200 to 599");
    };
    let mut response = match status {
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => status.into_response(),
        status => (status, Json(json!({ "status": code }))).into_response(),
    };
    let mut set = |name: HeaderName, value: &str| {
        // What cannot stand in a header is left out.
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    };
    if status.is_redirection() {
        set(header::LOCATION, "/api/me");
    }
    if let Some(seconds) = params.get("retry_after") {
        set(header::RETRY_AFTER, seconds);
    }
    if let Some(error) = params.get("challenge") {
        let scope = params.get("scope").map(|scope| format!(", scope=\"{scope}\"")).unwrap_or_default();
        set(header::WWW_AUTHENTICATE, &format!("Bearer error=\"{error}\"{scope}"));
    }
    response
}

/// Sets a cookie and says whether one came along.
async fn cookie(headers: HeaderMap) -> Response {
    let came: Value = headers.contains_key(header::COOKIE).into();
    let set = [(header::SET_COOKIE, "sandbox=1; Path=/; HttpOnly")];
    (set, Json(json!({ "cookie_came": came }))).into_response()
}

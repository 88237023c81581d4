//! The host application: a page with a Connect button, the unmodified widget, and a log of what the widget says.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Json, Router,
    extract::{Path as Segment, State},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use http::{HeaderName, StatusCode, header};
use serde_json::Value;

use crate::{Failure, Stage};

/// Its script and nobody else's; what a careful application would send.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'";

/// What the pages are made of.
pub(crate) struct Shop {
    widget: Bytes,
    /// What the Connect button of a page opens, by the page's name.
    sessions: Mutex<HashMap<String, Value>>,
}

impl Shop {
    pub(crate) fn new(widget: &Path) -> Result<Self, Failure> {
        let widget = std::fs::read(widget).map_err(|error| format!("{}: {error}", widget.display()))?;
        Ok(Self { widget: widget.into(), sessions: Mutex::default() })
    }

    /// Makes a page whose button opens this.
    pub(crate) fn put(&self, name: String, session: Value) {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).insert(name, session);
    }
}

pub(crate) fn router() -> Router<Arc<Stage>> {
    Router::new()
        .route("/shop/{name}", get(async || file("text/html; charset=utf-8", include_str!("shop.html"))))
        .route("/shop/{name}/session", get(session))
        .route("/shop.js", get(async || file("text/javascript", include_str!("shop.js"))))
        .route("/alter-connect.umd.js", get(widget))
        .route("/bind/{value}", get(bind))
}

fn file(kind: &'static str, body: impl IntoResponse) -> Response {
    let policy = HeaderName::from_static("content-security-policy");
    ([(header::CONTENT_TYPE, kind), (policy, POLICY)], body).into_response()
}

async fn widget(State(stage): State<Arc<Stage>>) -> Response {
    file("text/javascript", stage.shop.widget.clone())
}

/// What the application's own backend answers when the button is clicked.
async fn session(State(stage): State<Arc<Stage>>, Segment(name): Segment<String>) -> Response {
    let sessions = stage.shop.sessions.lock().unwrap_or_else(PoisonError::into_inner);
    match sessions.get(&name) {
        Some(session) => Json(session.clone()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Sets the cookie that binds a session to this browser. Only on the vault's own host does that have an effect.
async fn bind(Segment(value): Segment<String>) -> Response {
    let cookie = format!("alter-binding={value}; Path=/; HttpOnly; SameSite=Lax");
    ([(header::SET_COOKIE, cookie)], "bound").into_response()
}

//! The reference for the vault: axum with nothing behind it, reading and answering JSON of the same sizes.

use std::sync::Arc;

use axum::{Json, Router, extract::State, routing::post};
use serde_json::{Value, json};

/// Reads a JSON body and answers one of exactly `answer_bytes` bytes that holds something of it.
pub(crate) fn router(answer_bytes: usize) -> Router {
    Router::new().route("/sdk/token", post(echo)).with_state(Arc::new(answer_bytes))
}

async fn echo(State(answer_bytes): State<Arc<usize>>, Json(request): Json<Value>) -> Json<Value> {
    let method = request.pointer("/request/method").cloned().unwrap_or_default();
    let empty = r#"{"method":"","padding":""}"#.len() + method.as_str().map_or(2, str::len);
    Json(json!({"method": method, "padding": "x".repeat(answer_bytes.saturating_sub(empty))}))
}

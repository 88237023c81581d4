//! `GET /healthz` and `GET /readyz`, for whatever starts and stops the process. Unsigned, and they say nothing else.

use std::{sync::Arc, time::Duration};

use alter_core::wire::{code::Code, error::ErrorBody};
use axum::{extract::State, response::Response};
use serde_json::json;

use super::{
    answer::{Dressing, Reply},
    caller,
};
use crate::vault::Core;

/// How long the store may take to answer.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// The process runs.
pub(super) async fn alive() -> Response {
    Dressing::new(caller::request_id()).render(Reply::json(&json!({"status": "ok"})))
}

/// Calls would be served: the store takes work, and the vault is neither draining nor closing.
pub(super) async fn ready(State(core): State<Arc<Core>>) -> Response {
    let dressing = Dressing::new(caller::request_id());
    let ready = match core.enter() {
        _ if core.is_draining() => false,
        None => false,
        Some(_busy) => matches!(tokio::time::timeout(READY_TIMEOUT, core.store.health()).await, Ok(Ok(()))),
    };
    dressing.render(if ready {
        Reply::json(&json!({"status": "ready"}))
    } else {
        Reply::error(&ErrorBody::new(Code::ServiceUnavailable, "the vault cannot serve at the moment"))
    })
}

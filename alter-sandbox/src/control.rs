//! The endpoint from which scripts in any language set faults and read counts.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use serde::Serialize;
use serde_json::json;

use crate::{
    api::Call,
    faults::{BadChange, Faults},
    state::World,
};

/// What has happened since the sandbox started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Counts {
    /// Requests at the token endpoint, whatever became of them.
    pub token_calls: u64,
    /// Refreshes carried out, those whose answer was dropped or came late included.
    pub refreshes: u64,
    /// Refreshes answered with an OAuth error (RFC 6749 §5.2). A firewall's page and a 500 are not counted here.
    pub refused_refreshes: u64,
    /// Requests at the API, refused ones included.
    pub api_calls: u64,
    /// Reads of the discovery document.
    pub discovery_calls: u64,
    /// Reads of the key set, refused and late ones included.
    pub jwks_calls: u64,
}

#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    counts: Counts,
    faults: Faults,
}

impl Report {
    fn of(world: &World) -> Self {
        let state = world.lock();
        Self { counts: state.counts, faults: state.faults.clone() }
    }
}

pub(crate) fn routes() -> Router<Arc<World>> {
    Router::new().route("/", get(report).post(change)).route("/calls", get(calls))
}

async fn report(State(world): State<Arc<World>>) -> Response {
    Json(Report::of(&world)).into_response()
}

async fn change(State(world): State<Arc<World>>, body: Bytes) -> Response {
    match apply(&world, &body) {
        Ok(()) => Json(Report::of(&world)).into_response(),
        Err(bad) => (StatusCode::BAD_REQUEST, Json(bad)).into_response(),
    }
}

fn apply(world: &World, body: &[u8]) -> Result<(), BadChange> {
    let change = serde_json::from_slice(body)
        .map_err(|error| BadChange::new(None, &format!("the body is not JSON: {error}"), &[]))?;
    let mut state = world.lock();
    state.faults = state.faults.changed(&change)?;
    tracing::debug!(faults = ?state.faults, "faults changed");
    Ok(())
}

async fn calls(State(world): State<Arc<World>>) -> Response {
    let calls: Vec<Call> = world.lock().calls.iter().cloned().collect();
    Json(json!(calls)).into_response()
}

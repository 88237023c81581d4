//! The endpoint from which scripts in any language steer the sandbox and read what happened.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{RawQuery, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;

use crate::{
    api::Call,
    counts::{AccountCounts, Counts},
    faults::{BadChange, Faults},
    oauth,
    params::Params,
    state::World,
};

/// Longest time the clock is moved at once, in seconds: ten years.
const MAX_ADVANCE: u64 = 315_360_000;
/// Longest name of a user or an account, in bytes.
const MAX_NAME: usize = 2048;

#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    counts: Counts,
    faults: Faults,
}

impl Report {
    fn of(world: &World) -> Self {
        let state = world.lock();
        Self { counts: state.tally.counts(), faults: state.faults.clone() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whose {
    sub: String,
    account: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    seconds: u64,
}

pub(crate) fn routes() -> Router<Arc<World>> {
    Router::new()
        .route("/", get(report).post(change))
        .route("/calls", get(calls))
        .route("/account", get(account))
        .route("/connect", post(connect))
        .route("/disconnect", post(disconnect))
        .route("/advance", post(advance))
}

impl IntoResponse for BadChange {
    fn into_response(self) -> Response {
        (StatusCode::BAD_REQUEST, Json(self)).into_response()
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, BadChange> {
    serde_json::from_slice(body)
        .map_err(|error| BadChange::new(None, &format!("the body is not the JSON wanted: {error}"), &[]))
}

fn whose(body: &[u8]) -> Result<Whose, BadChange> {
    let whose: Whose = read(body)?;
    for (field, name) in [("sub", &whose.sub), ("account", &whose.account)] {
        if name.is_empty() || name.len() > MAX_NAME {
            return Err(BadChange::new(Some(field), "between 1 and 2048 bytes", &[]));
        }
    }
    Ok(whose)
}

async fn report(State(world): State<Arc<World>>) -> Json<Report> {
    Json(Report::of(&world))
}

async fn change(State(world): State<Arc<World>>, body: Bytes) -> Result<Json<Report>, BadChange> {
    let change = read(&body)?;
    {
        let mut state = world.lock();
        state.faults = state.faults.changed(&change)?;
        tracing::debug!(faults = ?state.faults, "faults changed");
    }
    Ok(Json(Report::of(&world)))
}

async fn calls(State(world): State<Arc<World>>) -> Json<Vec<Call>> {
    Json(world.lock().calls.iter().cloned().collect())
}

async fn account(
    State(world): State<Arc<World>>,
    RawQuery(query): RawQuery,
) -> Result<Json<AccountCounts>, BadChange> {
    let params = Params::parse(query.unwrap_or_default().as_bytes())
        .map_err(|repeated| BadChange::new(Some(&repeated.0), "it occurs more than once", &[]))?;
    let wanted =
        |name: &str| params.get(name).ok_or_else(|| BadChange::new(Some(name), "it is missing", &[]));
    let (sub, account) = (wanted("sub")?, wanted("account")?);
    Ok(Json(world.lock().tally.account(sub, account)))
}

async fn connect(State(world): State<Arc<World>>, body: Bytes) -> Result<Response, BadChange> {
    let whose = whose(&body)?;
    let credential = oauth::connect(&world, &whose.sub, &whose.account);
    let answer = json!({
        "access_token": credential.access_token,
        "refresh_token": credential.refresh_token,
        "expires_in": credential.expires_in,
        "scope": credential.scope,
        "account": credential.account,
    });
    Ok(Json(answer).into_response())
}

async fn disconnect(State(world): State<Arc<World>>, body: Bytes) -> Result<Response, BadChange> {
    let whose = whose(&body)?;
    let ended = world.lock().ledger.disconnect(&whose.sub, &whose.account);
    Ok(Json(json!({ "grants": ended })).into_response())
}

async fn advance(State(world): State<Arc<World>>, body: Bytes) -> Result<Response, BadChange> {
    let Advance { seconds } = read(&body)?;
    if seconds > MAX_ADVANCE {
        return Err(BadChange::new(Some("seconds"), &format!("at most {MAX_ADVANCE}"), &[]));
    }
    world.clock.advance(Duration::from_secs(seconds));
    Ok(Json(json!({ "now": world.clock.now() })).into_response())
}

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
use serde_json::{Value, json};

use crate::{
    api::Call,
    counts::{AccountCounts, Counts, Owner},
    faults::{BadChange, Faults},
    oauth::AccountTokens,
    params::Params,
    provider::Provider,
    site::Site,
    state::{State as Remembered, World},
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
    /// Left out: the id of whoever signs in under this name on the pages.
    sub: Option<String>,
    account: String,
    provider: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountChange {
    sub: String,
    account: String,
    faults: Value,
}

#[derive(Serialize)]
struct AccountReport {
    #[serde(flatten)]
    counts: AccountCounts,
    /// The account's own, if it has any.
    faults: Option<Faults>,
}

impl AccountReport {
    fn of(state: &Remembered, owner: &Owner) -> Self {
        let faults = state.account_faults.get(owner).cloned().flatten();
        Self { counts: state.tally.account(owner), faults }
    }
}

#[derive(Serialize)]
struct TokensReport {
    sub: String,
    dead: bool,
    #[serde(flatten)]
    tokens: AccountTokens,
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
        .route("/account", get(account).post(change_account))
        .route("/tokens", get(tokens))
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

fn whose(world: &Arc<World>, whose: Whose) -> Result<(Provider, Owner), BadChange> {
    let Whose { sub, account, provider } = whose;
    let names = [Site::First, Site::Second].map(Site::id);
    let site = match provider.as_deref() {
        None | Some("sandbox") => Site::First,
        Some("sandbox-two") => Site::Second,
        Some(_) => return Err(BadChange::new(Some("provider"), "there is no such provider", &names)),
    };
    let sub = sub.unwrap_or_else(|| site.account_id(&account));
    Ok((Provider::new(Arc::clone(world), site), named(sub, account)?))
}

fn named(sub: String, account: String) -> Result<Owner, BadChange> {
    for (field, name) in [("sub", &sub), ("account", &account)] {
        if name.is_empty() || name.len() > MAX_NAME {
            return Err(BadChange::new(Some(field), "between 1 and 2048 bytes", &[]));
        }
    }
    Ok((sub, account))
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
) -> Result<Json<AccountReport>, BadChange> {
    let params = parsed(query)?;
    let wanted =
        |name: &str| params.get(name).ok_or_else(|| BadChange::new(Some(name), "it is missing", &[]));
    let owner = (wanted("sub")?.to_owned(), wanted("account")?.to_owned());
    Ok(Json(AccountReport::of(&world.lock(), &owner)))
}

async fn change_account(
    State(world): State<Arc<World>>,
    body: Bytes,
) -> Result<Json<AccountReport>, BadChange> {
    let AccountChange { sub, account, faults } = read(&body)?;
    let owner = named(sub, account)?;
    let mut state = world.lock();
    let own = if faults.is_null() { None } else { Some(state.token_faults(Some(&owner)).changed(&faults)?) };
    state.account_faults.insert(owner.clone(), own);
    Ok(Json(AccountReport::of(&state, &owner)))
}

async fn connect(State(world): State<Arc<World>>, body: Bytes) -> Result<Response, BadChange> {
    let (provider, (sub, account)) = whose(&world, read(&body)?)?;
    let credential = provider.connect(&sub, &account);
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
    let (provider, (sub, account)) = whose(&world, read(&body)?)?;
    Ok(Json(json!({ "grants": provider.disconnect(&sub, &account) })).into_response())
}

async fn tokens(
    State(world): State<Arc<World>>,
    RawQuery(query): RawQuery,
) -> Result<Json<TokensReport>, BadChange> {
    let params = parsed(query)?;
    let owned = |name: &str| params.get(name).map(str::to_owned);
    let account = owned("account").ok_or_else(|| BadChange::new(Some("account"), "it is missing", &[]))?;
    let asked = Whose { sub: owned("sub"), account, provider: owned("provider") };
    let (provider, (sub, account)) = whose(&world, asked)?;
    let tokens = provider.tokens(&sub, &account);
    Ok(Json(TokensReport { sub, dead: tokens.are_dead(), tokens }))
}

fn parsed(query: Option<String>) -> Result<Params, BadChange> {
    Params::parse(query.unwrap_or_default().as_bytes())
        .map_err(|repeated| BadChange::new(Some(&repeated.0), "it occurs more than once", &[]))
}

async fn advance(State(world): State<Arc<World>>, body: Bytes) -> Result<Response, BadChange> {
    let Advance { seconds } = read(&body)?;
    if seconds > MAX_ADVANCE {
        return Err(BadChange::new(Some("seconds"), &format!("at most {MAX_ADVANCE}"), &[]));
    }
    world.clock.advance(Duration::from_secs(seconds));
    Ok(Json(json!({ "now": world.clock.now() })).into_response())
}

//! The identity provider: discovery (OIDC Discovery 1.0 §4), key set, sign-in, tokens for any subject.

mod token;

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{RawQuery, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};

use crate::{
    keys::{KeySet, TokenAlgorithm, jwk_set},
    mint::{DEFAULT_AUDIENCE, TokenRequest},
    oauth::{authorize::authorize, describe, userinfo::userinfo},
    params::{Params, Repeated},
    site::Site,
    state::World,
    visit,
};

pub(crate) fn routes() -> Router<Arc<World>> {
    Router::new()
        .route("/.well-known/openid-configuration", get(discovery))
        .route("/jwks", get(jwks))
        .route("/authorize", get(authorize))
        .route("/token", post(token::token))
        .route("/userinfo", get(userinfo).post(userinfo))
        .merge(visit::routes())
        .route("/mint", get(mint))
        .route("/rotate", post(rotate))
        .route("/retire", post(retire))
}

/// New keys sign from now on; the old ones stay published, so that tokens already handed out go on verifying.
pub(crate) fn rotate_keys(world: &World) -> String {
    let next = KeySet::generate();
    let kid = next.key(TokenAlgorithm::Es256).kid.clone();
    world.lock().keys.rotate(next);
    kid
}

async fn discovery(State(world): State<Arc<World>>) -> Response {
    world.lock().tally.discovery_calls += 1;
    let mut document = describe(&world, Site::Idp);
    document["grant_types_supported"] = json!(["authorization_code"]);
    document["scopes_supported"] = json!(["openid", "email", "profile", DEFAULT_AUDIENCE]);
    Json(document).into_response()
}

async fn jwks(State(world): State<Arc<World>>) -> Response {
    let (published, late, refused) = {
        let mut state = world.lock();
        state.tally.jwks_calls += 1;
        (state.keys.published(), state.faults.jwks_delay_ms, state.faults.jwks_status)
    };
    if late > 0 {
        tokio::time::sleep(Duration::from_millis(late)).await;
    }
    if let Some(status) = refused.and_then(|code| StatusCode::from_u16(code).ok()) {
        return (status, Json(json!({"error": "unavailable"}))).into_response();
    }
    off_the_runtime(move || jwk_set(&published, &world.algorithms)).await
}

async fn mint(State(world): State<Arc<World>>, RawQuery(query): RawQuery) -> Response {
    let request = match token_request(query.as_deref().unwrap_or_default()) {
        Ok(request) => request,
        Err(message) => {
            let error = json!({"error": "invalid_request", "message": message});
            return (StatusCode::BAD_REQUEST, Json(error)).into_response();
        }
    };
    let keys = world.lock().keys.current();
    let (issuer, now) = (world.issuer(), world.clock.now());
    off_the_runtime(move || json!({ "token": request.sign(&issuer, now, &keys) })).await
}

/// RSA takes milliseconds to sign with and a fraction of a second to make a key for.
async fn off_the_runtime(work: impl FnOnce() -> Value + Send + 'static) -> Response {
    match tokio::task::spawn_blocking(work).await {
        Ok(body) => Json(body).into_response(),
        // The runtime is shutting down.
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

const MINT: [&str; 12] =
    ["sub", "ttl", "nbf", "aud", "iss", "alg", "kid", "email", "name", "groups", "without", "forged"];

fn token_request(query: &str) -> Result<TokenRequest, String> {
    let params = Params::parse(query.as_bytes()).map_err(|Repeated(name)| format!("{name} occurs twice"))?;
    if let Some(name) = params.unknown(&MINT) {
        return Err(format!("{name} is not one of {}", MINT.join(", ")));
    }
    let seconds = |name: &str| {
        let text = params.get(name);
        text.map(|text| text.parse().map_err(|_| format!("{name} is a whole number of seconds from now")))
            .transpose()
    };
    let mut request = TokenRequest::subject(params.get("sub").ok_or("sub is required: whose token is it?")?);
    if let Some(ttl) = seconds("ttl")? {
        request = request.ttl(ttl);
    }
    if let Some(nbf) = seconds("nbf")? {
        request = request.not_before(nbf);
    }
    if let Some(alg) = params.get("alg") {
        request = request.algorithm(alg.parse()?);
    }
    if let Some(aud) = params.get("aud") {
        request = request.audience(aud);
    }
    if let Some(iss) = params.get("iss") {
        request = request.issuer(iss);
    }
    if let Some(kid) = params.get("kid") {
        request = request.kid(kid);
    }
    if let Some(email) = params.get("email") {
        request = request.email(email);
    }
    if let Some(name) = params.get("name") {
        request = request.name(name);
    }
    if let Some(groups) = params.get("groups") {
        request = request.groups(groups.split(','));
    }
    for claim in params.get("without").into_iter().flat_map(|claims| claims.split(',')) {
        request = request.without(claim);
    }
    match params.get("forged") {
        None | Some("false") => Ok(request),
        Some("true") => Ok(request.forged()),
        Some(_) => Err("forged is true or false".to_owned()),
    }
}

async fn rotate(State(world): State<Arc<World>>) -> Response {
    Json(json!({ "kid": rotate_keys(&world) })).into_response()
}

async fn retire(State(world): State<Arc<World>>) -> Response {
    world.lock().keys.retire();
    StatusCode::NO_CONTENT.into_response()
}

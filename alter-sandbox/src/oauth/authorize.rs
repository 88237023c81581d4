//! The authorization endpoint (RFC 6749 §4.1.1, RFC 7636 §4.3).

use std::sync::Arc;

use axum::{
    extract::{RawQuery, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use url::Url;

use super::ledger::CodeRequest;
use crate::{
    params::{Params, Repeated},
    state::World,
};

/// Longest value that is taken over from the request, in bytes.
const MAX_VALUE: usize = 2048;
const DEFAULT_SCOPE: &str = "read";

pub(super) async fn authorize(State(world): State<Arc<World>>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let params = match Params::parse(query.as_bytes()) {
        Ok(params) => params,
        Err(Repeated(name)) => return page(&format!("{name} occurs more than once")),
    };
    // Until client and redirect URI are known to be good nothing is sent anywhere (RFC 6749 §4.1.2.1).
    let Some(client) = params.get("client_id").and_then(|id| world.client(id)) else {
        return page("unknown client_id");
    };
    let Some(redirect_uri) = params.get("redirect_uri").filter(|uri| client.may_return_to(uri)) else {
        return page("redirect_uri is not registered: it is an address on loopback without a fragment");
    };
    let outcome = match approve(&params, &client.client_id, redirect_uri) {
        Ok(request) => {
            let code = world.lock().ledger.approve(request, world.clock.now_ms());
            vec![("code", code)]
        }
        Err((error, why)) => vec![("error", error.to_owned()), ("error_description", why.to_owned())],
    };
    back(redirect_uri, &outcome, params.get("state"))
}

/// Checks the request and approves it at once for the user it names.
fn approve(
    params: &Params,
    client_id: &str,
    redirect_uri: &str,
) -> Result<CodeRequest, (&'static str, &'static str)> {
    match params.get("response_type") {
        Some("code") => {}
        Some(_) => return Err(("unsupported_response_type", "response_type is code")),
        None => return Err(("invalid_request", "response_type is missing")),
    }
    if params.get("code_challenge_method") != Some("S256") {
        return Err(("invalid_request", "PKCE is required with code_challenge_method=S256"));
    }
    // SHA-256 in base64url without padding is 43 characters long (RFC 7636 §4.2).
    let challenge = params.get("code_challenge").filter(|challenge| challenge.len() == 43);
    let challenge = challenge.ok_or(("invalid_request", "code_challenge is 43 characters of base64url"))?;
    let sub = params.get("sandbox_sub").or(params.get("login_hint"));
    let sub =
        sub.ok_or(("access_denied", "nobody is signed in: name the user with sandbox_sub or login_hint"))?;
    let account = params.get("sandbox_account").unwrap_or(sub);
    let scope = params.get("scope").unwrap_or(DEFAULT_SCOPE);
    let nonce = params.get("nonce");
    if [sub, account, scope, redirect_uri, nonce.unwrap_or_default()].iter().any(|v| v.len() > MAX_VALUE) {
        return Err(("invalid_request", "a parameter is longer than 2048 bytes"));
    }
    Ok(CodeRequest {
        client_id: client_id.to_owned(),
        redirect_uri: redirect_uri.to_owned(),
        challenge: challenge.to_owned(),
        nonce: nonce.map(str::to_owned),
        sub: sub.to_owned(),
        account: account.to_owned(),
        scope: scope.to_owned(),
    })
}

/// 302 to the client, its `state` untouched.
fn back(redirect_uri: &str, outcome: &[(&str, String)], state: Option<&str>) -> Response {
    let Ok(mut url) = Url::parse(redirect_uri) else { return page("redirect_uri is not a URL") };
    url.query_pairs_mut().extend_pairs(outcome).extend_pairs(state.map(|state| ("state", state)));
    let headers = [(header::LOCATION, url.as_str()), (header::CACHE_CONTROL, "no-store")];
    (StatusCode::FOUND, headers).into_response()
}

/// What the user sees when there is nowhere safe to send them.
fn page(why: &str) -> Response {
    (StatusCode::BAD_REQUEST, format!("This request cannot be approved: {why}.\n")).into_response()
}

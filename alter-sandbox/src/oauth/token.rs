//! The token endpoint (RFC 6749 §3.2) and its faults.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{
    error::OauthError,
    ledger::{Identity, Issued},
};
use crate::{
    faults::TokenFault,
    mint::TokenRequest,
    net::Connection,
    params::Params,
    state::{State as Remembered, World},
};

/// What a firewall in front of a provider says.
const FIREWALL: &str = "<!DOCTYPE html><html><head><title>403 Forbidden</title></head>\
                        <body><h1>Request blocked</h1><p>Reference 18.2f6a1c02</p></body></html>";

pub(super) async fn token(
    State(world): State<Arc<World>>,
    Extension(connection): Extension<Connection>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    // The work is done before the delay: a provider that is slow to answer has spent the token all the same.
    let (answer, fault, delay_ms) = {
        let mut state = world.lock();
        let answer = answer(&world, &mut state, &headers, &body);
        (answer, state.faults.token_fault, state.faults.delay_ms)
    };
    if delay_ms > 0 {
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
    }
    if fault == TokenFault::Drop {
        return connection.cut().await;
    }
    answer
}

fn answer(world: &World, state: &mut Remembered, headers: &HeaderMap, body: &Bytes) -> Response {
    state.counts.token_calls += 1;
    let form = Params::parse(body).map_err(OauthError::from);
    let refreshing = form.as_ref().is_ok_and(|form| form.get("grant_type") == Some("refresh_token"));
    let outcome = match state.faults.token_fault {
        TokenFault::Html403 => return (StatusCode::FORBIDDEN, Html(FIREWALL)).into_response(),
        TokenFault::ServerError => {
            let error = json!({"error": "server_error", "error_description": "the sandbox was told to fail"});
            return (StatusCode::INTERNAL_SERVER_ERROR, Json(error)).into_response();
        }
        TokenFault::InvalidGrant => Err(OauthError::InvalidGrant("the sandbox was told to refuse")),
        TokenFault::None | TokenFault::Drop => form.and_then(|form| carry_out(world, state, headers, &form)),
    };
    if refreshing {
        let count =
            if outcome.is_ok() { &mut state.counts.refreshes } else { &mut state.counts.refused_refreshes };
        *count += 1;
    }
    match outcome {
        Ok(body) => ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response(),
        Err(error) => error.into_response(),
    }
}

fn carry_out(
    world: &World,
    state: &mut Remembered,
    headers: &HeaderMap,
    form: &Params,
) -> Result<Value, OauthError> {
    let content_type = headers.get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    if !content_type.starts_with(b"application/x-www-form-urlencoded") {
        return Err(OauthError::InvalidRequest("the body is application/x-www-form-urlencoded".to_owned()));
    }
    let client_id = &world.authenticate(headers, form)?.client_id;
    let required =
        |name: &str| form.get(name).ok_or_else(|| OauthError::InvalidRequest(format!("{name} is missing")));
    let terms = state.terms(world.clock.now_ms());
    match required("grant_type")? {
        "authorization_code" => {
            let (code, redirect_uri) = (required("code")?, required("redirect_uri")?);
            let verifier = required("code_verifier")?;
            let (issued, identity) = state.ledger.redeem(code, client_id, redirect_uri, verifier, terms)?;
            let openid = issued.scope.split(' ').any(|scope| scope == "openid");
            let mut body = body(issued);
            if openid {
                body.insert("id_token".to_owned(), id_token(world, state, client_id, &identity).into());
            }
            Ok(Value::Object(body))
        }
        "refresh_token" => {
            let (token, scope) = (required("refresh_token")?, form.get("scope"));
            let issued = state.ledger.refresh(token, client_id, scope, terms)?;
            Ok(Value::Object(body(issued)))
        }
        _ => Err(OauthError::UnsupportedGrantType),
    }
}

/// RFC 6749 §5.1. A refresh without rotation repeats the refresh token, as most providers do not but may.
fn body(issued: Issued) -> Map<String, Value> {
    Map::from_iter([
        ("access_token".to_owned(), issued.access_token.into()),
        ("token_type".to_owned(), "Bearer".into()),
        ("expires_in".to_owned(), issued.expires_in.into()),
        ("refresh_token".to_owned(), issued.refresh_token.into()),
        ("scope".to_owned(), issued.scope.into()),
    ])
}

/// OIDC Core 1.0 §2.
fn id_token(world: &World, state: &Remembered, client_id: &str, identity: &Identity) -> String {
    let mut request = TokenRequest::subject(&identity.sub)
        .audience(client_id)
        .email(super::userinfo::email(&identity.account));
    if let Some(nonce) = &identity.nonce {
        request = request.claim("nonce", Value::from(nonce.as_str()));
    }
    request.sign(&world.issuer(), world.clock.now(), &state.keys.current())
}

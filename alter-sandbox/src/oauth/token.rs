//! The token endpoint (RFC 6749 §3.2) and its faults.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde_json::{Map, Value};

use super::{
    Client,
    error::{OauthError, Refusal},
    in_flight::InFlight,
    ledger::{Identity, Issued, Terms},
    spoil,
};
use crate::{
    counts::{Event, Owner},
    faults::{Faults, TokenFault},
    mint::TokenRequest,
    net::Connection,
    params::{Params, Repeated},
    site::{Site, email},
    state::{State as Remembered, World},
};

pub(super) async fn token(
    State(world): State<Arc<World>>,
    Extension(site): Extension<Site>,
    Extension(connection): Extension<Connection>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let form = Params::parse(&body);
    let in_flight = InFlight::begin(&world, form.as_ref().ok().and_then(|form| form.get("refresh_token")));
    // The work is done before the delay: a provider that is slow to answer has spent the token all the same.
    let (answer, fault, faults) = {
        let mut state = world.lock();
        let current = state.token_faults(in_flight.owner());
        let faults = current.clone();
        let fault = current.take_token_fault();
        let answer = answer(&world, &mut state, (site, fault, &faults), &headers, form, in_flight.owner());
        (answer, fault, faults)
    };
    if faults.delay_ms > 0 {
        tokio::time::sleep(Duration::from_millis(faults.delay_ms)).await;
    }
    spoil::send(fault, &faults, answer, connection, in_flight).await
}

/// Does what was asked, or what the fault does in its place, and writes it into the books.
fn answer(
    world: &World,
    state: &mut Remembered,
    (site, fault, faults): (Site, TokenFault, &Faults),
    headers: &HeaderMap,
    form: Result<Params, Repeated>,
    owner: Option<&Owner>,
) -> Response {
    let refreshing = form.as_ref().is_ok_and(|form| form.get("grant_type") == Some("refresh_token"));
    let record = |state: &mut Remembered, event: Event| {
        if refreshing || matches!(event, Event::Faulted) {
            state.tally.record(owner, event);
        }
    };
    if fault != TokenFault::None {
        record(state, Event::Faulted);
    }
    if !fault.carries_out() {
        if matches!(fault, TokenFault::InvalidGrant | TokenFault::InvalidClient) {
            record(state, Event::Refused(Refusal::OnDemand));
        }
        return spoil::instead(fault, faults, world.clock.now_ms()).unwrap_or_default();
    }
    match form
        .map_err(OauthError::from)
        .and_then(|form| carry_out(world, state, (site, faults), headers, &form))
    {
        Ok((mut body, forgiven)) => {
            record(state, Event::Refreshed { forgiven });
            spoil::members(fault, &mut body);
            ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
        }
        Err(error) => {
            record(state, Event::Refused(error.refusal()));
            error.into_response()
        }
    }
}

/// The members of the answer, and whether a spent refresh token was forgiven.
fn carry_out(
    world: &World,
    state: &mut Remembered,
    (site, faults): (Site, &Faults),
    headers: &HeaderMap,
    form: &Params,
) -> Result<(Map<String, Value>, bool), OauthError> {
    let content_type = headers.get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    if !content_type.starts_with(b"application/x-www-form-urlencoded") {
        return Err(OauthError::InvalidRequest("the body is application/x-www-form-urlencoded".to_owned()));
    }
    let client = world.authenticate(site, headers, form)?;
    let required =
        |name: &str| form.get(name).ok_or_else(|| OauthError::InvalidRequest(format!("{name} is missing")));
    let terms = Terms::of(faults, world.clock.now_ms());
    match required("grant_type")? {
        "authorization_code" => {
            let (code, redirect_uri) = (required("code")?, required("redirect_uri")?);
            let verifier = required("code_verifier")?;
            let (issued, identity) = state.ledger.redeem(code, client, redirect_uri, verifier, terms)?;
            let openid = issued.scope.split(' ').any(|scope| scope == "openid");
            let mut body = body(issued);
            if openid {
                body.insert("id_token".to_owned(), id_token(world, state, client, &identity).into());
            }
            Ok((body, false))
        }
        "refresh_token" => {
            let (token, scope) = (required("refresh_token")?, form.get("scope"));
            let issued = state.ledger.refresh(token, client, scope, terms)?;
            let forgiven = issued.forgiven;
            Ok((body(issued), forgiven))
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
fn id_token(world: &World, state: &Remembered, client: &Client, identity: &Identity) -> String {
    let mut request = TokenRequest::subject(&identity.sub)
        .published(world)
        .audience(&client.client_id)
        .email(email(&identity.account));
    if let Some(nonce) = &identity.nonce {
        request = request.claim("nonce", Value::from(nonce.as_str()));
    }
    request.sign(&client.site.issuer(&world.base), world.clock.now(), &state.keys.current())
}

//! The identity provider's token endpoint (OIDC Core 1.0 §3.1.3).

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde_json::{Map, Value};

use crate::{
    faults::{Faults, IdTokenFault},
    keys::{KeySet, TokenAlgorithm},
    mint::{DEFAULT_AUDIENCE, TokenRequest},
    oauth::{Client, Identity, OauthError, Terms},
    params::Params,
    site::{Site, display_name, email},
    state::World,
};

/// Lifetime of what is issued, in seconds.
const LIFE: u16 = 3600;

pub(super) async fn token(
    State(world): State<Arc<World>>,
    Extension(site): Extension<Site>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match carry_out(&world, site, &headers, &body) {
        Ok(body) => ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response(),
        Err(error) => error.into_response(),
    }
}

fn carry_out(
    world: &World,
    site: Site,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Map<String, Value>, OauthError> {
    let form = Params::parse(body)?;
    let client = world.authenticate(site, headers, &form)?;
    let required =
        |name: &str| form.get(name).ok_or_else(|| OauthError::InvalidRequest(format!("{name} is missing")));
    if required("grant_type")? != "authorization_code" {
        return Err(OauthError::UnsupportedGrantType);
    }
    let (code, redirect_uri) = (required("code")?, required("redirect_uri")?);
    let verifier = required("code_verifier")?;
    let mut state = world.lock();
    state.tally.browser.sign_in_token_calls += 1;
    // A sign-in is not what the OAuth providers' faults are about.
    let terms = Terms::of(&Faults::default().expires_in(LIFE.into()), world.clock.now_ms());
    let (mut issued, identity) = state.ledger.redeem(code, client, redirect_uri, verifier, terms)?;
    // RFC 8707 §2.2: what the token request asks for counts, else what the authorization request asked for.
    let asked = form.get("resource").or(form.get("audience")).or(identity.audience.as_deref());
    let by_scope =
        || issued.scope.split(' ').any(|scope| scope == DEFAULT_AUDIENCE).then_some(DEFAULT_AUDIENCE);
    let audience = asked.or_else(by_scope).map(str::to_owned);
    let (keys, now, fault) = (state.keys.current(), world.clock.now(), state.faults.id_token_fault);
    drop(state);
    if let Some(audience) = audience {
        let jwt = about(world, &identity).audience(audience).sign(&world.issuer(), now, &keys);
        world.lock().ledger.replace_access(&mut issued, jwt);
    }
    let mut answer = Map::from_iter([
        ("access_token".to_owned(), issued.access_token.into()),
        ("token_type".to_owned(), "Bearer".into()),
        ("expires_in".to_owned(), issued.expires_in.into()),
        ("scope".to_owned(), issued.scope.into()),
    ]);
    if fault != IdTokenFault::Missing {
        let token = id_token(world, client, &identity, fault, now, &keys);
        answer.insert("id_token".to_owned(), token.into());
    }
    Ok(answer)
}

/// OIDC Core 1.0 §2.
fn id_token(
    world: &World,
    client: &Client,
    identity: &Identity,
    fault: IdTokenFault,
    now: i64,
    keys: &KeySet,
) -> String {
    let honest =
        about(world, identity).audience(&client.client_id).claim("auth_time", identity.auth_time.into());
    let honest = match &identity.nonce {
        Some(nonce) => honest.claim("nonce", Value::from(nonce.as_str())),
        None => honest,
    };
    let request = match fault {
        IdTokenFault::None | IdTokenFault::Missing => honest,
        IdTokenFault::WrongNonce => honest.claim("nonce", "another-nonce".into()),
        IdTokenFault::NoNonce => honest.without("nonce"),
        IdTokenFault::WrongAudience => honest.audience("another-client"),
        IdTokenFault::WrongIssuer => honest.issuer("https://attacker.example"),
        IdTokenFault::Expired => honest.ttl(-i64::from(LIFE)),
        IdTokenFault::Forged => honest.forged(),
        IdTokenFault::Unsigned => honest.algorithm(TokenAlgorithm::None),
    };
    request.sign(&world.issuer(), now, keys)
}

/// A token about whoever signed in.
fn about(world: &World, identity: &Identity) -> TokenRequest {
    TokenRequest::subject(&identity.sub)
        .published(world)
        .ttl(LIFE.into())
        .email(email(&identity.account))
        .name(display_name(&identity.account))
}

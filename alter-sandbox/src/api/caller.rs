//! Whom a call to the API is from.

use axum::http::{HeaderMap, HeaderName, header};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use url::form_urlencoded;

use crate::{
    site::Site,
    state::{State as Remembered, World, sha256},
};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// A registered key: the name its calls go by.
#[derive(Debug, Clone)]
pub(crate) struct ApiKey {
    name: String,
}

/// The authenticated caller, in the request's extensions.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) sub: String,
    /// None for an API key.
    pub(crate) account: Option<String>,
    /// None for an API key.
    pub(crate) scope: Option<String>,
    /// First twelve hex digits of the SHA-256 of the credential as it came.
    pub(crate) fingerprint: String,
}

/// See [`Sandbox::register_api_key`](crate::Sandbox::register_api_key).
pub(crate) fn register(world: &World, name: &str, secret: &str) {
    world.lock().api_keys.insert(sha256(secret.as_bytes()), ApiKey { name: name.to_owned() });
}

/// The token of `Authorization: Bearer` (RFC 6750 §2.1). None if there is more than one such header.
pub(crate) fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    credentials(single(headers, &header::AUTHORIZATION)?, "bearer")
}

/// The caller of a request. `Authorization` decides if it is there, then `X-Api-Key`, then query `api_key`;
/// a header or parameter that comes twice is refused, since no two readers agree on which one counts.
pub(super) fn identify(
    state: &Remembered,
    headers: &HeaderMap,
    query: Option<&str>,
    now_ms: i64,
) -> Option<Caller> {
    let key = |secret: &str| state.api_keys.get(&sha256(secret.as_bytes())).map(|key| key.name.clone());
    let by_key = |sub: String, credential: &str| Caller {
        sub,
        account: None,
        scope: None,
        fingerprint: fingerprint(credential),
    };
    if headers.contains_key(header::AUTHORIZATION) {
        let value = single(headers, &header::AUTHORIZATION)?;
        if let Some(token) = credentials(value, "bearer") {
            // The API is the OAuth providers'. What the identity provider issues opens nothing here.
            let bearer = state.ledger.bearer(token, now_ms);
            return match bearer.filter(|bearer| bearer.site != Site::Idp) {
                Some(user) => Some(Caller {
                    sub: user.sub,
                    account: Some(user.account),
                    scope: Some(user.scope),
                    fingerprint: fingerprint(value),
                }),
                None => key(token).map(|name| by_key(name, value)),
            };
        }
        let decoded = STANDARD.decode(credentials(value, "basic")?).ok()?;
        let pair = String::from_utf8(decoded).ok()?;
        let (user, password) = pair.split_once(':')?;
        return key(password).or_else(|| key(user)).or_else(|| key(&pair)).map(|name| by_key(name, value));
    }
    if headers.contains_key(X_API_KEY) {
        let value = single(headers, &X_API_KEY)?;
        return key(value).map(|name| by_key(name, value));
    }
    let mut keys = form_urlencoded::parse(query?.as_bytes()).filter(|(name, _)| name == "api_key");
    let (_, value) = keys.next()?;
    if keys.next().is_some() {
        return None;
    }
    key(&value).map(|name| by_key(name, &value))
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// What follows the scheme, whose case does not matter (RFC 9110 §11.1).
fn credentials<'a>(value: &'a str, scheme: &str) -> Option<&'a str> {
    let (named, rest) = value.split_once(' ')?;
    named.eq_ignore_ascii_case(scheme).then(|| rest.trim())
}

fn fingerprint(credential: &str) -> String {
    hex::encode(sha256(credential.as_bytes()))[..12].to_owned()
}

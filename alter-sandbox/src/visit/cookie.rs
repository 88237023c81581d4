//! The cookie by which a provider knows a browser again.

use axum::http::{HeaderMap, HeaderValue, header};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::Session;
use crate::{
    keys::random,
    site::Site,
    state::{Digest, State as Remembered, World, sha256},
};

/// A cookie's name. Ports do not keep cookies apart, so that two sandboxes on one address need two names.
fn name(world: &World, site: Site) -> String {
    let port = world.base.rsplit(':').next().unwrap_or_default();
    format!("{}-{port}", site.id())
}

/// The session of the browser that sent these headers.
pub(super) fn session(world: &World, state: &Remembered, site: Site, headers: &HeaderMap) -> Option<Digest> {
    let name = name(world, site);
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find_map(|(named, secret)| {
        let digest = sha256(secret.as_bytes());
        let known = state.visits.sessions.get(&digest).is_some_and(|session| session.site == site);
        (named == name && known).then_some(digest)
    })
}

/// A new session, and the header that gives it to the browser.
pub(super) fn begin(world: &World, state: &mut Remembered, site: Site) -> (Digest, Option<HeaderValue>) {
    let secret = URL_SAFE_NO_PAD.encode(random::<32>());
    let digest = sha256(secret.as_bytes());
    let csrf = URL_SAFE_NO_PAD.encode(random::<32>());
    state.visits.sessions.insert(digest, Session { site, csrf, accounts: Vec::new() });
    let cookie = format!("{}={secret}; Path={}; HttpOnly; SameSite=Lax", name(world, site), site.prefix());
    (digest, HeaderValue::from_str(&cookie).ok())
}

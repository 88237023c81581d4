//! The OAuth 2.0 provider: authorization code with PKCE, refresh, revocation, user info.

mod authorize;
mod client;
mod error;
mod in_flight;
mod ledger;
mod revoke;
mod spoil;
mod token;
mod userinfo;

use std::{fmt, sync::Arc};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{get, post},
};

pub use client::Client;
pub(crate) use error::{DeadToken, Refusal};
pub(crate) use ledger::Ledger;
use ledger::Terms;

use crate::state::World;

/// Largest form that is read, in bytes.
const MAX_FORM: usize = 64 * 1024;

/// Where the OAuth provider's endpoints are.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OauthEndpoints {
    /// Authorization endpoint (RFC 6749 §3.1). There is no consent page yet: it approves at once for the user
    /// named by `sandbox_sub` or `login_hint` and the account named by `sandbox_account` (by default the
    /// subject), and PKCE with `S256` is required.
    pub authorize: String,
    /// Token endpoint (RFC 6749 §3.2): `authorization_code` and `refresh_token`.
    pub token: String,
    /// Revocation endpoint (RFC 7009).
    pub revoke: String,
    /// `GET` it with an access token for `{"sub", "account", "email"}`.
    pub userinfo: String,
}

impl OauthEndpoints {
    pub(crate) fn at(base: &str) -> Self {
        let endpoint = |name: &str| format!("{base}/oauth/{name}");
        Self {
            authorize: endpoint("authorize"),
            token: endpoint("token"),
            revoke: endpoint("revoke"),
            userinfo: endpoint("userinfo"),
        }
    }
}

/// A connected account: what the provider issued for it. `Debug` shows no token.
#[derive(Clone)]
#[non_exhaustive]
pub struct Credential {
    /// Opaque, starts with `sbx_at_`.
    pub access_token: String,
    /// Opaque, starts with `sbx_rt_`.
    pub refresh_token: String,
    /// Lifetime of the access token from now, in seconds.
    pub expires_in: u64,
    /// Granted scopes, separated by spaces.
    pub scope: String,
    /// The account at the provider.
    pub account: String,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("expires_in", &self.expires_in)
            .field("scope", &self.scope)
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}

pub(crate) fn routes() -> Router<Arc<World>> {
    Router::new()
        .route("/authorize", get(authorize::authorize))
        .route("/token", post(token::token))
        .route("/revoke", post(revoke::revoke))
        .route("/userinfo", get(userinfo::userinfo).post(userinfo::userinfo))
        .layer(DefaultBodyLimit::max(MAX_FORM))
}

/// The issue path of the code flow, without the browser.
pub(crate) fn connect(world: &World, sub: &str, account: &str) -> Credential {
    let mut state = world.lock();
    let owner = (sub.to_owned(), account.to_owned());
    let terms = Terms::of(state.token_faults(Some(&owner)), world.clock.now_ms());
    let client_id = &world.clients[0].client_id;
    let issued = state.ledger.grant(client_id, sub, account, "read write", terms);
    Credential {
        access_token: issued.access_token,
        refresh_token: issued.refresh_token,
        expires_in: issued.expires_in,
        scope: issued.scope,
        account: account.to_owned(),
    }
}

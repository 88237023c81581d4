//! The OAuth 2.0 providers: authorization code with PKCE, refresh, revocation, user info.

pub(crate) mod answer;
pub(crate) mod authorize;
mod client;
mod error;
mod in_flight;
mod ledger;
mod metadata;
mod request;
mod revoke;
mod spoil;
mod token;
pub(crate) mod userinfo;

use std::{fmt, sync::Arc};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{get, post},
};

pub use client::Client;
pub(crate) use client::{Clients, may_return_to};
pub(crate) use error::{DeadToken, OauthError, Refusal};
pub use ledger::AccountTokens;
pub(crate) use ledger::{Identity, Ledger, Terms};
pub(crate) use metadata::{describe, metadata};
pub(crate) use request::AuthorizationRequest;

use crate::{site::Site, state::World, visit};

/// Largest form that is read, in bytes.
const MAX_FORM: usize = 64 * 1024;

/// Where a provider's endpoints are.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OauthEndpoints {
    /// The provider itself: the `iss` of its authorization responses (RFC 9207) and of its ID tokens. Its
    /// metadata are below it at `/.well-known/openid-configuration`, an OAuth provider's also at
    /// `/.well-known/oauth-authorization-server`.
    pub issuer: String,
    /// Authorization endpoint (RFC 6749 §3.1), for a browser: pages for signing in, choosing an account and
    /// consenting. PKCE with `S256` is required. With `sandbox_sub` or, at an OAuth provider and without
    /// `prompt`, `login_hint` it approves at once for the user of this name and the account named by
    /// `sandbox_account` (by default the subject).
    pub authorize: String,
    /// Token endpoint (RFC 6749 §3.2): `authorization_code` and, at an OAuth provider, `refresh_token`.
    pub token: String,
    /// Revocation endpoint (RFC 7009). The identity provider has none.
    pub revoke: String,
    /// `GET` it with an access token for `{"sub", "account", "email", "name"}`.
    pub userinfo: String,
    /// Signs the browser that goes there out of every account at this provider. It takes
    /// `post_logout_redirect_uri` and `state`.
    pub sign_out: String,
}

impl OauthEndpoints {
    pub(crate) fn at(base: &str, site: Site) -> Self {
        let issuer = site.issuer(base);
        let endpoint = |name: &str| format!("{issuer}/{name}");
        Self {
            sign_out: endpoint("signout"),
            authorize: endpoint("authorize"),
            token: endpoint("token"),
            revoke: endpoint("revoke"),
            userinfo: endpoint("userinfo"),
            issuer,
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
        .route("/.well-known/openid-configuration", get(metadata))
        .route("/.well-known/oauth-authorization-server", get(metadata))
        .route("/authorize", get(authorize::authorize))
        .route("/token", post(token::token))
        .route("/revoke", post(revoke::revoke))
        .route("/userinfo", get(userinfo::userinfo).post(userinfo::userinfo))
        .merge(visit::routes())
        .layer(DefaultBodyLimit::max(MAX_FORM))
}

/// The issue path of the code flow, without the browser.
pub(crate) fn connect(world: &World, site: Site, sub: &str, account: &str) -> Credential {
    let mut state = world.lock();
    let owner = (sub.to_owned(), account.to_owned());
    let terms = Terms::of(state.token_faults(Some(&owner)), world.clock.now_ms());
    let issued = state.ledger.grant(world.clients.of(site), sub, account, "read write", terms);
    Credential {
        access_token: issued.access_token,
        refresh_token: issued.refresh_token,
        expires_in: issued.expires_in,
        scope: issued.scope,
        account: account.to_owned(),
    }
}

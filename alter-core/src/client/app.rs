//! The client of an application.

use std::future::Future;

use http::Method;
use secrecy::SecretString;

use super::{AppBuilder, Builder, Client, Grants, NoAddress, RequestBuilder, UserClient};
use crate::{
    UserToken,
    error::Error,
    scope::{self, Identity, ScopeKey, Scoped},
    wire::limit::RateLimit,
};

/// The client of an application: calls third-party APIs on behalf of the application's users.
///
/// A clone is the same client. See the [crate's front page](crate) for an example.
///
/// # On whose behalf
///
/// From most to least explicit: the call's own [`user_token`](RequestBuilder::user_token), that of the
/// [`UserClient`], what the getter of the builder gives, the [`scope`](crate::scope) of the task. A call by provider
/// for which all four know nobody is refused before anything is sent: a lost identity never widens access. Say
/// [`as_app`](RequestBuilder::as_app) where the application itself is meant.
#[derive(Debug, Clone)]
pub struct App(pub(super) Client);

impl App {
    /// Settings of a client for the application with that API key (`alter_rk_…`).
    pub fn builder(key: impl Into<SecretString>) -> AppBuilder {
        Builder::new(key.into())
    }

    /// Starts a call of a third-party API. `url` is absolute and may hold `{placeholders}`; say next which
    /// credential to use.
    pub fn request(&self, method: Method, url: impl Into<String>) -> RequestBuilder<NoAddress> {
        RequestBuilder::new(self.0.clone(), None, method, url.into())
    }

    /// This client bound to one user. It owns the token and may be moved into a task.
    #[must_use]
    pub fn for_user(&self, token: UserToken) -> UserClient {
        UserClient::new(self.0.clone(), token)
    }

    /// Runs a future on behalf of a user, for this client only.
    pub fn scope<F: Future>(&self, identity: impl Into<Identity>, future: F) -> Scoped<F> {
        scope::scope_for(self.scope_key(), identity, future)
    }

    /// The key of the scopes that count for this client.
    #[must_use]
    pub fn scope_key(&self) -> ScopeKey {
        self.0.0.scope_key
    }

    /// The grants of the user on whose behalf the code runs.
    #[must_use]
    pub fn grants(&self) -> Grants {
        Grants::new(self.0.clone(), None)
    }

    /// Asks the vault whose token it is: the `sub` of a token that the application's identity provider issued,
    /// `None` when the vault refuses it (spec/03 §5).
    ///
    /// # Errors
    ///
    /// Whatever left the question open: transport, throttling, the application's own key.
    pub async fn verify_user_token(&self, token: &UserToken) -> Result<Option<String>, Error> {
        self.0.verify_user_token(token).await
    }

    /// The binding rate limit as the vault last stated it; `None` means unknown, not unlimited.
    #[must_use]
    pub fn last_rate_limit(&self) -> Option<RateLimit> {
        self.0.last_rate_limit()
    }

    /// The vault's id for this client's caller, once it has told one (spec/01 §3.2).
    #[must_use]
    pub fn actor_id(&self) -> Option<&str> {
        self.0.actor_id()
    }

    /// Ends the client and all its clones: new calls are refused, calls under way finish, reports are delivered.
    /// Calling it again waits again.
    ///
    /// A response whose body is still being read is waited for, for no longer than the timeout; its report follows
    /// when the body ends, if the runtime lives that long.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the waiting, not the closing.
    pub async fn close(&self) {
        self.0.close().await;
    }
}

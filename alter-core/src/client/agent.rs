//! The client of a managed agent.

use std::future::Future;

use http::Method;
use secrecy::SecretString;

use super::{
    AgentBuilder, Builder, Client, ConnectBuilder, ConnectHandle, Grants, NoAddress, RequestBuilder,
    UserClient,
};
use crate::{
    UserToken,
    error::Error,
    scope::{self, Identity, ScopeKey, Scoped},
    wire::{limit::RateLimit, secret::SecretText},
};

/// The client of a managed agent: calls third-party APIs with what was granted or delegated to the agent.
///
/// Unlike an [`App`](crate::App) it may address by provider without a user, because it reaches its own grants only.
/// A clone is the same client.
#[derive(Debug, Clone)]
pub struct Agent(pub(super) Client);

impl Agent {
    /// Settings of a client for the agent with that API key (`alter_ak_…` or `alter_key_…`).
    pub fn builder(key: impl Into<SecretString>) -> AgentBuilder {
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

    /// The agent's grants.
    #[must_use]
    pub fn grants(&self) -> Grants {
        Grants::new(self.0.clone(), None)
    }

    /// Starts a connect session: the page on which a person gives access to an account.
    pub fn connect_session(&self) -> ConnectBuilder {
        ConnectBuilder::new(self.0.clone(), None)
    }

    /// Starts the connect session that follows from an error: for its provider, for its agent if it names one, and as a
    /// repair of the same grant where the credential is what broke (spec/03 §1.3). See [`Error::needs_connection`].
    ///
    /// An error that does not say which provider it is about, as after a call by grant id, needs a
    /// [`provider`](ConnectBuilder::provider).
    pub fn connect_session_for(&self, error: &Error) -> ConnectBuilder {
        ConnectBuilder::after(self.0.clone(), None, error)
    }

    /// Polls a session of which only the token is at hand: the one that was given to a browser, on another replica.
    #[must_use]
    pub fn connect_handle(&self, token: SecretText) -> ConnectHandle {
        ConnectHandle::new(self.0.clone(), token)
    }

    /// As [`App::verify_user_token`](crate::App::verify_user_token).
    ///
    /// # Errors
    ///
    /// Whatever left the question open.
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

    /// As [`App::close`](crate::App::close).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the waiting, not the closing.
    pub async fn close(&self) {
        self.0.close().await;
    }
}

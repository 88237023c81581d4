//! The client of an application.

use std::future::Future;

use http::Method;
use secrecy::SecretString;

use super::{
    AppBuilder, Builder, Client, ConnectBuilder, ConnectHandle, Grants, HeadlessSignIn, NoAddress,
    RequestBuilder, SignInSession, UserClient,
};
use crate::{
    UserToken,
    error::Error,
    scope::{self, Identity, ScopeKey, Scoped},
    wire::{limit::RateLimit, secret::SecretText},
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

    /// Starts a connect session: the page on which a person gives access to an account.
    pub fn connect_session(&self) -> ConnectBuilder {
        ConnectBuilder::new(self.0.clone(), None)
    }

    /// Starts the connect session that follows from an error: for its provider, for its agent if it names one, and as a
    /// repair of the same grant where the credential is what broke (spec/03 §1.3). See [`Error::needs_connection`].
    ///
    /// ```no_run
    /// # async fn f(app: alter_core::App, error: alter_core::Error) -> Result<String, alter_core::Error> {
    /// let session = app.connect_session_for(&error).return_url("https://shop.example/done").create().await?;
    /// Ok(session.url().to_owned())
    /// # }
    /// ```
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

    /// Signs a user in when it is awaited, from a program that has no web pages: opens the browser on this machine, with a
    /// few lines on the terminal, and waits (spec/03 §2.2). What comes of it is a client that is bound to the user; this
    /// one stays as it is.
    ///
    /// ```no_run
    /// # async fn f(app: alter_core::App) -> Result<(), alter_core::Error> {
    /// let user = app.authenticate().await?;
    /// let grants = user.client().grants().list().send().await?;
    /// # let _ = grants;
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "terminal")]
    pub fn authenticate(&self) -> HeadlessSignIn {
        self.authenticate_on(crate::Terminal::new())
    }

    /// As [`authenticate`](Self::authenticate), on a terminal with settings of your own.
    #[cfg(feature = "terminal")]
    pub fn authenticate_on(&self, terminal: crate::Terminal) -> HeadlessSignIn {
        HeadlessSignIn::on(self.0.clone(), terminal)
    }

    /// Signs a user in when it is awaited: gives the URL of the sign-in to `on_url`, and waits.
    pub fn authenticate_with(&self, on_url: impl FnOnce(&str) + Send + 'static) -> HeadlessSignIn {
        HeadlessSignIn::with(self.0.clone(), on_url)
    }

    /// Begins a sign-in whose page the person opens elsewhere.
    ///
    /// # Errors
    ///
    /// Those of the vault: no identity provider is set up, or it cannot be reached.
    pub async fn sign_in_session(&self) -> Result<SignInSession, Error> {
        SignInSession::begin(self.0.clone()).await
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

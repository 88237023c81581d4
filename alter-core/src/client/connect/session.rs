//! A connect session that was made.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{ConnectWait, page};
use crate::{
    client::{Client, metadata::Actor},
    error::{ConnectTimeout, Error},
    wire::{
        connect::{
            ConnectPoll, ConnectPollRequest, ConnectSessionResponse, ConnectedGrant, DeclinedProvider,
            FailedGrant, PAGE_PATH, POLL_PATH,
        },
        secret::SecretText,
    },
};

/// A connect session that was made: where to send the person, and how to hear of the end.
///
/// `Debug` shows neither the token nor the URL that holds it. A clone is the same session.
#[derive(Clone)]
pub struct ConnectSession {
    handle: ConnectHandle,
    made: Arc<ConnectSessionResponse>,
    base_url: Arc<str>,
}

impl ConnectSession {
    pub(super) fn new(client: Client, made: ConnectSessionResponse) -> Result<Self, Error> {
        let url = page(&made.connect_url)?;
        // The widget builds the page's address from it, and takes messages from its origin only.
        let base_url = match url.path().strip_suffix(PAGE_PATH) {
            Some(prefix) => {
                format!("{}{}", &url[..url::Position::BeforePath], prefix.trim_end_matches('/'))
            }
            None => client.0.vault_prefix.clone(),
        };
        let handle = ConnectHandle::new(client, made.session_token.clone());
        Ok(Self { handle, made: Arc::new(made), base_url: base_url.into() })
    }

    /// The page on which the person connects. It holds the [`token`](Self::token): send it to that person's browser,
    /// and keep it out of logs.
    #[must_use]
    pub fn url(&self) -> &str {
        self.made.connect_url.expose()
    }

    pub(super) fn secret_url(&self) -> &SecretText {
        &self.made.connect_url
    }

    /// What the browser widget opens the page with, and what [`App::connect_handle`](crate::App::connect_handle)
    /// takes. Whoever has it can take part in the session; to poll, the API key is needed as well.
    #[must_use]
    pub fn token(&self) -> &SecretText {
        &self.made.session_token
    }

    /// The vault as browsers reach it, without a slash at the end: the widget's `baseURL`.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// How long the session lives, from its making on.
    #[must_use]
    pub fn expires_in(&self) -> Duration {
        Duration::from_secs(self.made.expires_in)
    }

    /// When the session ends, as the vault wrote it: RFC 3339, UTC.
    #[must_use]
    pub fn expires_at(&self) -> &str {
        &self.made.expires_at
    }

    /// Providers for which the scope constraint makes no sense, in the vault's words.
    #[must_use]
    pub fn scope_constraint_warnings(&self) -> &[String] {
        &self.made.scope_constraint_warnings
    }

    /// There is exactly one provider, so the page has no picker.
    #[must_use]
    pub fn single_provider(&self) -> bool {
        self.made.single_provider
    }

    /// The page goes straight to the provider.
    #[must_use]
    pub fn direct(&self) -> bool {
        self.made.direct
    }

    /// What polls the session; it can be made again from the [`token`](Self::token).
    #[must_use]
    pub fn handle(&self) -> &ConnectHandle {
        &self.handle
    }

    /// As [`ConnectHandle::poll`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn poll(&self) -> Result<ConnectProgress, Error> {
        self.handle.poll().await
    }

    /// As [`ConnectHandle::wait`].
    pub fn wait(&self) -> ConnectWait {
        self.handle.wait()
    }
}

impl fmt::Debug for ConnectSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectSession")
            .field("base_url", &self.base_url)
            .field("expires_at", &self.made.expires_at)
            .field("single_provider", &self.made.single_provider)
            .field("direct", &self.made.direct)
            .finish_non_exhaustive()
    }
}

/// Polls a connect session, of which it knows the token only. A clone polls the same session.
#[derive(Clone)]
pub struct ConnectHandle {
    client: Client,
    token: SecretText,
    /// An expired session was alive once, so it is not an unknown one (rows C-f, C-g).
    was_pending: Arc<AtomicBool>,
}

impl ConnectHandle {
    pub(in crate::client) fn new(client: Client, token: SecretText) -> Self {
        Self { client, token, was_pending: Arc::default() }
    }

    /// Asks once how far the session is. A terminal answer can be had again until the session's own end.
    ///
    /// # Errors
    ///
    /// * [`Connect::Denied`](crate::error::Connect::Denied), [`Connect::TimedOut`](crate::error::Connect::TimedOut),
    ///   [`Connect::Flow`](crate::error::Connect::Flow) (unknown or failed session),
    ///   [`Connect::Configuration`](crate::error::Connect::Configuration): the session is over.
    /// * Whatever keeps the vault from answering; ask again if [`Error::is_retryable`] says so.
    pub async fn poll(&self) -> Result<ConnectProgress, Error> {
        self.ask().await?
    }

    /// The outer error is that of the exchange, the inner one the session's end.
    pub(super) async fn ask(&self) -> Result<Result<ConnectProgress, Error>, Error> {
        let _under_way = self.client.enter()?;
        let shared = &self.client.0;
        let message = ConnectPollRequest { session_token: self.token.clone() };
        let answer = shared.post(POLL_PATH, &message, &Actor::default(), shared.timeout, false).await?;
        if !answer.status.is_success() {
            return Err(answer.refusal());
        }
        let read = ConnectPoll::parse(&answer.body);
        Ok(match read.map_err(Error::unreadable)? {
            ConnectPoll::Pending { declined_providers } => {
                self.was_pending.store(true, Ordering::Relaxed);
                Ok(ConnectProgress::Pending { declined: declined_providers })
            }
            ConnectPoll::Completed { grants, failed_grants } => {
                Connected::new(grants, failed_grants).map(ConnectProgress::Connected)
            }
            ConnectPoll::Error { error } => {
                Err(Error::ended(&error.error_code, &error.error_message, error.retry_after_seconds))
            }
            ConnectPoll::Expired if self.was_pending.load(Ordering::Relaxed) => {
                Err(Error::out_of_time(ConnectTimeout::SessionExpired, Vec::new()))
            }
            ConnectPoll::Expired => Err(Error::no_such_session()),
        })
    }

    /// Waits for the end of the session when it is awaited: for 300 s, with a poll every 2 s, unless told otherwise.
    pub fn wait(&self) -> ConnectWait {
        ConnectWait::new(self.clone())
    }
}

impl fmt::Debug for ConnectHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectHandle").finish_non_exhaustive()
    }
}

/// How far a session is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectProgress {
    /// The person is not done.
    Pending {
        /// Providers that said no; the person may still choose another one.
        declined: Vec<DeclinedProvider>,
    },
    /// Done.
    Connected(Connected),
}

/// What came of a session: at least one grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connected {
    /// Never empty.
    grants: Vec<ConnectedGrant>,
    failed: Vec<FailedGrant>,
}

impl Connected {
    fn new(grants: Vec<ConnectedGrant>, failed: Vec<FailedGrant>) -> Result<Self, Error> {
        match (grants.is_empty(), failed.is_empty()) {
            (false, _) => Ok(Self { grants, failed }),
            (true, false) => Err(Error::nothing_connected(failed)),
            // What a vault must never send, and the published client takes for a success.
            (true, true) => {
                Err(Error::malformed("the vault says that the session is complete and names no grant"))
            }
        }
    }

    /// The grant; the first one when the person connected several accounts.
    #[must_use]
    pub fn grant(&self) -> &ConnectedGrant {
        &self.grants[0]
    }

    /// All grants; there is at least one.
    #[must_use]
    pub fn grants(&self) -> &[ConnectedGrant] {
        &self.grants
    }

    /// Those that did not come about.
    #[must_use]
    pub fn failed(&self) -> &[FailedGrant] {
        &self.failed
    }
}

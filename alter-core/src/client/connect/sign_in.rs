//! Signing a user in from a program that has no web pages (spec/03 §2.2).

use std::{fmt, future::IntoFuture, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use http::StatusCode;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::{INTERVAL, TIMEOUT, check_times, headless::Show, page};
use crate::{
    UserToken,
    client::{Client, UserClient, metadata::Actor},
    error::{ConnectTimeout, Error},
    wire::{
        auth::{AuthPoll, AuthPollRequest, AuthSessionRequest, AuthSessionResponse, POLL_PATH, SESSION_PATH},
        secret::SecretText,
    },
};

/// How long the vault is asked to hold a poll open.
const HOLD: Duration = Duration::from_secs(25);
/// What an answer may take beyond that.
const SLACK: Duration = Duration::from_secs(15);

/// A sign-in that was begun: where to send the person, and how to hear of the end.
///
/// `Debug` shows neither the token nor the URL. A clone is the same sign-in.
#[derive(Clone)]
pub struct SignInSession {
    client: Client,
    made: Arc<AuthSessionResponse>,
}

impl SignInSession {
    pub(in crate::client) async fn begin(client: Client) -> Result<Self, Error> {
        let _under_way = client.enter()?;
        let shared = &client.0;
        let answer = shared
            .post(SESSION_PATH, &AuthSessionRequest {}, &Actor::default(), shared.timeout, true)
            .await?;
        let made =
            AuthSessionResponse::parse(&answer.expect(StatusCode::CREATED)?).map_err(Error::unreadable)?;
        page(&made.auth_url)?;
        Ok(Self { client: client.clone(), made: Arc::new(made) })
    }

    /// Where the person signs in. It holds the session's token: send it to that person's browser, and keep it out of
    /// logs.
    #[must_use]
    pub fn url(&self) -> &str {
        self.made.auth_url.expose()
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

    /// Waits for the end when it is awaited, for 300 s unless told otherwise.
    pub fn wait(&self) -> SignInWait {
        SignInWait { session: self.clone(), timeout: TIMEOUT, interval: INTERVAL }
    }

    /// Asks how far it is; the vault may hold the question for `hold`. The outer error is that of the exchange and may
    /// pass, the inner one is the end.
    async fn ask(&self, hold: Duration, was_pending: bool) -> Result<Result<Option<SignedIn>, Error>, Error> {
        let _under_way = match self.client.enter() {
            Ok(token) => token,
            Err(closed) => return Ok(Err(closed)),
        };
        let message = AuthPollRequest {
            session_token: self.made.session_token.clone(),
            wait_ms: u64::try_from(hold.as_millis()).ok().filter(|wait| *wait > 0),
        };
        let shared = &self.client.0;
        let answer = shared.post(POLL_PATH, &message, &Actor::default(), hold + SLACK, false).await?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::BAD_REQUEST
            | StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::NOT_FOUND
            | StatusCode::UNPROCESSABLE_ENTITY => return Ok(Err(answer.refusal())),
            _ => return Err(answer.refusal()),
        }
        let read = AuthPoll::parse(&answer.body).map_err(Error::unreadable);
        Ok(match read {
            Err(error) => Err(error),
            Ok(AuthPoll::Pending) => Ok(None),
            Ok(AuthPoll::Completed { user_token, user_info }) => {
                self.signed_in(&user_token, user_info).map(Some)
            }
            Ok(AuthPoll::Error { error_code, error_message, retry_after_seconds }) => {
                Err(Error::ended(&error_code, &error_message, retry_after_seconds))
            }
            Ok(AuthPoll::Expired) if was_pending => {
                Err(Error::out_of_time(ConnectTimeout::SessionExpired, Vec::new()))
            }
            Ok(AuthPoll::Expired) => Err(Error::no_such_session()),
        })
    }

    fn signed_in(&self, token: &SecretText, info: Map<String, Value>) -> Result<SignedIn, Error> {
        let token = UserToken::parse(token.expose())
            .map_err(|_| Error::malformed("the vault's user token is not of the form of a bearer token"))?;
        Ok(SignedIn { client: UserClient::new(self.client.clone(), token), info })
    }
}

impl fmt::Debug for SignInSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignInSession").field("expires_at", &self.made.expires_at).finish_non_exhaustive()
    }
}

/// The waiting for the end of a sign-in; await it.
///
/// The vault holds each poll open for up to 25 s. Any failure but HTTP 400, 401, 403, 404 and 422 may pass and does not
/// end the waiting; `Retry-After` is honoured.
///
/// # Errors
///
/// * [`Connect::Denied`](crate::error::Connect::Denied), [`Connect::Flow`](crate::error::Connect::Flow),
///   [`Connect::Configuration`](crate::error::Connect::Configuration): the sign-in is over.
/// * [`Connect::TimedOut`](crate::error::Connect::TimedOut) when the time is over; its source is the last failure, if the
///   last poll failed.
///
/// # Cancel safety
///
/// Nothing is lost when the future is dropped: polling takes nothing away.
#[must_use = "a wait does nothing until it is awaited"]
#[derive(Debug)]
pub struct SignInWait {
    session: SignInSession,
    timeout: Duration,
    interval: Duration,
}

impl SignInWait {
    /// How long to wait, 300 s unless told otherwise.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The least time from one poll to the next, 2 s unless told otherwise.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    async fn run(self) -> Result<SignedIn, Error> {
        check_times(self.timeout, self.interval)?;
        let began = Instant::now();
        let mut was_pending = false;
        loop {
            let asked = Instant::now();
            let left = self.timeout.saturating_sub(began.elapsed());
            let (pause, failure) = match self.session.ask(left.min(HOLD), was_pending).await {
                Ok(Ok(Some(signed_in))) => return Ok(signed_in),
                Ok(Ok(None)) => {
                    was_pending = true;
                    (self.interval, None)
                }
                Ok(Err(end)) => return Err(end),
                Err(failure) => (self.interval.max(failure.retry_after().unwrap_or_default()), Some(failure)),
            };
            if left.is_zero() {
                let over = Error::out_of_time(ConnectTimeout::Deadline, Vec::new());
                return Err(match failure {
                    Some(failure) => over.with_source(failure),
                    None => over,
                });
            }
            // A poll that was held open has waited already.
            let pause = pause.saturating_sub(asked.elapsed());
            tokio::time::sleep(pause.min(self.timeout.saturating_sub(began.elapsed()))).await;
        }
    }
}

impl IntoFuture for SignInWait {
    type Output = Result<SignedIn, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// Signing a user in from a program that has no web pages, made by
/// [`App::authenticate_with`](crate::App::authenticate_with) and, with feature `terminal`, by its `authenticate()`; await it.
///
/// # Errors
///
/// Those of [`App::sign_in_session`](crate::App::sign_in_session) and [`SignInWait`].
///
/// # Cancel safety
///
/// Dropping the future ends it cleanly, as for [`HeadlessConnect`](super::HeadlessConnect).
#[must_use = "it does nothing until it is awaited"]
pub struct HeadlessSignIn {
    client: Client,
    show: Show,
    timeout: Duration,
    interval: Duration,
}

impl HeadlessSignIn {
    #[cfg(feature = "terminal")]
    pub(in crate::client) fn on(client: Client, terminal: super::Terminal) -> Self {
        Self { client, show: Show::Terminal(terminal), timeout: TIMEOUT, interval: INTERVAL }
    }

    pub(in crate::client) fn with(client: Client, on_url: impl FnOnce(&str) + Send + 'static) -> Self {
        Self { client, show: Show::Custom(Box::new(on_url)), timeout: TIMEOUT, interval: INTERVAL }
    }

    /// How long to wait for the person, 300 s unless told otherwise.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The least time from one poll to the next, 2 s unless told otherwise.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    async fn run(self) -> Result<SignedIn, Error> {
        check_times(self.timeout, self.interval)?;
        let session = SignInSession::begin(self.client).await?;
        let wait = session.wait().timeout(self.timeout).interval(self.interval);
        match self.show {
            Show::Custom(on_url) => {
                on_url(session.url());
                wait.run().await
            }
            #[cfg(feature = "terminal")]
            Show::Terminal(mut terminal) => {
                terminal.show("sign in", session.url()).await;
                let signed_in = wait.run().await?;
                terminal.lines().say(format_args!("Signed in."));
                Ok(signed_in)
            }
        }
    }
}

impl IntoFuture for HeadlessSignIn {
    type Output = Result<SignedIn, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for HeadlessSignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeadlessSignIn").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// A user who signed in. `Debug` does not say who.
#[derive(Clone)]
pub struct SignedIn {
    client: UserClient,
    info: Map<String, Value>,
}

impl SignedIn {
    /// A client that is bound to the user.
    #[must_use]
    pub fn client(&self) -> &UserClient {
        &self.client
    }

    /// The user's token, from the application's identity provider. Its lifetime is that provider's to set.
    #[must_use]
    pub fn user_token(&self) -> &UserToken {
        self.client.user_token()
    }

    /// What the identity provider says about the user; may be empty.
    #[must_use]
    pub fn user_info(&self) -> &Map<String, Value> {
        &self.info
    }
}

impl fmt::Debug for SignedIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedIn").field("client", &self.client).finish_non_exhaustive()
    }
}

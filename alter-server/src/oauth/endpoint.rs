//! One call of a token endpoint.

use std::{error::Error, fmt, sync::OnceLock, time::Duration};

use alter_core::{clock::SharedClock, wire::url::is_loopback};
use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;
use reqwest::{Client, redirect};
use secrecy::SecretString;
use tokio::time::{Instant, timeout_at};
use url::Url;
use zeroize::Zeroizing;

use super::{
    Answer, ClockOffsets, Spent, TokenFailure,
    classify::{self, classify},
    form::{self, Form},
};
use crate::domain::{FailureCode, Refreshing, endpoint_url};

/// The limits of one call. The defaults are the right ones outside tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For name, connection and TLS together: 10 s.
    pub connect: Duration,
    /// For all of it: 120 s. Longer than [`Self::connect`].
    pub whole: Duration,
    /// For silence inside a body: 30 s.
    pub idle: Duration,
    /// Largest body, in bytes: 256 KiB.
    pub body: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            whole: Duration::from_secs(120),
            idle: Duration::from_secs(30),
            body: 256 * 1024,
        }
    }
}

/// What to ask.
#[derive(Debug, Clone, Copy)]
pub struct RefreshCall<'a> {
    /// Whom, as which client.
    pub refreshing: Refreshing<'a>,
    /// The client's secret; not sent by a public client.
    pub client_secret: Option<&'a SecretString>,
    /// The refresh token to present.
    pub refresh_token: &'a SecretString,
}

/// New tokens, and when they came.
#[derive(Debug, Clone)]
pub struct TokenAnswer {
    /// The access token: fit to be handed to a client (spec/01 §5.1).
    pub access_token: SecretString,
    /// The refresh token to use from now on; `None` keeps the present one.
    pub refresh_token: Option<SecretString>,
    /// Life of the access token, to be counted from [`Self::sent_at`]: it cannot have begun earlier. At most ten years.
    pub expires_in: Option<Duration>,
    /// Scopes, if the answer names them.
    pub scopes: Option<Vec<String>>,
    /// When the request began to be sent.
    pub sent_at: Instant,
    /// When the answer was complete.
    pub arrived: Instant,
    /// The provider's `Date`, UTC.
    pub date: Option<Timestamp>,
}

/// An answer that came to its end.
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Zeroizing<Vec<u8>>,
    /// The present moment as the provider's clock shows it.
    pub(super) now: Timestamp,
    pub(super) sent_at: Instant,
    pub(super) arrived: Instant,
    pub(super) date: Option<Timestamp>,
}

/// Asks token endpoints.
///
/// `https` only, `http` on loopback; no redirects, no cookies, nothing asked twice. Each call has a connection of its own:
/// a kept one may be closed by the provider just as a request goes out, and then nobody knows whether a refresh token was
/// spent. `HTTPS_PROXY` and `NO_PROXY` of the environment count, except for loopback; a proxy sees the host and nothing else.
pub struct TokenEndpoint {
    // Made when first asked: reading the system's certificates takes a while, and most openings of a vault ask nobody.
    outside: OnceLock<Client>,
    loopback: OnceLock<Client>,
    limits: Limits,
    clock: SharedClock,
    offsets: ClockOffsets,
}

impl fmt::Debug for TokenEndpoint {
    // Without the clients: theirs shows proxies, which may hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenEndpoint").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl TokenEndpoint {
    /// With the usual limits.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        Self::with_limits(clock, Limits::default())
    }

    /// With limits of one's own: for tests.
    #[must_use]
    pub fn with_limits(clock: SharedClock, limits: Limits) -> Self {
        let (outside, loopback) = (OnceLock::new(), OnceLock::new());
        Self { outside, loopback, limits, clock, offsets: ClockOffsets::default() }
    }

    /// The client for this address.
    pub(super) fn client(&self, loopback: bool) -> Result<&Client, TokenFailure> {
        let place = if loopback { &self.loopback } else { &self.outside };
        if let Some(client) = place.get() {
            return Ok(client);
        }
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            .http1_only()
            .pool_max_idle_per_host(0)
            .connect_timeout(self.limits.connect)
            .user_agent(concat!("alter-rs/", env!("CARGO_PKG_VERSION")));
        // A proxy from the environment knows nothing of this machine's loopback.
        let client = if loopback { client.no_proxy() } else { client.https_only(true) };
        let client = client.build().map_err(|error| {
            tracing::error!(%error, "the HTTP client for token endpoints cannot be set up");
            let why = "the vault's HTTP client cannot be set up: see its log";
            TokenFailure::new(FailureCode::Unreachable, why, Spent::No)
        })?;
        Ok(place.get_or_init(|| client))
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What is known of the clocks of the hosts that were asked.
    #[must_use]
    pub fn offsets(&self) -> &ClockOffsets {
        &self.offsets
    }

    /// Presents a refresh token once. If the returned future is dropped, the request may have been sent.
    ///
    /// # Errors
    ///
    /// [`TokenFailure`]: nothing could be sent, no answer came, or the answer says no.
    pub async fn refresh(&self, asked: &RefreshCall<'_>) -> Result<TokenAnswer, TokenFailure> {
        let unsent = |code, why: &str| TokenFailure::new(code, why, Spent::No);
        let url = endpoint_url(asked.refreshing.token_url)
            .map_err(|error| unsent(FailureCode::NotRefreshable, &format!("token_url: {error}")))?;
        let (Form { body, authorization }, scrub) =
            form::refresh(asked).map_err(|why| unsent(FailureCode::NotRefreshable, why))?;
        let answered = self.ask(url, Form { body, authorization }, self.limits.whole).await?;
        let Answered { status, headers, body, now, sent_at, arrived, date } = answered;
        let tokens = classify(&Answer { status, headers: &headers, body: &body }, now, &scrub)?;
        Ok(TokenAnswer {
            access_token: tokens.access_token,
            refresh_token: tokens.refresh_token,
            expires_in: tokens.expires_in,
            scopes: tokens.scopes,
            sent_at,
            arrived,
            date,
        })
    }

    /// Posts a form once and reads the whole answer, for at most `patience`.
    pub(super) async fn ask(
        &self,
        url: Url,
        form: Form,
        patience: Duration,
    ) -> Result<Answered, TokenFailure> {
        let client = self.client(is_loopback(&url))?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let mut request = client
            .post(url)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form.body);
        if let Some(authorization) = form.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        self.send(request, &host, patience).await
    }

    /// Sends a request once and reads the whole answer, for at most `patience`.
    pub(super) async fn send(
        &self,
        request: reqwest::RequestBuilder,
        host: &str,
        patience: Duration,
    ) -> Result<Answered, TokenFailure> {
        let sent_at = Instant::now();
        let deadline = sent_at + patience;
        let mut answer = timeout_at(deadline, request.send())
            .await
            .map_err(|_| TokenFailure::new(FailureCode::NoAnswer, "no answer in time", Spent::Maybe))?
            .map_err(|error| unanswered(&error))?;
        let ours = self.clock.now();
        let (status, headers) = (answer.status(), std::mem::take(answer.headers_mut()));
        let date = classify::date(&headers);
        if let Some(date) = date {
            self.offsets.observe(host, date, ours);
        }
        let now = self.offsets.their_time(host, ours);
        let body = self.body(&mut answer, deadline).await;
        let arrived = Instant::now();
        let body = body.map_err(|what| classify::without_body(status, &headers, now, what))?;
        Ok(Answered { status, headers, body, now, sent_at, arrived, date })
    }

    /// The whole body, or why not.
    async fn body(
        &self,
        answer: &mut reqwest::Response,
        deadline: Instant,
    ) -> Result<Zeroizing<Vec<u8>>, (FailureCode, &'static str)> {
        let mut body = Zeroizing::new(Vec::new());
        loop {
            let until = deadline.min(Instant::now() + self.limits.idle);
            let chunk = match timeout_at(until, answer.chunk()).await {
                Err(_) => return Err((FailureCode::NoAnswer, "the answer did not come to its end in time")),
                Ok(Err(_)) => return Err((FailureCode::NoAnswer, "the answer was cut off")),
                Ok(Ok(None)) => return Ok(body),
                Ok(Ok(Some(chunk))) => chunk,
            };
            if body.len() + chunk.len() > self.limits.body {
                return Err((FailureCode::Unreadable, "the answer is too large for a token endpoint"));
            }
            body.extend_from_slice(&chunk);
        }
    }
}

/// What a failed exchange means, in our words: reqwest's own text repeats the address.
fn unanswered(error: &reqwest::Error) -> TokenFailure {
    if error.is_connect() {
        let what = if error.is_timeout() { "no connection in time" } else { "no connection" };
        return TokenFailure::new(FailureCode::Unreachable, what, Spent::No);
    }
    let mut causes =
        std::iter::successors(error.source(), |cause: &&(dyn Error + 'static)| (*cause).source());
    if causes.any(|cause| cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse)) {
        return TokenFailure::new(FailureCode::Unreadable, "the answer is not HTTP", Spent::Maybe);
    }
    let what =
        if error.is_timeout() { "no answer in time" } else { "the connection broke before an answer came" };
    TokenFailure::new(FailureCode::NoAnswer, what, Spent::Maybe)
}

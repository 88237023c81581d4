//! One delivery.

use std::{fmt, sync::OnceLock, time::Duration};

use alter_core::wire::url::is_loopback;
use http::{StatusCode, header};
use reqwest::{Client, redirect};
use url::{Host, Url};

use super::{
    SigningSecret,
    address::{NotPublic, PublicOnly, is_public},
};
use crate::domain::endpoint_url;

/// Longest time for all of a delivery.
const WHOLE: Duration = Duration::from_secs(15);
/// Longest time for name, connection and TLS together.
const CONNECT: Duration = Duration::from_secs(5);

/// Posts signed messages: `https` only, `http` on loopback; no redirects, no cookies, nothing asked twice, no body read.
///
/// Addresses of private networks are refused after the name was resolved, and the connection goes to the address that was
/// looked at; loopback is meant where it is written. With private networks allowed nothing is looked at, and `HTTPS_PROXY` and
/// `NO_PROXY` of the environment count; without, they do not, since a proxy would resolve the name anew.
pub(crate) struct Sender {
    private: bool,
    // Made when first asked, as the ones of `TokenEndpoint` are.
    outside: OnceLock<Client>,
    loopback: OnceLock<Client>,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("private", &self.private).finish_non_exhaustive()
    }
}

/// What an endpoint said.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    /// What it asked us to wait, if it did in seconds.
    pub(crate) retry_after: Option<Duration>,
}

/// Why nothing was said. The texts are ours, and hold no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Undelivered {
    #[error("the endpoint's address is not one that messages are sent to: https, or http on loopback")]
    Address,
    #[error(
        "the endpoint's host has no public address: serve with --webhook-private-networks if that is meant"
    )]
    Private,
    #[error("the vault's HTTP client cannot be set up: see its log")]
    Client,
    #[error("no connection")]
    Unreachable,
    #[error("no answer within 15 seconds")]
    Timeout,
    #[error("the connection broke before an answer came")]
    Broken,
}

impl Sender {
    /// `private`: addresses of private networks are meant too.
    pub(crate) fn new(private: bool) -> Self {
        Self { private, outside: OnceLock::new(), loopback: OnceLock::new() }
    }

    /// Posts one message. `timestamp` is now, in seconds since 1970.
    pub(crate) async fn send(
        &self,
        url: &str,
        secret: &SigningSecret,
        id: &str,
        timestamp: i64,
        body: &str,
    ) -> Result<Answered, Undelivered> {
        let url = endpoint_url(url).map_err(|_| Undelivered::Address)?;
        let client = self.client(&url)?;
        let request = client
            .post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", secret.sign(id, timestamp, body.as_bytes()))
            .body(body.to_owned());
        let answer = request.send().await.map_err(|error| undelivered(&error))?;
        let wait = answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = wait.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        Ok(Answered { status: answer.status(), retry_after })
    }

    fn client(&self, url: &Url) -> Result<&Client, Undelivered> {
        let loopback = is_loopback(url);
        // The resolver is not asked about these.
        let literal = match url.host() {
            Some(Host::Ipv4(address)) => Some(address.into()),
            Some(Host::Ipv6(address)) => Some(address.into()),
            _ => None,
        };
        if !loopback && !self.private && literal.is_some_and(|address| !is_public(address)) {
            return Err(Undelivered::Private);
        }
        let place = if loopback { &self.loopback } else { &self.outside };
        if let Some(client) = place.get() {
            return Ok(client);
        }
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT)
            .timeout(WHOLE)
            .pool_idle_timeout(Duration::from_secs(20))
            .user_agent(concat!("alter-rs/", env!("CARGO_PKG_VERSION")));
        let client = match (loopback, self.private) {
            (true, _) => client.no_proxy(),
            (false, true) => client.https_only(true),
            (false, false) => client.https_only(true).no_proxy().dns_resolver(PublicOnly),
        };
        let client = client.build().map_err(|error| {
            tracing::error!(%error, "the HTTP client for webhooks cannot be set up");
            Undelivered::Client
        })?;
        Ok(place.get_or_init(|| client))
    }
}

/// In our words: reqwest's own text repeats the address, which may hold a secret in its path.
fn undelivered(error: &reqwest::Error) -> Undelivered {
    let first = std::error::Error::source(error);
    let mut causes =
        std::iter::successors(first, |cause: &&(dyn std::error::Error + 'static)| cause.source());
    if causes.any(<dyn std::error::Error>::is::<NotPublic>) {
        return Undelivered::Private;
    }
    match (error.is_connect(), error.is_timeout()) {
        (true, _) => Undelivered::Unreachable,
        (false, true) => Undelivered::Timeout,
        (false, false) => Undelivered::Broken,
    }
}

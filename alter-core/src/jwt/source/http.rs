//! Keys over HTTP, by discovery or from a known address.

use std::{fmt, time::Duration};

use bytes::{Bytes, BytesMut};
use reqwest::{Client, StatusCode, header, redirect};
use serde::Deserialize;
use url::Url;

use super::{BoxFuture, KeySource, KeySourceError};
use crate::jwt::rules::{is_loopback, is_secure_or_loopback, issuer_url};

/// For the whole of one fetch, connection and body included.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer, in bytes.
const MAX_BODY: usize = 1024 * 1024;

/// An issuer's keys at their address.
///
/// Each fetch is one GET: `https` (`http` only on loopback), five seconds for all of it, at most 1 MiB, no redirects, no
/// cookies, nothing sent but the request.
#[derive(Clone)]
pub struct HttpKeys {
    url: Url,
    client: Client,
}

impl HttpKeys {
    /// Finds the keys of `issuer` through `{issuer}/.well-known/openid-configuration` (OpenID Connect Discovery §4).
    /// The keys themselves are not fetched yet.
    ///
    /// # Errors
    ///
    /// [`KeySourceError`]: the issuer is not a permitted address, the document cannot be fetched, speaks for another
    /// issuer, or names a `jwks_uri` that is not `https` (`http` on loopback only for an issuer that is there too).
    pub async fn discover(issuer: &str) -> Result<Self, KeySourceError> {
        let found = Discovery::of(issuer).await?;
        Self::at(found.checked(&found.jwks_uri)?.as_str())
    }

    /// The keys at `url`: what a discovery found earlier, or what the operator wrote down.
    ///
    /// # Errors
    ///
    /// [`KeySourceError::Address`] unless it is an `https` URL (`http` only on loopback) without user and password.
    pub fn at(url: &str) -> Result<Self, KeySourceError> {
        let url = Url::parse(url).map_err(|_| KeySourceError::Address("must be an absolute URL".into()))?;
        if !is_secure_or_loopback(&url) || !url.username().is_empty() || url.password().is_some() {
            return Err(insecure());
        }
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .https_only(url.scheme() == "https")
            .timeout(TIMEOUT)
            .user_agent(concat!("alter-rs/", env!("CARGO_PKG_VERSION")));
        // A proxy from the environment knows nothing of this machine's loopback.
        let client = if is_loopback(&url) { client.no_proxy() } else { client };
        let client = client.build().map_err(|error| unreachable(&error))?;
        Ok(Self { url, client })
    }

    /// Where the keys are fetched from.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }
}

/// The address without its query. Not the client: its `Debug` shows proxies, which may hold passwords.
impl fmt::Debug for HttpKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpKeys({}{})", self.url.origin().ascii_serialization(), self.url.path())
    }
}

impl KeySource for HttpKeys {
    fn fetch(&self) -> BoxFuture<'_, Result<Bytes, KeySourceError>> {
        Box::pin(get(&self.client, self.url.clone()))
    }
}

/// What an issuer says about itself (OpenID Connect Discovery §3): the members that matter to a client that signs users in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Discovery {
    /// The issuer: the one that was asked for, character for character.
    pub issuer: String,
    /// Where its keys are.
    pub jwks_uri: String,
    /// Where browsers are sent to sign in.
    pub authorization_endpoint: Option<String>,
    /// Where codes are redeemed.
    pub token_endpoint: Option<String>,
    /// How clients may prove who they are there; empty means `client_secret_basic`.
    #[serde(default)]
    pub token_endpoint_auth_methods_supported: Vec<String>,
    /// Whether every answer to a browser names its issuer (RFC 9207 §3).
    #[serde(default)]
    pub authorization_response_iss_parameter_supported: bool,
}

impl Discovery {
    /// Reads `{issuer}/.well-known/openid-configuration`, with the care of [`HttpKeys`].
    ///
    /// # Errors
    ///
    /// [`KeySourceError`]: the issuer is not a permitted address, the document cannot be fetched, or speaks for another
    /// issuer (OpenID Connect Discovery §4.3).
    pub async fn of(issuer: &str) -> Result<Self, KeySourceError> {
        issuer_url(issuer).map_err(|fault| KeySourceError::Address(fault.to_string()))?;
        let document = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let document = HttpKeys::at(&document)?;
        let answer = get(&document.client, document.url.clone()).await?;
        let found: Self = serde_json::from_slice(&answer).map_err(|_| {
            KeySourceError::Invalid("it is not a discovery document with `issuer` and `jwks_uri`".into())
        })?;
        if found.issuer == issuer { Ok(found) } else { Err(KeySourceError::OtherIssuer) }
    }

    /// One of the document's addresses, as far as it may be used: `https` without user and password, `http` on loopback only
    /// for an issuer that is there too.
    ///
    /// # Errors
    ///
    /// [`KeySourceError::Address`].
    pub fn checked(&self, address: &str) -> Result<Url, KeySourceError> {
        let url =
            Url::parse(address).map_err(|_| KeySourceError::Address("must be an absolute URL".into()))?;
        let plain = url.username().is_empty() && url.password().is_none();
        let downgraded = url.scheme() == "http" && !self.issuer.starts_with("http://");
        if is_secure_or_loopback(&url) && plain && !downgraded { Ok(url) } else { Err(insecure()) }
    }
}

async fn get(client: &Client, url: Url) -> Result<Bytes, KeySourceError> {
    let request = client.get(url).header(header::ACCEPT, "application/json");
    let mut answer = request.send().await.map_err(|error| unreachable(&error))?;
    if answer.status() != StatusCode::OK {
        return Err(KeySourceError::Status(answer.status().as_u16()));
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| unreachable(&error))? {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(KeySourceError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn insecure() -> KeySourceError {
    KeySourceError::Address("must be https (http only on loopback), without user and password".into())
}

/// What went wrong, in our words: reqwest's own text repeats the address, and its sources may repeat the answer.
fn unreachable(error: &reqwest::Error) -> KeySourceError {
    let what = if error.is_timeout() {
        "timed out"
    } else if error.is_connect() {
        "no connection"
    } else if error.is_builder() {
        "the HTTP client could not be set up"
    } else {
        "the connection broke"
    };
    KeySourceError::Unreachable(what.into())
}

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
        let base = issuer_url(issuer).map_err(|fault| KeySourceError::Address(fault.to_string()))?;
        let document = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let document = Self::at(&document)?;
        let answer = get(&document.client, document.url.clone()).await?;
        let found: Discovered = serde_json::from_slice(&answer).map_err(|_| {
            KeySourceError::Invalid("it is not a discovery document with `issuer` and `jwks_uri`".into())
        })?;
        if found.issuer != issuer {
            return Err(KeySourceError::OtherIssuer);
        }
        let keys = Self::at(&found.jwks_uri)?;
        if keys.url.scheme() == "http" && base.scheme() != "http" {
            return Err(insecure());
        }
        Ok(keys)
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

/// The members that matter here.
#[derive(Deserialize)]
struct Discovered {
    issuer: String,
    jwks_uri: String,
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

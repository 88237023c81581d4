//! One call of an identity provider's token endpoint (OpenID Connect Core §3.1.3).

use std::{sync::OnceLock, time::Duration};

use alter_core::wire::{secret::SecretText, url::is_loopback};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderValue, StatusCode, header};
use reqwest::{Client, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;
use zeroize::Zeroizing;

use super::SignInError;
use crate::web::shown;

/// For name, connection and TLS together.
const CONNECT: Duration = Duration::from_secs(5);
/// For all of it: a person waits.
const WHOLE: Duration = Duration::from_secs(15);
/// Largest answer, in bytes.
const MAX_BODY: usize = 256 * 1024;

/// Redeems codes. `https` only, `http` on loopback; no redirects, no cookies, nothing asked twice: a code counts once.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    // Made when first asked: reading the system's certificates takes a while.
    client: OnceLock<Client>,
}

/// How the vault proves to be the client (OpenID Connect Core §9).
pub(super) enum ClientAuth<'a> {
    None,
    Basic(&'a SecretString),
    Form(&'a SecretString),
}

/// What to redeem.
pub(super) struct Redeem<'a> {
    pub(super) token_url: &'a Url,
    pub(super) client_id: &'a str,
    pub(super) client_auth: ClientAuth<'a>,
    pub(super) code: &'a SecretString,
    pub(super) redirect_uri: &'a str,
    pub(super) verifier: &'a SecretString,
}

/// Tokens that came back, not yet verified.
#[derive(Deserialize)]
pub(super) struct TokenAnswer {
    pub(super) id_token: Option<SecretText>,
    pub(super) access_token: Option<SecretText>,
}

#[derive(Deserialize)]
struct ErrorAnswer {
    error: String,
}

impl Exchange {
    fn client(&self, loopback: bool) -> Result<&Client, SignInError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT)
            .timeout(WHOLE)
            .user_agent(concat!("alter-rs/", env!("CARGO_PKG_VERSION")));
        // A proxy from the environment knows nothing of this machine's loopback.
        let client = if loopback { client.no_proxy() } else { client.https_only(true) };
        let client = client.build().map_err(|error| {
            tracing::error!(%error, "the HTTP client for sign-ins cannot be set up");
            SignInError::Failed("the HTTP client cannot be set up".to_owned())
        })?;
        Ok(self.client.get_or_init(|| client))
    }

    /// Redeems a code once.
    pub(super) async fn redeem(&self, asked: &Redeem<'_>) -> Result<TokenAnswer, SignInError> {
        let (body, authorization) = asked.written()?;
        let mut request = self
            .client(is_loopback(asked.token_url))?
            .post(asked.token_url.clone())
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body);
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let mut answer = request.send().await.map_err(|error| unanswered(&error))?;
        let mut body = Zeroizing::new(Vec::new());
        while let Some(chunk) = answer.chunk().await.map_err(|error| unanswered(&error))? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err(SignInError::Refused("the token endpoint's answer is too large".to_owned()));
            }
            body.extend_from_slice(&chunk);
        }
        judge(answer.status(), &body)
    }
}

impl Redeem<'_> {
    /// The form, and the header that proves the client if it is not in the form.
    fn written(&self) -> Result<(String, Option<HeaderValue>), SignInError> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", self.code.expose_secret())
            .append_pair("redirect_uri", self.redirect_uri)
            .append_pair("code_verifier", self.verifier.expose_secret());
        let authorization = match &self.client_auth {
            ClientAuth::Basic(secret) => Some(basic(self.client_id, secret)?),
            ClientAuth::None => {
                form.append_pair("client_id", self.client_id);
                None
            }
            ClientAuth::Form(secret) => {
                form.append_pair("client_id", self.client_id)
                    .append_pair("client_secret", secret.expose_secret());
                None
            }
        };
        Ok((form.finish(), authorization))
    }
}

/// Both halves are form-encoded first (RFC 6749 §2.3.1).
fn basic(client_id: &str, secret: &SecretString) -> Result<HeaderValue, SignInError> {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = Zeroizing::new(format!("{}:{}", encoded(client_id), encoded(secret.expose_secret())));
    let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| SignInError::Failed("the client secret cannot be sent".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn judge(status: StatusCode, body: &[u8]) -> Result<TokenAnswer, SignInError> {
    if status == StatusCode::OK {
        return serde_json::from_slice(body).map_err(|_| {
            SignInError::Refused("the token endpoint's answer is not a token answer".to_owned())
        });
    }
    let error = serde_json::from_slice::<ErrorAnswer>(body).ok().map(|answer| shown(&answer.error));
    match (status.as_u16(), error.as_deref()) {
        // The code was used before, is too old, or belongs to another sign-in: to be begun anew.
        (_, Some("invalid_grant")) => {
            Err(SignInError::Refused("the token endpoint does not take the code (invalid_grant)".to_owned()))
        }
        (429 | 500.., _) => {
            Err(SignInError::Unavailable(format!("the token endpoint answered {}", status.as_u16())))
        }
        (code, error) => Err(SignInError::Misconfigured(format!(
            "the token endpoint answered {code} {}",
            error.unwrap_or("without an error code")
        ))),
    }
}

/// In our words: reqwest's own text repeats the address.
fn unanswered(error: &reqwest::Error) -> SignInError {
    let what = if error.is_timeout() {
        "the token endpoint did not answer in time"
    } else if error.is_connect() {
        "no connection to the token endpoint"
    } else {
        "the connection to the token endpoint broke"
    };
    SignInError::Unavailable(what.to_owned())
}

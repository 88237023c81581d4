//! Registered clients and how they prove who they are (RFC 6749 §2.3.1).

use std::{borrow::Cow, fmt, net::IpAddr};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::http::{HeaderMap, header};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use url::{Host, Url, form_urlencoded};

use super::error::OauthError;
use crate::{keys::random, params::Params, site::Site, state::World};

/// A confidential client of one of the sandbox's providers. `Debug` does not show its secret.
///
/// Its redirect URIs are a pattern: any `http` or `https` address on `127.0.0.0/8`, `[::1]` or `localhost`, with
/// any port and path, and without a fragment (RFC 8252 §7.3). The token endpoint then wants the very string
/// that the authorization endpoint was given.
#[derive(Clone)]
#[non_exhaustive]
pub struct Client {
    /// `client_id`.
    pub client_id: String,
    /// `client_secret`, for HTTP Basic or the form.
    pub client_secret: String,
    pub(crate) site: Site,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

impl Client {
    pub(crate) fn new(site: Site, client_id: String, client_secret: String) -> Self {
        Self { client_id, client_secret, site }
    }

    pub(crate) fn generate(site: Site) -> Self {
        let client_id = match site {
            Site::Idp => "sandbox-sign-in",
            Site::First => "sandbox-client",
            Site::Second => "sandbox-two-client",
        };
        Self::new(site, client_id.to_owned(), format!("sbx_cs_{}", hex::encode(random::<24>())))
    }
}

/// Clients, one for each provider.
pub(crate) struct Clients {
    pub(crate) sign_in: Client,
    pub(crate) first: Client,
    pub(crate) second: Client,
}

impl Clients {
    pub(crate) fn of(&self, site: Site) -> &Client {
        match site {
            Site::Idp => &self.sign_in,
            Site::First => &self.first,
            Site::Second => &self.second,
        }
    }
}

/// Whether an answer may be sent to this address; the same for all clients, see [`Client`].
pub(crate) fn may_return_to(redirect_uri: &str) -> bool {
    let Ok(url) = Url::parse(redirect_uri) else { return false };
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        None => false,
    };
    let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    loopback && plain && matches!(url.scheme(), "http" | "https")
}

impl World {
    pub(super) fn client(&self, site: Site, client_id: &str) -> Option<&Client> {
        Some(self.clients.of(site)).filter(|client| client.client_id == client_id)
    }

    /// The client that sent this request, by HTTP Basic or by the form, never by both.
    pub(crate) fn authenticate(
        &self,
        site: Site,
        headers: &HeaderMap,
        form: &Params,
    ) -> Result<&Client, OauthError> {
        let (id, secret) = match (headers.get(header::AUTHORIZATION), form.get("client_secret")) {
            (Some(_), Some(_)) => {
                let why = "the client authenticates by Basic or in the form, not both";
                return Err(OauthError::InvalidRequest(why.to_owned()));
            }
            (Some(basic), None) => basic_pair(basic.as_bytes())
                .ok_or(OauthError::InvalidClient("malformed Basic credentials"))?,
            (None, Some(secret)) => {
                let id = form.get("client_id").ok_or(OauthError::InvalidClient("client_id is missing"))?;
                (id.to_owned(), secret.to_owned())
            }
            (None, None) => return Err(OauthError::InvalidClient("the client must authenticate")),
        };
        if form.get("client_id").is_some_and(|named| named != id) {
            let why = "client_id is not the client that authenticated";
            return Err(OauthError::InvalidRequest(why.to_owned()));
        }
        self.client(site, &id)
            .filter(|client| {
                verify_slices_are_equal(client.client_secret.as_bytes(), secret.as_bytes()).is_ok()
            })
            .ok_or(OauthError::InvalidClient("unknown client or wrong secret"))
    }
}

/// Both halves are form-encoded before they are joined (RFC 6749 §2.3.1).
fn basic_pair(value: &[u8]) -> Option<(String, String)> {
    let (scheme, encoded) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(encoded.trim_ascii()).ok()?).ok()?;
    let (id, secret) = pair.split_once(':')?;
    Some((form_decoded(id), form_decoded(secret)))
}

fn form_decoded(text: &str) -> String {
    // As a value of a pair; `&` cannot occur unencoded in what a correct client sends.
    let pair = format!("v={text}");
    form_urlencoded::parse(pair.as_bytes()).next().map_or(Cow::Borrowed(""), |(_, value)| value).into_owned()
}

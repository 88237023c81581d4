//! What is posted to a token endpoint.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::{RefreshCall, Scrub};
use crate::domain::{ClientAuth, RESERVED_MEMBERS};

/// What is sent.
pub(super) struct Form {
    /// `application/x-www-form-urlencoded`; its memory is wiped.
    pub(super) body: Bytes,
    /// Only with [`ClientAuth::Basic`].
    pub(super) authorization: Option<HeaderValue>,
}

/// Who asks.
pub(super) struct Client<'a> {
    pub(super) id: &'a str,
    pub(super) auth: ClientAuth,
    pub(super) secret: Option<&'a SecretString>,
}

/// Writes the request of RFC 6749 §6. Scope is not sent again: without it the same scopes are meant, and some providers
/// refuse it. An error says what the provider's settings lack.
pub(super) fn refresh(asked: &RefreshCall<'_>) -> Result<(Form, Scrub), &'static str> {
    let refreshing = asked.refreshing;
    let refresh_token = asked.refresh_token.expose_secret();
    if refresh_token.is_empty() {
        return Err("there is no refresh token");
    }
    let client =
        Client { id: refreshing.client_id, auth: refreshing.client_auth, secret: asked.client_secret };
    let members = vec![("grant_type", "refresh_token"), ("refresh_token", refresh_token)];
    write(&client, members, &refreshing.settings.extra, vec![refresh_token])
}

/// Writes a request with the client's proof and the provider's further members; what must not be shown of it are `hidden`
/// and the client's secret.
pub(super) fn write<'a>(
    client: &Client<'a>,
    members: Vec<(&'a str, &'a str)>,
    extra: &'a BTreeMap<String, String>,
    hidden: Vec<&'a str>,
) -> Result<(Form, Scrub), &'static str> {
    let Parts { members, authorization, scrub } = parts(client, members, extra, hidden)?;
    // Large enough that nothing is moved and left behind: each byte takes three at most.
    let size = members.iter().map(|(name, value)| 3 * (name.len() + value.len()) + 2).sum();
    let mut form = form_urlencoded::Serializer::new(String::with_capacity(size));
    form.extend_pairs(members);
    let body = Bytes::from_owner(Zeroizing::new(form.finish().into_bytes()));
    Ok((Form { body, authorization }, scrub))
}

/// The same members as one JSON object.
pub(super) fn write_json<'a>(
    client: &Client<'a>,
    members: Vec<(&'a str, &'a str)>,
    extra: &'a BTreeMap<String, String>,
    hidden: Vec<&'a str>,
) -> Result<(Form, Scrub), &'static str> {
    let Parts { members, authorization, scrub } = parts(client, members, extra, hidden)?;
    // As above: a character takes six bytes at most.
    let size = 2 + members.iter().map(|(name, value)| 6 * (name.len() + value.len()) + 6).sum::<usize>();
    let mut body = Zeroizing::new(Vec::with_capacity(size));
    let members: BTreeMap<&str, &str> = members.into_iter().collect();
    serde_json::to_writer(&mut *body, &members).map_err(|_| "the members have no JSON form")?;
    Ok((Form { body: Bytes::from_owner(body), authorization }, scrub))
}

/// A request before it is written.
struct Parts<'a> {
    members: Vec<(&'a str, &'a str)>,
    authorization: Option<HeaderValue>,
    scrub: Scrub,
}

fn parts<'a>(
    client: &Client<'a>,
    mut members: Vec<(&'a str, &'a str)>,
    extra: &'a BTreeMap<String, String>,
    mut hidden: Vec<&'a str>,
) -> Result<Parts<'a>, &'static str> {
    let secret = match (client.auth, client.secret) {
        (ClientAuth::None, _) => None,
        (ClientAuth::Post | ClientAuth::Basic, Some(secret)) => Some(secret.expose_secret()),
        (ClientAuth::Post | ClientAuth::Basic, None) => {
            return Err(
                "the provider's settings have no client secret; a public client needs client_auth none",
            );
        }
    };
    hidden.extend(secret);
    let (mut authorization, mut basic) = (None, None);
    if let (ClientAuth::Basic, Some(secret)) = (client.auth, secret) {
        let credentials = basic.insert(basic_credentials(client.id, secret));
        let mut value = HeaderValue::try_from(format!("Basic {}", **credentials))
            .map_err(|_| "the client's credentials do not fit into a header")?;
        value.set_sensitive(true);
        authorization = Some(value);
    } else {
        members.push(("client_id", client.id));
        members.extend(secret.map(|secret| ("client_secret", secret)));
    }
    for (name, value) in extra {
        if !RESERVED_MEMBERS.contains(&name.as_str()) {
            members.push((name, value));
        }
    }
    let basic = basic.iter().map(|basic| basic.as_str());
    let scrub = Scrub::new(hidden.into_iter().chain(basic));
    Ok(Parts { members, authorization, scrub })
}

/// Both halves form-encoded, then joined (RFC 6749 §2.3.1).
fn basic_credentials(client_id: &str, secret: &str) -> Zeroizing<String> {
    let encode = |text: &str| -> String { form_urlencoded::byte_serialize(text.as_bytes()).collect() };
    let secret = Zeroizing::new(encode(secret));
    let joined = Zeroizing::new(format!("{}:{}", encode(client_id), *secret));
    Zeroizing::new(STANDARD.encode(joined.as_bytes()))
}

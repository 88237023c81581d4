//! What identity providers tell about users: four shapes, each with its own proof, read into the same facts.
//!
//! | Shape | Proof | Stale and replayed |
//! |---|---|---|
//! | generic, Clerk | HMAC over id, timestamp and body ([`super::SigningSecret`]) | timestamp within five minutes; id and timestamp count once |
//! | Auth0, Okta | a secret in `Authorization`, compared in constant time | nothing is signed, so nothing is stale; each event's id counts once in the quarter of an hour after it happened |
//!
//! What a message says about others than users, or in words that are not known here, changes nothing.

mod auth0;
mod clerk;
mod generic;
mod okta;

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderMap;
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use subtle::ConstantTimeEq;
use uuid::Uuid;

pub(crate) use okta::challenge;

use super::sign::{SigningSecret, digest};
use crate::domain::{AppId, HookShape, TokenDigest, UserRef, UserStatus, WebhookId};

/// Most events of one message.
const MOST_EVENTS: usize = 1_000;
/// Longest subject and issuer, in bytes.
const LONGEST_NAME: usize = 1_024;
/// How far a signed timestamp may be from the vault's clock, in seconds.
const WINDOW: u64 = 300;

/// A source as its address names it: app and source, without a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SourceRef {
    pub(crate) app_id: AppId,
    pub(crate) id: WebhookId,
}

impl fmt::Display for SourceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [self.app_id.bytes().as_slice(), self.id.bytes()].concat();
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

/// A text that names no source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoSource;

impl FromStr for SourceRef {
    type Err = NoSource;

    fn from_str(text: &str) -> Result<Self, NoSource> {
        let mut bytes = [0; 32];
        let read = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).map_err(|_| NoSource)?;
        let [a, b] = [&bytes[..16], &bytes[16..]].map(Uuid::from_slice);
        match (read, a, b) {
            (32, Ok(app), Ok(id)) => Ok(Self { app_id: AppId::from_uuid(app), id: WebhookId::from_uuid(id) }),
            _ => Err(NoSource),
        }
    }
}

/// A message as it came.
#[derive(Clone, Copy)]
pub(crate) struct Incoming<'a> {
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
    /// The vault's clock, in seconds since 1970.
    pub(crate) now: i64,
    /// Issuer of the app's users, where the message names none.
    pub(crate) issuer: Option<&'a str>,
}

/// One thing that was proved to be said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    /// By what it is known when it comes again.
    pub(crate) message: TokenDigest,
    /// When it was signed, or happened; seconds since 1970.
    pub(crate) timestamp: i64,
    pub(crate) changes: Vec<(UserRef, UserStatus)>,
}

/// Why a message is not heard. No text of the message is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unheard {
    #[error("the message is not signed with this source's secret")]
    Forged,
    #[error("the message's timestamp is more than 300 seconds away from the vault's clock")]
    Stale,
    #[error("the message does not have the form that this source's shape has: {0}")]
    Form(&'static str),
    #[error(
        "the app has no identity provider, and the message names no issuer: whose user is meant is not known"
    )]
    NoIssuer,
}

/// Whether a text can be the secret of a source.
pub(crate) fn check_secret(shape: HookShape, secret: &SecretString) -> Result<(), &'static str> {
    let text = secret.expose_secret();
    match shape {
        HookShape::Generic | HookShape::Clerk => SigningSecret::parse(secret)
            .map(|_| ())
            .map_err(|_| "the secret must be whsec_ and at least 16 bytes in base64"),
        HookShape::Auth0 | HookShape::Okta => {
            let plain = text.bytes().all(|byte| (0x21..0x7f).contains(&byte) || byte == b' ');
            if plain && (16..=1_024).contains(&text.len()) && text.trim() == text {
                Ok(())
            } else {
                Err(
                    "the secret must be 16 to 1024 printable ASCII characters, the whole value of Authorization",
                )
            }
        }
    }
}

/// Checks a message and reads it.
pub(crate) fn read(
    shape: HookShape,
    secret: &SecretString,
    incoming: Incoming<'_>,
) -> Result<Vec<Said>, Unheard> {
    match shape {
        HookShape::Generic => {
            let message = signed(secret, incoming, "webhook-")?;
            Ok(vec![message.saying(generic::changes(incoming)?)])
        }
        HookShape::Clerk => {
            let message = signed(secret, incoming, "svix-")?;
            Ok(vec![message.saying(clerk::changes(incoming)?)])
        }
        HookShape::Auth0 => {
            authorized(secret, incoming.headers)?;
            auth0::read(incoming)
        }
        HookShape::Okta => {
            authorized(secret, incoming.headers)?;
            okta::read(incoming)
        }
    }
}

/// A message whose signature was good.
struct Signed {
    message: TokenDigest,
    timestamp: i64,
}

impl Signed {
    fn saying(self, changes: Vec<(UserRef, UserStatus)>) -> Said {
        Said { message: self.message, timestamp: self.timestamp, changes }
    }
}

/// Headers `{prefix}id`, `{prefix}timestamp`, `{prefix}signature`.
fn signed(secret: &SecretString, incoming: Incoming<'_>, prefix: &str) -> Result<Signed, Unheard> {
    let header = |name| one(incoming.headers, &format!("{prefix}{name}")).ok_or(Unheard::Forged);
    let (id, timestamp, signature) = (header("id")?, header("timestamp")?, header("signature")?);
    let secret = SigningSecret::parse(secret).map_err(|_| Unheard::Forged)?;
    if id.is_empty() || id.len() > 256 || !secret.is_signed(id, timestamp, incoming.body, signature) {
        return Err(Unheard::Forged);
    }
    let seconds: i64 = timestamp.parse().map_err(|_| Unheard::Forged)?;
    if seconds.abs_diff(incoming.now) > WINDOW {
        return Err(Unheard::Stale);
    }
    // The same message that is sent again, because its first answer was lost, is signed anew and counts anew.
    let message = digest(&[id.as_bytes(), timestamp.as_bytes()]);
    Ok(Signed { message, timestamp: seconds })
}

/// The secret as the value of `Authorization`, with or without `Bearer` before it.
pub(crate) fn authorized(secret: &SecretString, headers: &HeaderMap) -> Result<(), Unheard> {
    let given = one(headers, "authorization").ok_or(Unheard::Forged)?;
    let bare = given.strip_prefix("Bearer ").unwrap_or(given);
    let is = |given: &str| given.as_bytes().ct_eq(secret.expose_secret().as_bytes());
    if bool::from(is(given) | is(bare)) { Ok(()) } else { Err(Unheard::Forged) }
}

/// Events that are older are not remembered by their time: the stores have no place for what is so old.
const MEMORY: i64 = 900;

/// When an event says that it happened, in seconds since 1970. What is old or still to come counts as if it happened now.
fn happened(text: Option<&str>, now: i64) -> i64 {
    let utc = |text: &str| {
        let zoned = text.parse::<Timestamp>().ok();
        zoned.or_else(|| TimeZone::UTC.to_timestamp(text.parse::<DateTime>().ok()?).ok())
    };
    let said = text.and_then(utc).map(Timestamp::as_second);
    said.filter(|at| (now - MEMORY..=now).contains(at)).unwrap_or(now)
}

/// A header that is there once, as text.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(first)
}

fn json(body: &[u8]) -> Result<Value, Unheard> {
    serde_json::from_slice(body).map_err(|_| Unheard::Form("the body is not JSON"))
}

/// The user with this subject, at `issuer` or at the app's identity provider.
fn user(incoming: Incoming<'_>, issuer: Option<&str>, subject: &str) -> Result<UserRef, Unheard> {
    let issuer = issuer.or(incoming.issuer).ok_or(Unheard::NoIssuer)?;
    let fits = |text: &str| (1..=LONGEST_NAME).contains(&text.len()) && !text.contains(char::is_control);
    if !fits(issuer) || !fits(subject) {
        return Err(Unheard::Form("issuer and subject are 1 to 1024 bytes without control characters"));
    }
    Ok(UserRef::Subject { issuer: issuer.to_owned(), subject: subject.to_owned() })
}

//! Who is calling: key, signature, timestamp, actor headers (spec/01 §2, §3).
//!
//! Cheap things come first: headers are read before the key is looked up, the key's limit is taken before the body is
//! read, and the signature is checked before a byte of the body is parsed. What can change between two calls (the state
//! of key, agent and app, the nonce) is judged later, inside the unit of work that the call causes.

use std::{borrow::Cow, net::SocketAddr, time::Duration};

use alter_core::wire::{
    code::Code,
    header,
    key::ApiKey,
    sign::{SignatureError, Signed},
};
use axum::{body::Body, extract::ConnectInfo};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, request::Parts};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use uuid::Uuid;

use crate::domain::{Actor, ActorId, CallerType, Scope};

/// How far a request's timestamp may be from the vault's clock, in seconds, in both directions.
pub(crate) const WINDOW_SECONDS: i64 = 300;
/// How long a client may take to send its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest caller name, in characters (spec/01 §3.1).
const MAX_CALLER: usize = 255;
/// Largest context header, in bytes (spec/01 §3.3).
const MAX_CONTEXT: usize = 4_096;

/// A refusal before admission: code and text.
pub(crate) type Refused = (Code, Cow<'static, str>);

/// The headers of a call, taken apart but not yet believed. Holds the whole key, so it has no `Debug`.
pub(crate) struct Claim<'a> {
    pub(crate) key_text: &'a str,
    pub(crate) signed: Signed,
}

/// Reads the key and the signature headers.
pub(crate) fn claim(headers: &HeaderMap) -> Result<Claim<'_>, Refused> {
    let key_text = one(headers, &header::API_KEY)?
        .ok_or((Code::SignatureRequired, Cow::Borrowed("the request has no x-api-key header")))?;
    let signed = Signed::read(headers).map_err(|error| signature(&error))?;
    Ok(Claim { key_text, signed })
}

/// The beginning of a key that the vault does not know, if it is spelled like one: what a row may show of it.
pub(crate) fn prefix(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::API_KEY)?.to_str().ok()?;
    ApiKey::parse(text).ok().map(|key| key.prefix().to_owned())
}

/// What a signature error is called on the wire.
pub(crate) fn signature(error: &SignatureError) -> Refused {
    let code = match error {
        SignatureError::Missing(_) | SignatureError::Repeated(_) | SignatureError::Malformed(_) => {
            Code::SignatureRequired
        }
        _ => Code::InvalidSignature,
    };
    (code, Cow::Owned(error.to_string()))
}

/// Whether a request was signed just now.
pub(crate) fn window(timestamp: i64, now: i64) -> Result<(), Refused> {
    if (now - WINDOW_SECONDS..=now + WINDOW_SECONDS).contains(&timestamp) {
        return Ok(());
    }
    let message = "the request's timestamp is more than 300 seconds away from the vault's clock: set the caller's clock";
    Err((Code::TimestampOutOfWindow, Cow::Borrowed(message)))
}

/// Reads a body of at most `limit` bytes.
pub(crate) async fn body(body: Body, limit: usize) -> Result<Bytes, Refused> {
    match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, limit).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err((Code::BodyTooLarge, Cow::Owned(format!("the body is larger than {limit} bytes"))))
        }
        Ok(Err(_)) => Err((Code::InvalidRequest, Cow::Borrowed("the body ended early"))),
        Err(_) => Err((Code::InvalidRequest, Cow::Borrowed("the body did not arrive within 20 seconds"))),
    }
}

/// Who the caller says it is. Called after the signature was found to be good, which covers these headers.
pub(crate) fn actor(headers: &HeaderMap) -> Result<Actor, Refused> {
    let wrong = |text: &'static str| (Code::InvalidRequest, Cow::Borrowed(text));
    let caller = one(headers, &header::CALLER)?.filter(|text| !text.is_empty());
    if caller.is_some_and(|text| text.len() > MAX_CALLER || text.bytes().any(|b| !(0x20..0x7f).contains(&b)))
    {
        return Err(wrong("X-Alter-Caller must be 1 to 255 printable ASCII characters"));
    }
    let caller_type = one(headers, &header::CALLER_TYPE)?
        .filter(|text| !text.is_empty())
        .map(|text| {
            CallerType::parse(text).ok_or_else(|| wrong("X-Alter-Caller-Type must be agent or service"))
        })
        .transpose()?;
    let actor_id = one(headers, &header::ACTOR_ID)?
        .filter(|text| !text.is_empty())
        .map(|text| text.parse::<ActorId>().map_err(|_| wrong("X-Alter-Actor-ID must be a UUID")))
        .transpose()?;
    let context = one(headers, &header::CONTEXT)?.filter(|text| !text.is_empty());
    if context.is_some_and(|text| text.len() > MAX_CONTEXT || !is_context(text)) {
        return Err(wrong("X-Alter-Context must be a JSON object of at most 20 texts in at most 4096 bytes"));
    }
    Ok(Actor {
        caller: caller.map(str::to_owned),
        caller_type,
        actor_id,
        context: context.map(str::to_owned),
    })
}

/// An object of at most 20 texts: keys of up to 64 characters, values of up to 512 (spec/01 §3.3).
fn is_context(text: &str) -> bool {
    let Ok(map) = serde_json::from_str::<std::collections::BTreeMap<String, String>>(text) else {
        return false;
    };
    map.len() <= 20
        && map.iter().all(|(key, value)| key.chars().count() <= 64 && value.chars().count() <= 512)
}

/// Narrowing by the caller itself (spec/01 §2.5). A narrowing that cannot be honoured is refused, never ignored.
pub(crate) fn narrowing(headers: &HeaderMap, granted: &[Scope], needed: Scope) -> Result<(), Refused> {
    if one(headers, &header::REQUEST_RULE)?.is_some_and(|rule| !rule.is_empty()) {
        let message =
            "this vault does not evaluate X-Alter-Request-Rule yet and refuses rather than ignore it";
        return Err((Code::ConstraintNotNarrowing, Cow::Borrowed(message)));
    }
    let Some(list) = one(headers, &header::SCOPE_CONSTRAINTS)?.filter(|list| !list.is_empty()) else {
        return Ok(());
    };
    let narrowed = list.split(',').map(|text| Scope::parse(text).filter(|scope| granted.contains(scope)));
    let Some(narrowed) = narrowed.collect::<Option<Vec<_>>>() else {
        let message = "X-Alter-Scope-Constraints names a scope that the key does not have";
        return Err((Code::ConstraintNotNarrowing, Cow::Borrowed(message)));
    };
    if narrowed.contains(&needed) {
        return Ok(());
    }
    Err((Code::InsufficientScope, Cow::Owned(format!("the request narrowed itself to exclude {needed}"))))
}

/// `traceparent`, if it is one (W3C Trace Context §3.2).
pub(crate) fn trace_parent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::TRACEPARENT)?.to_str().ok()?;
    let parts: Vec<&str> = text.split('-').collect();
    let hex = |part: &str, len: usize| {
        part.len() == len && part.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase())
    };
    let zero = |part: &str| part.bytes().all(|b| b == b'0');
    match parts.as_slice() {
        [version, trace, span, flags]
            if hex(version, 2)
                && *version != "ff"
                && hex(trace, 32)
                && !zero(trace)
                && hex(span, 16)
                && !zero(span)
                && hex(flags, 2) =>
        {
            Some(text.to_owned())
        }
        _ => None,
    }
}

/// Address of the peer, when the server was told to note it.
pub(crate) fn remote(parts: &Parts) -> Option<String> {
    parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_string())
}

/// A fresh name for a request.
pub(crate) fn request_id() -> Uuid {
    Uuid::new_v4()
}

fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Refused> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(signature(&SignatureError::Repeated(name.clone())));
    }
    first
        .map(|value| value.to_str())
        .transpose()
        .map_err(|_| signature(&SignatureError::Malformed(name.clone())))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_window_is_five_minutes_in_both_directions() {
        assert!(window(1_000, 1_300).is_ok() && window(1_300, 1_000).is_ok());
        assert_eq!(window(999, 1_300).unwrap_err().0, Code::TimestampOutOfWindow);
        assert_eq!(window(1_301, 1_000).unwrap_err().0, Code::TimestampOutOfWindow);
    }

    #[test]
    fn a_narrowing_that_excludes_the_call_or_cannot_be_honoured_is_refused() {
        let narrowed = |name: HeaderName, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            narrowing(&headers, &[Scope::TokensRetrieve, Scope::GrantsRead], Scope::TokensRetrieve)
                .map_err(|(code, _)| code)
        };
        assert_eq!(narrowed(header::SCOPE_CONSTRAINTS, "tokens:retrieve,grants:read"), Ok(()));
        assert_eq!(narrowed(header::SCOPE_CONSTRAINTS, "grants:read"), Err(Code::InsufficientScope));
        assert_eq!(narrowed(header::SCOPE_CONSTRAINTS, "audit:emit"), Err(Code::ConstraintNotNarrowing));
        assert_eq!(
            narrowed(header::SCOPE_CONSTRAINTS, "tokens:retrieve, x"),
            Err(Code::ConstraintNotNarrowing)
        );
        assert_eq!(narrowed(header::REQUEST_RULE, "e30"), Err(Code::ConstraintNotNarrowing));
    }

    #[test]
    fn only_a_valid_trace_parent_is_kept() {
        let read = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::TRACEPARENT, HeaderValue::from_static(value));
            trace_parent(&headers).is_some()
        };
        assert!(read("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
        assert!(!read("00-00000000000000000000000000000000-b7ad6b7169203331-01"));
        assert!(!read("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
        assert!(!read("nonsense"));
    }

    #[test]
    fn an_actor_is_read_within_its_limits() {
        let with = |name: HeaderName, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_str(value).unwrap());
            actor(&headers)
        };
        assert_eq!(with(header::CALLER, "mailer").unwrap().caller.as_deref(), Some("mailer"));
        assert!(with(header::CALLER, &"x".repeat(256)).is_err());
        assert!(with(header::CALLER_TYPE, "robot").is_err());
        assert!(with(header::ACTOR_ID, "not-a-uuid").is_err());
        assert!(with(header::CONTEXT, r#"{"run":"1"}"#).is_ok());
        assert!(with(header::CONTEXT, r#"{"run":1}"#).is_err());
        assert_eq!(actor(&HeaderMap::new()).unwrap(), Actor::default());
    }
}

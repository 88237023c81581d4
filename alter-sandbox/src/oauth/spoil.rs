//! What a fault makes of the token endpoint's answer.

use std::{convert::Infallible, time::Duration};

use axum::{
    Json,
    body::{Body, to_bytes},
    http::{HeaderValue, StatusCode, header, response::Parts},
    response::{Html, IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde_json::{Map, Value, json};

use super::{error::OauthError, in_flight::InFlight};
use crate::{
    date,
    faults::{Faults, TokenFault},
    net::Connection,
};

/// What a firewall in front of a provider says.
const FIREWALL: &str = "<!DOCTYPE html><html><head><title>403 Forbidden</title></head>\
                        <body><h1>Request blocked</h1><p>Reference 18.2f6a1c02</p></body></html>";
/// What stands in front of a provider during maintenance, or of a network before one has signed in to it.
const PORTAL: &str = "<!DOCTYPE html><html><head><title>Welcome</title></head>\
                      <body><h1>We will be back soon</h1></body></html>";
/// Not text in any encoding that JSON may come in.
const GARBAGE: &[u8] = b"\xff\xfe\x00{\x80\x81\xc3\x28\"access_token\":\x00\xf0\x9f";
/// Size of a piece of the huge answer, and how many there are, in bytes.
const PIECE: &[u8] = &[b'x'; 50_000];
const PIECES: usize = 200;
/// Spaces before a trickled answer.
const SPACES: usize = 4096;

/// The answer of a fault that carries nothing out. None for those that do, and for
/// [`TokenFault::CutHeaders`], which has no answer.
pub(super) fn instead(fault: TokenFault, faults: &Faults, now_ms: i64) -> Option<Response> {
    let error = |status: StatusCode, error: &str| {
        let body = json!({"error": error, "error_description": "the sandbox was told to fail"});
        let mut response = (status, Json(body)).into_response();
        let retry_after = date::retry_after(faults, status, now_ms);
        response.headers_mut().extend(retry_after.map(|value| (header::RETRY_AFTER, value)));
        response
    };
    let told = "the sandbox was told to refuse";
    Some(match fault {
        TokenFault::InvalidGrant => OauthError::InvalidGrant(told).into_response(),
        TokenFault::InvalidClient => OauthError::InvalidClient(told).into_response(),
        TokenFault::ServerError => error(StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
        TokenFault::TemporarilyUnavailable => {
            error(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable")
        }
        TokenFault::TooManyRequests => error(StatusCode::TOO_MANY_REQUESTS, "too_many_requests"),
        TokenFault::OkWithError => Json(json!({"ok": false, "error": faults.ok_error})).into_response(),
        TokenFault::Html403 => (StatusCode::FORBIDDEN, Html(FIREWALL)).into_response(),
        TokenFault::HtmlOk => Html(PORTAL).into_response(),
        _ => return None,
    })
}

/// Changes the members of a successful answer.
pub(super) fn members(fault: TokenFault, body: &mut Map<String, Value>) {
    match fault {
        TokenFault::NoExpiry => {
            body.remove("expires_in");
        }
        TokenFault::ExpiresInString => {
            let digits = body.get("expires_in").map(ToString::to_string);
            body.extend(digits.map(|digits| ("expires_in".to_owned(), Value::from(digits))));
        }
        TokenFault::NoRefreshToken => {
            body.remove("refresh_token");
        }
        TokenFault::EmptyRefreshToken => {
            body.insert("refresh_token".to_owned(), "".into());
        }
        _ => {}
    }
}

/// Sends the answer to a call that was carried out, or what the fault leaves of it.
pub(super) async fn send(
    fault: TokenFault,
    faults: &Faults,
    answer: Response,
    connection: Connection,
    in_flight: InFlight,
) -> Response {
    let (parts, body) = answer.into_parts();
    // Built by this endpoint from a few hundred bytes in memory: it cannot fail.
    let whole = to_bytes(body, usize::MAX).await.unwrap_or_default();
    match fault {
        TokenFault::Drop | TokenFault::CutHeaders => connection.cut().await,
        TokenFault::CutBody => cut_body(parts, whole.len(), connection),
        TokenFault::Truncated => Response::from_parts(parts, Body::from(whole.slice(..whole.len() / 2))),
        TokenFault::Garbage => {
            let json = [(header::CONTENT_TYPE, "application/json")];
            (StatusCode::OK, json, GARBAGE).into_response()
        }
        TokenFault::Huge => Response::from_parts(parts, huge(&whole)),
        TokenFault::Trickle => Response::from_parts(parts, trickle(whole, faults.trickle_ms, in_flight)),
        _ => Response::from_parts(parts, Body::from(whole)),
    }
}

/// The head as it would have been, and then nothing.
fn cut_body(mut parts: Parts, length: usize, connection: Connection) -> Response {
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    // hyper flushes the head in the same poll in which it first asks for the body.
    let nothing = stream::once(async move {
        connection.cut().await;
        Ok::<Bytes, Infallible>(Bytes::new())
    });
    Response::from_parts(parts, Body::from_stream(nothing))
}

/// The object with a member of ten million bytes put first.
fn huge(whole: &Bytes) -> Body {
    let rest = whole.strip_prefix(b"{").unwrap_or_default();
    let rest = [b"\",", rest].concat();
    let pieces = std::iter::once(Bytes::from_static(b"{\"padding\":\""))
        .chain(std::iter::repeat_n(Bytes::from_static(PIECE), PIECES))
        .chain(std::iter::once(Bytes::from(rest)));
    Body::from_stream(stream::iter(pieces.map(Ok::<_, Infallible>)))
}

/// The call is in flight until the last byte.
fn trickle(whole: Bytes, interval_ms: u64, in_flight: InFlight) -> Body {
    let interval = Duration::from_millis(interval_ms);
    let space = Bytes::from_static(b" ");
    let bytes = std::iter::repeat_n(space, SPACES).chain(std::iter::once(whole));
    let slowly = stream::iter(bytes).then(move |bytes| {
        let _ = &in_flight;
        async move {
            // Even a sleep of no time takes a millisecond.
            if !interval.is_zero() {
                tokio::time::sleep(interval).await;
            }
            Ok::<_, Infallible>(bytes)
        }
    });
    Body::from_stream(slowly)
}

//! `POST /hooks/{source}`: an identity provider tells what became of users. Who may say so is proved by the message itself; the
//! address holds no secret.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use alter_core::wire::{code::Code, error::ErrorBody};
use axum::{
    extract::{ConnectInfo, Path, Request, State},
    response::Response,
};
use http::{HeaderMap, StatusCode, request::Parts};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use uuid::Uuid;

use super::{
    answer::{Dressing, Reply, store_error_body},
    caller,
};
use crate::{
    domain::{AppId, HookShape, HookSource},
    store::{Heard, HookMessage, RefusedCall, StoreError},
    telemetry,
    vault::Core,
    webhook::inbound::{self, Incoming, SourceRef, Unheard},
};

/// The route. The parameter is named like that of other routes, since the router wants it so.
pub(super) const PATH: &str = "/hooks/{source}";
/// Largest message, in bytes.
const MAX_BODY: usize = 256 * 1024;
/// How long an Okta hook waits for an answer at most, so that nothing longer is spent on one.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a message is refused, as it is answered and written down.
struct Refusal {
    status: StatusCode,
    code: Code,
    text: String,
}

/// Everything that a refusal's row says.
struct Caller<'a> {
    core: &'a Core,
    request_id: Uuid,
    remote: Option<String>,
    source: Option<SourceRef>,
}

/// Hears a message.
pub(super) async fn hear(
    State(core): State<Arc<Core>>,
    Path(source): Path<String>,
    request: Request,
) -> Response {
    let dressing = Dressing::new(caller::request_id());
    let Some(_busy) = core.enter() else { return dressing.render(closing()) };
    let (parts, body) = request.into_parts();
    if !core.web.admits(peer(&parts)) {
        return dressing.render(too_often());
    }
    let mut caller = Caller::new(&core, &dressing, &parts);
    let heard = async {
        let body = caller::body(body, MAX_BODY).await;
        let body = body.map_err(|(code, text)| refusal(StatusCode::BAD_REQUEST, code, text))?;
        let (source, secret) = caller.source(&source).await?;
        let issuer = caller.issuer(source.app_id).await?;
        let now = core.clock.now();
        let incoming = Incoming {
            headers: &parts.headers,
            body: &body,
            now: now.as_second(),
            issuer: issuer.as_deref(),
        };
        let said = inbound::read(source.shape, &secret, incoming).map_err(unheard)?;
        let mut revoked = 0;
        let mut heard = said.is_empty();
        for said in said {
            let message = HookMessage {
                app_id: source.app_id,
                source: source.id,
                shape: source.shape,
                message: said.message,
                timestamp: said.timestamp,
                at: now,
                changes: said.changes,
                remote: caller.remote.clone(),
            };
            match core.store.hear(message).await? {
                Heard::Done(changed) => {
                    heard = true;
                    revoked += changed.iter().map(|changed| changed.revoked.len()).sum::<usize>();
                }
                Heard::Replayed => {}
            }
        }
        if revoked > 0 {
            core.outbox.wake();
        }
        Ok::<_, Trouble>(heard)
    };
    let reply = match tokio::time::timeout(PATIENCE, heard).await {
        Ok(Ok(true)) => {
            telemetry::hook("heard");
            Reply::json(&json!({"status": "heard"}))
        }
        Ok(Ok(false)) => {
            // The store has written the row.
            telemetry::hook("replayed");
            let body = ErrorBody::new(Code::NonceReplayed, "this message was heard before");
            Reply::error_with(StatusCode::CONFLICT, &body)
        }
        Ok(Err(Trouble::Refused(refusal))) => caller.refuse(refusal).await,
        Ok(Err(Trouble::Store(error))) => failed(&error),
        Err(_) => busy(),
    };
    dressing.render(reply)
}

/// Answers Okta's one question, whether the address is ours.
pub(super) async fn verify(
    State(core): State<Arc<Core>>,
    Path(source): Path<String>,
    request: Request,
) -> Response {
    let dressing = Dressing::new(caller::request_id());
    let Some(_busy) = core.enter() else { return dressing.render(closing()) };
    let (parts, _) = request.into_parts();
    if !core.web.admits(peer(&parts)) {
        return dressing.render(too_often());
    }
    let mut caller = Caller::new(&core, &dressing, &parts);
    let answer = async {
        let (source, secret) = caller.source(&source).await?;
        let challenge = okta_challenge(&source, &secret, &parts.headers)?;
        Ok::<_, Trouble>(Reply::json(&json!({ "verification": challenge })))
    };
    let reply = match answer.await {
        Ok(reply) => reply,
        Err(Trouble::Refused(refusal)) => caller.refuse(refusal).await,
        Err(Trouble::Store(error)) => failed(&error),
    };
    dressing.render(reply)
}

fn okta_challenge(
    source: &HookSource,
    secret: &SecretString,
    headers: &HeaderMap,
) -> Result<String, Trouble> {
    let none = || {
        let text = "messages are posted here; only an Okta event hook's verification is read with GET";
        refusal(StatusCode::METHOD_NOT_ALLOWED, Code::from("method_not_allowed"), text)
    };
    if source.shape != HookShape::Okta {
        return Err(none());
    }
    inbound::authorized(secret, headers).map_err(unheard)?;
    Ok(inbound::challenge(headers).ok_or_else(none)?.to_owned())
}

enum Trouble {
    Refused(Refusal),
    Store(StoreError),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

fn refusal(status: StatusCode, code: Code, text: impl Into<String>) -> Trouble {
    Trouble::Refused(Refusal { status, code, text: text.into() })
}

fn unheard(unheard: Unheard) -> Trouble {
    let (status, code) = match unheard {
        Unheard::Forged => (StatusCode::UNAUTHORIZED, Code::InvalidSignature),
        Unheard::Stale => (StatusCode::UNAUTHORIZED, Code::TimestampOutOfWindow),
        Unheard::Form(_) => (StatusCode::BAD_REQUEST, Code::InvalidRequest),
        Unheard::NoIssuer => (StatusCode::CONFLICT, Code::from("idp_not_configured")),
    };
    refusal(status, code, unheard.to_string())
}

impl<'a> Caller<'a> {
    fn new(core: &'a Core, dressing: &Dressing, parts: &Parts) -> Self {
        Self { core, request_id: dressing.request_id, remote: caller::remote(parts), source: None }
    }

    /// The source that the path names, with its secret.
    async fn source(&mut self, text: &str) -> Result<(HookSource, SecretString), Trouble> {
        let none = || refusal(StatusCode::NOT_FOUND, Code::NotFound, "there is no such source");
        let named: SourceRef = text.parse().map_err(|_| none())?;
        let found = self.core.store.hook_source(named.app_id, named.id).await?;
        let (source, sealed) = found.ok_or_else(none)?;
        self.source = Some(named);
        let opened = self.core.open(&sealed).map_err(StoreError::from)?;
        let secret = std::str::from_utf8(opened.expose_secret()).map_err(|_| none())?;
        Ok((source, SecretString::from(secret)))
    }

    /// Where the app's users come from.
    async fn issuer(&self, app_id: AppId) -> Result<Option<String>, Trouble> {
        let config = self.core.store.app_config(app_id).await?;
        Ok(config.and_then(|config| config.idp).map(|idp| idp.issuer))
    }

    /// Writes the row, within what strangers may cause, and answers.
    async fn refuse(&self, refusal: Refusal) -> Reply {
        telemetry::hook("refused");
        let Refusal { status, code, text } = refusal;
        let reply = Reply::error_with(status, &ErrorBody::new(code.clone(), text.clone()));
        let Some(left_out) = self.core.strangers.take() else { return reply };
        let mut detail = format!("POST {PATH}: {text}");
        if left_out > 0 {
            detail
                .push_str(&format!(" ({left_out} refusals of this kind before it have no row of their own)"));
        }
        let row = RefusedCall {
            app_id: self.source.map(|source| source.app_id),
            key_id: None,
            key_prefix: None,
            at: self.core.clock.now(),
            code,
            detail: Some(detail),
            caller: self.source.map(|source| format!("webhook:{}", source.id)),
            request_id: self.request_id,
            remote: self.remote.clone(),
        };
        match self.core.store.record_refusal(row).await {
            Ok(()) => reply,
            Err(error) => failed(&error),
        }
    }
}

fn peer(parts: &Parts) -> Option<std::net::IpAddr> {
    parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip())
}

fn closing() -> Reply {
    Reply::error(&ErrorBody::new(Code::ServiceUnavailable, "the vault is shutting down; send it again"))
}

fn busy() -> Reply {
    Reply::error(&ErrorBody::new(Code::ServiceUnavailable, "the vault is busy; send it again"))
}

fn too_often() -> Reply {
    let body = ErrorBody::new(Code::RateLimitExceeded, "too many requests from this address");
    Reply::error_with(StatusCode::TOO_MANY_REQUESTS, &body)
}

fn failed(error: &StoreError) -> Reply {
    match error {
        StoreError::Busy => telemetry::store_busy(),
        StoreError::Unavailable { .. } => telemetry::store_unavailable(),
        _ => tracing::error!(%error, "a webhook's message was not heard"),
    }
    Reply::error(&store_error_body(error))
}

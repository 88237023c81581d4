//! The way of a signed call: from its headers to its answer.

use std::{fmt, future::Future, sync::Arc};

use alter_core::wire::{code::Code, error::ErrorBody};
use axum::{
    extract::{FromRequestParts, RawPathParams, Request, State},
    response::Response,
};
use bytes::Bytes;
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::{
    answer::{Dressing, Failure, Reply, refusal_body, store_error_body},
    caller::{self, Refused},
    key::KnownKey,
};
use crate::{
    audit::Action,
    domain::{Admission, AppId, GrantId, Identity, KeyId, Nonce, ProviderId, Scope},
    idp::AppEntry,
    store::{AdmittedNote, Outcome, RefusedCall, StoreError},
    telemetry,
    vault::Core,
};

/// How often a call is prepared anew because the app's configuration changed under it.
const MAX_PREPARATIONS: usize = 3;

/// One endpoint of the protocol.
pub(super) trait Endpoint {
    /// Method and path, for rows of refusals.
    const ROUTE: &'static str;
    /// What the key must be allowed to do.
    const SCOPE: Scope;
    /// The row of a refusal.
    const REFUSED: Action = Action::RequestRefused;
    /// Largest body, in bytes.
    const MAX_BODY: usize = 1024 * 1024;

    /// Serves one admitted call. May be asked again for the same call when the app's configuration moved on.
    fn answer(call: &Call) -> impl Future<Output = Result<Reply, Failure>> + Send;
}

/// A call whose signature was good.
pub(super) struct Call {
    pub(super) core: Arc<Core>,
    pub(super) key: Arc<KnownKey>,
    pub(super) app: Arc<AppEntry>,
    pub(super) body: Bytes,
    admission: Admission,
    path_id: Option<String>,
}

/// The body holds users' tokens, so it is left out.
impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("request_id", &self.admission.request_id).finish_non_exhaustive()
    }
}

impl Call {
    /// For the command of this call.
    pub(super) fn admission(&self) -> Admission {
        Admission { config_generation: self.app.config.generation, ..self.admission.clone() }
    }

    /// The body, which must be a JSON object of the documented form.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| {
            // serde's own text may quote a value of the body, which may be a secret.
            let (line, column) = (error.line(), error.column());
            let what = match error.classify() {
                serde_json::error::Category::Data => "does not have the documented members",
                _ => "is not JSON",
            };
            Failure::refused(Code::InvalidRequest, format!("the body {what} (line {line}, column {column})"))
        })
    }

    /// The grant that the path names. Whatever is no id names no grant.
    pub(super) fn path_grant(&self) -> Result<GrantId, Failure> {
        let id = self.path_id.as_deref().and_then(|text| text.parse().ok());
        id.ok_or_else(|| Failure::refused(Code::GrantNotFound, "the path names no grant"))
    }

    /// Whom the call is made for, if a user's token came along.
    pub(super) async fn user(&self, token: Option<&str>) -> Result<Option<Identity>, Failure> {
        let Some(token) = token else { return Ok(None) };
        match self.app.identify(token).await {
            Ok(identity) => Ok(Some(identity)),
            Err(refused) if refused.is_transient() => {
                Err(Failure::refused(Code::ServiceUnavailable, format!("{refused}; nothing was released")))
            }
            Err(refused) => Err(Failure::refused(Code::JwtValidationError, refused.to_string())),
        }
    }
}

/// What the store decided, as a result.
pub(super) fn decided<T>(outcome: Outcome<T>) -> Result<T, Failure> {
    match outcome {
        Outcome::Done(done) => Ok(done),
        Outcome::Refused(refusal) => Err(Failure::Recorded(refusal)),
        Outcome::Stale => Err(Failure::Stale),
    }
}

/// Serves one request to a signed endpoint.
pub(super) async fn serve<E: Endpoint>(State(core): State<Arc<Core>>, request: Request) -> Response {
    let mut dressing = Dressing::new(caller::request_id());
    // Held until the answer is ready: closing the vault waits for it.
    let Some(_busy) = core.enter() else {
        let body =
            ErrorBody::new(Code::ServiceUnavailable, "the vault is shutting down; nothing was released");
        return dressing.render(Reply::error(&body));
    };
    let (mut parts, body) = request.into_parts();
    let path_id = path_id(&mut parts).await;
    let mut known = Known::default();
    let reply = match admit::<E>(&core, &parts, body, path_id, &mut known, &mut dressing).await {
        Ok(call) => {
            let reply = run::<E>(call).await;
            dressing.key_deprecated = known.deprecated();
            reply
        }
        Err(Failure::Refused(body)) => {
            dressing.key_deprecated = known.deprecated();
            record_stranger::<E>(&core, &parts, &known, &body, &dressing).await
        }
        Err(failure) => fail(failure, &dressing),
    };
    dressing.render(reply)
}

async fn path_id(parts: &mut Parts) -> Option<String> {
    let params = RawPathParams::from_request_parts(parts, &()).await.ok()?;
    // The last one is ours: one before it stands in the prefix that the vault is mounted under, which nobody signed.
    params.iter().filter(|(name, _)| *name == "id").last().map(|(_, value)| value.to_owned())
}

/// What was found out about the caller before a refusal.
#[derive(Debug, Default)]
struct Known {
    key: Option<Arc<KnownKey>>,
    caller: Option<String>,
    /// Refused for calling too often.
    throttled: bool,
}

impl Known {
    fn deprecated(&self) -> bool {
        self.key.as_ref().is_some_and(|key| key.deprecated())
    }

    fn ids(&self) -> Option<(AppId, KeyId)> {
        self.key.as_ref().map(|key| (key.material.app_id, key.material.key_id))
    }
}

/// Takes a request to the point where it is known who sent it.
async fn admit<E: Endpoint>(
    core: &Arc<Core>,
    parts: &Parts,
    body: axum::body::Body,
    path_id: Option<String>,
    known: &mut Known,
    dressing: &mut Dressing,
) -> Result<Call, Failure> {
    let at = core.clock.now();
    let claim = caller::claim(&parts.headers).map_err(refused)?;
    let key = core.find_key(claim.key_text).await?;
    let key = key.ok_or_else(|| Failure::refused(Code::InvalidKey, "no such API key"))?;
    known.key = Some(Arc::clone(&key));
    let app = core.apps.get(key.material.app_id, &*core.store).await?;
    let app = app.ok_or_else(|| Failure::refused(Code::AppNotFoundForKey, "the key's app is missing"))?;
    match key.take(&app.config, core.default_rate_limit, &core.clock) {
        Ok(limit) => dressing.rate_limit = Some(limit),
        Err(exceeded) => {
            known.throttled = true;
            dressing.rate_limit = Some(exceeded.limit);
            let mut body = ErrorBody::new(Code::RateLimitExceeded, "this API key has called too often");
            body.scope = Some("api_key".to_owned());
            body.limit = Some(exceeded.limit.limit);
            body.window_seconds = Some(super::limit::WINDOW.as_secs());
            body.retry_after = Some(exceeded.retry_after);
            return Err(Failure::Refused(Box::new(body)));
        }
    }
    caller::window(claim.signed.stamp.timestamp, at.as_second()).map_err(refused)?;
    let body = caller::body(body, E::MAX_BODY).await.map_err(refused)?;
    // A router that is nested under a prefix sees the path without it, which is what clients sign (spec/01 §1.2).
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    claim
        .signed
        .verify(&key.signing, &parts.method, target, &parts.headers, &body)
        .map_err(|error| refused(caller::signature(&error)))?;
    let actor = caller::actor(&parts.headers).map_err(refused)?;
    known.caller.clone_from(&actor.caller);
    dressing.actor_id = actor.derived_id(key.material.app_id);
    caller::narrowing(&parts.headers, &key.material.scopes, E::SCOPE).map_err(refused)?;
    let nonce = Nonce::parse(&claim.signed.stamp.nonce);
    let admission = Admission {
        app_id: key.material.app_id,
        key_id: key.material.key_id,
        config_generation: app.config.generation,
        at,
        timestamp: claim.signed.stamp.timestamp,
        nonce: nonce.ok_or_else(|| Failure::refused(Code::SignatureRequired, "the nonce is malformed"))?,
        scope: E::SCOPE,
        actor,
        trace_parent: caller::trace_parent(&parts.headers),
        request_id: dressing.request_id,
        remote: caller::remote(parts),
    };
    Ok(Call { core: Arc::clone(core), key, app, body, admission, path_id })
}

fn refused((code, message): Refused) -> Failure {
    Failure::refused(code, message)
}

/// Serves an admitted call, again if the app's configuration moved on meanwhile.
async fn run<E: Endpoint>(mut call: Call) -> Reply {
    for _ in 0..MAX_PREPARATIONS {
        let result = match E::answer(&call).await {
            Err(Failure::Refused(body)) => record::<E>(&call, *body, None).await,
            Err(Failure::NotRefreshed(body, grant)) => record::<E>(&call, *body, Some(grant)).await,
            other => other,
        };
        match result {
            Ok(reply) => return reply,
            Err(Failure::Stale) => {}
            Err(failure) => return fail(failure, &Dressing::new(call.admission.request_id)),
        }
        match call.core.apps.reload(call.admission.app_id, &*call.core.store).await {
            Ok(Some(app)) => {
                call.app = app;
                // It may have waited for a refresh before its preparation was found to be stale.
                call.admission.at = call.core.clock.now();
            }
            Ok(None) => {
                let body = ErrorBody::new(Code::AppNotFoundForKey, "the key's app is missing");
                return Reply::error(&body);
            }
            Err(error) => return fail(Failure::Store(error), &Dressing::new(call.admission.request_id)),
        }
    }
    let message = "the app's configuration keeps changing; nothing was released";
    Reply::error(&ErrorBody::new(Code::ServiceUnavailable, message))
}

/// Writes the row of a call that was refused after its signature was found to be good. It is admitted first, so that a
/// revoked key or a replayed nonce is what is answered.
async fn record<E: Endpoint>(
    call: &Call,
    body: ErrorBody,
    grant: Option<(GrantId, ProviderId)>,
) -> Result<Reply, Failure> {
    let route = E::ROUTE;
    let note = AdmittedNote {
        admission: call.admission(),
        action: E::REFUSED,
        user: None,
        code: body.code.clone(),
        grant,
        detail: Some(match (&call.path_id, &body.message) {
            (Some(id), Some(message)) => format!("{route} of {id}: {message}"),
            (None, Some(message)) => format!("{route}: {message}"),
            (_, None) => route.to_owned(),
        }),
    };
    decided(call.core.store.note(note).await?)?;
    Ok(Reply::error(&body))
}

/// Writes the row of a call that was refused before it was admitted, within what strangers may cause.
async fn record_stranger<E: Endpoint>(
    core: &Core,
    parts: &Parts,
    known: &Known,
    body: &ErrorBody,
    dressing: &Dressing,
) -> Reply {
    // The budget: whoever has no key, and whoever is over its limit, causes few rows. All others pay with their limit.
    let left_out = match (&known.key, known.throttled) {
        (None, _) => core.strangers.take(),
        (Some(_), true) => core.throttled.take(),
        (Some(_), false) => Some(0),
    };
    let Some(left_out) = left_out else { return Reply::error(body) };
    let detail = if left_out > 0 {
        format!("{} ({left_out} refusals of this kind before it have no row of their own)", E::ROUTE)
    } else {
        E::ROUTE.to_owned()
    };
    let ids = known.ids();
    let row = RefusedCall {
        app_id: ids.map(|(app, _)| app),
        key_id: ids.map(|(_, key)| key),
        key_prefix: match &known.key {
            Some(key) => Some(key.material.prefix.clone()),
            None => caller::prefix(&parts.headers),
        },
        at: core.clock.now(),
        code: body.code.clone().unwrap_or(Code::InternalError),
        detail: Some(detail),
        caller: known.caller.clone(),
        request_id: dressing.request_id,
        remote: caller::remote(parts),
    };
    match core.store.record_refusal(row).await {
        Ok(()) => Reply::error(body),
        Err(error) => fail(Failure::Store(error), dressing),
    }
}

/// The answer to a failure that needs no row any more.
fn fail(failure: Failure, dressing: &Dressing) -> Reply {
    let request_id = dressing.request_id;
    let body = match failure {
        Failure::Refused(body) | Failure::NotRefreshed(body, _) => *body,
        Failure::Recorded(refusal) => refusal_body(&refusal),
        Failure::Stale => ErrorBody::new(Code::ServiceUnavailable, "the app's configuration keeps changing"),
        Failure::Store(error) => {
            match error {
                StoreError::Busy => telemetry::store_busy(),
                StoreError::Unavailable { .. } => telemetry::store_unavailable(),
                _ => {}
            }
            match error {
                // Overload is the operator's to see, not to read a thousand times a second.
                StoreError::Busy | StoreError::Closed => tracing::debug!(%request_id, %error, "not served"),
                _ => tracing::error!(%request_id, error = %chain(&error), "the store did not do it"),
            }
            store_error_body(&error)
        }
        Failure::Internal(error) => {
            tracing::error!(%request_id, %error, "a call failed");
            ErrorBody::new(Code::InternalError, "the vault failed; nothing was released")
        }
    };
    Reply::error(&body)
}

/// An error with its sources. The store's errors hold no secrets.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

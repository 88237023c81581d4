//! The one way in which anything is asked of the vault: a signed call (spec/01 §1.6, §2, §3.6).

use std::{
    sync::{PoisonError, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode,
    header::{CONTENT_TYPE, USER_AGENT},
};
use http_body_util::{BodyExt, Limited};
use serde::Serialize;
use tower::ServiceExt;

use super::{
    Client, Shared,
    metadata::{Actor, traceparent},
    transport::{failure, timed_out},
};
use crate::{
    UserToken,
    error::{Auth, Error, Kind},
    wire::{
        code::Code,
        header,
        identity::{VERIFY_TOKEN_PATH, VerifyTokenRequest, VerifyTokenResponse},
        json::to_ascii_vec,
        limit::RateLimit,
        secret::SecretText,
        sign::{self, Stamp},
    },
};

/// How this client names itself, to vaults and to providers.
pub(crate) const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("alter-core/", env!("CARGO_PKG_VERSION")));
/// Largest answer of a vault, in bytes; a list of 1,000 grants fits.
const MAX_ANSWER: usize = 8 * 1024 * 1024;
const WHO: &str = "the vault";

/// A vault's answer, whole.
pub(crate) struct VaultAnswer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl VaultAnswer {
    /// What a status other than the documented success means.
    pub(crate) fn refusal(&self) -> Error {
        if self.status.is_client_error() || self.status.is_server_error() {
            return Error::from_vault(self.status, &self.headers, &self.body);
        }
        // A redirect is not followed, and a JSON body does not make it an answer (spec/01 §11, trap 8).
        Error::malformed(format!("the vault answered with HTTP {}, which is no answer", self.status.as_u16()))
            .with_status(self.status)
    }

    pub(crate) fn expect(self, status: StatusCode) -> Result<Bytes, Error> {
        if self.status == status { Ok(self.body) } else { Err(self.refusal()) }
    }
}

impl Shared {
    /// Posts to the vault and reads the whole answer, within `time`. `changes` tells whether the call itself
    /// changes something, so that an answer that never came leaves a doubt.
    pub(crate) async fn post<T: Serialize + Sync>(
        &self,
        path: &str,
        message: &T,
        actor: &Actor,
        time: Duration,
        changes: bool,
    ) -> Result<VaultAnswer, Error> {
        let body =
            to_ascii_vec(message).map_err(|_| Error::malformed("the request cannot be written as JSON"))?;
        let request = self.signed(path, Bytes::from(body), actor)?;
        let exchange = async {
            let response =
                self.vault.clone().oneshot(request).await.map_err(|error| failure(error, WHO, changes))?;
            let (parts, body) = response.into_parts();
            self.observe(&parts.headers, actor);
            let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| {
                if error.is::<http_body_util::LengthLimitError>() {
                    return Error::malformed("the vault's answer is larger than 8 MiB");
                }
                failure(error, WHO, changes)
            })?;
            Ok(VaultAnswer { status: parts.status, headers: parts.headers, body: body.to_bytes() })
        };
        tokio::time::timeout(time, exchange).await.unwrap_or_else(|_| Err(timed_out(WHO, changes)))
    }

    fn signed(&self, path: &str, body: Bytes, actor: &Actor) -> Result<Request<Bytes>, Error> {
        let mut headers = HeaderMap::with_capacity(16);
        headers.insert(header::API_KEY, self.api_key.clone());
        headers.insert(USER_AGENT, AGENT);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(caller) = actor.caller.as_ref().or(self.caller.as_ref()) {
            headers.insert(header::CALLER, caller.clone());
            headers.insert(header::CALLER_TYPE, self.caller_type.header());
        }
        // The id belongs to the client's own caller, not to one that a single call asserts.
        let actor_id = self.actor_id.get().filter(|_| actor.caller.is_none());
        if let Some(id) = actor_id.and_then(|id| HeaderValue::from_str(id).ok()) {
            headers.insert(header::ACTOR_ID, id);
        }
        if let Some(context) = &actor.context {
            headers.insert(header::CONTEXT, context.clone());
        }
        let cannot = |_| Error::new(Kind::Auth(Auth::Refused), "the call could not be signed");
        let stamp = Stamp::fresh(self.clock.now().as_second())
            .map_err(|_| Error::new(Kind::Auth(Auth::Refused), "no random bytes for a nonce could be had"))?;
        // A vault below a path prefix strips it before it verifies, so the prefix is not signed (spec/01 §1.2).
        sign::sign(&self.signing_key, &Method::POST, path, &stamp, &body, &mut headers).map_err(cannot)?;
        if let Some(traceparent) = traceparent() {
            headers.insert(header::TRACEPARENT, traceparent);
        }
        let mut request = Request::post(format!("{}{path}", self.vault_prefix))
            .body(body)
            .map_err(|_| Error::malformed("the vault's URL cannot be called"))?;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// Reads what every answer of a vault may say, refusals included (spec/01 §3.2, §8.2, §8.4).
    fn observe(&self, headers: &HeaderMap, actor: &Actor) {
        if let Some(rate) = RateLimit::read(headers, self.clock.now()) {
            *self.rate_limit.write().unwrap_or_else(PoisonError::into_inner) = Some(rate);
        }
        let deprecated = headers.get(header::KEY_DEPRECATED).is_some_and(|value| value == "true");
        if deprecated && !self.told_deprecated.swap(true, Ordering::Relaxed) {
            tracing::warn!("the vault says that this client's API key is deprecated: rotate it");
        }
        if actor.caller.is_some() {
            return;
        }
        let Some(told) = headers.get(header::ACTOR_ID) else { return };
        match told.to_str().ok().filter(|id| is_hyphenated_uuid(id)) {
            Some(id) => {
                let kept = self.actor_id.get_or_init(|| id.to_owned());
                if kept != id {
                    tracing::warn!("the vault named another actor id than before; the first one is kept");
                }
            }
            None => tracing::warn!("the vault named an actor id that is no UUID; it is ignored"),
        }
    }
}

fn is_hyphenated_uuid(text: &str) -> bool {
    text.len() == 36 && uuid::Uuid::try_parse(text).is_ok()
}

impl Client {
    pub(crate) async fn verify_user_token(&self, token: &UserToken) -> Result<Option<String>, Error> {
        let _under_way = self.enter()?;
        let message = VerifyTokenRequest { token: SecretText::from(token.expose()) };
        let shared = &self.0;
        let answer =
            shared.post(VERIFY_TOKEN_PATH, &message, &Actor::default(), shared.timeout, false).await?;
        if answer.status == StatusCode::OK {
            let parsed: Option<VerifyTokenResponse> = serde_json::from_slice(&answer.body).ok();
            return parsed
                .filter(|answer| !answer.sub.trim().is_empty())
                .map(|answer| Some(answer.sub))
                .ok_or_else(|| Error::malformed("the vault's answer names no subject"));
        }
        let error = answer.refusal();
        // Only the user's token may turn into "refused"; the application's own troubles must not look like it.
        let refused = error.code() == Some(&Code::JwtValidationError)
            || (error.code().is_none() && answer.status == StatusCode::BAD_REQUEST);
        if refused { Ok(None) } else { Err(error) }
    }
}

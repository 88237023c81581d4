//! The steps of a call: check, ask for a credential, inject it, call the provider, read its answer.

use std::{collections::BTreeMap, sync::Arc};

use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{CONTENT_TYPE, USER_AGENT},
};
use tower::ServiceExt;
use uuid::Uuid;

use super::{
    Client, Role,
    body::Body,
    inject::{Injected, inject},
    metadata::{Actor, caller_header, context_header},
    redact::Redactor,
    reports::{Capture, Facts, Pending, Permit, RequestBody, Watched},
    request::{Addressed, Call, RequestBuilder},
    response::{AlterResponse, Answered},
    transport::{failure, timed_out},
    url_rules::Target,
    vault::AGENT,
};
use crate::{
    error::{Error, Grant, InvalidInput, Kind},
    wire::{
        report::ApiCallReport,
        secret::SecretText,
        token::{self, IntendedCall, TokenRequest, TokenResponse},
    },
};

const WHO: &str = "the provider";

/// A call that passed every check that can be made without asking anybody.
struct Checked {
    client: Client,
    method: Method,
    target: Target,
    headers: HeaderMap,
    body: Option<Body>,
    is_json: bool,
    reason: Option<String>,
    context: Option<BTreeMap<String, String>>,
    actor: Actor,
    error_for_status: bool,
}

impl Call {
    fn check(self) -> Result<(Checked, super::identity::Wanted), Error> {
        if let Some(refused) = self.refused {
            return Err(refused);
        }
        // The vault signs and stores the upper-case method; what is sent must be the same.
        let method = Method::from_bytes(self.method.as_str().to_ascii_uppercase().as_bytes())
            .ok()
            .filter(|method| method != Method::CONNECT)
            .ok_or_else(|| {
                Error::invalid(InvalidInput::Method, "the method cannot be used for an API call")
            })?;
        let target = Target::parse(&self.url, &self.path_params, &self.query)?;
        let context = context_header(&self.context)?;
        let caller = self.caller.as_deref().map(caller_header).transpose()?;
        let mut headers = self.headers;
        headers.entry(USER_AGENT).or_insert(AGENT);
        if self.is_json {
            headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        }
        let checked = Checked {
            client: self.client,
            method,
            target,
            headers,
            body: self.body,
            is_json: self.is_json,
            reason: self.reason,
            context: context.is_some().then_some(self.context),
            actor: Actor { caller, context },
            error_for_status: self.error_for_status,
        };
        Ok((checked, self.wanted))
    }
}

impl<A> RequestBuilder<A> {
    /// Makes the call: everything is checked, then the vault is asked for the credential, then the provider is
    /// called, and the vault is told of it in the background.
    ///
    /// The answer's head is awaited; its body streams.
    ///
    /// # Errors
    ///
    /// * [`Kind::InvalidInput`], [`Kind::Closed`] and [`Auth::NoIdentity`](crate::error::Auth::NoIdentity):
    ///   nothing was sent.
    /// * What the vault refuses, by its [`code`](Error::code).
    /// * [`Kind::Provider`] for the provider's own 4xx and 5xx, unless
    ///   [`error_for_status(false)`](Self::error_for_status).
    /// * [`Kind::Transport`] when either could not be reached; [`maybe_sent`](Error::maybe_sent) tells whether the
    ///   provider may have got the call.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with its timer on.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing half made. If the provider call had begun, the vault is told that its
    /// outcome is unknown.
    pub async fn send(self) -> Result<AlterResponse, Error>
    where
        A: Addressed,
    {
        // Boxed: the future is large, and handlers keep several of them.
        Box::pin(send(*self.call, self.address)).await
    }
}

async fn send<A: Addressed>(call: Call, address: A) -> Result<AlterResponse, Error> {
    let _under_way = call.client.enter()?;
    let (checked, wanted) = call.check()?;
    let client = checked.client.clone();
    let user = client.identity(&wanted).await?;
    let permit = client.0.reports.permit(client.0.timeout).await?;

    let by_provider = address.by_provider();
    let question = TokenRequest {
        grant_id: address.by_grant().map(|id| id.to_string()),
        provider_id: by_provider.map(|by| by.provider.clone()),
        reason: checked.reason.clone(),
        request: Some(IntendedCall {
            method: checked.method.as_str().to_owned(),
            url: checked.target.as_str().to_owned(),
        }),
        user_token: user.as_ref().map(|token| SecretText::from(token.expose())),
        app_user_id: by_provider.and_then(|by| by.app_user_id.clone()),
        account: by_provider.and_then(|by| by.account.clone()),
        label: by_provider.and_then(|by| by.label.clone()),
    };
    let token = client.token(&question, &checked.actor, address.by_grant()).await.map_err(|error| {
        // So that a connect session can be started from the error, whatever the vault left out.
        by_provider.iter().fold(error, |error, by| error.about_provider(&by.provider))
    })?;
    let redactor = Arc::new(Redactor::new(&token, user.as_ref().map(crate::UserToken::expose)));
    checked.call_provider(token, redactor, permit).await
}

impl Client {
    async fn token(
        &self,
        question: &TokenRequest,
        actor: &Actor,
        grant: Option<Uuid>,
    ) -> Result<TokenResponse, Error> {
        let shared = &self.0;
        // Nothing happens at the provider before the credential is here, so no doubt is left if it does not come.
        let answer = shared.post(token::PATH, question, actor, shared.timeout, false).await?;
        let answer = answer.expect(StatusCode::OK).map_err(|error| self.seen_from_here(error))?;
        let token = TokenResponse::parse(&answer)
            .map_err(|broken| Error::malformed(broken.to_string()).with_source(broken))?;
        if grant.is_some_and(|asked| asked != token.grant_id) {
            return Err(Error::malformed("the vault answered with the credential of another grant"));
        }
        Ok(token)
    }

    /// To an agent, a grant that is not there is one that was not delegated to it (row 404-f).
    fn seen_from_here(&self, error: Error) -> Error {
        if self.0.role == Role::Agent && *error.kind() == Kind::Grant(Grant::NotFound) {
            return error.with_kind(Kind::Grant(Grant::NotDelegated));
        }
        error
    }
}

impl Checked {
    async fn call_provider(
        self,
        token: TokenResponse,
        redactor: Arc<Redactor>,
        permit: Permit,
    ) -> Result<AlterResponse, Error> {
        let Self {
            client,
            method,
            target,
            mut headers,
            body,
            is_json,
            reason,
            context,
            actor,
            error_for_status,
        } = self;
        let given = headers.clone();
        let Injected { uri, names } = inject(&token, &target, &mut headers)?;
        let (body, reported) = watch(body, is_json);
        let mut request = Request::new(body);
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;

        let report = ApiCallReport {
            grant_id: token.grant_id.to_string(),
            provider_id: token.provider_id.clone(),
            token_generation: token.token_generation.map(|generation| generation.to_string()),
            method: method.as_str().to_owned(),
            url: target.as_str().to_owned(),
            reason,
            context,
            ..ApiCallReport::default()
        };
        let facts = Facts {
            report,
            headers: given,
            injected: names,
            body: reported,
            actor,
            redactor: Arc::clone(&redactor),
            origin: target.origin(),
        };
        let mut pending = Pending::begin(client.clone(), Arc::clone(&permit), facts);
        let exchange = client.0.provider.clone().oneshot(request);
        let response = match tokio::time::timeout(client.0.timeout, exchange).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                let error = failure(error, WHO, true);
                let timeout =
                    matches!(error.kind(), Kind::Transport(crate::error::Transport::Timeout { .. }));
                pending.failed(timeout.then_some(client.0.timeout));
                return Err(error);
            }
            Err(_) => {
                pending.failed(Some(client.0.timeout));
                return Err(timed_out(WHO, true));
            }
        };
        pending.answered(response.status(), response.headers());
        let (parts, body) = Response::into_parts(response);
        Answered { client, permit, target, redactor, token }
            .judge(AlterResponseParts { parts, body, pending }, error_for_status)
            .await
    }
}

/// The pieces of a provider's answer.
pub(super) struct AlterResponseParts {
    pub(super) parts: http::response::Parts,
    pub(super) body: Body,
    pub(super) pending: Pending,
}

/// What is sent, and what will be known of it for the report.
fn watch(body: Option<Body>, is_json: bool) -> (Body, RequestBody) {
    let Some(body) = body else { return (Body::empty(), RequestBody::None) };
    match body.known_bytes() {
        Some(bytes) => {
            let known = RequestBody::Known { capture: Capture::of(&bytes), json: is_json };
            (body, known)
        }
        None => {
            let (watched, seen) = Watched::new(body);
            (Body::new(watched), seen)
        }
    }
}

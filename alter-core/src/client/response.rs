//! A provider's answer.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use tokio::{runtime::Handle, time::Sleep};
use uuid::Uuid;

use super::{
    Client,
    body::Body,
    challenge::Challenge,
    redact::Redactor,
    reports::{Capture, Pending, Permit},
    send::AlterResponseParts,
    transport::{failure, timed_out},
    url_rules::Target,
};
use crate::{
    error::{Error, InvalidInput, Kind, Provider, ProviderAnswer, Recovery, Retry},
    wire::{
        limit::{THROTTLE_CEILING, retry_after},
        report::{MAX_BODY, ScopeMismatchReport, scope_mismatch_path},
        token::{RetryInfo, TokenResponse},
    },
};

/// Largest body that [`bytes`](AlterResponse::bytes), [`text`](AlterResponse::text) and
/// [`json`](AlterResponse::json) read unless told otherwise: 32 MiB.
pub const DEFAULT_BODY_LIMIT: usize = 32 * 1024 * 1024;
const WHO: &str = "the provider's body";

/// A provider's answer: its head is here, its body streams.
///
/// The vault is told of the call when the body was read to its end, or when this is dropped.
pub struct AlterResponse {
    status: StatusCode,
    headers: HeaderMap,
    body: ResponseBody,
    limit: usize,
    grant_id: Uuid,
    retry_info: Option<RetryInfo>,
}

impl AlterResponse {
    /// The provider's status. A redirect is an answer like any other: it is not followed.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The provider's headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The grant whose credential was used.
    #[must_use]
    pub fn grant_id(&self) -> Uuid {
        self.grant_id
    }

    /// What the vault went through to get the credential, when it says so (spec/01 §8.1).
    #[must_use]
    pub fn retry_info(&self) -> Option<&RetryInfo> {
        self.retry_info.as_ref()
    }

    /// Changes how many bytes [`bytes`](Self::bytes), [`text`](Self::text) and [`json`](Self::json) read at most;
    /// [`DEFAULT_BODY_LIMIT`] unless told otherwise.
    #[must_use]
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// The next piece of the body; `None` at its end.
    ///
    /// # Errors
    ///
    /// [`Kind::Transport`] when the connection fails or nothing comes for as long as the client's timeout.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// The body as an [`http_body::Body`], to be passed on without being read into memory.
    #[must_use]
    pub fn into_body(self) -> ResponseBody {
        self.body
    }

    /// The whole body.
    ///
    /// # Errors
    ///
    /// As for [`chunk`](Self::chunk), and [`InvalidInput::ResponseLimit`] when the body is larger than the limit.
    pub async fn bytes(mut self) -> Result<Bytes, Error> {
        let too_large = |limit: usize| {
            Error::invalid(
                InvalidInput::ResponseLimit,
                format!(
                    "the provider's body is larger than {limit} bytes; stream it, or raise .body_limit(…)"
                ),
            )
        };
        let limit = self.limit;
        if self.body.size_hint().lower() > limit as u64 {
            return Err(too_large(limit));
        }
        let Some(first) = self.chunk().await? else { return Ok(Bytes::new()) };
        if first.len() > limit {
            return Err(too_large(limit));
        }
        let Some(second) = self.chunk().await? else { return Ok(first) };
        let mut whole = BytesMut::from(first);
        let mut next = Some(second);
        while let Some(piece) = next {
            if whole.len() + piece.len() > limit {
                return Err(too_large(limit));
            }
            whole.extend_from_slice(&piece);
            next = self.chunk().await?;
        }
        Ok(whole.freeze())
    }

    /// The whole body as text; what is not UTF-8 becomes U+FFFD.
    ///
    /// # Errors
    ///
    /// As for [`bytes`](Self::bytes).
    pub async fn text(self) -> Result<String, Error> {
        let bytes = self.bytes().await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The whole body as JSON.
    ///
    /// # Errors
    ///
    /// As for [`bytes`](Self::bytes), and [`Kind::Malformed`] when it is not JSON of that form. The message tells
    /// line and column, never the provider's data.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        let status = self.status;
        let bytes = self.bytes().await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            let what = if error.is_data() { "JSON of another form" } else { "not JSON" };
            let message =
                format!("the provider's body is {what} (line {}, column {})", error.line(), error.column());
            Error::malformed(message).with_status(status)
        })
    }
}

impl fmt::Debug for AlterResponse {
    // Without headers: a provider may set cookies there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlterResponse")
            .field("status", &self.status)
            .field("grant_id", &self.grant_id)
            .finish_non_exhaustive()
    }
}

/// The streaming body of a provider's answer. Nothing for as long as the client's timeout is an error.
pub struct ResponseBody {
    body: Body,
    pending: Pending,
    idle: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
    runtime: Handle,
    over: bool,
}

impl ResponseBody {
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (idle, runtime) = (self.idle, &self.runtime);
        let waiting = self.waiting.get_or_insert_with(|| {
            // The body may be polled where no runtime is entered.
            let _entered = runtime.enter();
            Box::pin(tokio::time::sleep(idle))
        });
        waiting.as_mut().poll(cx)
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        if this.over {
            return Poll::Ready(None);
        }
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.waiting = None;
                if let Some(data) = frame.data_ref() {
                    this.pending.push(data);
                }
                // So that the report does not wait for a reader who knows by now that there is no more.
                if this.body.is_end_stream() {
                    this.over = true;
                    this.pending.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                this.over = true;
                Poll::Ready(Some(Err(failure(error, WHO, true))))
            }
            Poll::Ready(None) => {
                this.over = true;
                this.pending.end();
                Poll::Ready(None)
            }
            Poll::Pending => {
                std::task::ready!(this.poll_idle(cx));
                this.over = true;
                Poll::Ready(Some(Err(timed_out(WHO, true))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").field("over", &self.over).finish_non_exhaustive()
    }
}

/// What is known when a provider has answered.
pub(super) struct Answered {
    pub(super) client: Client,
    pub(super) permit: Permit,
    pub(super) target: Target,
    pub(super) redactor: Arc<Redactor>,
    pub(super) token: TokenResponse,
}

impl Answered {
    /// Makes a response of an answer, or an error if it is one (rows V-a to V-d).
    pub(super) async fn judge(
        self,
        AlterResponseParts { parts, body, mut pending }: AlterResponseParts,
        error_for_status: bool,
    ) -> Result<AlterResponse, Error> {
        let challenge = Challenge::read(&parts.headers).redacted(&self.redactor);
        let wants_scopes = parts.status == StatusCode::FORBIDDEN && challenge.is_insufficient_scope();
        if wants_scopes {
            self.report_scopes(&challenge);
        }
        // A body that is known to be empty ends here: nobody has to read it for its report.
        let over = body.is_end_stream();
        if over {
            pending.end();
        }
        let response = AlterResponse {
            status: parts.status,
            headers: parts.headers,
            body: ResponseBody {
                body,
                pending,
                idle: self.client.0.timeout,
                waiting: None,
                runtime: Handle::current(),
                over,
            },
            limit: DEFAULT_BODY_LIMIT,
            grant_id: self.token.grant_id,
            retry_info: self.token.retry_info.clone(),
        };
        let failed = response.status.is_client_error() || response.status.is_server_error();
        if failed && error_for_status {
            return Err(self.error(response, &challenge, wants_scopes).await);
        }
        Ok(response)
    }

    async fn error(self, response: AlterResponse, challenge: &Challenge, wants_scopes: bool) -> Error {
        let status = response.status;
        let kind = match status {
            StatusCode::FORBIDDEN if wants_scopes => {
                Provider::ScopeReauth { missing: challenge.scopes().unwrap_or_default() }
            }
            StatusCode::FORBIDDEN if self.token.scope_mismatch => {
                Provider::ScopeReauth { missing: Vec::new() }
            }
            // RFC 6750 §3.1: a token without a scope is a valid token.
            StatusCode::UNAUTHORIZED if !challenge.is_insufficient_scope() => Provider::Unauthorized,
            _ => Provider::Refused,
        };
        let what = match kind {
            Provider::ScopeReauth { .. } => "the grant lacks scopes that the provider wants",
            Provider::Unauthorized => "the provider rejected the credential",
            Provider::Refused => "the provider answered with an error",
        };
        let error = Error::new(Kind::Provider(kind.clone()), format!("{what} (HTTP {})", status.as_u16()));
        let error = if kind == Provider::Refused {
            let busy = matches!(
                status,
                StatusCode::TOO_MANY_REQUESTS
                    | StatusCode::BAD_GATEWAY
                    | StatusCode::SERVICE_UNAVAILABLE
                    | StatusCode::GATEWAY_TIMEOUT
            );
            let retry = if busy { Retry::AfterBackoff } else { Retry::Never };
            let after = busy.then(|| retry_after(&response.headers, None, THROTTLE_CEILING)).flatten();
            error.with_retry(retry, after)
        } else {
            error
        };
        let recovery = Recovery {
            grant_id: Some(self.token.grant_id.to_string()),
            provider_id: Some(self.token.provider_id.clone()).filter(|id| !id.is_empty()),
            ..Recovery::default()
        };
        let headers = response.headers.clone();
        let body = self.redactor.text(&read_for_error(response).await);
        error.with_recovery(recovery).with_provider(ProviderAnswer { status, headers, body })
    }

    fn report_scopes(&self, challenge: &Challenge) {
        let mut random = [0_u8; 16];
        // Only an id for logs: without random bytes the report goes without it.
        let correlation = aws_lc_rs::rand::fill(&mut random).ok().map(|()| URL_SAFE_NO_PAD.encode(random));
        let report = ScopeMismatchReport {
            provider_status_code: StatusCode::FORBIDDEN.as_u16(),
            provider_error_code: "insufficient_scope".to_owned(),
            missing_scopes: challenge.scopes(),
            raw_www_authenticate: Some(challenge.raw.clone()),
            api_endpoint: Some(self.redactor.text(self.target.as_str())),
            detection_source: Some("www_authenticate_rfc6750".to_owned()),
            sdk_correlation_id: correlation,
        };
        let path = scope_mismatch_path(&self.token.grant_id);
        self.client.report_scope_mismatch(path, report, Arc::clone(&self.permit));
    }
}

/// The body of an error answer: whole if it is small text, else a placeholder. Stops at 10,000 bytes.
async fn read_for_error(mut response: AlterResponse) -> String {
    let length = response.body.size_hint().exact();
    if let Some(length) = length.filter(|length| *length > MAX_BODY as u64) {
        return format!("<response too large: {length} bytes>");
    }
    let mut read = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(piece)) if read.len() + piece.len() > MAX_BODY => {
                return format!("<response too large: more than {MAX_BODY} bytes>");
            }
            Ok(Some(piece)) => read.extend_from_slice(&piece),
            Ok(None) => return Capture::of(&read).response(),
            Err(_) => return format!("<response not read to its end: {} bytes read>", read.len()),
        }
    }
}

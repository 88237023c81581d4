//! The report of a provider call to the vault (spec/01 §7): nothing lost, memory bounded, never in the way.
//!
//! A permit is taken before the token is asked for and given back when the report was delivered. Between the moment
//! in which the provider call begins and the moment in which the last byte of its answer was read or dropped, a
//! [`Pending`] stands for the report; its drop sends it, so that no way out of a call can forget it.

use std::{
    collections::BTreeMap,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode};
use http_body::{Frame, SizeHint};
use serde_json::Value;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

use super::{
    Client,
    body::{Body, BoxError},
    metadata::Actor,
    redact::Redactor,
    transport::timed_out,
};
use crate::{
    error::Error,
    wire::report::{API_CALL_PATH, ApiCallReport, MAX_BODY, ScopeMismatchReport, UNREPORTED_HEADERS},
};

/// Longest time for a scope report (spec/01 §6.9).
const SCOPE_REPORT_TIME: Duration = Duration::from_secs(2);

/// The reports that are under way.
pub(crate) struct Reports {
    permits: Arc<Semaphore>,
    delivering: TaskTracker,
    open: TaskTracker,
    /// Reports whose runtime ended before they were delivered. In actix-web each worker has a runtime of its own.
    cut_short: Mutex<Vec<Written>>,
}

/// Room for one report. Kept by whatever still has to be delivered.
pub(crate) type Permit = Arc<OwnedSemaphorePermit>;

impl Reports {
    pub(crate) const MAX_CAPACITY: usize = Semaphore::MAX_PERMITS;

    pub(crate) fn new(capacity: usize) -> Self {
        let closed = || {
            let tracker = TaskTracker::new();
            // A tracker that is not closed never ends its wait; closing one does not keep tasks out.
            tracker.close();
            tracker
        };
        Self {
            permits: Arc::new(Semaphore::new(capacity)),
            delivering: closed(),
            open: closed(),
            cut_short: Mutex::default(),
        }
    }

    /// Waits for room.
    pub(crate) async fn permit(&self, time: Duration) -> Result<Permit, Error> {
        let acquire = Arc::clone(&self.permits).acquire_owned();
        match tokio::time::timeout(time, acquire).await {
            Ok(Ok(permit)) => Ok(Arc::new(permit)),
            // The semaphore is never closed, so the other case is the timeout.
            _ => Err(timed_out(
                "room for one more report; read or drop responses, or raise report_capacity",
                false,
            )),
        }
    }

    /// Waits for open responses, for no longer than `time`, and for every report that is being delivered.
    pub(crate) async fn drain(&self, time: Duration) {
        if tokio::time::timeout(time, self.open.wait()).await.is_err() {
            tracing::warn!(
                open = self.open.len(),
                "closed while responses were still being read; their reports follow when they end"
            );
        }
        self.delivering.wait().await;
    }
}

/// Up to 10,000 bytes of a body, and how many there were in all.
#[derive(Debug, Default, Clone)]
pub(crate) struct Capture {
    bytes: Vec<u8>,
    total: u64,
}

impl Capture {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut capture = Self::default();
        capture.push(bytes);
        capture
    }

    fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        if self.total <= MAX_BODY as u64 {
            self.bytes.extend_from_slice(bytes);
        } else {
            self.bytes = Vec::new();
        }
    }

    /// The whole body as text; `None` when it is too large or not UTF-8.
    fn text(&self) -> Option<&str> {
        (self.total <= MAX_BODY as u64).then(|| std::str::from_utf8(&self.bytes).ok()).flatten()
    }

    /// A response body as it is reported (spec/01 §7.3).
    pub(crate) fn response(&self) -> String {
        match self.text() {
            Some(text) => text.to_owned(),
            None if self.total > MAX_BODY as u64 => format!("<response too large: {} bytes>", self.total),
            None => format!("<binary response: {} bytes>", self.total),
        }
    }

    fn request(&self, json: bool) -> Value {
        match self.text() {
            Some(text) if json => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
            Some(text) => text.into(),
            None => format!("<binary body: {} bytes>", self.total).into(),
        }
    }
}

/// What is known of a request body: at once, or once it was streamed.
#[derive(Debug, Clone)]
pub(crate) enum RequestBody {
    None,
    Known { capture: Capture, json: bool },
    Streamed(Arc<Mutex<Capture>>),
}

impl RequestBody {
    fn value(&self) -> Option<Value> {
        match self {
            Self::None => None,
            Self::Known { capture, json } => Some(capture.request(*json)),
            Self::Streamed(capture) => {
                Some(capture.lock().unwrap_or_else(PoisonError::into_inner).request(false))
            }
        }
    }
}

/// A request body that is watched while it is sent.
pub(crate) struct Watched {
    body: Body,
    seen: Arc<Mutex<Capture>>,
}

impl Watched {
    pub(crate) fn new(body: Body) -> (Self, RequestBody) {
        let seen = Arc::new(Mutex::new(Capture::default()));
        (Self { body, seen: Arc::clone(&seen) }, RequestBody::Streamed(seen))
    }
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(data);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What a call says of itself before it begins.
pub(crate) struct Facts {
    pub(crate) report: ApiCallReport,
    pub(crate) headers: HeaderMap,
    pub(crate) injected: Vec<HeaderName>,
    pub(crate) body: RequestBody,
    pub(crate) actor: Actor,
    pub(crate) redactor: Arc<Redactor>,
    /// Scheme and host, for the log.
    pub(crate) origin: String,
}

enum Outcome {
    /// Nobody waited for the answer.
    Cancelled,
    /// The call failed on the way.
    Failed(String),
    Answered {
        status: StatusCode,
        headers: HeaderMap,
        body: Capture,
        ended: bool,
    },
}

/// A report that is due. Dropping it delivers it, on the runtime on which the call began.
pub(crate) struct Pending(Option<Box<Due>>);

struct Due {
    client: Client,
    runtime: Handle,
    permit: Permit,
    facts: Facts,
    began: Instant,
    latency: Option<Duration>,
    outcome: Outcome,
    _open: TaskTrackerToken,
}

impl Pending {
    /// The provider call begins now.
    pub(crate) fn begin(client: Client, permit: Permit, facts: Facts) -> Self {
        Self(Some(Box::new(Due {
            runtime: Handle::current(),
            _open: client.0.reports.open.token(),
            client,
            permit,
            facts,
            began: Instant::now(),
            latency: None,
            outcome: Outcome::Cancelled,
        })))
    }

    /// The provider's answer has begun.
    pub(crate) fn answered(&mut self, status: StatusCode, headers: &HeaderMap) {
        if let Some(due) = &mut self.0 {
            due.latency = Some(due.began.elapsed());
            due.outcome = Outcome::Answered {
                status,
                headers: headers.clone(),
                body: Capture::default(),
                ended: false,
            };
        }
    }

    /// The call failed on the way.
    pub(crate) fn failed(mut self, timeout: Option<Duration>) {
        if let Some(due) = &mut self.0 {
            due.latency = Some(due.began.elapsed());
            due.outcome = Outcome::Failed(match timeout {
                Some(after) => format!("<transport error: timeout after {}ms>", after.as_millis()),
                None => "<transport error: network>".to_owned(),
            });
        }
    }

    /// A piece of the answer's body passed by.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if let Some(Due { outcome: Outcome::Answered { body, .. }, .. }) = self.0.as_deref_mut() {
            body.push(bytes);
        }
    }

    /// The answer's body is complete. The report is sent now, not when the response is dropped.
    pub(crate) fn end(&mut self) {
        if let Some(Due { outcome: Outcome::Answered { ended, .. }, .. }) = self.0.as_deref_mut() {
            *ended = true;
        }
        self.deliver();
    }

    fn deliver(&mut self) {
        let Some(due) = self.0.take() else { return };
        let tracker = due.client.0.reports.delivering.clone();
        let runtime = due.runtime.clone();
        tracker.spawn_on(Delivery(Some(Stage::Due(due))).run(), &runtime);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.deliver();
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pending")
    }
}

/// A report on its way. Dropped before it arrived, it waits for [`Client::deliver_cut_short`].
struct Delivery(Option<Stage>);

enum Stage {
    Due(Box<Due>),
    Sending(Client, Box<Written>),
}

impl Stage {
    fn written(self) -> (Client, Box<Written>) {
        match self {
            Self::Due(due) => (due.client.clone(), Box::new(due.write())),
            Self::Sending(client, written) => (client, written),
        }
    }
}

impl Delivery {
    async fn run(mut self) {
        if let Some(stage) = self.0.take() {
            let (client, written) = stage.written();
            self.0 = Some(Stage::Sending(client, written));
        }
        if let Some(Stage::Sending(client, written)) = &self.0 {
            written.send(client).await;
        }
        // Arrived, or refused for good.
        self.0 = None;
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(stage) = self.0.take() {
            let (client, written) = stage.written();
            client.0.reports.cut_short.lock().unwrap_or_else(PoisonError::into_inner).push(*written);
        }
    }
}

/// A report as it is sent.
struct Written {
    report: ApiCallReport,
    actor: Actor,
    origin: String,
    _permit: Permit,
}

impl Written {
    async fn send(&self, client: &Client) {
        let shared = &client.0;
        let refused = match shared.post(API_CALL_PATH, &self.report, &self.actor, shared.timeout, true).await
        {
            Ok(answer) if answer.status.is_success() => return,
            Ok(answer) => answer.refusal(),
            Err(error) => error,
        };
        tracing::warn!(error = %refused, provider = %self.origin, "the report of a provider call did not reach the vault");
    }
}

impl Due {
    fn write(self: Box<Self>) -> Written {
        let Self { permit, facts, began, latency, outcome, .. } = *self;
        let latency = latency.unwrap_or_else(|| began.elapsed());
        let Facts { mut report, headers, injected, body, actor, redactor, origin } = facts;
        report.url = redactor.text(&report.url);
        report.request_headers = Some(reported(&headers, &injected, &redactor));
        report.request_body = body.value().map(|value| redactor.json(value));
        report.latency_ms = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
        match outcome {
            Outcome::Cancelled => report.response_body = Some("<cancelled>".to_owned()),
            Outcome::Failed(text) => report.response_body = Some(text),
            Outcome::Answered { status, headers, body, ended } => {
                report.response_status = status.as_u16();
                report.response_headers = Some(reported(&headers, &[], &redactor));
                report.response_body = Some(if ended {
                    redactor.text(&body.response())
                } else {
                    // A part of a body could be taken for the whole.
                    format!("<response not read to its end: {} bytes read>", body.total)
                });
            }
        }
        Written { report, actor, origin, _permit: permit }
    }
}

/// The headers that are reported: lower case, repeats joined, without those that carry credentials (spec/01 §7.4).
fn reported(headers: &HeaderMap, injected: &[HeaderName], redactor: &Redactor) -> BTreeMap<String, String> {
    headers
        .keys()
        .filter(|name| !UNREPORTED_HEADERS.contains(&name.as_str()) && !injected.contains(name))
        .map(|name| {
            let values: Vec<_> =
                headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
            (name.as_str().to_owned(), redactor.text(&values.join(", ")))
        })
        .collect()
}

impl Client {
    /// Delivers the reports whose own runtime ended first, on this one.
    pub(crate) async fn deliver_cut_short(&self) {
        let reports = &self.0.reports;
        let cut_short =
            std::mem::take(&mut *reports.cut_short.lock().unwrap_or_else(PoisonError::into_inner));
        for written in cut_short {
            reports.delivering.spawn(Delivery(Some(Stage::Sending(self.clone(), Box::new(written)))).run());
        }
        reports.delivering.wait().await;
    }

    /// Tells the vault, in the background and for 2 seconds at most, that a grant lacks scopes.
    pub(crate) fn report_scope_mismatch(&self, path: String, report: ScopeMismatchReport, permit: Permit) {
        let client = self.clone();
        self.0.reports.delivering.spawn(async move {
            let told =
                client.0.post(&path, &report.clamp(), &Actor::default(), SCOPE_REPORT_TIME, true).await;
            let refused = match told {
                Ok(answer) if answer.status == StatusCode::NO_CONTENT => None,
                Ok(answer) => Some(answer.refusal()),
                Err(error) => Some(error),
            };
            if let Some(error) = refused {
                tracing::warn!(%error, "the report of missing scopes did not reach the vault");
            }
            drop(permit);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_reported_whole_or_by_their_size() {
        assert_eq!(Capture::of(b"").response(), "");
        assert_eq!(Capture::of(&[b'x'; MAX_BODY]).response().len(), MAX_BODY);
        assert_eq!(Capture::of(&[b'x'; MAX_BODY + 1]).response(), "<response too large: 10001 bytes>");
        assert_eq!(Capture::of(&[0xff, 0xfe]).response(), "<binary response: 2 bytes>");
        assert_eq!(Capture::of(&[0xff]).request(false), "<binary body: 1 bytes>");
        assert_eq!(Capture::of(br#"{"a":1}"#).request(true), serde_json::json!({"a": 1}));
        assert_eq!(Capture::of(br#"{"a":1}"#).request(false), r#"{"a":1}"#);
        assert_eq!(Capture::of(&[b'1'; MAX_BODY + 1]).request(true), "<binary body: 10001 bytes>");
    }

    #[test]
    fn a_large_body_costs_no_memory() {
        let mut capture = Capture::default();
        for _ in 0..1_000 {
            capture.push(&[b'x'; 1_000]);
        }
        assert_eq!((capture.bytes.capacity(), capture.total), (0, 1_000_000));
    }
}

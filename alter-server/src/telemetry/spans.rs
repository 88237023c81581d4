//! Spans of calls over OTLP (feature `otel`): HTTP and protobuf, through the one HTTP client and TLS that everything here uses.
//!
//! The program sends them to where `OTEL_EXPORTER_OTLP_ENDPOINT` says, and sends nothing without it. An embedding program adds
//! [`Spans::layer`] to its own subscriber, or leaves it out and takes the spans of target `alter_server::call` by a layer of
//! its own. A span carries the route and the status, never a header, a path with an id or a body. It is a child of the
//! caller's `traceparent`, which the audit row notes as well.

use std::{fmt, future::Future, pin::Pin, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use opentelemetry::{
    propagation::TextMapPropagator as _,
    trace::{TraceContextExt as _, TracerProvider as _},
};
use opentelemetry_http::{HeaderExtractor, HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tokio::runtime::Handle;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};

/// Target of the spans.
const TARGET: &str = "alter_server::call";
/// How long a collector may take to take a batch.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Environment variables that say where spans go, the more exact one first.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// Spans cannot be sent there.
#[derive(Debug, thiserror::Error)]
#[error("spans cannot be sent as the environment says (OTEL_EXPORTER_OTLP_…): {0}")]
pub struct SpansError(String);

/// Sends spans in batches. At most 2,048 wait; more are dropped, and calls are never held up.
pub struct Spans(SdkTracerProvider);

impl fmt::Debug for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spans").finish_non_exhaustive()
    }
}

impl Spans {
    /// As the environment says: `OTEL_EXPORTER_OTLP_ENDPOINT` (or `…_TRACES_ENDPOINT`), `…_HEADERS`, `OTEL_SERVICE_NAME`,
    /// `OTEL_TRACES_SAMPLER`. `None` when it names no endpoint. To be called inside a tokio runtime, whose I/O is used.
    ///
    /// # Errors
    ///
    /// [`SpansError`] when the endpoint is no URL.
    pub fn from_env() -> Result<Option<Self>, SpansError> {
        let named =
            ENDPOINTS.iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
        named.then(|| Self::new(None)).transpose()
    }

    /// To the collector with this URL, which names the whole path (`http://127.0.0.1:4318/v1/traces`). To be called inside
    /// a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`SpansError`] when it is no URL.
    pub fn to(url: &str) -> Result<Self, SpansError> {
        Self::new(Some(url))
    }

    fn new(url: Option<&str>) -> Result<Self, SpansError> {
        let client = reqwest::Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none());
        let client = client.build().map_err(|error| SpansError(error.to_string()))?;
        let mut exporter =
            SpanExporter::builder().with_http().with_http_client(Client { client, io: Handle::current() });
        if let Some(url) = url {
            exporter = exporter.with_endpoint(url);
        }
        let exporter = exporter.build().map_err(|error| SpansError(error.to_string()))?;
        let mut resource = Resource::builder();
        if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name("alter-server");
        }
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.build())
            .build();
        Ok(Self(provider))
    }

    /// For a `tracing` subscriber: takes the vault's spans and nothing else, no log lines either.
    #[must_use]
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let tracer = self.0.tracer("alter-server");
        tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_filter(filter_fn(|facts| facts.is_span() && facts.target() == TARGET))
    }

    /// Sends what waits, and no more after that.
    pub async fn close(self) {
        // It waits for the thread that sends, which needs the runtime meanwhile.
        match tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(TIMEOUT)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last spans could not be sent"),
            Err(gone) => tracing::warn!(%gone, "the last spans could not be sent"),
        }
    }
}

/// The span of a call, as a child of the caller's.
pub(crate) fn of_call(route: &'static str, headers: &HeaderMap) -> Span {
    let (method, path) = route.split_once(' ').unwrap_or(("POST", route));
    let span = tracing::info_span!(
        target: TARGET,
        "call",
        otel.name = route,
        otel.kind = "server",
        http.request.method = method,
        http.route = path,
        http.response.status_code = tracing::field::Empty,
    );
    let parent = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
    if parent.span().span_context().is_valid() {
        // Without the layer there is nothing to be a child in.
        let _ = span.set_parent(parent);
    }
    span
}

/// Batches are sent from a thread without a runtime, so the sending itself happens in ours.
#[derive(Debug)]
struct Client {
    client: reqwest::Client,
    io: Handle,
}

impl HttpClient for Client {
    fn send_bytes<'own, 'work>(
        &'own self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'work>>
    where
        'own: 'work,
        Self: 'work,
    {
        let (client, io) = (self.client.clone(), self.io.clone());
        Box::pin(async move {
            let sending = io.spawn(async move {
                let answer = client.execute(request.try_into()?).await?;
                let mut response = Response::new(Bytes::new());
                *response.status_mut() = answer.status();
                // What a collector says beside its status is of no use here, and could be of any length.
                Ok::<_, HttpError>(response)
            });
            sending.await?
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::{Router, body::Body, extract::Request as Asked, routing::post};
    use http_body_util::BodyExt as _;
    use tokio::net::TcpListener;
    use tower::ServiceExt as _;
    use tracing::instrument::WithSubscriber as _;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::{Vault, VaultConfig};

    type Taken = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

    /// A collector on loopback, and what it was sent: content type and body.
    async fn collector() -> (String, Taken) {
        let taken = Taken::default();
        let sink = Arc::clone(&taken);
        let take = async move |request: Asked| {
            let kind = request.headers()["content-type"].to_str().unwrap().to_owned();
            let body = request.into_body().collect().await.unwrap().to_bytes().to_vec();
            sink.lock().unwrap().push((kind, body));
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
        let router = Router::new().route("/v1/traces", post(take));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (url, taken)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_collector_gets_the_span_of_a_call_under_its_callers_trace_and_no_secret() {
        let (url, taken) = collector().await;
        let spans = Spans::to(&url).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(VaultConfig::new(folder.path())).await.unwrap();
        let request = http::Request::post("/sdk/oauth/grants/canary-id/revoke")
            .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
            .header("x-alter-api-key", "canary-key")
            .body(Body::from("canary-body"))
            .unwrap();
        let subscriber = tracing_subscriber::registry().with(spans.layer());
        let answer = vault.router().oneshot(request).with_subscriber(subscriber).await.unwrap();
        assert_eq!(answer.status(), 401);
        spans.close().await;
        vault.close().await.unwrap();

        let taken = taken.lock().unwrap();
        let [(kind, body)] = taken.as_slice() else { panic!("{} batches", taken.len()) };
        assert_eq!(kind, "application/x-protobuf");
        let holds = |bytes: &[u8]| body.windows(bytes.len()).any(|window| window == bytes);
        let trace = hex::decode("0af7651916cd43dd8448eb211c80319c").unwrap();
        let parent = hex::decode("b7ad6b7169203331").unwrap();
        for expected in [
            b"POST /sdk/oauth/grants/{id}/revoke".as_slice(),
            b"http.response.status_code",
            b"alter-server",
            &trace,
            &parent,
        ] {
            assert!(holds(expected), "{}", String::from_utf8_lossy(expected));
        }
        assert!(!holds(b"canary"));
    }

    #[tokio::test]
    async fn without_a_collector_nobody_waits() {
        let spans = Spans::to("http://127.0.0.1:1/v1/traces").unwrap();
        let subscriber = tracing_subscriber::registry().with(spans.layer());
        tracing::subscriber::with_default(subscriber, || drop(of_call("POST /sdk/token", &HeaderMap::new())));
        tokio::time::timeout(TIMEOUT * 2, spans.close()).await.unwrap();
        assert!(Spans::to("no url").is_err());
    }
}

//! Prometheus text on a listener of its own (feature `metrics`).
//!
//! Apart from the vault's own listener, so that what is public never shows what is not: bind it to loopback or to a network that
//! only the collector is in. It asks for no credential.

use std::{convert::Infallible, fmt, future::Future, time::Duration, time::Instant};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics::gauge;
use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use tokio::{net::TcpListener, task::JoinSet, time::interval};

use super::names;

/// The content type of Prometheus text.
const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
/// Upper bounds of the time of a request, in seconds.
const REQUEST_BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Upper bounds of the time of a refresh, in seconds: providers have been seen to take a minute.
const REFRESH_BUCKETS: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0];
/// How often recorded times are put into their buckets, so that they take no memory while nobody collects.
const UPKEEP: Duration = Duration::from_secs(5);
/// How long a collector may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Collectors served at once.
const MAX_CONNECTIONS: usize = 32;

/// There is a recorder already: the embedding program's own. Its numbers are the same.
#[derive(Debug, thiserror::Error)]
#[error("this process records its metrics elsewhere already")]
pub struct RecorderInUse;

/// Records everything, and shows it as Prometheus text. Cheap to clone; clones show the same.
#[derive(Clone)]
pub struct Exporter {
    handle: PrometheusHandle,
    began: Instant,
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}

impl Exporter {
    /// Makes it the process's recorder.
    ///
    /// # Errors
    ///
    /// [`RecorderInUse`] when the process has one.
    pub fn install() -> Result<Self, RecorderInUse> {
        let recorder = recorder().map_err(|_| RecorderInUse)?;
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).map_err(|_| RecorderInUse)?;
        super::describe();
        gauge!(names::BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1);
        Ok(Self { handle, began: Instant::now() })
    }

    /// Everything recorded, as Prometheus text (format 0.0.4).
    #[must_use]
    pub fn text(&self) -> String {
        gauge!(names::UPTIME_SECONDS).set(self.began.elapsed());
        self.handle.render()
    }

    /// Serves `GET /metrics`, and nothing else, until `stop` ends.
    pub async fn serve(self, listener: TcpListener, stop: impl Future<Output = ()> + Send) {
        let mut stop = std::pin::pin!(stop);
        let mut upkeep = interval(UPKEEP);
        // Dropped at the end, which cuts what is still open: a collector comes again.
        let mut open = JoinSet::new();
        loop {
            tokio::select! {
                () = &mut stop => return,
                _ = upkeep.tick() => self.handle.run_upkeep(),
                Some(_) = open.join_next() => {}
                accepted = listener.accept(), if open.len() < MAX_CONNECTIONS => match accepted {
                    Ok((stream, _)) => {
                        let exporter = self.clone();
                        let service = service_fn(move |request| {
                            let answer = exporter.answer(&request);
                            async move { Ok::<_, Infallible>(answer) }
                        });
                        let connection = http1::Builder::new()
                            .timer(TokioTimer::new())
                            .header_read_timeout(HEAD_TIMEOUT)
                            .serve_connection(TokioIo::new(stream), service);
                        open.spawn(async move { drop(connection.await) });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection to the metrics was not accepted");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
            }
        }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if request.uri().path() != "/metrics" {
            return status(StatusCode::NOT_FOUND);
        }
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return status(StatusCode::METHOD_NOT_ALLOWED);
        }
        let mut response = Response::new(Full::from(self.text()));
        response.headers_mut().insert(header::CONTENT_TYPE, CONTENT_TYPE);
        response
    }
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

fn recorder() -> Result<PrometheusRecorder, BuildError> {
    let exact = |name: &str| Matcher::Full(name.to_owned());
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(exact(names::REQUEST_SECONDS), REQUEST_BUCKETS)?
        .set_buckets_for_metric(exact(names::REFRESH_SECONDS), REFRESH_BUCKETS)?;
    Ok(builder.build_recorder())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
        sync::oneshot,
    };

    use super::*;
    use crate::{domain::ProviderId, telemetry};

    /// Records everything with as many providers as wanted, and gives back what is shown of it.
    fn recorded(providers: u32) -> String {
        let recorder = recorder().unwrap();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            telemetry::describe();
            for n in 0..providers {
                let provider: ProviderId = format!("many-{n}").parse().unwrap();
                for outcome in ["renewed", "invalid_grant"] {
                    telemetry::refreshed(&provider, outcome, Duration::from_millis(300));
                }
                telemetry::waited(&provider);
                telemetry::replay_avoided(&provider);
                telemetry::oldest_token(&provider, Duration::from_secs(60));
            }
            for event in [
                telemetry::LeaseEvent::Renewed,
                telemetry::LeaseEvent::Lost,
                telemetry::LeaseEvent::TakenOver,
            ] {
                telemetry::lease(event);
            }
            drop(telemetry::in_flight());
            telemetry::answered("POST /sdk/token", StatusCode::OK, Duration::from_millis(2));
            telemetry::store_busy();
            telemetry::store_unavailable();
            telemetry::outbox("deliver", "done");
            telemetry::hook("heard");
            gauge!(names::BUILD_INFO, "version" => "x").set(1);
            gauge!(names::UPTIME_SECONDS).set(1);
        });
        handle.render()
    }

    #[test]
    fn every_metric_is_shown_under_its_name_with_its_text() {
        let text = recorded(1);
        for metric in names::ALL {
            let (name, kind) = (metric.name, format!("{:?}", metric.kind).to_lowercase());
            assert!(text.contains(&format!("# HELP {name} {}", metric.help)), "{name}: {text}");
            assert!(text.contains(&format!("# TYPE {name} {kind}")), "{name}: {text}");
            let series = text.lines().find(|line| line.starts_with(name)).unwrap();
            for label in metric.labels {
                assert!(series.contains(&format!("{label}=\"")), "{series}");
            }
        }
        assert!(text.contains("alter_refresh_in_flight 0"), "{text}");
    }

    #[test]
    fn ten_thousand_providers_make_no_more_than_two_hundred_and_one_series() {
        let text = recorded(10_000);
        let series = |name: &str| text.lines().filter(|line| line.starts_with(&format!("{name}{{"))).count();
        let shown: HashSet<_> =
            text.lines().filter_map(|line| line.split("provider=\"").nth(1)?.split('"').next()).collect();
        assert!(shown.len() <= 201 && shown.contains("other"), "{}", shown.len());
        assert!(series(names::REFRESH_TOTAL) <= 2 * 201);
        assert!(series(names::REFRESH_WAITERS) <= 201);
        assert!(series(names::OLDEST_TOKEN_SECONDS) <= 201);
    }

    async fn ask(address: std::net::SocketAddr, head: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("{head} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn the_listener_shows_the_metrics_and_nothing_else() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let exporter = Exporter { handle: recorder().unwrap().handle(), began: Instant::now() };
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(exporter.serve(listener, async { drop(stopped.await) }));
        let shown = ask(address, "GET /metrics").await;
        assert!(shown.starts_with("HTTP/1.1 200") && shown.contains("text/plain; version=0.0.4"), "{shown}");
        assert!(ask(address, "GET /").await.starts_with("HTTP/1.1 404"));
        assert!(ask(address, "GET /sdk/token").await.starts_with("HTTP/1.1 404"));
        assert!(ask(address, "POST /metrics").await.starts_with("HTTP/1.1 405"));
        stop.send(()).unwrap();
        serving.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }
}

//! The vault on a socket.

use std::{convert::Infallible, future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::extract::ConnectInfo;
use futures_util::FutureExt as _;
use http::{HeaderValue, header};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;

use crate::vault::Vault;

/// How long a connection that was made just before the server stops may take to send its request, before it counts as idle.
const SETTLE: Duration = Duration::from_secs(1);
/// How long connections may take to finish once the server stops.
const DRAIN: Duration = Duration::from_secs(30);
/// How long a connection may take to send a request's head, waiting between two requests included. Longer than the 30
/// seconds for which the published client keeps an idle connection, so that the two do not race.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Connections served at once; more wait in the system's backlog.
const MAX_CONNECTIONS: u32 = 8_192;
/// Pause after the system refused a connection, as it does when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

impl Vault {
    /// Serves the vault on `listener` until `stop` ends, then lets requests in flight finish (30 seconds at most). The
    /// vault stays open: call [`Vault::close`] afterwards.
    ///
    /// Every connection that was made before the listener closed is served: who is refused a connection has sent nothing, and may
    /// go elsewhere. To be taken out by whatever stands in front first, call [`Vault::drain`] and wait before `stop` ends.
    ///
    /// Plain HTTP/1.1: put whatever ends TLS in front of it, or listen on loopback. At most 8,192 connections are served
    /// at once; one that sends no complete request head within 60 seconds is closed.
    ///
    /// # Errors
    ///
    /// None today: a connection that the system refuses is logged, and the next one is waited for.
    pub async fn serve(
        &self,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let open = GracefulShutdown::new();
        let (ending, cut) = (CancellationToken::new(), CancellationToken::new());
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS as usize));
        let serve = |stream, peer, place: Option<OwnedSemaphorePermit>| {
            let connection = open.watch(connection(stream, peer, self.clone(), ending.clone()));
            let cut = cut.clone();
            tokio::spawn(async move {
                if let Some(Err(error)) = cut.run_until_cancelled(connection).await {
                    tracing::debug!(%peer, %error, "a connection ended early");
                }
                drop(place);
            });
        };
        let mut stop = std::pin::pin!(stop);
        loop {
            let next = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (listener.accept().await, place)
            };
            let (accepted, place) = tokio::select! {
                next = next => next,
                () = &mut stop => break,
            };
            match accepted {
                Ok((stream, peer)) => serve(stream, peer, place.ok()),
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        ending.cancel();
        // Closing a listener resets the connections in its backlog, whose requests may be on their way.
        while let Some(Ok((stream, peer))) = listener.accept().now_or_never() {
            serve(stream, peer, Arc::clone(&places).try_acquire_owned().ok());
        }
        drop(listener);
        // What is told to shut down before its first byte arrives is closed at once, so that byte is waited for.
        drop(timeout(SETTLE, places.acquire_many(MAX_CONNECTIONS)).await);
        if timeout(DRAIN, open.shutdown()).await.is_err() {
            tracing::warn!("connections still open after 30 seconds are cut");
            cut.cancel();
        }
        Ok(())
    }
}

/// One connection, as a future that can be told to finish.
fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    vault: Vault,
    ending: CancellationToken,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = hyper::Error> {
    // Small answers wait for the peer's acknowledgement otherwise, 40 ms at worst.
    let _ = stream.set_nodelay(true);
    let router = vault.router();
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (vault, mut router, ending) = (vault.clone(), router.clone(), ending.clone());
        request.extensions_mut().insert(ConnectInfo(peer));
        async move {
            let mut response = router.call(request).await.unwrap_or_else(|never| match never {});
            if ending.is_cancelled() || vault.is_draining() {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
}

/// Ends when the process is asked to stop (SIGTERM, SIGINT).
#[cfg(feature = "cli")]
pub(crate) async fn asked_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};

    let one = |kind| async move {
        match signal(kind) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            // Without a handler the signal ends the process at once, which the store survives.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = one(SignalKind::terminate()) => {}
        () = one(SignalKind::interrupt()) => {}
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::VaultConfig;

    // Time stands still and jumps when everybody waits, so no test waits for a minute.
    #[tokio::test(start_paused = true)]
    async fn who_sends_no_whole_head_is_cut_off_and_others_are_served() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(VaultConfig::new(folder.path())).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let serving = tokio::spawn({
            let (vault, stop) = (vault.clone(), stop.clone());
            async move { vault.serve(listener, stop.cancelled_owned()).await }
        });

        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET /healthz HTTP/1.1\r\nHost:").await.unwrap();
        let mut other = TcpStream::connect(address).await.unwrap();
        other.write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        other.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let mut nothing = Vec::new();
        slow.read_to_end(&mut nothing).await.unwrap();
        assert!(!nothing.starts_with(b"HTTP/1.1 200"));

        stop.cancel();
        serving.await.unwrap().unwrap();
        vault.close().await.unwrap();
    }

    async fn head(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 4096];
        let read = stream.read(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[..read]).into_owned()
    }

    #[tokio::test]
    async fn while_it_drains_it_serves_and_says_that_it_is_not_ready() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(VaultConfig::new(folder.path())).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let serving = tokio::spawn({
            let (vault, stop) = (vault.clone(), stop.clone());
            async move { vault.serve(listener, stop.cancelled_owned()).await }
        });
        let ready = head(address, "/readyz").await;
        assert!(ready.starts_with("HTTP/1.1 200") && !ready.contains("connection: close"), "{ready}");
        vault.drain();
        let ready = head(address, "/readyz").await;
        assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("retry-after: "), "{ready}");
        let alive = head(address, "/healthz").await;
        assert!(alive.starts_with("HTTP/1.1 200") && alive.contains("connection: close"), "{alive}");
        // Unsigned, so refused; but served.
        assert!(head(address, "/sdk/token").await.starts_with("HTTP/1.1 405"));

        // Made before the end, its request sent after it.
        let mut late = TcpStream::connect(address).await.unwrap();
        stop.cancel();
        tokio::task::yield_now().await;
        late.write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        late.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        serving.await.unwrap().unwrap();
        vault.close().await.unwrap();
    }
}

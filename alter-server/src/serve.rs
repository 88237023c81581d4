//! The vault on a socket.

use std::{convert::Infallible, future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::ConnectInfo};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;

use crate::vault::Vault;

/// How long connections may take to finish once the server stops.
const DRAIN: Duration = Duration::from_secs(30);
/// How long a connection may take to send a request's head, waiting between two requests included. Longer than the 30
/// seconds for which the published client keeps an idle connection, so that the two do not race.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Connections served at once; more wait in the system's backlog.
const MAX_CONNECTIONS: usize = 8_192;
/// Pause after the system refused a connection, as it does when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

impl Vault {
    /// Serves the vault on `listener` until `stop` ends, then lets requests in flight finish (30 seconds at most). The
    /// vault stays open: call [`Vault::close`] afterwards.
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
        let router = self.router();
        let (open, cut) = (GracefulShutdown::new(), CancellationToken::new());
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
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
                Ok((stream, peer)) => {
                    let connection = open.watch(connection(stream, peer, router.clone()));
                    let cut = cut.clone();
                    tokio::spawn(async move {
                        if let Some(Err(error)) = cut.run_until_cancelled(connection).await {
                            tracing::debug!(%peer, %error, "a connection ended early");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
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
    router: Router,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = hyper::Error> {
    // Small answers wait for the peer's acknowledgement otherwise, 40 ms at worst.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let mut router = router.clone();
        request.extensions_mut().insert(ConnectInfo(peer));
        async move { Ok::<_, Infallible>(router.call(request).await.unwrap_or_else(|never| match never {})) }
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
}

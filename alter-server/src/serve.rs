//! The vault on a socket.

use std::{future::Future, io, net::SocketAddr, time::Duration};

use axum::serve::ListenerExt;
use tokio::{net::TcpListener, sync::watch};

use crate::vault::Vault;

/// How long connections may take to finish once the server stops.
const DRAIN: Duration = Duration::from_secs(30);

impl Vault {
    /// Serves the vault on `listener` until `stop` ends, then lets requests in flight finish (30 seconds at most). The
    /// vault stays open: call [`Vault::close`] afterwards.
    ///
    /// Plain HTTP/1.1: put whatever ends TLS in front of it, or listen on loopback.
    ///
    /// # Errors
    ///
    /// When the listener fails.
    pub async fn serve(
        &self,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let (stopping, mut stopped) = watch::channel(false);
        let graceful = async move {
            stop.await;
            // Fails only when the server is gone already.
            let _ = stopping.send(true);
        };
        // Small answers wait for the peer's acknowledgement otherwise, 40 ms at worst.
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        let service = self.router().into_make_service_with_connect_info::<SocketAddr>();
        let serving = axum::serve(listener, service).with_graceful_shutdown(graceful);
        let too_long = async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
            tokio::time::sleep(DRAIN).await;
        };
        tokio::select! {
            served = serving => served,
            () = too_long => {
                tracing::warn!("connections still open after 30 seconds are cut");
                Ok(())
            }
        }
    }
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

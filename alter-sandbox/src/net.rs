//! The listener: HTTP/1.1 on loopback, with connections that a handler can cut.

use std::{
    convert::Infallible,
    future::pending,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::Request, response::Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower_service::Service as _;

/// Connections served at once; more wait in the system's backlog.
const MAX_CONNECTIONS: usize = 8192;
/// How long a graceful stop waits for requests in flight.
const DRAIN: Duration = Duration::from_secs(5);
/// Pause after the system refused a connection (out of file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The connection a request came on, in the request's extensions.
#[derive(Debug, Clone)]
pub(crate) struct Connection(CancellationToken);

impl Connection {
    /// Closes the connection without an answer. Never returns: the handler is dropped with its connection.
    pub(crate) async fn cut(self) -> Response {
        self.0.cancel();
        // An answer returned here would still be written: the connection is polled once more before it is dropped.
        pending().await
    }
}

/// A running listener. Dropping it closes every connection at once.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    closing: CancellationToken,
    abort: CancellationToken,
    tasks: TaskTracker,
}

/// Binds before anything is served, so that the address is known to those who are.
pub(crate) async fn bind(addr: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(addr).await?;
    let addr = listener.local_addr()?;
    Ok((listener, addr))
}

impl Server {
    pub(crate) fn start(listener: TcpListener, addr: SocketAddr, router: Router) -> Self {
        let server = Self {
            addr,
            closing: CancellationToken::new(),
            abort: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        server.tasks.spawn(accept(
            listener,
            router,
            server.closing.clone(),
            server.abort.clone(),
            server.tasks.clone(),
        ));
        server
    }

    /// Accepts nothing more, lets requests in flight finish, for at most five seconds.
    pub(crate) async fn stop(self) {
        self.closing.cancel();
        self.tasks.close();
        if timeout(DRAIN, self.tasks.wait()).await.is_err() {
            tracing::debug!("requests still in flight were cut");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.abort.cancel();
    }
}

async fn accept(
    listener: TcpListener,
    router: Router,
    closing: CancellationToken,
    abort: CancellationToken,
    tasks: TaskTracker,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            next = next => next,
            () = closing.cancelled() => return,
            () = abort.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let (router, closing, cut) = (router.clone(), closing.clone(), abort.child_token());
                tasks.spawn(async move {
                    serve(stream, router, closing, cut).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "a connection was not accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, router: Router, closing: CancellationToken, cut: CancellationToken) {
    // Small answers wait 40 ms for the peer's acknowledgement otherwise. A failure costs only that time.
    let _ = stream.set_nodelay(true);
    let connection = Connection(cut.clone());
    let asked = Arc::new(AtomicBool::new(false));
    let first = Arc::clone(&asked);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        first.store(true, Ordering::Relaxed);
        let mut request: Request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(connection.clone());
        let answer = router.clone().call(request);
        async move { Ok::<Response, Infallible>(answer.await.unwrap_or_else(|never| match never {})) }
    });
    let http = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::pin!(http);
    let mut draining = false;
    loop {
        tokio::select! {
            biased;
            () = cut.cancelled() => return,
            () = closing.cancelled(), if !draining => {
                // A peer that has connected and not asked would be waited for otherwise.
                if !asked.load(Ordering::Relaxed) {
                    return;
                }
                draining = true;
                http.as_mut().graceful_shutdown();
            }
            ended = http.as_mut() => {
                if let Err(error) = ended {
                    tracing::trace!(%error, "a connection ended early");
                }
                return;
            }
        }
    }
}

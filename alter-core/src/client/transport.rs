//! How requests travel: any tower service, or reqwest over the network.

use bytes::Bytes;
use http::{Request, Response};
use tower::{ServiceExt, util::BoxCloneSyncService};
use tower_service::Service;

use super::body::{Body, BoxError};
use crate::error::{Error, Kind, Transport};

/// The vault, as a service. Its requests are small, so their bodies are bytes.
pub(crate) type VaultService = BoxCloneSyncService<Request<Bytes>, Response<Body>, BoxError>;
/// The way to providers.
pub(crate) type ProviderService = BoxCloneSyncService<Request<Body>, Response<Body>, BoxError>;

/// Hides the types of a service.
pub(crate) fn boxed<T, S, B>(service: S) -> BoxCloneSyncService<Request<T>, Response<Body>, BoxError>
where
    T: Send + 'static,
    S: Service<Request<T>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let service = service
        .map_response(|response: Response<B>| response.map(Body::new))
        .map_err(|error: S::Error| -> BoxError { error.into() });
    BoxCloneSyncService::new(service)
}

/// What a failed exchange means. `maybe_sent` tells whether its destination may have got the call by then.
pub(crate) fn failure(error: BoxError, whom: &str, maybe_sent: bool) -> Error {
    #[cfg(feature = "reqwest")]
    let error = match error.downcast::<reqwest::Error>() {
        // The URL may hold an injected parameter.
        Ok(known) => {
            let known = known.without_url();
            let (transport, what) = if known.is_connect() {
                (Transport::Connect, "no connection could be made")
            } else if known.is_timeout() {
                (Transport::Timeout { maybe_sent }, "no answer in time")
            } else {
                (Transport::Io { maybe_sent }, "the connection failed")
            };
            return Error::new(Kind::Transport(transport), format!("{what} ({whom})")).with_source(known);
        }
        Err(error) => error,
    };
    // Somebody else's service: its text is not ours to vouch for, and it may quote the request.
    drop(error);
    Error::new(Kind::Transport(Transport::Io { maybe_sent }), format!("the exchange failed ({whom})"))
}

/// The time for an exchange is over.
pub(crate) fn timed_out(whom: &str, maybe_sent: bool) -> Error {
    Error::new(Kind::Transport(Transport::Timeout { maybe_sent }), format!("no answer in time ({whom})"))
}

#[cfg(feature = "reqwest")]
pub use network::Network;

#[cfg(feature = "reqwest")]
mod network {
    use std::{
        fmt,
        task::{Context, Poll},
    };

    use futures_util::future::BoxFuture;
    use http::{Request, Response};
    use http_body_util::BodyExt;
    use tower_service::Service;

    use super::{Body, BoxError};
    use crate::error::{Error, InvalidInput};

    /// The network as a tower service: reqwest with TLS by rustls on aws-lc-rs, no redirects, no cookies.
    ///
    /// The client makes its own unless it is given another. Make one to wrap it in layers of your own:
    ///
    /// ```
    /// use alter_core::Network;
    ///
    /// let network = Network::new(|options| options.no_proxy())?;
    /// # let _ = network;
    /// # Ok::<(), alter_core::Error>(())
    /// ```
    #[derive(Clone)]
    pub struct Network(reqwest::Client);

    impl Network {
        /// A connection pool with options of your own. Redirects stay off whatever they say: a redirect would carry
        /// a credential to a host that nobody approved.
        ///
        /// # Errors
        ///
        /// [`InvalidInput::Setting`] when the TLS backend or the system's resolver cannot be set up.
        pub fn new(
            options: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
        ) -> Result<Self, Error> {
            options(reqwest::Client::builder())
                .redirect(reqwest::redirect::Policy::none())
                .referer(false)
                .build()
                .map(Self)
                .map_err(|error| {
                    Error::invalid(InvalidInput::Setting, "the network transport cannot be set up")
                        .with_source(error.without_url())
                })
        }
    }

    impl fmt::Debug for Network {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Network")
        }
    }

    impl From<Body> for reqwest::Body {
        fn from(body: Body) -> Self {
            match body.known_bytes() {
                Some(bytes) => bytes.into(),
                None => Self::wrap(body),
            }
        }
    }

    impl<B> Service<Request<B>> for Network
    where
        B: Into<reqwest::Body> + Send + 'static,
    {
        type Response = Response<Body>;
        type Error = BoxError;
        type Future = BoxFuture<'static, Result<Response<Body>, BoxError>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<B>) -> Self::Future {
            let client = self.0.clone();
            Box::pin(async move {
                let request = reqwest::Request::try_from(request).map_err(reqwest::Error::without_url)?;
                let response = client.execute(request).await.map_err(reqwest::Error::without_url)?;
                let (mut parts, body) = Response::<reqwest::Body>::from(response).into_parts();
                // reqwest keeps the URL there, injected parameters and all.
                parts.extensions.clear();
                Ok(Response::from_parts(parts, Body::new(body.map_err(reqwest::Error::without_url))))
            })
        }
    }
}

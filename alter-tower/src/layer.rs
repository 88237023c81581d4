//! The layer: what it is told.

use std::sync::Arc;

use alter_core::{Agent, App, answer::Answer, edge::Clients};
use tower_layer::Layer;

use crate::{admission::Admission, head::RequestHead, service::AlterService, source::TokenSource};

/// Keeps the caller of each request in scope for its handler and its response body. See the [crate docs](crate).
///
/// As it is, a request without a token goes through as anonymous, and each route decides by what it asks for; a token
/// that is there but broken is refused. Anonymous hides the caller of an outer scope: nothing inside ever acts for
/// somebody else.
///
/// # Order
///
/// Put it inside of CORS and tracing layers, and outside of whatever calls a provider. A layer between this one and
/// the handler that runs the handler on another task (`tower::buffer` does) loses the task-local scope, not the
/// [`Caller`](crate::Caller) in the extensions.
#[derive(Debug, Clone)]
#[must_use = "a layer does nothing until it is put around a service"]
pub struct AlterLayer {
    admission: Admission,
}

impl AlterLayer {
    /// A layer for that application, with the token from `Authorization: Bearer`, not required.
    pub fn new(app: App) -> Self {
        Self { admission: Admission::new(Clients::of_app(app)) }
    }

    /// A layer for that agent alone, in a service that holds no key of an application.
    pub fn for_agent(agent: Agent) -> Self {
        Self { admission: Admission::new(Clients::of_agent(agent)) }
    }

    /// Adds an agent that acts for the same callers as the application.
    pub fn agent(mut self, agent: Agent) -> Self {
        self.admission.clients = self.admission.clients.with_agent(agent);
        self
    }

    /// Refuses requests without a token with 401 `missing_bearer`. `OPTIONS` requests without one still pass, so that
    /// a CORS preflight is never challenged.
    pub fn required(mut self) -> Self {
        self.admission.required = true;
        self
    }

    /// Takes the token from somewhere else. See [`source`](crate::source).
    pub fn token_source(mut self, source: impl TokenSource) -> Self {
        self.admission.source = Arc::new(source);
        self
    }

    /// Lets requests for which `skip` holds pass unseen: no token is read, none is required, and inside they are
    /// anonymous. For health checks and the like.
    ///
    /// ```
    /// # use alter_tower::AlterLayer;
    /// # fn example(app: alter_core::App) {
    /// let layer = AlterLayer::new(app).required().skip(|request| request.path() == "/healthz");
    /// # }
    /// ```
    pub fn skip<F>(mut self, skip: F) -> Self
    where
        F: Fn(RequestHead<'_>) -> bool + Send + Sync + 'static,
    {
        self.admission.skip = Some(Arc::new(skip));
        self
    }

    /// Changes each answer that says why a request was not served: those of this layer, and those that a handler
    /// gives with `alter_axum::AlterError` (or any response that carries an [`Answer`] in its extensions).
    ///
    /// ```
    /// # use alter_tower::AlterLayer;
    /// # fn example(app: alter_core::App) {
    /// let layer = AlterLayer::new(app).map_answer(|mut answer| {
    ///     if answer.code() == "connection_required" {
    ///         answer.body.insert("connect_url".into(), "/settings/connections".into());
    ///     }
    ///     answer
    /// });
    /// # }
    /// ```
    pub fn map_answer<F>(mut self, map: F) -> Self
    where
        F: Fn(Answer) -> Answer + Send + Sync + 'static,
    {
        self.admission.reword = Some(Arc::new(map));
        self
    }

    /// Verifies tokens here, before the handler runs. The vault verifies them on every call in any case; this refuses
    /// a bad one earlier, and gives handlers a verified user ([`Caller::verified`](crate::Caller::verified)).
    ///
    /// It fails closed: 401 `invalid_token` for a token that is refused, 503 with `Retry-After` while the identity
    /// provider's keys cannot be had. Call this last.
    #[cfg(feature = "verify")]
    pub fn verify(self, verifier: alter_core::jwt::JwtVerifier) -> crate::VerifyLayer {
        crate::VerifyLayer::new(self.admission, verifier)
    }
}

impl<S> Layer<S> for AlterLayer {
    type Service = AlterService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AlterService::new(inner, Arc::new(self.admission.clone()))
    }
}

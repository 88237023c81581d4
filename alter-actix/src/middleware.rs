//! The middleware: what it is told, and the service that it puts around another.

use std::{
    fmt,
    future::{Ready, ready},
    rc::Rc,
    sync::Arc,
};

use actix_web::{
    Error,
    body::MessageBody,
    dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready},
    http::Method,
};
#[cfg(feature = "verify")]
use alter_core::jwt::JwtVerifier;
use alter_core::{
    Agent, App,
    answer::{Answer, Refusal},
    edge::{Caller, Clients, identify},
    scope::Identity,
};

use crate::{
    body::ResponseBody,
    future::ResponseFuture,
    request,
    source::{Bearer, TokenSource},
};

type Skip = dyn Fn(&ServiceRequest) -> bool + Send + Sync;
type MapAnswer = dyn Fn(Answer) -> Answer + Send + Sync;

/// Keeps the caller of each request in scope for its handler and its response body. See the [crate docs](crate).
///
/// As it is, a request without a token goes through as anonymous, and each route decides by what it asks for; a token
/// that is there but broken is refused. Anonymous hides the caller of an outer scope: nothing inside ever acts for
/// somebody else.
///
/// Make it outside of `HttpServer::new`'s closure and clone it inside; a clone is cheap.
#[derive(Clone)]
#[must_use = "a middleware does nothing until an application is wrapped in it"]
pub struct AlterMiddleware {
    clients: Clients,
    required: bool,
    source: Arc<dyn TokenSource>,
    skip: Option<Arc<Skip>>,
    map_answer: Option<Arc<MapAnswer>>,
    #[cfg(feature = "verify")]
    verifier: Option<JwtVerifier>,
}

impl AlterMiddleware {
    /// A middleware for that application, with the token from `Authorization: Bearer`, not required.
    pub fn new(app: App) -> Self {
        Self::of(Clients::of_app(app))
    }

    /// A middleware for that agent alone, in a service that holds no key of an application.
    pub fn for_agent(agent: Agent) -> Self {
        Self::of(Clients::of_agent(agent))
    }

    fn of(clients: Clients) -> Self {
        Self {
            clients,
            required: false,
            source: Arc::new(Bearer),
            skip: None,
            map_answer: None,
            #[cfg(feature = "verify")]
            verifier: None,
        }
    }

    /// Adds an agent that acts for the same callers as the application.
    pub fn agent(mut self, agent: Agent) -> Self {
        self.clients = self.clients.with_agent(agent);
        self
    }

    /// Refuses requests without a token with 401 `missing_bearer`. `OPTIONS` requests without one still pass, so that
    /// a CORS preflight is never challenged.
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Takes the token from somewhere else. See [`source`](crate::source).
    pub fn token_source(mut self, source: impl TokenSource) -> Self {
        self.source = Arc::new(source);
        self
    }

    /// Lets requests for which `skip` holds pass unseen: no token is read, none is required, and inside they are
    /// anonymous. For health checks and the like.
    ///
    /// ```
    /// # use alter_actix::AlterMiddleware;
    /// # fn example(app: alter_core::App) {
    /// let alter = AlterMiddleware::new(app).required().skip(|request| request.path() == "/healthz");
    /// # }
    /// ```
    pub fn skip<F>(mut self, skip: F) -> Self
    where
        F: Fn(&ServiceRequest) -> bool + Send + Sync + 'static,
    {
        self.skip = Some(Arc::new(skip));
        self
    }

    /// Changes each answer that says why a request was not served: those of this middleware, of the extractors, and of
    /// handlers that return an [`AlterError`](crate::AlterError).
    pub fn map_answer<F>(mut self, map: F) -> Self
    where
        F: Fn(Answer) -> Answer + Send + Sync + 'static,
    {
        self.map_answer = Some(Arc::new(map));
        self
    }

    /// Verifies tokens here, before the handler runs. The vault verifies them on every call in any case; this refuses
    /// a bad one earlier, and gives handlers a [`VerifiedUser`](crate::VerifiedUser).
    ///
    /// It fails closed: 401 `invalid_token` for a token that is refused, 503 with `Retry-After` while the identity
    /// provider's keys cannot be had.
    #[cfg(feature = "verify")]
    pub fn verify(mut self, verifier: JwtVerifier) -> Self {
        self.verifier = Some(verifier);
        self
    }

    /// Who a request is from.
    fn identify(&self, request: &ServiceRequest) -> Result<Identity, Refusal> {
        if self.skip.as_ref().is_some_and(|skip| skip(request)) {
            return Ok(Identity::Anonymous);
        }
        identify(self.source.token(request), self.required, request.method() == Method::OPTIONS)
    }

    pub(crate) fn caller(&self, identity: Identity) -> Caller {
        Caller::new(self.clients.clone(), identity)
    }

    /// The answer to a request that is not let in.
    pub(crate) fn refuse(&self, refusal: &Refusal) -> Answer {
        tracing::debug!(%refusal, "request refused");
        let answer = Answer::from(refusal);
        match &self.map_answer {
            Some(map) => map(answer),
            None => answer,
        }
    }

    /// The answer in the place of that of a handler, if it is to be changed.
    pub(crate) fn changed(&self, error: Option<&Error>) -> Option<Answer> {
        let map = self.map_answer.as_ref()?;
        crate::answer::in_error(error?).map(|answer| map(answer))
    }
}

impl fmt::Debug for AlterMiddleware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlterMiddleware").field("required", &self.required).finish_non_exhaustive()
    }
}

impl<S, B> Transform<S, ServiceRequest> for AlterMiddleware
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody,
{
    type Response = ServiceResponse<ResponseBody<B>>;
    type Error = Error;
    type Transform = AlterService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        ready(Ok(AlterService { inner: Rc::new(inner), middleware: Rc::new(self.clone()) }))
    }
}

/// Service of [`AlterMiddleware`]. Errors of the inner service pass unchanged; a refusal is a response, not an error,
/// so that middleware further out, such as CORS, treats it like any other.
#[derive(Debug)]
pub struct AlterService<S> {
    inner: Rc<S>,
    middleware: Rc<AlterMiddleware>,
}

impl<S, B> Service<ServiceRequest> for AlterService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody,
{
    type Response = ServiceResponse<ResponseBody<B>>;
    type Error = Error;
    type Future = ResponseFuture<S>;

    forward_ready!(inner);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        match self.middleware.identify(&request) {
            #[cfg(feature = "verify")]
            Ok(Identity::User(token)) if self.middleware.verifier.is_some() => {
                let verifier = self.middleware.verifier.clone();
                let bearer = token.clone();
                let verdict = Box::pin(async move {
                    match verifier {
                        Some(verifier) => verifier.verify(bearer.expose()).await,
                        None => Err(alter_core::jwt::JwtError::KeysUnavailable),
                    }
                });
                ResponseFuture::verifying(verdict, &self.inner, &self.middleware, token, request)
            }
            Ok(identity) => {
                let caller = self.middleware.caller(identity);
                ResponseFuture::admitted(&*self.inner, &self.middleware, caller, request)
            }
            Err(refusal) => ResponseFuture::refused(request, self.middleware.refuse(&refusal)),
        }
    }
}

/// Calls a service for a caller. What `call` does before it returns a future is in scope too.
pub(crate) fn call<S>(
    inner: &S,
    caller: Caller,
    request: ServiceRequest,
) -> (S::Future, alter_core::scope::Snapshot)
where
    S: Service<ServiceRequest>,
{
    let scope = caller.scope();
    request::insert(caller, &request);
    (scope.enter(|| inner.call(request)), scope)
}

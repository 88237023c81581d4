//! The layer that also verifies tokens.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use alter_core::{
    UserToken,
    answer::Refusal,
    jwt::{JwtError, JwtVerifier, VerifiedUser},
    scope::Identity,
};
use http::{Request, Response};
use pin_project::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    admission::Admission, body::ResponseBody, future::ResponseFuture, head::RequestHead, service::call,
};

type Verdict = Pin<Box<dyn Future<Output = Result<Arc<VerifiedUser>, JwtError>> + Send>>;

/// An [`AlterLayer`](crate::AlterLayer) that also verifies tokens. Made with
/// [`AlterLayer::verify`](crate::AlterLayer::verify).
#[derive(Debug, Clone)]
#[must_use = "a layer does nothing until it is put around a service"]
pub struct VerifyLayer {
    admission: Admission,
    verifier: JwtVerifier,
}

impl VerifyLayer {
    pub(crate) fn new(admission: Admission, verifier: JwtVerifier) -> Self {
        Self { admission, verifier }
    }
}

impl<S> Layer<S> for VerifyLayer {
    type Service = VerifyService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        VerifyService { inner, admission: Arc::new(self.admission.clone()), verifier: self.verifier.clone() }
    }
}

/// Service of [`VerifyLayer`].
///
/// While a token is verified the request keeps the inner service that was polled ready; a clone takes its place and is
/// polled ready for the next request. That is why `S` must be `Clone` here and need not be for
/// [`AlterService`](crate::AlterService).
#[derive(Debug, Clone)]
pub struct VerifyService<S> {
    inner: S,
    admission: Arc<Admission>,
    verifier: JwtVerifier,
}

impl<S> VerifyService<S> {
    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for VerifyService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = VerifyFuture<S, ReqBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let token = match self.admission.identify(RequestHead::of(&request)) {
            Ok(Identity::User(token)) => token,
            Ok(identity) => {
                let caller = self.admission.caller(identity);
                return VerifyFuture(State::Called(call(&mut self.inner, &self.admission, caller, request)));
            }
            Err(refusal) => {
                return VerifyFuture(State::Called(ResponseFuture::refused(self.admission.refuse(&refusal))));
            }
        };
        let clone = self.inner.clone();
        let (verifier, bearer) = (self.verifier.clone(), token.clone());
        VerifyFuture(State::Verifying {
            verdict: Box::pin(async move { verifier.verify(bearer.expose()).await }),
            held: Some(Held {
                inner: std::mem::replace(&mut self.inner, clone),
                admission: Arc::clone(&self.admission),
                token,
                request,
            }),
        })
    }
}

/// A request that waits for the verdict on its token.
struct Held<S, ReqBody> {
    inner: S,
    admission: Arc<Admission>,
    token: UserToken,
    request: Request<ReqBody>,
}

impl<S, ReqBody> Held<S, ReqBody>
where
    S: Service<Request<ReqBody>>,
{
    fn release(mut self, verdict: Result<Arc<VerifiedUser>, JwtError>) -> ResponseFuture<S::Future> {
        match verdict {
            Ok(user) => {
                let caller = self.admission.caller(Identity::User(self.token)).verified_as(user);
                call(&mut self.inner, &self.admission, caller, self.request)
            }
            Err(error) => ResponseFuture::refused(self.admission.refuse(&Refusal::from(error))),
        }
    }
}

/// Response future of [`VerifyService`].
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct VerifyFuture<S, ReqBody>(#[pin] State<S, ReqBody>)
where
    S: Service<Request<ReqBody>>;

#[expect(
    clippy::large_enum_variant,
    reason = "the larger one is the first state of every request with a token"
)]
#[pin_project(project = StateProjection)]
enum State<S, ReqBody>
where
    S: Service<Request<ReqBody>>,
{
    Verifying { verdict: Verdict, held: Option<Held<S, ReqBody>> },
    Called(#[pin] ResponseFuture<S::Future>),
}

impl<S, ReqBody, ResBody> Future for VerifyFuture<S, ReqBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Output = Result<Response<ResponseBody<ResBody>>, S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let called = match self.as_mut().project().0.project() {
                StateProjection::Verifying { verdict, held } => {
                    let verdict = ready!(verdict.as_mut().poll(cx));
                    #[expect(clippy::expect_used, reason = "taken once: the next line leaves this state")]
                    held.take().expect("the request is held until the verdict").release(verdict)
                }
                StateProjection::Called(future) => return future.poll(cx),
            };
            self.as_mut().project().0.set(State::Called(called));
        }
    }
}

impl<S, ReqBody> fmt::Debug for VerifyFuture<S, ReqBody>
where
    S: Service<Request<ReqBody>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifyFuture")
    }
}

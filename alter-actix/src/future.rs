//! The future of a request.

#[cfg(feature = "verify")]
use std::sync::Arc;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use actix_web::{
    Error,
    body::MessageBody,
    dev::{Service, ServiceRequest, ServiceResponse},
};
#[cfg(feature = "verify")]
use alter_core::{
    UserToken,
    answer::Refusal,
    jwt::{JwtError, VerifiedUser},
    scope::Identity,
};
use alter_core::{
    answer::Answer,
    edge::Caller,
    scope::{Scoped, Snapshot},
};
use pin_project::pin_project;

use crate::{
    body::ResponseBody,
    middleware::{AlterMiddleware, call},
};

#[cfg(feature = "verify")]
type Verdict = Pin<Box<dyn Future<Output = Result<Arc<VerifiedUser>, JwtError>>>>;

/// Response future of [`AlterService`](crate::AlterService): polled and dropped in the caller's scope.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<S>(#[pin] State<S>)
where
    S: Service<ServiceRequest>;

#[pin_project(project = StateProjection)]
enum State<S>
where
    S: Service<ServiceRequest>,
{
    #[cfg(feature = "verify")]
    Verifying {
        verdict: Verdict,
        held: Option<Held<S>>,
    },
    Admitted {
        #[pin]
        future: Scoped<S::Future>,
        scope: Snapshot,
        middleware: Rc<AlterMiddleware>,
    },
    Refused(Option<(ServiceRequest, Box<Answer>)>),
}

/// A request that waits for the verdict on its token.
#[cfg(feature = "verify")]
struct Held<S> {
    inner: Rc<S>,
    middleware: Rc<AlterMiddleware>,
    token: UserToken,
    request: ServiceRequest,
}

impl<S> State<S>
where
    S: Service<ServiceRequest>,
{
    fn admitted(
        inner: &S,
        middleware: &Rc<AlterMiddleware>,
        caller: Caller,
        request: ServiceRequest,
    ) -> Self {
        let (future, scope) = call(inner, caller, request);
        Self::Admitted { future: scope.clone().wrap(future), scope, middleware: Rc::clone(middleware) }
    }

    fn refused(request: ServiceRequest, answer: Answer) -> Self {
        Self::Refused(Some((request, Box::new(answer))))
    }
}

impl<S> ResponseFuture<S>
where
    S: Service<ServiceRequest>,
{
    pub(crate) fn admitted(
        inner: &S,
        middleware: &Rc<AlterMiddleware>,
        caller: Caller,
        request: ServiceRequest,
    ) -> Self {
        Self(State::admitted(inner, middleware, caller, request))
    }

    pub(crate) fn refused(request: ServiceRequest, answer: Answer) -> Self {
        Self(State::refused(request, answer))
    }

    #[cfg(feature = "verify")]
    pub(crate) fn verifying(
        verdict: Verdict,
        inner: &Rc<S>,
        middleware: &Rc<AlterMiddleware>,
        token: UserToken,
        request: ServiceRequest,
    ) -> Self {
        let held = Held { inner: Rc::clone(inner), middleware: Rc::clone(middleware), token, request };
        Self(State::Verifying { verdict, held: Some(held) })
    }
}

#[cfg(feature = "verify")]
impl<S> Held<S>
where
    S: Service<ServiceRequest>,
{
    fn release(self, verdict: Result<Arc<VerifiedUser>, JwtError>) -> State<S> {
        match verdict {
            Ok(user) => {
                let caller = self.middleware.caller(Identity::User(self.token)).verified_as(user);
                State::admitted(&*self.inner, &self.middleware, caller, self.request)
            }
            Err(error) => State::refused(self.request, self.middleware.refuse(&Refusal::from(error))),
        }
    }
}

impl<S, B> Future for ResponseFuture<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    type Output = Result<ServiceResponse<ResponseBody<B>>, Error>;

    #[cfg_attr(not(feature = "verify"), expect(unused_mut, reason = "only a verdict changes the state"))]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        #[cfg(feature = "verify")]
        if let StateProjection::Verifying { verdict, held } = self.as_mut().project().0.project() {
            let verdict = ready!(verdict.as_mut().poll(cx));
            #[expect(clippy::expect_used, reason = "taken once: the next line leaves this state")]
            let next = held.take().expect("the request is held until the verdict").release(verdict);
            self.as_mut().project().0.set(next);
        }
        match self.project().0.project() {
            #[cfg(feature = "verify")]
            StateProjection::Verifying { .. } => Poll::Pending,
            StateProjection::Admitted { future, scope, middleware } => {
                let response = ready!(future.poll(cx))?;
                Poll::Ready(Ok(match middleware.changed(response.response().error()) {
                    Some(answer) => ResponseBody::answer(response.into_parts().0, &answer),
                    None => response.map_body(|_, body| ResponseBody::scoped(body, scope.clone())),
                }))
            }
            StateProjection::Refused(refused) => {
                #[expect(clippy::expect_used, reason = "a future is not polled again after it was ready")]
                let (request, answer) = refused.take().expect("polled after it was ready");
                Poll::Ready(Ok(ResponseBody::answer(request.into_parts().0, &answer)))
            }
        }
    }
}

impl<S> fmt::Debug for ResponseFuture<S>
where
    S: Service<ServiceRequest>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseFuture")
    }
}

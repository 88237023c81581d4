//! The service that [`AlterLayer`](crate::AlterLayer) puts around another.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use alter_core::edge::Caller;
use http::{Request, Response};
use tower_service::Service;

use crate::{admission::Admission, body::ResponseBody, future::ResponseFuture, head::RequestHead};

/// Service of [`AlterLayer`](crate::AlterLayer).
///
/// It calls the very service that was polled ready, never a clone of it. Errors of the inner service pass unchanged;
/// a refusal is a response, not an error.
#[derive(Debug, Clone)]
pub struct AlterService<S> {
    inner: S,
    admission: Arc<Admission>,
}

impl<S> AlterService<S> {
    pub(crate) fn new(inner: S, admission: Arc<Admission>) -> Self {
        Self { inner, admission }
    }

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

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for AlterService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        match self.admission.identify(RequestHead::of(&request)) {
            Ok(identity) => {
                let caller = self.admission.caller(identity);
                call(&mut self.inner, &self.admission, caller, request)
            }
            Err(refusal) => ResponseFuture::refused(self.admission.refuse(&refusal)),
        }
    }
}

/// Calls a ready service for a caller. What `call` does before it returns a future is in scope too.
pub(crate) fn call<S, ReqBody>(
    inner: &mut S,
    admission: &Arc<Admission>,
    caller: Caller,
    mut request: Request<ReqBody>,
) -> ResponseFuture<S::Future>
where
    S: Service<Request<ReqBody>>,
{
    let scope = caller.scope();
    caller.insert_into(request.extensions_mut());
    let future = scope.enter(|| inner.call(request));
    ResponseFuture::admitted(future, scope, Arc::clone(admission))
}

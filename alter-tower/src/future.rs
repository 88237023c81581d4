//! The future of a request.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use alter_core::{
    answer::Answer,
    scope::{Scoped, Snapshot},
};
use http::Response;
use pin_project::pin_project;

use crate::{admission::Admission, body::ResponseBody};

/// Response future of [`AlterService`](crate::AlterService): polled and dropped in the caller's scope.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<F>(#[pin] State<F>);

#[pin_project(project = StateProjection)]
enum State<F> {
    Admitted {
        #[pin]
        future: Scoped<F>,
        scope: Snapshot,
        admission: Arc<Admission>,
    },
    Refused(Option<Box<Answer>>),
}

impl<F> ResponseFuture<F> {
    pub(crate) fn admitted(future: F, scope: Snapshot, admission: Arc<Admission>) -> Self
    where
        F: Future,
    {
        Self(State::Admitted { future: scope.clone().wrap(future), scope, admission })
    }

    pub(crate) fn refused(answer: Answer) -> Self {
        Self(State::Refused(Some(Box::new(answer))))
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().0.project() {
            StateProjection::Admitted { future, scope, admission } => {
                let mut response = ready!(future.poll(cx))?;
                if admission.reword.is_some()
                    && let Some(answer) = response.extensions_mut().remove::<Answer>()
                {
                    return Poll::Ready(Ok(ResponseBody::answer(admission.reword(answer))));
                }
                Poll::Ready(Ok(response.map(|body| ResponseBody::scoped(body, scope.clone()))))
            }
            StateProjection::Refused(answer) => {
                #[expect(clippy::expect_used, reason = "a future is not polled again after it was ready")]
                let answer = answer.take().expect("polled after it was ready");
                Poll::Ready(Ok(ResponseBody::answer(*answer)))
            }
        }
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseFuture")
    }
}

//! The response body, which is polled after the handler is done.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use alter_core::{answer::Answer, scope::Snapshot};
use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project::{pin_project, pinned_drop};

/// Response body of [`AlterService`](crate::AlterService): the inner body, polled and dropped in the caller's scope, or
/// the JSON of a refusal.
#[pin_project(PinnedDrop)]
pub struct ResponseBody<B>(#[pin] State<B>);

#[pin_project(project = StateProjection)]
enum State<B> {
    Scoped {
        // Taken out on drop, so that the body's own drop runs in scope.
        #[pin]
        body: Option<B>,
        scope: Snapshot,
    },
    Answer(Bytes),
}

impl<B> ResponseBody<B> {
    pub(crate) fn scoped(body: B, scope: Snapshot) -> Self {
        Self(State::Scoped { body: Some(body), scope })
    }

    pub(crate) fn answer(answer: Answer) -> Response<Self> {
        answer.into_response().map(|bytes| Self(State::Answer(bytes)))
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body,
    B::Data: From<Bytes>,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match self.project().0.project() {
            StateProjection::Scoped { body, scope } => match body.as_pin_mut() {
                Some(body) => scope.enter(|| body.poll_frame(cx)),
                None => Poll::Ready(None),
            },
            StateProjection::Answer(bytes) => {
                let frame = std::mem::take(bytes);
                Poll::Ready((!frame.is_empty()).then(|| Ok(Frame::data(frame.into()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            State::Scoped { body, .. } => body.as_ref().is_none_or(Body::is_end_stream),
            State::Answer(bytes) => bytes.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            State::Scoped { body, .. } => body.as_ref().map(Body::size_hint).unwrap_or_default(),
            State::Answer(bytes) => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}

#[pinned_drop]
impl<B> PinnedDrop for ResponseBody<B> {
    fn drop(self: Pin<&mut Self>) {
        if let StateProjection::Scoped { mut body, scope } = self.project().0.project() {
            scope.enter(|| body.set(None));
        }
    }
}

impl<B> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseBody")
    }
}

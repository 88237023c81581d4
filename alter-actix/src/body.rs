//! The response body, which is polled after the handler is done.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::{
    HttpRequest,
    body::{BodySize, MessageBody},
    dev::ServiceResponse,
};
use alter_core::{answer::Answer, scope::Snapshot};
use bytes::Bytes;
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

    pub(crate) fn answer(request: HttpRequest, answer: &Answer) -> ServiceResponse<Self> {
        let (head, bytes) = crate::answer::parts(answer);
        ServiceResponse::new(request, head.set_body(Self(State::Answer(bytes))))
    }
}

impl<B: MessageBody> MessageBody for ResponseBody<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        match &self.0 {
            State::Scoped { body, .. } => body.as_ref().map_or(BodySize::None, MessageBody::size),
            State::Answer(bytes) => BodySize::Sized(bytes.len() as u64),
        }
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, B::Error>>> {
        match self.project().0.project() {
            StateProjection::Scoped { body, scope } => match body.as_pin_mut() {
                Some(body) => scope.enter(|| body.poll_next(cx)),
                None => Poll::Ready(None),
            },
            StateProjection::Answer(bytes) => {
                let chunk = std::mem::take(bytes);
                Poll::Ready((!chunk.is_empty()).then_some(Ok(chunk)))
            }
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

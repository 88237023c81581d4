//! Where the caller is in scope, and where not.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use alter_core::{App, UserToken, scope};
use alter_tower::AlterLayer;
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::{app, bearer, name, request, text};

/// Notes who is in scope at each point of a request.
#[derive(Clone)]
struct Log(App, Arc<Mutex<Vec<(&'static str, String)>>>);

impl Log {
    fn new(app: &App) -> Self {
        Self(app.clone(), Arc::default())
    }

    fn note(&self, point: &'static str) {
        self.1.lock().unwrap().push((point, name(scope::current_for(self.0.scope_key()))));
    }

    fn taken(&self) -> Vec<(&'static str, String)> {
        std::mem::take(&mut self.1.lock().unwrap())
    }
}

/// Notes its own drop.
struct NotedDrop(Log, &'static str);

impl Drop for NotedDrop {
    fn drop(&mut self) {
        self.0.note(self.1);
    }
}

/// A body of two frames.
struct Frames(NotedDrop, usize);

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.0.note("frame");
        if self.1 == 2 {
            return Poll::Ready(None);
        }
        self.1 += 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
    }
}

/// Does work in `call`, in its future and in its body.
#[derive(Clone)]
struct Handler(Log);

impl Service<Request<()>> for Handler {
    type Response = Response<Frames>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        let log = self.0.clone();
        log.note("call");
        Box::pin(async move {
            let _noted = NotedDrop(log.clone(), "future dropped");
            log.note("future");
            tokio::task::yield_now().await;
            log.note("future");
            Ok(Response::new(Frames(NotedDrop(log.clone(), "body dropped"), 0)))
        })
    }
}

#[tokio::test]
async fn the_caller_is_in_scope_for_call_future_body_and_their_drops_and_nowhere_else() {
    let app = app();
    let log = Log::new(&app);
    let mut service = AlterLayer::new(app).layer(Handler(log.clone()));
    let future = service.ready().await.unwrap().call(bearer("alice"));
    log.note("outside");
    let response = future.await.unwrap();
    log.note("outside");
    let mut body = tokio::spawn(async move { response.into_body() }).await.unwrap();
    while body.frame().await.is_some() {}
    log.note("outside");
    drop(body);
    log.note("outside");
    let out = || "out of scope".to_owned();
    assert_eq!(
        log.taken(),
        [
            ("call", "alice".into()),
            ("outside", out()),
            ("future", "alice".into()),
            ("future", "alice".into()),
            ("future dropped", "alice".into()),
            ("outside", out()),
            ("frame", "alice".into()),
            ("frame", "alice".into()),
            ("frame", "alice".into()),
            ("outside", out()),
            ("body dropped", "alice".to_owned()),
            ("outside", out()),
        ]
    );
}

#[tokio::test]
async fn a_future_that_is_dropped_half_way_cleans_up_in_scope() {
    let app = app();
    let log = Log::new(&app);
    let service = AlterLayer::new(app).layer(Handler(log.clone()));
    let mut future = Box::pin(service.oneshot(bearer("alice")));
    assert!(futures_poll(future.as_mut()).is_pending());
    drop(future);
    log.note("outside");
    let taken = log.taken();
    assert_eq!(taken[2..], [("future dropped", "alice".into()), ("outside", "out of scope".into())]);
}

fn futures_poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(std::task::Waker::noop()))
}

#[tokio::test]
async fn a_body_that_is_dropped_unread_is_dropped_in_scope() {
    let app = app();
    let log = Log::new(&app);
    let response = AlterLayer::new(app).layer(Handler(log.clone())).oneshot(bearer("alice")).await.unwrap();
    log.taken();
    drop(response);
    assert_eq!(log.taken(), [("body dropped", "alice".to_owned())]);
}

#[tokio::test]
async fn an_anonymous_request_hides_the_caller_of_an_outer_scope() {
    let app = app();
    let log = Log::new(&app);
    let service = AlterLayer::new(app).layer(Handler(log.clone()));
    let outer = UserToken::parse("outer").unwrap();
    let seen = log.clone();
    scope::scope(outer, async move {
        let response = service.oneshot(request(&[])).await.unwrap();
        response.into_body().collect().await.unwrap();
        assert!(seen.taken().iter().all(|(_, who)| who == "anonymous"));
        seen.note("after");
    })
    .await;
    assert_eq!(log.taken(), [("after", "outer".to_owned())]);
}

#[tokio::test]
async fn a_panic_in_the_handler_leaves_no_identity_on_the_thread() {
    let app = app();
    let key = app.scope_key();
    let layer = AlterLayer::new(app);
    let in_call = layer.layer(service_fn(|_: Request<()>| {
        assert!(std::env::args().count() == usize::MAX, "on purpose");
        async { Ok::<_, Infallible>(text("")) }
    }));
    let in_future = layer.layer(service_fn(|_: Request<()>| async {
        tokio::task::yield_now().await;
        assert!(std::env::args().count() == usize::MAX, "on purpose");
        Ok::<_, Infallible>(text(""))
    }));
    assert!(tokio::spawn(in_call.oneshot(bearer("alice"))).await.is_err());
    assert!(scope::current_for(key).is_none());
    assert!(tokio::spawn(in_future.oneshot(bearer("alice"))).await.is_err());
    assert!(scope::current_for(key).is_none());
}

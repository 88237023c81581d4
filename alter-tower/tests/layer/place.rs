//! The layer as a link in a chain of services: readiness, errors, bodies.

use std::task::{Context, Poll};

use alter_tower::AlterLayer;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::{Text, app, bearer, request, text};

/// Ready only after it was polled so; its clones are not ready.
struct Probe {
    ready: bool,
}

impl Clone for Probe {
    fn clone(&self) -> Self {
        Self { ready: false }
    }
}

impl Service<Request<()>> for Probe {
    type Response = Response<Text>;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without having been polled ready");
        std::future::ready(Ok(text("served")))
    }
}

#[tokio::test]
async fn the_inner_service_is_never_called_unready() {
    let mut service = AlterLayer::new(app()).layer(Probe { ready: false });
    for _ in 0..3 {
        let response = service.ready().await.unwrap().call(bearer("a.b.c")).await.unwrap();
        assert_eq!(response.status(), 200);
    }
    let clone = service.clone();
    assert_eq!(clone.oneshot(request(&[])).await.unwrap().status(), 200);
}

#[cfg(feature = "verify")]
#[tokio::test]
async fn the_inner_service_is_never_called_unready_while_tokens_are_verified() {
    let issuer = crate::issuer::Issuer::new();
    let mut service = AlterLayer::new(app()).verify(issuer.verifier()).layer(Probe { ready: false });
    for token in [issuer.token("alice"), issuer.token("bob")] {
        let first = service.ready().await.unwrap().call(bearer(&token));
        let second = service.ready().await.unwrap().call(request(&[]));
        let third = service.ready().await.unwrap().call(bearer(&token));
        assert_eq!(third.await.unwrap().status(), 200);
        assert_eq!(second.await.unwrap().status(), 200);
        assert_eq!(first.await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn an_error_of_the_inner_service_passes_unchanged() {
    #[derive(Debug, PartialEq)]
    struct Broken(u32);
    let service = service_fn(|_: Request<()>| async { Err::<Response<Text>, _>(Broken(7)) });
    let error = AlterLayer::new(app()).layer(service).oneshot(bearer("a.b.c")).await.unwrap_err();
    assert_eq!(error, Broken(7));
}

#[tokio::test]
async fn the_body_keeps_its_length_and_its_end() {
    let service = service_fn(|_: Request<()>| async { Ok::<_, std::convert::Infallible>(text("four")) });
    let response = AlterLayer::new(app()).layer(service).oneshot(request(&[])).await.unwrap();
    assert_eq!(response.body().size_hint().exact(), Some(4));
    assert!(!response.body().is_end_stream());
    let refused = AlterLayer::new(app()).required().layer(service).oneshot(request(&[])).await.unwrap();
    let length = refused.body().size_hint().exact().unwrap();
    assert_eq!(crate::read(refused).await.1.len() as u64, length);
}

#[test]
fn the_parts_can_cross_threads_and_the_inner_service_need_not_be_clone() {
    struct Unique;
    impl Service<Request<()>> for Unique {
        type Response = Response<Text>;
        type Error = std::convert::Infallible;
        type Future = std::future::Ready<Result<Self::Response, Self::Error>>;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Ok(()))
        }
        fn call(&mut self, _: Request<()>) -> Self::Future {
            std::future::ready(Ok(text(Bytes::new())))
        }
    }
    fn crosses<T: Send + Sync>(_: &T) {}
    let layer = AlterLayer::new(app());
    crosses(&layer);
    let mut service = layer.layer(Unique);
    crosses(&service);
    crosses(&service.call(bearer("a.b.c")));
    assert!(!format!("{layer:?} {:?}", service.call(bearer("canary"))).contains("canary"));
}

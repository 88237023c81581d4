//! Ten thousand requests at once: nobody ever sees another's caller.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use alter_core::{App, scope};
use alter_tower::{AlterLayer, Caller};
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use tower::{Layer, ServiceExt, service_fn};

use crate::{app, bearer, name, read, request};

/// A body that tells in each frame who is in scope, and wakes itself in between.
struct Telling {
    app: App,
    left: usize,
    pause: bool,
}

impl Body for Telling {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.pause = !self.pause;
        if self.pause {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        let who = format!("{};", name(scope::current_for(self.app.scope_key())));
        Poll::Ready(Some(Ok(Frame::data(who.into()))))
    }
}

async fn handler(app: App, request: Request<()>, mut salt: usize) -> Result<Response<Telling>, Infallible> {
    let key = app.scope_key();
    let expected = name(Caller::of(request.extensions()).map(|caller| caller.identity().clone()));
    for _ in 0..4 {
        match salt % 5 {
            0 | 1 => tokio::task::yield_now().await,
            2 => assert_eq!(
                scope::spawn(async move { name(scope::current_for(key)) }).await.unwrap(),
                expected
            ),
            3 => {
                let bare = tokio::spawn(async move { scope::current_for(key).is_none() });
                assert!(bare.await.unwrap(), "a bare task has no caller");
            }
            _ => {
                let client = Caller::of(request.extensions()).unwrap().client();
                let moved =
                    tokio::spawn(async move { client.map(|client| client.user_token().expose().to_owned()) });
                assert_eq!(moved.await.unwrap().unwrap_or("anonymous".into()), expected);
            }
        }
        assert_eq!(name(scope::current_for(key)), expected);
        salt /= 5;
    }
    Ok(Response::new(Telling { app, left: 3, pause: false }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_request_ever_sees_the_caller_of_another() {
    const REQUESTS: usize = 10_000;
    let app = app();
    let shared = app.clone();
    let service = AlterLayer::new(app).layer(service_fn(move |request: Request<()>| {
        let salt = request.headers().get("salt").unwrap().to_str().unwrap().parse().unwrap();
        handler(shared.clone(), request, salt)
    }));
    let mut running = tokio::task::JoinSet::new();
    for index in 0..REQUESTS {
        let service = service.clone();
        running.spawn(async move {
            let who = if index % 11 == 0 { "anonymous".to_owned() } else { format!("user-{}", index % 50) };
            let mut asked = if index % 11 == 0 { request(&[]) } else { bearer(&who) };
            asked.headers_mut().insert("salt", (index.wrapping_mul(2_654_435_761) % 625).into());
            let answer = read(service.oneshot(asked).await.unwrap()).await;
            assert_eq!(answer, (200, format!("{who};{who};{who};")));
        });
        if running.len() >= 200 {
            running.join_next().await.unwrap().unwrap();
        }
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
}

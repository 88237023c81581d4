//! A service that stops answers what it has begun, and leaves no call unreported.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fake;

use alter_axum::{AlterClient, AlterError, AlterLayer, Method};
use axum::{Router, routing::get};
use fake::{Outside, ask};
use tokio::{net::TcpListener, sync::oneshot, task::JoinSet};

async fn call(alter: AlterClient) -> Result<String, AlterError> {
    let answer = alter.request(Method::GET, "https://api.example.com/x").provider("p").send().await?;
    Ok(answer.text().await?)
}

#[tokio::test]
async fn a_graceful_stop_finishes_the_calls_under_way_and_delivers_their_reports() {
    const CALLS: usize = 20;
    let outside = Outside::new();
    let app = outside.app();
    let router = Router::new().route("/call", get(call)).layer(AlterLayer::new(app.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(async move {
        axum::serve(listener, router)
            .with_graceful_shutdown(async move { stopped.await.unwrap_or_default() })
            .await
    });
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut running: JoinSet<_> = (0..CALLS).map(|user| ask(client.clone(), address, user)).collect();
    outside.reached(CALLS).await;
    stop.send(()).unwrap();
    outside.let_go(CALLS);
    while let Some(asked) = running.join_next().await {
        asked.unwrap();
    }
    drop(client);
    server.await.unwrap().unwrap();
    app.close().await;
    assert_eq!(outside.reports(), CALLS);
}

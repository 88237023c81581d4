//! A service that stops answers what it has begun, and leaves no call unreported.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../../alter-axum/tests/stopped/fake.rs"]
mod fake;

use actix_web::{HttpServer, web};
use alter_actix::{AlterClient, AlterError, AlterMiddleware, Method};
use fake::{Outside, ask};
use tokio::task::JoinSet;

async fn call(alter: AlterClient) -> Result<String, AlterError> {
    let answer = alter.request(Method::GET, "https://api.example.com/x").provider("p").send().await?;
    Ok(answer.text().await?)
}

#[actix_web::test]
async fn a_graceful_stop_finishes_the_calls_under_way_and_delivers_their_reports() {
    const CALLS: usize = 20;
    let outside = Outside::new();
    let app = outside.app();
    let middleware = AlterMiddleware::new(app.clone());
    let server = HttpServer::new(move || {
        actix_web::App::new().route("/call", web::get().to(call)).wrap(middleware.clone())
    });
    let server = server.workers(2).disable_signals().bind(("127.0.0.1", 0)).unwrap();
    let address = server.addrs()[0];
    let server = server.run();
    let handle = server.handle();
    let server = actix_web::rt::spawn(server);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut running: JoinSet<_> = (0..CALLS).map(|user| ask(client.clone(), address, user)).collect();
    outside.reached(CALLS).await;
    let stopped = actix_web::rt::spawn(handle.stop(true));
    outside.let_go(CALLS);
    while let Some(asked) = running.join_next().await {
        asked.unwrap();
    }
    drop(client);
    stopped.await.unwrap();
    server.await.unwrap().unwrap();
    app.close().await;
    assert_eq!(outside.reports(), CALLS);
}

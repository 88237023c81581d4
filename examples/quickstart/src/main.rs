//! A vault, an outside world, an axum application and two users, in one process. No account anywhere.
//!
//! This file is what you write in your own service; `world.rs` is what an operator does once, `story.rs` plays the users.
#![forbid(unsafe_code)]

use std::{error::Error, io, net::SocketAddr};

use alter_axum::{AlterClient, AlterError, AlterLayer, Method};
use alter_core::App;
use axum::{Json, Router, extract::State, routing::get};
use example_quickstart::story;
use serde_json::Value;
use tokio::net::TcpListener;

/// Who am I at the provider? Asked on behalf of whoever calls. No token, no grant id, no refresh.
async fn me(State(api): State<String>, alter: AlterClient) -> Result<Json<Value>, AlterError> {
    let me = alter
        .request(Method::GET, format!("{api}/me"))
        .provider("sandbox")
        .reason("show the user's own profile")
        .send()
        .await?;
    Ok(Json(me.json().await?))
}

fn application(alter: App, api: String) -> Router {
    Router::new().route("/me", get(me)).layer(AlterLayer::new(alter)).with_state(api)
}

async fn serve(alter: App, api: String) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, application(alter, api)).await });
    Ok(address)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    story::tell(serve).await?;
    println!("\nDone. The application is examples/quickstart/src/main.rs.");
    Ok(())
}

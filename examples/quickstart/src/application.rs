//! The application: what you write. No token, no grant id, no refresh.

use std::{io, net::SocketAddr};

use alter_axum::{AlterClient, AlterError, AlterLayer, Method};
use alter_core::App;
use axum::{Json, Router, extract::State, routing::get};
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};

/// Who am I at the provider? Asked on behalf of whoever calls.
async fn me(State(api): State<String>, alter: AlterClient) -> Result<Json<Value>, AlterError> {
    let me = alter
        .request(Method::GET, format!("{api}/me"))
        .provider("sandbox")
        .reason("show the user's own profile")
        .send()
        .await?;
    Ok(Json(me.json().await?))
}

/// Serves the application on a free port of the loopback interface.
///
/// # Errors
///
/// When no port can be had.
pub async fn serve(alter: App, api: String) -> io::Result<(SocketAddr, JoinHandle<()>)> {
    let router = Router::new().route("/me", get(me)).layer(AlterLayer::new(alter)).with_state(api);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            eprintln!("the application stopped: {error}");
        }
    });
    Ok((address, server))
}

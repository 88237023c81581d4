//! The axum app.

use alter_axum::{AlterClient, AlterError, AlterLayer};
use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{net::TcpListener, task::JoinHandle};

use super::work::{Stage, Way};

/// A served app, gone when dropped.
pub(crate) struct AxumApp {
    pub(crate) base_url: String,
    server: JoinHandle<()>,
}

impl Drop for AxumApp {
    fn drop(&mut self) {
        self.server.abort();
    }
}

pub(crate) async fn serve(stage: Stage) -> AxumApp {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    let layer = AlterLayer::new(stage.app.clone());
    let router = Router::new().route("/{way}/{*call}", get(handler)).layer(layer).with_state(stage);
    let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    AxumApp { base_url, server }
}

async fn handler(
    State(stage): State<Stage>,
    Path((way, call)): Path<(String, String)>,
    alter: AlterClient,
) -> Result<Response, AlterError> {
    match Way::of(&way) {
        Way::Streaming => Ok(Body::from_stream(stage.stream(call)).into_response()),
        way => Ok(stage.lines(way, alter.into_inner(), call).await?.into_response()),
    }
}

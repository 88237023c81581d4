//! The actix app, on threads of its own.

use std::{sync::mpsc, thread, time::Duration};

use actix_web::{App, HttpResponse, HttpServer, dev::ServerHandle, web};
use alter_actix::{AlterClient, AlterError, AlterMiddleware};

use super::work::{Stage, Way};

/// Threads that serve.
const WORKERS: usize = 2;

/// A served app; its threads end when this is dropped.
pub(crate) struct ActixApp {
    pub(crate) base_url: String,
    handle: ServerHandle,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for ActixApp {
    fn drop(&mut self) {
        // The command is sent when `stop` is called; its future only waits for the end, and so does the thread.
        drop(self.handle.stop(false));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl ActixApp {
    pub(crate) fn serve(stage: Stage) -> Self {
        let (say, said) = mpsc::channel();
        let thread = thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let client = stage.app.clone();
                let stage = web::Data::new(stage);
                let server = HttpServer::new(move || {
                    App::new()
                        .app_data(stage.clone())
                        .wrap(AlterMiddleware::new(client.clone()))
                        .route("/{way}/{call:.*}", web::get().to(handler))
                })
                // The defaults of five seconds are short for this load on a busy machine of two cores: a connection that
                // is closed while the test's client writes to it would look like a lost answer.
                .keep_alive(Duration::from_secs(75))
                .client_request_timeout(Duration::from_secs(60))
                .workers(WORKERS)
                .disable_signals()
                .bind("127.0.0.1:0")
                .unwrap();
                let base_url = format!("http://{}", server.addrs()[0]);
                let server = server.run();
                say.send((base_url, server.handle())).unwrap();
                server.await.unwrap();
            });
        });
        let (base_url, handle) = said.recv().unwrap();
        Self { base_url, handle, thread: Some(thread) }
    }
}

async fn handler(
    stage: web::Data<Stage>,
    path: web::Path<(String, String)>,
    alter: AlterClient,
) -> Result<HttpResponse, AlterError> {
    let (way, call) = path.into_inner();
    match Way::of(&way) {
        Way::Streaming => Ok(HttpResponse::Ok().streaming(stage.get_ref().clone().stream(call))),
        way => Ok(HttpResponse::Ok().body(stage.lines(way, alter.into_inner(), call).await?)),
    }
}

//! The quickstart with actix-web: the same world, the same story, another framework.
#![forbid(unsafe_code)]

use std::{error::Error, io, net::SocketAddr};

use actix_web::{App as Service, HttpResponse, HttpServer, get, web};
use alter_actix::{AlterClient, AlterError, AlterMiddleware, App, Method};
use example_quickstart::story;
use serde_json::Value;

/// Who am I at the provider? Asked on behalf of whoever calls. No token, no grant id, no refresh.
#[get("/me")]
async fn me(api: web::Data<String>, alter: AlterClient) -> Result<HttpResponse, AlterError> {
    let me = alter
        .request(Method::GET, format!("{}/me", api.as_str()))
        .provider("sandbox")
        .reason("show the user's own profile")
        .send()
        .await?;
    Ok(HttpResponse::Ok().json(me.json::<Value>().await?))
}

async fn serve(alter: App, api: String) -> io::Result<SocketAddr> {
    let api = web::Data::new(api);
    let server = HttpServer::new(move || {
        Service::new().app_data(api.clone()).wrap(AlterMiddleware::new(alter.clone())).service(me)
    })
    .workers(1)
    .bind("127.0.0.1:0")?;
    let address = server.addrs()[0];
    actix_web::rt::spawn(server.run());
    Ok(address)
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    story::tell(serve).await?;
    println!("\nDone. The application is examples/actix/src/main.rs.");
    Ok(())
}

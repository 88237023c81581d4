//! The stage of the browser tests (`tests/browser`): outside world, vault and a host application in one process.
//!
//! `browser-host --widget FILE` serves the vault on `http://localhost:PORT` and the host application on
//! `http://127.0.0.1:PORT`, so that the two are different sites for a browser, as they are in production. The
//! application is there a second time on another port, as an origin that nobody registered, and once more on the vault's own
//! host, where it can set the cookie that binds a session to a browser. Prints one line of JSON with all addresses, and ends
//! with its standard input.

mod clock;
mod control;
mod shop;

use std::{error::Error, io::Read as _, net::SocketAddr, path::PathBuf, sync::Arc};

use alter_core::{App, wire::key::ApiKey};
use alter_server::dev::Dev;
use axum::Router;
use serde_json::json;
use tokio::{net::TcpListener, sync::oneshot};

use self::{clock::Shifted, shop::Shop};

type Failure = Box<dyn Error + Send + Sync>;

/// What every handler needs.
struct Stage {
    dev: Dev,
    app: App,
    key: ApiKey,
    clock: Arc<Shifted>,
    http: reqwest::Client,
    shop: Shop,
    /// The vault, as its own machine reaches it.
    vault: String,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let widget = widget()?;
    let vault = TcpListener::bind("127.0.0.1:0").await?;
    let shop = TcpListener::bind("127.0.0.1:0").await?;
    let stranger = TcpListener::bind("127.0.0.1:0").await?;
    let (vault_port, shop_port) = (vault.local_addr()?.port(), shop.local_addr()?.port());
    let stranger_port = stranger.local_addr()?.port();

    let clock = Arc::new(Shifted::default());
    let public_url = format!("http://localhost:{vault_port}");
    let vault_clock = Arc::clone(&clock);
    let dev = Dev::start_with(None, public_url.clone(), |config| config.clock(vault_clock)).await?;
    let key = dev.ready.app.key.clone();
    let app = App::builder(key.expose()).backend_url(&public_url).clock(clock.clone()).build()?;
    let line = json!({
        "vault": public_url,
        "shop": format!("http://127.0.0.1:{shop_port}"),
        "shop_beside_vault": format!("http://localhost:{shop_port}"),
        "stranger": format!("http://127.0.0.1:{stranger_port}"),
        "ready": dev.ready,
        "sandbox": {
            "sign_in": dev.sandbox.sign_in_endpoints().authorize,
            "provider": dev.sandbox.oauth_endpoints().authorize,
            "control": dev.sandbox.control_url(),
            "mint": dev.sandbox.mint_url(),
        },
    });

    let served = dev.vault.clone();
    let (stop, stopped) = oneshot::channel::<()>();
    let stage = Arc::new(Stage {
        dev,
        app,
        key,
        clock,
        http: reqwest::Client::builder().no_proxy().build()?,
        shop: Shop::new(&widget)?,
        vault: format!("http://127.0.0.1:{vault_port}"),
    });
    let router: Router = shop::router().merge(control::router()).with_state(Arc::clone(&stage));
    for listener in [shop, stranger] {
        let router = router.clone().into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, router).await });
    }
    let serving = tokio::spawn(async move {
        served
            .serve(vault, async {
                let _ = stopped.await;
            })
            .await
    });
    println!("{line}");
    // A thread of its own: reading standard input cannot be given up.
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    let _ = stop.send(());
    serving.await??;
    Ok(())
}

/// The widget as npm installed it: `--widget FILE`.
fn widget() -> Result<PathBuf, Failure> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("--widget"), Some(file)) => Ok(PathBuf::from(file)),
        _ => {
            Err("usage: browser-host --widget node_modules/@alter-ai/connect/dist/alter-connect.umd.js"
                .into())
        }
    }
}

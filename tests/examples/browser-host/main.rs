//! The stage of the browser tests (`tests/browser`): outside world, vault and a host application in one process.
//!
//! `browser-host --widget FILE` serves the vault on `http://localhost:PORT` and the host application on
//! `http://127.0.0.1:PORT`, so that the two are different sites for a browser, as they are in production. The
//! application is there a second time on another port, as an origin that nobody registered, and once more on the vault's own
//! host, where it can set the cookie that binds a session to a browser. Prints one line of JSON with all addresses, and ends
//! with its standard input.
//!
//! With `--beside LINE` it is the host application only, of the vault that printed this line: `alter-server dev --json`.

mod clock;
mod control;
mod shop;

use std::{error::Error, io::Read as _, path::PathBuf, sync::Arc};

use alter_core::{App, wire::key::ApiKey};
use alter_server::dev::Dev;
use axum::Router;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::oneshot};

use self::{clock::Shifted, shop::Shop};

type Failure = Box<dyn Error + Send + Sync>;

/// What every handler needs.
struct Stage {
    /// The vault and the outside world, unless they are another program's.
    dev: Option<Dev>,
    app: App,
    key: ApiKey,
    clock: Arc<Shifted>,
    http: reqwest::Client,
    shop: Shop,
    /// The vault, as its own machine reaches it.
    vault: String,
    /// The provider's API.
    api_url: String,
    /// Where users' tokens come from.
    mint_url: String,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments = Arguments::read()?;
    let vault = TcpListener::bind("127.0.0.1:0").await?;
    let shop = TcpListener::bind("127.0.0.1:0").await?;
    let stranger = TcpListener::bind("127.0.0.1:0").await?;
    let (shop_port, stranger_port) = (shop.local_addr()?.port(), stranger.local_addr()?.port());

    let clock = Arc::new(Shifted::default());
    let (dev, ready, vault_url) = match arguments.beside {
        Some(ready) => {
            let base_url = member(&ready, "/base_url")?;
            (None, ready, base_url)
        }
        None => {
            let port = vault.local_addr()?.port();
            let vault_clock = Arc::clone(&clock);
            let public_url = format!("http://localhost:{port}");
            let dev = Dev::start_with(None, public_url, |config| config.clock(vault_clock)).await?;
            let ready = serde_json::to_value(&dev.ready)?;
            (Some(dev), ready, format!("http://127.0.0.1:{port}"))
        }
    };
    let public_url = member(&ready, "/connect/base_url")?;
    let key = ApiKey::parse(member(&ready, "/app/key")?)?;
    let app = App::builder(key.expose()).backend_url(&public_url).clock(clock.clone()).build()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = dev.as_ref().map(|dev| {
        let served = dev.vault.clone();
        tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            served.serve(vault, stopped).await
        })
    });
    let line = json!({
        "vault": public_url,
        "shop": format!("http://127.0.0.1:{shop_port}"),
        "shop_beside_vault": format!("http://localhost:{shop_port}"),
        "stranger": format!("http://127.0.0.1:{stranger_port}"),
        "control": member(&ready, "/provider/control_url")?,
        "wallet": member(&ready, "/wallet_url")?,
    });
    let stage = Arc::new(Stage {
        dev,
        app,
        key,
        clock,
        http: reqwest::Client::builder().no_proxy().build()?,
        shop: Shop::new(&arguments.widget)?,
        vault: vault_url,
        api_url: member(&ready, "/provider/api_url")?,
        mint_url: member(&ready, "/idp/mint_url")?,
    });
    let router: Router = shop::router().merge(control::router()).with_state(stage);
    for listener in [shop, stranger] {
        let router = router.clone();
        tokio::spawn(async move { axum::serve(listener, router).await });
    }
    println!("{line}");
    // A thread of its own: reading standard input cannot be given up.
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    let _ = stop.send(());
    if let Some(serving) = serving {
        serving.await??;
    }
    Ok(())
}

struct Arguments {
    /// The widget as npm installed it.
    widget: PathBuf,
    /// What `alter-server dev --json` printed.
    beside: Option<Value>,
}

impl Arguments {
    fn read() -> Result<Self, Failure> {
        let (mut widget, mut beside) = (None, None);
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            match (name.as_str(), arguments.next()) {
                ("--widget", Some(file)) => widget = Some(PathBuf::from(file)),
                ("--beside", Some(line)) => beside = Some(serde_json::from_str(&line)?),
                _ => return Err("usage: browser-host --widget FILE [--beside LINE]".into()),
            }
        }
        Ok(Self { widget: widget.ok_or("--widget is missing")?, beside })
    }
}

/// A text of the line that development mode prints.
fn member(ready: &Value, pointer: &str) -> Result<String, Failure> {
    let found = ready.pointer(pointer).and_then(Value::as_str);
    Ok(found.ok_or_else(|| format!("development mode did not say {pointer}"))?.to_owned())
}

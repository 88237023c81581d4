//! A shop whose users connect accounts: Connect buttons, connected accounts, which account to use, and how to reconnect.
//!
//! | File | What it shows |
//! |---|---|
//! | `shop.rs` | what you write: sessions, lists, calls, what errors become |
//! | `users.rs` | how users sign in to the shop itself; you have that already |
//! | `check.rs` | how a test presses the buttons (`--check`) |
//!
//! The vault is in the same process, mounted at `/vault`: one origin for both. So the shop can set the cookie that tells the
//! vault whose browser it is, and nobody has to sign in a second time. Vault, providers and sign-in are set up as by
//! `alter-server dev`; how that is done piece by piece is in `examples/quickstart/src/world.rs`.
#![forbid(unsafe_code)]

mod check;
mod shop;
mod users;

use std::{
    error::Error,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use alter_server::dev::Dev;
use axum::Router;
use clap::Parser;
use tokio::net::TcpListener;

use self::{shop::Shop, users::Users};

/// A shop whose users connect accounts.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where the shop listens on this machine; 0 takes a free port
    #[arg(long, default_value_t = 3000)]
    port: u16,
    /// The npm widget's file; by default the one that `npm ci` put below tests/browser
    #[arg(long, value_name = "FILE")]
    widget: Option<PathBuf>,
    /// Press every button with a browser without a window, and end
    #[arg(long)]
    check: bool,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let port = if arguments.check { 0 } else { arguments.port };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let origin = format!("http://localhost:{}", listener.local_addr()?.port());

    let dev = Dev::start(None, format!("{origin}/vault")).await?;
    let alter = dev.vault.app_client(&dev.ready.app.key).caller("shop").build()?;
    let widget = widget(arguments.widget.as_deref())?;
    let has_widget = widget.is_some();
    let users = Users::new(&dev.sandbox, &origin)?;
    let shop = Shop::new(alter.clone(), &origin, &dev.sandbox.api_url(), users, widget);
    let router = Router::new().nest("/vault", dev.vault.router()).merge(shop.router());

    if arguments.check {
        let serving = tokio::spawn(async move { axum::serve(listener, router).await });
        let checked = check::run(&dev.sandbox, &origin).await;
        serving.abort();
        alter.close().await;
        dev.stop().await?;
        return checked;
    }

    println!("The shop is open: {origin}");
    println!("Sign in there as anybody, say `ann`, connect an account, and look at it in the wallet:");
    println!("  {}", dev.ready.wallet_url);
    if !has_widget {
        println!(
            "\nWithout the npm widget the buttons lead to the vault's page in the same window, which needs nothing."
        );
        println!(
            "For the popup: (cd tests/browser && npm ci), or npm i @alter-ai/connect@0.8.0 and --widget FILE."
        );
    }
    println!("\nStop with Ctrl-C.");
    let stop = async {
        // Without the signal's handler, the signal ends the program anyway.
        let _ = tokio::signal::ctrl_c().await;
    };
    axum::serve(listener, router).with_graceful_shutdown(stop).await?;
    alter.close().await;
    dev.stop().await?;
    println!("\nThe shop is closed.");
    Ok(())
}

/// The widget's script as npm installed it. It is not part of this repository.
fn widget(named: Option<&Path>) -> Result<Option<Vec<u8>>, String> {
    const INSTALLED: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/browser/node_modules/@alter-ai/connect/dist/alter-connect.umd.js"
    );
    match named {
        Some(file) => std::fs::read(file).map(Some).map_err(|error| format!("{}: {error}", file.display())),
        None => Ok(std::fs::read(INSTALLED).ok()),
    }
}

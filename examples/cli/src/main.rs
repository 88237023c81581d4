//! A program for the terminal that calls an API with a connected account. It stores one thing, the grant's id: a name and no
//! secret, worth nothing without the API key, which stays in the environment.
//!
//! ```console
//! $ cargo run -p alter-server -- dev          # in another terminal; it prints the two values
//! $ export ALTER_BASE_URL=http://127.0.0.1:… ALTER_API_KEY=alter_…
//! $ cargo run -p example-cli -- connect sandbox
//! $ cargo run -p example-cli -- call http://127.0.0.1:…/api/me
//! $ cargo run -p example-cli -- forget
//! ```
#![forbid(unsafe_code)]

mod grant_file;

use std::{error::Error, process::ExitCode};

use alter_core::{App, Terminal};
use clap::{Parser, Subcommand};
use http::Method;

use self::grant_file::GrantFile;

/// Calls an API with a connected account.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Connect an account, in a browser here or anywhere else
    Connect {
        /// The provider, as the vault names it
        provider: String,
        /// Do not open a browser: print the page's address, and a QR code if another device can reach it
        #[arg(long)]
        no_browser: bool,
    },
    /// Call the provider's API with the account and print the answer
    Call {
        /// What to GET
        url: String,
    },
    /// Take the access back, and forget the account
    Forget,
}

#[tokio::main]
async fn main() -> ExitCode {
    let ran = tokio::select! {
        ran = run(Arguments::parse().command) => ran,
        // Nothing is left behind: the session in the vault ends by itself.
        _ = tokio::signal::ctrl_c() => Err("given up".into()),
    };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<(), Box<dyn Error>> {
    let file = GrantFile::find()?;
    let key = std::env::var("ALTER_API_KEY").map_err(|_| "set ALTER_API_KEY to the app's key")?;
    // The vault is at ALTER_BASE_URL.
    let app = App::builder(key).caller("example-cli").build()?;
    match command {
        Command::Connect { provider, no_browser } => {
            let terminal = if no_browser { Terminal::new().open_browser(false) } else { Terminal::new() };
            // The grant is to be the program's own. On behalf of a user: `app.authenticate()` first.
            let session = app.connect_session().provider(provider).as_app();
            let connected = session.connect_on(terminal).await?;
            file.write(&connected.grant().grant_id)?;
        }
        Command::Call { url } => {
            let grant = file.read()?;
            let call = app.request(Method::GET, url).grant(grant).reason("example-cli call");
            match call.send().await {
                Ok(answer) => println!("{}", answer.text().await?),
                Err(error) if error.needs_connection() => {
                    return Err(format!("{error}\nConnect again: example-cli connect PROVIDER").into());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Command::Forget => {
            app.grants().revoke(file.read()?).reason("example-cli forget").send().await?;
            file.remove()?;
            eprintln!("Taken back and forgotten.");
        }
    }
    // Reports of calls are posted in the background.
    app.close().await;
    Ok(())
}

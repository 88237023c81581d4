//! `serve`.

use std::net::SocketAddr;

use clap::Args;
use serde_json::json;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use super::{CliError, output::Output};
use crate::{serve::asked_to_stop, vault::Vault};

#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Where to listen. Plain HTTP: on other addresses than loopback put something in front that ends TLS
    #[arg(long, env = "ALTER_LISTEN", default_value = "127.0.0.1:8720", value_name = "ADDR")]
    listen: SocketAddr,
}

impl Serve {
    pub(super) async fn run(self, vault: &Vault, json: bool) -> Result<Output, CliError> {
        let (listener, base_url) = bind(self.listen).await?;
        if !self.listen.ip().is_loopback() {
            tracing::warn!("this is plain HTTP on more than loopback: put something in front that ends TLS");
        }
        let ready = Output::one(&json!({ "base_url": base_url }), format!("serving on {base_url}"));
        ready.print(json).map_err(|source| CliError::Io { what: "standard output".to_owned(), source })?;
        tokio::spawn(reload_on_hangup(vault.clone()));
        let served = vault.serve(listener, asked_to_stop()).await;
        served.map_err(|source| CliError::Io { what: "the listener failed".to_owned(), source })?;
        tracing::info!("stopped serving");
        Ok(Output::nothing())
    }
}

/// Binds an address, and says under which URL it can be reached.
pub(super) async fn bind(listen: SocketAddr) -> Result<(TcpListener, String), CliError> {
    let failed = |source| CliError::Io { what: format!("cannot listen on {listen}"), source };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let local = listener.local_addr().map_err(failed)?;
    Ok((listener, format!("http://{local}")))
}

/// Reads the key file again on SIGHUP.
async fn reload_on_hangup(vault: Vault) {
    let Ok(mut hangups) = signal(SignalKind::hangup()) else { return };
    while hangups.recv().await.is_some() {
        match vault.reload_keys() {
            Ok(()) => tracing::info!("the key ring was read again"),
            Err(error) => tracing::error!(%error, "the key ring could not be read; the old one stays in use"),
        }
    }
}

//! `serve`.

use std::{net::SocketAddr, time::Duration};

use clap::Args;
use serde_json::json;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use super::{CliError, output::Output, proof::Retention};
#[cfg(feature = "metrics")]
use crate::telemetry::export::Exporter;
use crate::{PublicUrl, serve::asked_to_stop, vault::Vault};

#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Where to listen. Plain HTTP: on other addresses than loopback put something in front that ends TLS
    #[arg(long, env = "ALTER_LISTEN", default_value = "127.0.0.1:8720", value_name = "ADDR")]
    listen: SocketAddr,
    /// Where browsers reach the vault: https, with the path that it is mounted under if there is one. Needed for its pages (connect,
    /// wallet), unless it listens on loopback: then the address it listens on by default
    #[arg(long, env = "ALTER_PUBLIC_URL", value_name = "URL")]
    public_url: Option<PublicUrl>,
    /// Where to show metrics as Prometheus text, at /metrics and without asking who reads: for loopback or a network of your own
    #[cfg(feature = "metrics")]
    #[arg(long, env = "ALTER_METRICS_LISTEN", value_name = "ADDR")]
    metrics_listen: Option<SocketAddr>,
    /// Send webhooks to addresses of private networks too, and through the proxy that the environment names. Whoever may register
    /// an endpoint then reaches what the vault reaches
    #[arg(long, env = "ALTER_WEBHOOK_PRIVATE_NETWORKS")]
    pub(super) webhook_private_networks: bool,
    /// Seconds to go on serving after SIGTERM while /readyz already answers 503, so that what stands in front stops sending
    #[arg(long, env = "ALTER_DRAIN_DELAY", default_value = "0", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(..=300))]
    drain_delay: u64,
    #[command(flatten)]
    retention: Retention,
}

impl Serve {
    /// Where browsers reach the vault, if anywhere.
    pub(super) fn public_url(&self) -> Option<PublicUrl> {
        // A port that the system chooses is not known before the vault is open.
        let local =
            || (self.listen.port() != 0).then(|| format!("http://{}", self.listen).parse().ok()).flatten();
        self.public_url.clone().or_else(local)
    }

    pub(super) async fn run(self, vault: &Vault, json: bool) -> Result<Output, CliError> {
        let (listener, base_url) = bind(self.listen).await?;
        if !self.listen.ip().is_loopback() {
            tracing::warn!("this is plain HTTP on more than loopback: put something in front that ends TLS");
        }
        #[cfg(feature = "metrics")]
        let metrics_url = match self.metrics_listen {
            Some(listen) => Some(show_metrics(listen).await?),
            None => None,
        };
        #[cfg(not(feature = "metrics"))]
        let metrics_url: Option<String> = None;
        let mut said = json!({ "base_url": base_url });
        let mut text = format!("serving on {base_url}");
        if let Some(url) = metrics_url {
            text.push_str(&format!("\nmetrics on {url}"));
            said["metrics_url"] = url.into();
        }
        if let Some(url) = self.public_url() {
            text.push_str(&format!("\npages on {url}"));
            said["public_url"] = url.to_string().into();
        }
        let ready = Output::one(&said, text);
        ready.print(json).map_err(|source| CliError::Io { what: "standard output".to_owned(), source })?;
        tokio::spawn(reload_on_hangup(vault.clone()));
        tokio::spawn(self.retention.run(vault.clone()));
        let stop = told_to_stop(vault.clone(), Duration::from_secs(self.drain_delay));
        let served = vault.serve(listener, stop).await;
        served.map_err(|source| CliError::Io { what: "the listener failed".to_owned(), source })?;
        tracing::info!("stopped serving");
        Ok(Output::nothing())
    }
}

/// Ends when the process shall stop serving: `delay` after it was asked to, or at once when it is asked again.
async fn told_to_stop(vault: Vault, delay: Duration) {
    asked_to_stop().await;
    vault.drain();
    if delay.is_zero() {
        return;
    }
    tracing::info!(seconds = delay.as_secs(), "asked to stop: not ready any more, still serving");
    let _ = tokio::time::timeout(delay, asked_to_stop()).await;
}

/// Records metrics from now on, and shows them there for as long as the process runs.
#[cfg(feature = "metrics")]
async fn show_metrics(listen: SocketAddr) -> Result<String, CliError> {
    let (listener, base_url) = bind(listen).await?;
    let exporter = Exporter::install()
        .map_err(|error| CliError::Io { what: "metrics".to_owned(), source: std::io::Error::other(error) })?;
    tokio::spawn(exporter.serve(listener, std::future::pending()));
    Ok(format!("{base_url}/metrics"))
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

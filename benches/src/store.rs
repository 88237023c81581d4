//! Vaults over either store: where they are, how they are set up, and what serves them.

use std::{num::NonZeroU32, path::PathBuf};

use alter_core::wire::key::ApiKey;
use alter_server::{
    KekSource, Vault, VaultConfig,
    admin::KeyRequest,
    domain::{AppId, Injection, OAuthSettings, Provider, ProviderKind},
};
use alter_test_postgres::Database;
use clap::{Args, ValueEnum};
use serde_json::json;
use tempfile::TempDir;

use crate::{Outcome, postgres::Server, process::Process};

/// Which store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }
}

/// Where a vault is.
#[derive(Debug, Clone, Args)]
pub(crate) struct Place {
    /// Its folder, or that of its keys.
    #[arg(long)]
    pub(crate) folder: PathBuf,
    /// Its database, if it is in PostgreSQL.
    #[arg(long)]
    pub(crate) database_url: Option<String>,
}

impl Place {
    pub(crate) fn config(&self) -> VaultConfig {
        let config = match &self.database_url {
            Some(url) => {
                VaultConfig::postgres(url.as_str()).kek(KekSource::File(self.folder.join("data").join("kek")))
            }
            None => VaultConfig::new(self.folder.join("data")),
        };
        // What is measured is the vault, not when it says "later".
        config.rate_limit_per_minute(NonZeroU32::MAX)
    }

    /// Starts a process that serves it.
    pub(crate) fn serve(&self) -> Outcome<Process> {
        let folder = self.folder.to_str().ok_or("the folder's name is not UTF-8")?;
        let mut arguments = vec!["serve", "replica", "--folder", folder];
        if let Some(url) = &self.database_url {
            arguments.extend(["--database-url", url]);
        }
        Process::start(&arguments, None)
    }
}

/// Serves the vault until standard input ends, on as many threads as there are cores: what `alter-server serve` does.
pub(crate) fn serve(place: Place) -> Outcome<()> {
    tokio::runtime::Runtime::new()?.block_on(async move {
        let listener = crate::loopback().await?;
        let addr = listener.local_addr()?;
        let public = format!("http://{addr}").parse()?;
        let vault = Vault::open(place.config().public_url(public)).await?;
        println!("{}", json!({"addr": addr}));
        vault.serve(listener, crate::orphaned()).await?;
        Ok(vault.close().await?)
    })
}

/// A vault on disk that nobody serves yet.
pub(crate) struct Site {
    pub(crate) place: Place,
    pub(crate) database: Option<Database>,
    _folder: TempDir,
}

impl Site {
    pub(crate) async fn new(server: Option<&Server>) -> Outcome<Self> {
        let folder = tempfile::Builder::new().prefix("alter-bench-").tempdir()?;
        let database = match server {
            Some(server) => Some(server.database().await),
            None => None,
        };
        let database_url = database.as_ref().map(Database::text);
        let place = Place { folder: folder.path().to_owned(), database_url };
        // A vault in a folder makes keys there; one in a database uses the same file.
        let keys = Vault::open(VaultConfig::new(place.folder.join("data"))).await?;
        keys.close().await?;
        Ok(Self { place, database, _folder: folder })
    }
}

/// An app with one key and one provider.
pub(crate) struct App {
    pub(crate) id: AppId,
    pub(crate) key: ApiKey,
}

pub(crate) const PROVIDER: &str = "google";

/// Sets an app up, whose provider's tokens are refreshed where nobody listens.
pub(crate) async fn set_up(place: &Place) -> Outcome<App> {
    let vault = Vault::open(place.config()).await?;
    let admin = vault.admin("bench");
    let app = admin.create_app("bench").await?;
    let key = admin.create_key(app.id, KeyRequest::named("bench")).await?;
    let provider = Provider {
        id: PROVIDER.parse()?,
        kind: ProviderKind::OAuth,
        name: "Google".to_owned(),
        hosts: vec!["www.googleapis.com".parse()?],
        injection: Injection::default(),
        additional: Vec::new(),
        oauth: Some(OAuthSettings {
            token_url: Some("http://127.0.0.1:9/token".to_owned()),
            client_id: Some("bench".to_owned()),
            ..OAuthSettings::default()
        }),
    };
    admin.put_provider(app.id, provider, None).await?;
    vault.close().await?;
    Ok(App { id: app.id, key: key.key })
}

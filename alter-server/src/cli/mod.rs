//! The command line: thin words around [`crate::admin::Admin`] and [`crate::Vault::serve`].
//!
//! Every command takes `--json` and then prints one JSON value on standard output; logs and errors go to standard error.
//! Secrets are read from files or standard input, never from arguments, which other users of the machine can see.
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 4 no such thing, 5 conflict.

mod access;
mod appearance;
mod config;
#[cfg(feature = "dev")]
mod dev;
mod grants;
mod health;
mod input;
mod output;
mod proof;
mod provider;
mod refreshing;
mod serve;
mod trail;
mod transfer;
mod users;
mod webhooks;

use std::{io::IsTerminal as _, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
#[cfg(feature = "postgres")]
use secrecy::SecretString;
use tracing_subscriber::{
    EnvFilter, Layer, Registry, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use self::output::Output;
use crate::{
    admin::{Admin, AdminError},
    domain::App,
    transfer::{Place, TransferError},
    vault::{KekSource, Vault, VaultConfig, VaultError, is_vault},
};

const AFTER_HELP: &str = "\
A first set-up:
  export ALTER_DATA_DIR=./vault
  alter-server app create shop
  alter-server key create backend
  alter-server idp set https://id.example.com --audience https://api.example.com
  alter-server provider add --from-catalog google --client-id ID --client-secret-file FILE
  alter-server grant import tokens.ndjson
  alter-server serve

Exit codes: 0 done, 1 failed, 2 wrong usage, 4 no such thing, 5 conflict.";

/// A self-hosted vault for third-party credentials.
#[derive(Debug, Parser)]
#[command(name = "alter-server", bin_name = "alter-server", version, about, max_term_width = 100, after_help = AFTER_HELP)]
struct Cli {
    /// The folder that holds the vault's data
    #[arg(long, global = true, env = "ALTER_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The PostgreSQL database that holds the vault's data, instead of a folder. It usually holds a password: name it in the
    /// environment, where other users of the machine cannot see it
    #[cfg(feature = "postgres")]
    #[arg(long, global = true, env = "ALTER_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<SecretString>,
    /// A file with the key-encryption keys, instead of the environment or the data folder
    #[arg(long, global = true, env = "ALTER_KEK_FILE", value_name = "FILE")]
    kek_file: Option<PathBuf>,
    /// The app that the command is about, by name or id; may be left out while there is only one
    #[arg(long, global = true, env = "ALTER_APP", value_name = "APP")]
    app: Option<String>,
    /// Print one JSON value instead of text for people
    #[arg(long, global = true)]
    json: bool,
    /// How logs are written to standard error, filtered by the environment variable `RUST_LOG`
    #[arg(long, global = true, env = "ALTER_LOG_FORMAT", value_enum, default_value = "text")]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the vault over HTTP until SIGTERM
    Serve(serve::Serve),
    /// Ask a vault that is served whether it is; exit code 1 if not
    Health(health::Health),
    /// Start a vault and a sandbox of the outside world, with everything a first call needs
    #[cfg(feature = "dev")]
    Dev(dev::Dev),
    /// Applications
    #[command(subcommand)]
    App(access::AppCommand),
    /// API keys
    #[command(subcommand)]
    Key(access::KeyCommand),
    /// Managed agents
    #[command(subcommand)]
    Agent(access::AgentCommand),
    /// The identity provider whose JWTs name the app's users
    #[command(subcommand)]
    Idp(config::IdpCommand),
    /// Providers: where credentials may go and how they are injected
    #[command(subcommand)]
    Provider(provider::ProviderCommand),
    /// Managed secrets
    #[command(subcommand)]
    Secret(config::SecretCommand),
    /// Grants
    #[command(subcommand, alias = "grants")]
    Grant(grants::GrantCommand),
    /// Users: suspend, delete, activate
    #[command(subcommand)]
    User(users::UserCommand),
    /// Who is told what happens to grants, and what could not be told
    #[command(subcommand)]
    Webhook(webhooks::WebhookCommand),
    /// Who tells what happens to users
    Hook(webhooks::Hook),
    /// The audit trail
    #[command(subcommand)]
    Audit(trail::AuditCommand),
    /// Add a fresh key-encryption key and wrap everything with it, while calls are served
    Rotate(trail::Rotate),
    Migrate(transfer::Migrate),
    Reopen(transfer::Reopen),
    Export(transfer::Export),
    Import(transfer::Import),
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[cfg(feature = "dev")]
    #[error(transparent)]
    Dev(#[from] crate::dev::DevError),
    #[error(transparent)]
    Transfer(#[from] crate::transfer::TransferError),
    #[error("{what}")]
    Io {
        what: String,
        #[source]
        source: std::io::Error,
    },
}

impl CliError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Admin(AdminError::Invalid(_)) => 2,
            Self::Admin(AdminError::NotFound(_)) | Self::Transfer(TransferError::Missing(_)) => 4,
            Self::Admin(AdminError::Conflict(_)) | Self::Transfer(TransferError::Refused(_)) => 5,
            _ => 1,
        }
    }
}

/// Runs the program with the process's arguments.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.json;
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(json, &CliError::Io { what: "no runtime".to_owned(), source: error }),
    };
    let format = cli.log_format;
    let done = runtime.block_on(async {
        #[cfg(feature = "otel")]
        let spans = match crate::telemetry::spans::Spans::from_env() {
            Ok(spans) => spans,
            Err(error) => return Err(AdminError::Invalid(error.to_string()).into()),
        };
        #[cfg(feature = "otel")]
        logs(format, spans.as_ref().map(crate::telemetry::spans::Spans::layer));
        #[cfg(not(feature = "otel"))]
        logs(format, None::<tracing_subscriber::layer::Identity>);
        let done = command(cli).await;
        #[cfg(feature = "otel")]
        if let Some(spans) = spans {
            spans.close().await;
        }
        done
    });
    match done {
        Ok(output) => {
            if output.print(json).is_err() || !output.good() {
                return ExitCode::FAILURE;
            }
            ExitCode::SUCCESS
        }
        Err(error) => failed(json, &error),
    }
}

fn logs(format: LogFormat, spans: Option<impl Layer<Registry> + Send + Sync>) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // A file or a collector gets no escape sequences; `NO_COLOR` is respected on a terminal, too.
    let coloured =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let text = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(coloured);
    // A second subscriber is refused, which only a test could cause.
    let _ = match format {
        LogFormat::Text => {
            tracing_subscriber::registry().with(spans).with(text.with_filter(filter)).try_init()
        }
        LogFormat::Json => {
            tracing_subscriber::registry().with(spans).with(text.json().with_filter(filter)).try_init()
        }
    };
}

fn failed(json: bool, error: &CliError) -> ExitCode {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        let more = error.to_string();
        // Transparent errors repeat their source.
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = error.source();
    }
    if json {
        eprintln!("{}", serde_json::json!({ "error": text }));
    } else {
        eprintln!("alter-server: {text}");
    }
    ExitCode::from(error.exit_code())
}

async fn command(cli: Cli) -> Result<Output, CliError> {
    #[cfg(feature = "postgres")]
    let database_url = cli.database_url;
    let Cli { data_dir, kek_file, app, json, command, .. } = cli;
    if let Command::Health(health) = command {
        return health.run().await;
    }
    // It is part of the program and needs no vault.
    if let Command::Provider(provider::ProviderCommand::Catalog { id }) = command {
        return provider::catalogue(id.as_deref());
    }
    #[cfg(feature = "dev")]
    if let Command::Dev(dev) = command {
        return dev.run(data_dir, json).await;
    }
    // Only these two may begin a vault: elsewhere a place without one is a wrong path.
    let begins = matches!(command, Command::Serve(_) | Command::App(access::AppCommand::Create { .. }));
    #[cfg(feature = "postgres")]
    let place = match (database_url, data_dir) {
        (Some(_), Some(_)) => {
            let text = "a vault is in a folder or in a database: name only one (--data-dir or ALTER_DATA_DIR, --database-url or \
                 ALTER_DATABASE_URL)";
            return Err(AdminError::Invalid(text.to_owned()).into());
        }
        (Some(url), None) => Place::Postgres(url.into()),
        (None, data_dir) => folder(data_dir)?,
    };
    #[cfg(not(feature = "postgres"))]
    let place = folder(data_dir)?;
    if let Command::Migrate(_) | Command::Reopen(_) | Command::Export(_) | Command::Import(_) = command {
        let here = transfer::Here { place, kek_file, operator: operator() };
        return match command {
            Command::Migrate(command) => command.run(&here).await,
            Command::Reopen(command) => command.run(&here).await,
            Command::Export(command) => command.run(&here).await,
            Command::Import(command) => command.run(&here).await,
            _ => Ok(Output::nothing()),
        };
    }
    let mut config = match place {
        Place::Folder(data_dir) => in_folder(data_dir, begins)?,
        #[cfg(feature = "postgres")]
        Place::Postgres(url) => VaultConfig::postgres(url),
    };
    if let Some(path) = kek_file {
        config = config.kek(KekSource::File(path));
    }
    if let Command::Serve(serve) = &command
        && let Some(url) = serve.public_url()
    {
        config = config.public_url(url);
    }
    if let Command::Serve(serve) = &command {
        config = config.webhook_private_networks(serve.webhook_private_networks);
    }
    if let Command::Hook(hook) = &command
        && let Some(url) = hook.public_url()
    {
        config = config.public_url(url);
    }
    let vault = Vault::open(config).await?;
    let session = Session { admin: vault.admin(operator()), app };
    let done = match command {
        Command::Serve(serve) => serve.run(&vault, json).await,
        Command::Health(_) => Ok(Output::nothing()),
        #[cfg(feature = "dev")]
        Command::Dev(_) => Ok(Output::nothing()),
        Command::App(command) => command.run(&session).await,
        Command::Key(command) => command.run(&session).await,
        Command::Agent(command) => command.run(&session).await,
        Command::Idp(command) => command.run(&session).await,
        Command::Provider(command) => command.run(&session).await,
        Command::Secret(command) => command.run(&session).await,
        Command::Grant(command) => command.run(&session).await,
        Command::User(command) => command.run(&session).await,
        Command::Webhook(command) => command.run(&session).await,
        Command::Hook(hook) => hook.run(&session).await,
        Command::Audit(command) => command.run(&session).await,
        Command::Rotate(command) => command.run(&session).await,
        // Done above.
        Command::Migrate(_) | Command::Reopen(_) | Command::Export(_) | Command::Import(_) => {
            Ok(Output::nothing())
        }
    };
    let closed = vault.close().await;
    let output = done?;
    closed?;
    Ok(output)
}

fn folder(data_dir: Option<PathBuf>) -> Result<Place, CliError> {
    let data_dir = data_dir.ok_or_else(|| {
        let database =
            if cfg!(feature = "postgres") { "; or --database-url URL or ALTER_DATABASE_URL" } else { "" };
        AdminError::Invalid(format!("say where the vault is: --data-dir DIR or ALTER_DATA_DIR{database}"))
    })?;
    Ok(Place::Folder(data_dir))
}

fn in_folder(data_dir: PathBuf, begins: bool) -> Result<VaultConfig, CliError> {
    if !begins && !is_vault(&data_dir) {
        let folder = data_dir.display();
        let text =
            format!("there is no vault in {folder}: `app create` or `serve` makes one; is the path right?");
        return Err(AdminError::NotFound(text).into());
    }
    Ok(VaultConfig::new(data_dir))
}

/// Who works here, for the audit trail.
fn operator() -> String {
    let user = std::env::var("USER").ok().filter(|user| !user.is_empty());
    format!("cli:{}", user.as_deref().unwrap_or("unknown"))
}

/// What commands work with.
struct Session {
    admin: Admin,
    app: Option<String>,
}

impl Session {
    async fn app(&self) -> Result<App, CliError> {
        Ok(match &self.app {
            Some(app) => self.admin.app(app).await?,
            None => self.admin.only_app().await?,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_argument_takes_a_secret() {
        let mut waiting = vec![Cli::command()];
        while let Some(command) = waiting.pop() {
            for argument in command.get_arguments() {
                let name = argument.get_id().as_str();
                let secret = ["secret", "password", "token", "value"].iter().any(|word| name.contains(word));
                let harmless = ["file", "url", "id", "provider"].iter().any(|word| name.contains(word));
                assert!(!secret || harmless || name == "secret", "{} {name}", command.get_name());
            }
            waiting.extend(command.get_subcommands().cloned());
        }
    }

    #[cfg(feature = "postgres")]
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn commands_work_on_postgresql() {
        use base64::Engine;
        use std::os::unix::fs::PermissionsExt;

        let database = crate::store::postgres::cluster::Database::create().await;
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("kek");
        let key = base64::engine::general_purpose::STANDARD.encode([3; 32]);
        std::fs::write(&keys, format!("one:{key}")).unwrap();
        std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o600)).unwrap();
        let (url, keys) = (database.text(), keys.to_str().unwrap().to_owned());
        for words in [
            "app create shop",
            "app list",
            "key create backend",
            "provider add google --host www.googleapis.com",
            "provider list",
            "grant list",
            "rotate",
            "audit list",
            "audit verify",
            "audit key",
            "audit checkpoint --all",
            "audit verify",
        ] {
            let place = ["alter-server", "--database-url", &url, "--kek-file", &keys];
            let cli = Cli::parse_from(place.into_iter().chain(words.split(' ')));
            assert!(!format!("{cli:?}").contains("postgres://"));
            let output = command(cli).await.unwrap_or_else(|error| panic!("{words}: {error}"));
            assert!(output.good(), "{words}");
        }
        let both =
            Cli::parse_from(["alter-server", "--database-url", &url, "--data-dir", "x", "app", "list"]);
        assert_eq!(command(both).await.unwrap_err().exit_code(), 2);
        // Without keys nothing is opened, and the reason is told.
        let opened = Vault::open(VaultConfig::postgres(url)).await;
        assert!(matches!(opened, Err(VaultError::NoKeys)), "{opened:?}");
    }
}

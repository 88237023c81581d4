//! Measurements, each against a named reference in the same run. `RESULTS.md` holds the numbers and what limits them.
//!
//! `cargo run --release -p alter-benches -- layer|request|token|replicas|scale|refresh|connect|upgrade|disk|all`
#![forbid(unsafe_code)]

mod connect;
mod disk;
mod echo;
mod layer;
mod load;
mod pgbench;
mod postgres;
mod process;
mod refresh;
mod replicas;
mod request;
mod scale;
mod store;
mod table;
mod token;
mod upgrade;
mod vault;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, Parser, Subcommand};

/// Whatever went wrong, as text.
type Failure = Box<dyn std::error::Error + Send + Sync>;
/// A result with any error.
type Outcome<T> = Result<T, Failure>;

/// Measures what alter costs. Everything runs on loopback.
#[derive(Debug, Parser)]
#[command(name = "alter-benches")]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    rounds: Rounds,
}

/// How long.
#[derive(Debug, Clone, Copy, Args)]
struct Rounds {
    /// Rounds per side; sides take turns.
    #[arg(long, global = true, default_value_t = 5)]
    rounds: usize,
    /// Seconds per round.
    #[arg(long, global = true, default_value_t = 2.0)]
    seconds: f64,
}

impl Rounds {
    fn time(self) -> Duration {
        Duration::from_secs_f64(self.seconds.clamp(0.05, 30.0))
    }

    /// A round to warm up with.
    fn warm_up(self) -> Duration {
        self.time().min(Duration::from_millis(300))
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A bare axum handler against the same with `AlterLayer`.
    Layer,
    /// Our `request()` against hand-written calls and against the Python package.
    Request {
        /// Leave the Python package out (it is installed from the package index the first time).
        #[arg(long)]
        no_python: bool,
    },
    /// `POST /sdk/token` against an axum handler that echoes JSON.
    Token,
    /// `POST /sdk/token` of 1, 2 and 4 replicas over one PostgreSQL against `pgbench` doing the same.
    Replicas,
    /// What a release costs with few and with many grants in the store, SQLite and PostgreSQL.
    Scale {
        /// How many grants; the first is the reference. 10000000 takes 14 GB of disk (PostgreSQL) and then 12 GB (SQLite),
        /// and some minutes to fill.
        #[arg(long, value_delimiter = ',', default_value = "1000,100000")]
        grants: Vec<u64>,
        /// Only this store.
        #[arg(long)]
        store: Option<store::Kind>,
        /// Each size once more without the index of the audit trail by grant.
        #[arg(long)]
        unindexed: bool,
    },
    /// What a request takes that has to refresh, against the provider's own time to answer.
    Refresh,
    /// What a whole connect takes the vault beyond the provider's answers, and many at once.
    Connect {
        /// How many at once.
        #[arg(long, default_value_t = 500)]
        at_once: usize,
        /// Only this store.
        #[arg(long)]
        store: Option<store::Kind>,
    },
    /// What bringing a large audit trail to the schema of connect costs.
    Upgrade {
        /// Rows of the trail.
        #[arg(long, default_value_t = 5_000_000)]
        rows: u64,
        /// Only this store.
        #[arg(long)]
        store: Option<store::Kind>,
    },
    /// How long a durable write takes on this machine.
    Disk,
    /// All of them.
    All,
    /// A server under test; used by the other commands.
    #[command(hide = true, subcommand)]
    Serve(Server),
}

#[derive(Debug, Subcommand)]
enum Server {
    /// A bare axum handler.
    Bare,
    /// The same inside of a layer that does nothing.
    Nothing,
    /// The same inside of `AlterLayer`.
    Layer,
    /// The same, and the handler takes an `AlterClient`.
    Extractor,
    /// A JSON echo.
    Echo {
        /// Length of its answers.
        #[arg(long)]
        answer_bytes: usize,
    },
    /// A vault and its sandbox.
    Vault {
        /// Where the vault keeps its data.
        #[arg(long)]
        data_dir: PathBuf,
    },
    /// What `alter-server serve` runs.
    Replica {
        #[command(flatten)]
        place: store::Place,
    },
}

fn main() -> Outcome<()> {
    let cli = Cli::parse();
    let rounds = cli.rounds;
    match cli.command {
        Command::Layer => layer::measure(rounds),
        Command::Request { no_python } => request::measure(rounds, !no_python),
        Command::Token => token::measure(rounds),
        Command::Replicas => replicas::measure(rounds),
        Command::Scale { grants, store, unindexed } => scale::measure(rounds, &grants, store, unindexed),
        Command::Refresh => refresh::measure(),
        Command::Connect { at_once, store } => connect::measure(at_once, store),
        Command::Upgrade { rows, store } => upgrade::measure(rows, store),
        Command::Disk => measure_disk(),
        Command::All => {
            measure_disk()?;
            request::measure(rounds, true)?;
            token::measure(rounds)?;
            replicas::measure(rounds)?;
            scale::measure(rounds, &[1_000, 100_000], None, false)?;
            refresh::measure()?;
            connect::measure(500, None)?;
            // Last, because it keeps this process on one of the cores.
            layer::measure(rounds)
        }
        Command::Serve(Server::Bare) => layer::serve(layer::Kind::Bare),
        Command::Serve(Server::Nothing) => layer::serve(layer::Kind::Nothing),
        Command::Serve(Server::Layer) => layer::serve(layer::Kind::Layer),
        Command::Serve(Server::Extractor) => layer::serve(layer::Kind::Extractor),
        Command::Serve(Server::Echo { answer_bytes }) => tokio::runtime::Runtime::new()?.block_on(async {
            let listener = loopback().await?;
            println!("{}", serde_json::json!({"addr": listener.local_addr()?}));
            tokio::select! {
                served = axum::serve(listener, echo::router(answer_bytes)) => Ok(served?),
                () = orphaned() => Ok(()),
            }
        }),
        Command::Serve(Server::Vault { data_dir }) => vault::serve(&data_dir),
        Command::Serve(Server::Replica { place }) => store::serve(place),
    }
}

/// Measures where the data folders of the measured vaults are.
fn measure_disk() -> Outcome<()> {
    disk::measure(tempfile::tempdir()?.path())
}

/// The runtime of the load generator: one thread, so that it takes at most one of the cores.
fn one_thread() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

async fn loopback() -> std::io::Result<tokio::net::TcpListener> {
    tokio::net::TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await
}

/// Ends when the process that started this one is gone: its end of the pipe is closed then.
async fn orphaned() {
    let mut rest = Vec::new();
    // An error is an end as well.
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut tokio::io::stdin(), &mut rest).await;
}

/// An API key that no vault knows, for servers that never ask one.
fn api_key() -> Outcome<alter_core::wire::key::ApiKey> {
    use alter_core::wire::key::{ApiKey, KeyKind};

    Ok(ApiKey::mint(KeyKind::Runtime)?)
}

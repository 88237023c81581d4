//! The pool of connections, and everything about them that has a limit.

use std::{
    fmt,
    net::IpAddr,
    str::FromStr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, TimeoutType, Timeouts,
};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::{
    Client, NoTls,
    config::{Host, SslMode},
};

use super::tls::Tls;
use crate::store::StoreError;

/// Units of work of one process that run at the same time, each on a connection of its own.
pub(super) const LANES: usize = 8;
/// Connections of one process, most: one per lane, two for renewals of leases, the others for reads.
pub(super) const MAX_CONNECTIONS: usize = 16;
/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);
/// How long calls wait for the task that tries whether a lost database is back.
pub(super) const MOMENT: Duration = Duration::from_millis(250);
/// How long a unit of work waits for a lane; after that its caller is told to come back.
pub(super) const TURN: Duration = Duration::from_secs(10);
/// How long a unit of work waits for a free connection.
pub(super) const WAIT: Duration = Duration::from_secs(5);
/// How long the server works on one statement, milliseconds.
const STATEMENT_MS: u32 = 10_000;
/// How long one statement waits for locks, milliseconds. Less than the above, so that the reason is told.
const LOCK_MS: u32 = 5_000;
/// How long a transaction may sit idle before the server ends it, milliseconds: a process that was stopped in the middle
/// must not hold locks for ever.
const IDLE_MS: u32 = 15_000;
/// How long a whole transaction may take from here, the network included.
pub(super) const TRANSACTION: Duration = Duration::from_secs(20);
/// How long unacknowledged bytes wait before the connection counts as dead.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a PostgreSQL database is: `postgres://user:password@host:port/name` or the keyword form
/// (`host=/run/postgresql user=alter dbname=alter`). It may hold a password, so `Debug` does not show it.
///
/// TLS is required, and the server's certificate and name are verified against the system's authorities (or those in the file
/// that `SSL_CERT_FILE` names), unless the server is on a loopback address or a Unix socket.
#[derive(Clone)]
pub struct DatabaseUrl(SecretString);

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseUrl(..)")
    }
}

impl From<SecretString> for DatabaseUrl {
    fn from(url: SecretString) -> Self {
        Self(url)
    }
}

impl From<&str> for DatabaseUrl {
    fn from(url: &str) -> Self {
        Self(url.into())
    }
}

impl From<String> for DatabaseUrl {
    fn from(url: String) -> Self {
        Self(url.into())
    }
}

impl DatabaseUrl {
    pub(super) fn config(&self) -> Result<tokio_postgres::Config, StoreError> {
        // Verified TLS is what `require` means here, so the stricter words of libpq mean the same.
        let text = self.0.expose_secret();
        let text = text.replace("sslmode=verify-full", "sslmode=require");
        let text = SecretString::from(text.replace("sslmode=verify-ca", "sslmode=require"));
        let mut config = tokio_postgres::Config::from_str(text.expose_secret()).map_err(|_| {
            // What the parser says may quote the password.
            StoreError::Invalid(
                "the database URL cannot be read: give postgres://user:password@host:port/name, with special characters \
                 in the password percent-encoded"
                    .to_owned(),
            )
        })?;
        if config.get_hosts().is_empty() {
            return Err(StoreError::Invalid("the database URL names no host".to_owned()));
        }
        // `hostaddr` is where the bytes go; `host` is then only the name in the certificate.
        let here =
            config.get_hosts().iter().all(is_local) && config.get_hostaddrs().iter().all(IpAddr::is_loopback);
        if !here {
            if config.get_ssl_mode() == SslMode::Disable {
                return Err(StoreError::Invalid(
                    "the database is on another machine, so TLS cannot be switched off: leave sslmode out"
                        .to_owned(),
                ));
            }
            config.ssl_mode(SslMode::Require);
        } else if config.get_ssl_mode() == SslMode::Prefer {
            config.ssl_mode(SslMode::Disable);
        }
        config.connect_timeout(CONNECT).keepalives(true).keepalives_idle(Duration::from_secs(30));
        config.tcp_user_timeout(TCP_USER_TIMEOUT).application_name("alter-server");
        Ok(config)
    }
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => {
            name.parse::<IpAddr>().map_or(name == "localhost", |address| address.is_loopback())
        }
        Host::Unix(_) => true,
    }
}

/// What a transaction may do.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mode {
    Write,
    Read,
    /// One view of the database from the first statement on.
    Snapshot,
}

impl Mode {
    /// The statements that begin it. Limits are set with `SET LOCAL`, so nothing of them outlives the transaction and a
    /// connection pooler needs to know nothing of them.
    pub(super) fn begin(self) -> String {
        let mode = match self {
            Self::Write => "READ COMMITTED READ WRITE",
            Self::Read => "READ COMMITTED READ ONLY",
            Self::Snapshot => "REPEATABLE READ READ ONLY",
        };
        format!(
            "BEGIN ISOLATION LEVEL {mode}; SET LOCAL statement_timeout = {STATEMENT_MS}; SET LOCAL lock_timeout = \
             {LOCK_MS}; SET LOCAL idle_in_transaction_session_timeout = {IDLE_MS}"
        )
    }
}

/// Connections to one database.
#[derive(Clone)]
pub(super) struct Connections {
    pool: Pool,
    reach: Arc<Reach>,
}

/// Whether the database can be reached. A machine that is gone answers a connection with nothing, for [`CONNECT`]; were each
/// call to find that out by itself, they would pile up. So one task tries, and calls are told at once that there is no database.
struct Reach {
    /// The last connection could not be made.
    lost: AtomicBool,
    /// The task that tries holds it.
    trying: Arc<tokio::sync::Mutex<()>>,
    /// When it began.
    since: Mutex<Instant>,
}

impl Reach {
    fn new() -> Self {
        Self { lost: AtomicBool::new(false), trying: Arc::default(), since: Mutex::new(Instant::now()) }
    }

    fn since(&self) -> std::sync::MutexGuard<'_, Instant> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of how a connection was got.
    fn got(&self, error: Option<&PoolError>) {
        match error {
            // All are in use, which says nothing.
            Some(PoolError::Timeout(TimeoutType::Wait)) => {}
            Some(error) if !self.lost.swap(true, Ordering::Relaxed) => {
                tracing::error!(%error, "the database cannot be reached");
            }
            None if self.lost.swap(false, Ordering::Relaxed) => tracing::info!("the database is back"),
            _ => {}
        }
    }
}

impl Connections {
    pub(super) fn new(url: &DatabaseUrl) -> Result<Self, StoreError> {
        let config = url.config()?;
        // Connections are given back only outside of transactions, so nothing has to be reset.
        let manager_config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = if config.get_ssl_mode() == SslMode::Disable {
            Manager::from_config(config, NoTls, manager_config)
        } else {
            Manager::from_config(config, Tls::new()?, manager_config)
        };
        let timeouts = Timeouts { wait: Some(WAIT), create: Some(CONNECT), recycle: Some(CONNECT) };
        let pool = Pool::builder(manager)
            .max_size(MAX_CONNECTIONS)
            .timeouts(timeouts)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| StoreError::Unavailable { what: "the pool", source: Box::new(error) })?;
        Ok(Self { pool, reach: Arc::new(Reach::new()) })
    }

    /// A connection outside of any transaction.
    pub(super) async fn take(&self) -> Result<Connection, StoreError> {
        // Connections that are there may be good: the server may only have refused one more.
        if self.reach.lost.load(Ordering::Relaxed) && self.pool.status().available == 0 {
            self.look_for().await?;
        }
        let taken = self.pool.get().await;
        self.reach.got(taken.as_ref().err());
        let taken = taken
            .map_err(|error| StoreError::Unavailable { what: "the connection", source: Box::new(error) })?;
        Ok(Connection(Some(taken)))
    }

    /// Sees to it that somebody tries whether the database is back, and waits for the outcome if it comes soon.
    async fn look_for(&self) -> Result<(), StoreError> {
        if let Ok(trying) = Arc::clone(&self.reach.trying).try_lock_owned() {
            *self.reach.since() = Instant::now();
            let this = self.clone();
            tokio::spawn(async move {
                let got = this.pool.get().await;
                this.reach.got(got.as_ref().err());
                drop(trying);
            });
        }
        let patience = *self.reach.since() + MOMENT;
        let _ = timeout_at(patience, self.reach.trying.lock()).await;
        if self.reach.lost.load(Ordering::Relaxed) {
            let source = "it could not be reached a moment ago, and is being tried again".into();
            return Err(StoreError::Unavailable { what: "the connection", source });
        }
        Ok(())
    }

    /// Closes the connections that nobody uses.
    pub(super) fn let_go(&self) {
        self.pool.retain(|_, _| false);
    }
}

/// A connection that is closed unless it is given back: whoever stops in the middle of a transaction (an error, a panic, a
/// deadline) leaves nothing for the next one.
pub(super) struct Connection(Option<Object>);

impl Connection {
    pub(super) fn sql(&self) -> Result<&Client, StoreError> {
        // It is there until the connection is given back, which takes it by value.
        self.0.as_ref().map(|object| &***object).ok_or(StoreError::Closed)
    }

    /// Back to the pool.
    pub(super) fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            drop(Object::take(object));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_elsewhere_needs_tls_and_one_here_does_not() {
        let mode = |url: &str| DatabaseUrl::from(url).config().map(|config| config.get_ssl_mode());
        assert_eq!(mode("postgres://a:b@127.0.0.1/x").unwrap(), SslMode::Disable);
        assert_eq!(mode("host=/run/postgresql user=a").unwrap(), SslMode::Disable);
        assert_eq!(mode("postgres://a:b@localhost/x?sslmode=require").unwrap(), SslMode::Require);
        assert_eq!(mode("postgres://a:b@localhost/x?hostaddr=127.0.0.1").unwrap(), SslMode::Disable);
        let behind_a_local_name = "postgres://a:b@localhost/x?hostaddr=10.0.0.1";
        assert_eq!(mode(behind_a_local_name).unwrap(), SslMode::Require);
        assert!(matches!(
            mode(&format!("{behind_a_local_name}&sslmode=disable")),
            Err(StoreError::Invalid(_))
        ));
        for elsewhere in ["postgres://a:b@db.example/x", "postgres://a:b@127.0.0.1,10.0.0.1/x"] {
            assert_eq!(mode(elsewhere).unwrap(), SslMode::Require);
            assert!(matches!(mode(&format!("{elsewhere}?sslmode=disable")), Err(StoreError::Invalid(_))));
            assert_eq!(mode(&format!("{elsewhere}?sslmode=verify-full")).unwrap(), SslMode::Require);
        }
    }

    #[test]
    fn no_password_is_shown() {
        let url = DatabaseUrl::from("postgres://a:canary@db.example:canary/x?canary=1");
        let error = url.config().unwrap_err();
        assert!(!format!("{url:?} {error} {error:?}").contains("canary"));
    }
}

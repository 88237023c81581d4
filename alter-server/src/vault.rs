//! The vault as a value: opened over a data folder or a database, used in process, mounted as a router, or served.

use std::{
    convert::Infallible,
    fmt,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use alter_core::{Agent, AgentBuilder, App, AppBuilder, clock::SharedClock, wire::key::ApiKey};
use axum::{Router, body::Body, response::Response};
use bytes::Bytes;
use http::Request;
use secrecy::SecretSlice;
use tokio::sync::Semaphore;
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};
use tower::ServiceExt;
use tower_service::Service;

#[cfg(feature = "postgres")]
use crate::store::postgres::PostgresStore;
use crate::{
    admin::Admin,
    api::{self, Failure, KeyRoom, KnownKey, RowBudget},
    config::Place,
    idp::Apps,
    keys::Keys,
    oauth::TokenEndpoint,
    outbox::{self, Worker},
    refresh::{self, Refresher},
    seal::{Envelope, KeyRing, KeyRingError, SealError, SealedField},
    store::{
        Store, StoreError,
        sqlite::{DATABASE_FILE, SqliteStore},
    },
    web::{PublicUrl, Web},
    webhook::Sender,
};

pub use crate::config::{DEFAULT_RATE_LIMIT, KekSource, VaultConfig};

/// Name of the key file in the data folder.
pub(crate) const KEY_FILE: &str = "kek";
/// How long [`Vault::close`] waits for calls in flight.
const DRAIN: Duration = Duration::from_secs(30);
/// Most polls that are held open at a time; one more is answered at once.
const WAITING: usize = 1_024;
/// How often the vault signs where its audit chains stand.
const CHECKPOINTS: Duration = Duration::from_secs(15 * 60);

/// Why a vault did not open, close or turn its keys.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// There is no key ring.
    #[error(transparent)]
    Keys(#[from] KeyRingError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is a database, and the key file that it was written with is gone. A fresh key could read nothing of it.
    #[error(
        "{folder} holds a vault without its key file {file}: put the file back from your copy, or name the keys with ALTER_KEK or --kek-file"
    )]
    KeyFileMissing {
        /// The data folder.
        folder: PathBuf,
        /// The name of the file in it.
        file: &'static str,
    },
    /// A vault in PostgreSQL has no folder in which a key could be made.
    #[error(
        "a vault in PostgreSQL needs its key-encryption keys named: ALTER_KEK, or --kek-file with the file that every replica has"
    )]
    NoKeys,
    /// The keys are not those that the vault was written with.
    #[error(
        "these key-encryption keys are not those of this vault: name the file (--kek-file) or the keys (ALTER_KEK) that it was written with"
    )]
    WrongKeys {
        /// What did not open.
        #[source]
        source: SealError,
    },
    /// The data folder cannot be made.
    #[error("cannot make the data folder {path}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// A vault. Cheap to clone; clones are the same vault.
///
/// Calls reach it in three ways that run the same code: [`Vault::app_client`] in the same process, [`Vault::router`] in
/// the user's own axum application, and the program `alter-server`. Operators reach it through [`Vault::admin`].
#[derive(Clone)]
pub struct Vault {
    core: Arc<Core>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("place", &self.core.place).finish_non_exhaustive()
    }
}

impl Vault {
    /// Opens (and on first use creates) a vault.
    ///
    /// # Errors
    ///
    /// [`VaultError`] when there is no key ring, or the data folder or database cannot be used.
    pub async fn open(config: VaultConfig) -> Result<Self, VaultError> {
        let VaultConfig {
            place,
            kek,
            clock,
            rate_limit,
            refresh_wait,
            refresh_lease,
            refresh_observer,
            outbox_wait,
            webhook_private_networks,
            public_url,
        } = config;
        let folder = match &place {
            Place::Folder(folder) => {
                private_folder(folder)?;
                Some(folder.clone())
            }
            #[cfg(feature = "postgres")]
            Place::Postgres(_) => None,
        };
        let (ring, key_file) = match kek {
            KekSource::Automatic => match KeyRing::from_env()? {
                Some(ring) => (ring, None),
                None => {
                    let data_dir = folder.ok_or(VaultError::NoKeys)?;
                    let path = data_dir.join(KEY_FILE);
                    // The key is made before the database: one without the other was not made by us.
                    if is_vault(&data_dir) && !path.exists() {
                        return Err(VaultError::KeyFileMissing { folder: data_dir, file: KEY_FILE });
                    }
                    (KeyRing::from_file_or_generate(&path)?, Some(path))
                }
            },
            KekSource::File(path) => (KeyRing::from_file(&path)?, Some(path)),
            KekSource::Ring(ring) => (ring, None),
        };
        let envelope = Envelope::new(ring);
        let store: Arc<dyn Store> = match &place {
            Place::Folder(folder) => {
                Arc::new(SqliteStore::open(folder, envelope.clone(), Arc::clone(&clock)).await?)
            }
            #[cfg(feature = "postgres")]
            Place::Postgres(url) => {
                Arc::new(PostgresStore::open(url, envelope.clone(), Arc::clone(&clock)).await?)
            }
        };
        let ring = Arc::new(Keys::new(envelope, key_file));
        // Another vault's keys would write what the right ones cannot read.
        if let Some(sample) = store.sealed_sample().await?
            && let Err(source) = ring.open(&sample)
        {
            store.close().await?;
            return Err(VaultError::WrongKeys { source });
        }
        let refresher = Refresher::new(
            refresh::Parts {
                store: Arc::clone(&store),
                keys: Arc::clone(&ring),
                clock: Arc::clone(&clock),
                lease: refresh_lease,
                observer: refresh_observer,
            },
            TokenEndpoint::new(Arc::clone(&clock)),
        );
        let outbox = Worker::new(outbox::Parts {
            store: Arc::clone(&store),
            keys: Arc::clone(&ring),
            clock: Arc::clone(&clock),
            first_wait: outbox_wait,
            sender: Sender::new(webhook_private_networks),
        });
        let core = Core {
            store,
            ring,
            refresher,
            outbox,
            refresh_wait,
            serving: AtomicBool::new(false),
            place,
            apps: Apps::new(Arc::clone(&clock)),
            keys: KeyRoom::new(),
            default_rate_limit: rate_limit,
            strangers: RowBudget::new(Arc::clone(&clock)),
            throttled: RowBudget::new(Arc::clone(&clock)),
            web: Web::new(public_url, Arc::clone(&clock)),
            oauth: TokenEndpoint::new(Arc::clone(&clock)),
            waiting: Semaphore::new(WAITING),
            clock,
            calls: TaskTracker::new(),
            draining: AtomicBool::new(false),
        };
        let core = Arc::new(core);
        tokio::spawn(sign_checkpoints(Arc::downgrade(&core)));
        Ok(Self { core })
    }

    /// The vault's routes (`/sdk/…`, `/healthz`, `/readyz`), to be served or nested under a prefix of the user's own
    /// application. Clients then take the prefix as part of their base URL; it is not signed (spec/01 §1.2).
    ///
    /// ```no_run
    /// # async fn demo(vault: alter_server::Vault) {
    /// let app: axum::Router = axum::Router::new().nest("/vault", vault.router());
    /// # }
    /// ```
    pub fn router(&self) -> Router {
        if !self.core.serving.swap(true, Ordering::Relaxed) {
            self.core.refresher.keep_alive();
            self.core.outbox.start();
        }
        api::router(Arc::clone(&self.core))
    }

    /// Where browsers reach its pages; `None` when it has none.
    #[must_use]
    pub fn public_url(&self) -> Option<&PublicUrl> {
        self.core.web.public_url.as_ref()
    }

    /// A client for the app with that key, in this process: its calls go to [`Vault::router`] as a tower service, with the
    /// same bytes and the same signature check as over the network, and without a socket. More can be set before `build()`.
    ///
    /// ```no_run
    /// # async fn demo(vault: alter_server::Vault, token: alter_core::UserToken) -> Result<(), alter_core::Error> {
    /// use alter_core::wire::key::ApiKey;
    /// use http::Method;
    ///
    /// # let key = ApiKey::parse("alter_rk_abcdefghijklmnopqrstuv_iwpykn").unwrap();
    /// let app = vault.app_client(&key).build()?;
    /// let user = app.for_user(token);
    /// let events = user.request(Method::GET, "https://api.example.com/events").provider("example").send().await?;
    /// # Ok(()) }
    /// ```
    pub fn app_client(&self, key: &ApiKey) -> AppBuilder {
        App::builder(key.expose()).backend(self.in_process()).clock(Arc::clone(&self.core.clock))
    }

    /// The same for a managed agent's key.
    pub fn agent_client(&self, key: &ApiKey) -> AgentBuilder {
        Agent::builder(key.expose()).backend(self.in_process()).clock(Arc::clone(&self.core.clock))
    }

    fn in_process(
        &self,
    ) -> impl Service<Request<Bytes>, Response = Response, Error = Infallible, Future: Send + 'static>
    + Clone
    + Send
    + Sync
    + 'static {
        self.router().map_request(|request: Request<Bytes>| request.map(Body::from))
    }

    /// Looks after grants whose refresh token would die of idleness now, instead of within the next two minutes. For tests.
    ///
    /// # Errors
    ///
    /// [`VaultError::Store`].
    #[cfg(feature = "dev")]
    pub async fn keep_alive(&self) -> Result<(), VaultError> {
        Ok(self.core.refresher.look_after_idle().await?)
    }

    /// Does now what is due after the fact (revocations at providers, webhooks) and what follows from it, instead of within the
    /// next seconds. What has to wait before it is tried again goes on waiting. For tests.
    ///
    /// # Errors
    ///
    /// [`VaultError::Store`].
    #[cfg(feature = "dev")]
    pub async fn work_off_outbox(&self) -> Result<(), VaultError> {
        Ok(self.core.outbox.work_off().await?)
    }

    /// Operator operations. `operator` names who does it in the audit trail.
    #[must_use]
    pub fn admin(&self, operator: impl Into<String>) -> Admin {
        Admin::new(Arc::clone(&self.core), operator.into())
    }

    /// Reads the key file again, so that keys that another process added are known here. Without a key file nothing
    /// happens.
    ///
    /// # Errors
    ///
    /// [`VaultError::Keys`]; the old ring stays in use then.
    pub fn reload_keys(&self) -> Result<(), VaultError> {
        self.core.ring.reload()?;
        Ok(())
    }

    /// Makes `/readyz` answer 503 from now on, while calls are still served: for the time between being asked to stop and
    /// stopping, in which whatever stands in front takes this process out. Answers of [`Vault::serve`] then say
    /// `Connection: close`, so that connections that others keep for later run out as well.
    pub fn drain(&self) {
        self.core.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.core.is_draining()
    }

    #[cfg(all(test, feature = "dev"))]
    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    /// Takes no more calls, waits for those in flight (30 seconds at most), for providers that are being asked for tokens
    /// (130 seconds at most) and for messages that are being sent (30 seconds at most), writes what is queued and closes the audit chains of this run. Again is no error.
    ///
    /// # Errors
    ///
    /// [`VaultError::Store`] when the last writes failed.
    pub async fn close(&self) -> Result<(), VaultError> {
        self.core.calls.close();
        if tokio::time::timeout(DRAIN, self.core.calls.wait()).await.is_err() {
            tracing::warn!("calls still in flight after 30 seconds are cut off");
        }
        tokio::join!(self.core.refresher.close(), self.core.outbox.close());
        Ok(self.core.store.close().await?)
    }
}

/// Signs where this process's audit chains stand, now and then, until the vault is gone or closed: what somebody changes in the
/// store afterwards shows. The last checkpoint is made when the store closes.
async fn sign_checkpoints(core: Weak<Core>) {
    loop {
        tokio::time::sleep(CHECKPOINTS).await;
        let Some(core) = core.upgrade().filter(|core| !core.calls.is_closed()) else { return };
        if let Err(error) = core.store.checkpoint_own().await {
            tracing::warn!(%error, "the audit chains could not be signed; it is tried again later");
        }
    }
}

/// What every call needs.
pub(crate) struct Core {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) ring: Arc<Keys>,
    pub(crate) refresher: Refresher,
    pub(crate) outbox: Worker,
    pub(crate) refresh_wait: Duration,
    /// Whether idle grants are looked after: once somebody can call.
    serving: AtomicBool,
    place: Place,
    pub(crate) clock: SharedClock,
    pub(crate) apps: Apps,
    keys: KeyRoom,
    pub(crate) default_rate_limit: NonZeroU32,
    /// Rows for calls without a known key.
    pub(crate) strangers: Arc<RowBudget>,
    /// Rows for calls over their key's limit.
    pub(crate) throttled: Arc<RowBudget>,
    pub(crate) web: Web,
    /// Asks providers for the tokens of a new connection.
    pub(crate) oauth: TokenEndpoint,
    /// Places for polls that are held open.
    pub(crate) waiting: Semaphore,
    calls: TaskTracker,
    draining: AtomicBool,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Core {
    /// Whether new calls are wanted.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed) || self.calls.is_closed()
    }

    /// Counts a call in; `None` once the vault is closing.
    pub(crate) fn enter(&self) -> Option<TaskTrackerToken> {
        (!self.calls.is_closed()).then(|| self.calls.token())
    }

    /// The key with this text, whatever its state.
    pub(crate) async fn find_key(&self, text: &str) -> Result<Option<Arc<KnownKey>>, Failure> {
        self.keys.find(text, self).await
    }

    /// Opens a sealed value.
    pub(crate) fn open(&self, field: &SealedField) -> Result<SecretSlice<u8>, SealError> {
        self.ring.open(field)
    }
}

/// Whether the folder holds a vault's database.
pub(crate) fn is_vault(folder: &Path) -> bool {
    folder.join(DATABASE_FILE).exists()
}

/// Makes the folder if it is not there, for its owner only.
fn private_folder(path: &Path) -> Result<(), VaultError> {
    use std::os::unix::fs::DirBuilderExt;

    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| VaultError::Folder { path: path.to_owned(), source })
}

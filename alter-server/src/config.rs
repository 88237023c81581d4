//! What a vault is opened with.

use std::{num::NonZeroU32, path::PathBuf, time::Duration};

use alter_core::clock::{SharedClock, SystemClock};

#[cfg(feature = "postgres")]
use crate::store::postgres::DatabaseUrl;
use crate::{
    outbox,
    refresh::{self, RefreshObserver},
    seal::KeyRing,
    web::PublicUrl,
};

/// Signed calls per minute and key when neither key nor app has a limit of its own.
pub const DEFAULT_RATE_LIMIT: NonZeroU32 = NonZeroU32::new(6_000).unwrap();
/// How long a call waits for a refresh.
const DEFAULT_REFRESH_WAIT: Duration = Duration::from_secs(25);

/// Where the key-encryption keys come from.
#[derive(Debug, Default)]
#[non_exhaustive]
pub enum KekSource {
    /// The environment variable `ALTER_KEK` if it is set, else the file `kek` in the data folder, which is made with a
    /// fresh key (mode 0600) on first use. Keep a copy of it elsewhere: without it the vault's content cannot be read.
    #[default]
    Automatic,
    /// A file that nobody else may read, with entries `name:base64 of 32 bytes`; the first one writes.
    File(PathBuf),
    /// A ring made by the embedding program, for instance from a cloud key service.
    Ring(KeyRing),
}

/// What a vault is opened with.
///
/// ```
/// use alter_server::VaultConfig;
///
/// let config = VaultConfig::new("/var/lib/alter").rate_limit_per_minute(12_000.try_into().unwrap());
/// ```
#[derive(Debug)]
#[must_use = "nothing is opened before `Vault::open`"]
pub struct VaultConfig {
    pub(crate) place: Place,
    pub(crate) kek: KekSource,
    pub(crate) clock: SharedClock,
    pub(crate) rate_limit: NonZeroU32,
    pub(crate) refresh_wait: Duration,
    pub(crate) refresh_lease: Duration,
    pub(crate) refresh_observer: Option<RefreshObserver>,
    pub(crate) outbox_wait: Duration,
    pub(crate) webhook_private_networks: bool,
    pub(crate) public_url: Option<PublicUrl>,
}

/// Where a vault's data is.
#[derive(Debug)]
pub(crate) enum Place {
    Folder(PathBuf),
    #[cfg(feature = "postgres")]
    Postgres(DatabaseUrl),
}

impl VaultConfig {
    /// A vault whose data is in `data_dir`, made with mode 0700 if it does not exist. One process writes to it at a time
    /// on the hot path; the command line may be used beside it.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self::at(Place::Folder(data_dir.into()))
    }

    /// A vault whose data is in a PostgreSQL database (15 or newer), made on first use. Any number of processes may serve it
    /// at the same time. The key-encryption keys come from `ALTER_KEK` or from [`KekSource::File`] or [`KekSource::Ring`],
    /// the same for all of them: there is no folder in which a key could be made.
    ///
    /// ```
    /// use alter_server::{KekSource, VaultConfig};
    ///
    /// let config = VaultConfig::postgres("postgres://alter:secret@db.example/alter").kek(KekSource::File("/etc/alter/kek".into()));
    /// assert!(!format!("{config:?}").contains("secret"));
    /// ```
    #[cfg(feature = "postgres")]
    pub fn postgres(url: impl Into<DatabaseUrl>) -> Self {
        Self::at(Place::Postgres(url.into()))
    }

    fn at(place: Place) -> Self {
        Self {
            place,
            kek: KekSource::Automatic,
            clock: SystemClock::shared(),
            rate_limit: DEFAULT_RATE_LIMIT,
            refresh_wait: DEFAULT_REFRESH_WAIT,
            refresh_lease: refresh::LEASE,
            refresh_observer: None,
            outbox_wait: outbox::FIRST_WAIT,
            webhook_private_networks: false,
            public_url: None,
        }
    }

    /// Where the key-encryption keys come from.
    pub fn kek(mut self, source: KekSource) -> Self {
        self.kek = source;
        self
    }

    /// Another clock, for tests.
    pub fn clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// Signed calls per minute for keys without a limit of their own or their app's; 6,000 by default.
    pub fn rate_limit_per_minute(mut self, calls: NonZeroU32) -> Self {
        self.rate_limit = calls;
        self
    }

    /// How long a call waits for a token that is being refreshed before it is answered with 409
    /// `token_refresh_in_progress`; 25 seconds by default, less than the 30 for which published clients wait. The refresh
    /// goes on without the caller.
    pub fn refresh_wait(mut self, wait: Duration) -> Self {
        self.refresh_wait = wait;
        self
    }

    /// How long another process waits before it takes over the refresh of a process that is gone; 15 seconds by default, at
    /// least 100 milliseconds. The lease is renewed at a third of it.
    pub fn refresh_lease(mut self, lease: Duration) -> Self {
        self.refresh_lease = lease.max(Duration::from_millis(100));
        self
    }

    /// Is told of each step of a refresh. For tests that stop or kill a process at one of them.
    pub fn refresh_observer(mut self, observer: RefreshObserver) -> Self {
        self.refresh_observer = Some(observer);
        self
    }

    /// How long a provider or a webhook endpoint that did not answer is left alone before it is told again, the first time: 5
    /// seconds by default. Each further wait is three times as long, up to six hours.
    pub fn outbox_wait(mut self, wait: Duration) -> Self {
        self.outbox_wait = wait;
        self
    }

    /// Whether webhooks may be sent to addresses of private networks, and through the proxy that the environment names. Off by
    /// default: whoever may register an endpoint could otherwise make the vault call what only the vault can reach.
    pub fn webhook_private_networks(mut self, allowed: bool) -> Self {
        self.webhook_private_networks = allowed;
        self
    }

    /// Where browsers reach the vault: needed for its pages (connect, sign-in, wallet), which do not exist without it.
    ///
    /// ```
    /// use alter_server::VaultConfig;
    ///
    /// let config = VaultConfig::new("/var/lib/alter").public_url("https://shop.example/vault".parse().unwrap());
    /// ```
    pub fn public_url(mut self, url: PublicUrl) -> Self {
        self.public_url = Some(url);
        self
    }
}

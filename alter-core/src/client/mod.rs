//! The client: who it is, what it shares, how it ends.

mod agent;
mod app;
mod body;
mod builder;
mod challenge;
mod connect;
mod grants;
mod identity;
mod inject;
mod metadata;
mod redact;
mod reports;
mod request;
mod response;
mod send;
mod transport;
mod url_rules;
mod user;
mod vault;

use std::{
    fmt,
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::HeaderValue;
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

pub use agent::Agent;
pub use app::App;
pub use body::{Body, BoxError};
pub use builder::{AgentBuilder, AppBuilder, Builder, CallerType};
#[cfg(feature = "terminal")]
pub use connect::Terminal;
pub use connect::{
    ConnectBuilder, ConnectEvent, ConnectHandle, ConnectProgress, ConnectSession, ConnectWait, Connected,
    HeadlessConnect, HeadlessSignIn, SignInSession, SignInWait, SignedIn,
};
pub use grants::{Grants, ListGrants, Pages, RevokeGrant};
pub use request::{Addressed, ByGrant, ByProvider, NoAddress, RequestBuilder};
pub use response::{AlterResponse, DEFAULT_BODY_LIMIT, ResponseBody};
#[cfg(feature = "reqwest")]
pub use transport::Network;
pub use user::UserClient;

use crate::{
    clock::SharedClock,
    error::Error,
    scope::ScopeKey,
    wire::{limit::RateLimit, sign::SigningKey},
};
use identity::Getter;
use reports::Reports;
use transport::{ProviderService, VaultService};

/// Whom a client speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    App,
    Agent,
}

/// What all clones of a client, and the calls and reports under way, share.
struct Shared {
    role: Role,
    /// Marked sensitive, so that no layer prints it.
    api_key: HeaderValue,
    signing_key: SigningKey,
    vault: VaultService,
    /// Scheme, authority and prefix before `/sdk/…`; empty for a vault in the same process.
    vault_prefix: String,
    provider: ProviderService,
    timeout: Duration,
    caller: Option<HeaderValue>,
    caller_type: CallerType,
    getter: Option<Getter>,
    require_user: bool,
    scope_key: ScopeKey,
    clock: SharedClock,
    reports: Reports,
    calls: TaskTracker,
    closed: AtomicBool,
    actor_id: OnceLock<String>,
    rate_limit: RwLock<Option<RateLimit>>,
    told_deprecated: AtomicBool,
}

/// Both [`App`] and [`Agent`] are this with another face.
#[derive(Clone)]
struct Client(Arc<Shared>);

impl Client {
    /// Takes part in [`close`](Self::close) until the token is dropped.
    fn enter(&self) -> Result<TaskTrackerToken, Error> {
        // The token comes first: a close that begins in between waits for it.
        let token = self.0.calls.token();
        if self.0.closed.load(Ordering::SeqCst) {
            return Err(Error::closed());
        }
        Ok(token)
    }

    async fn close(&self) {
        self.0.closed.store(true, Ordering::SeqCst);
        self.0.calls.close();
        self.0.calls.wait().await;
        self.0.reports.drain(self.0.timeout).await;
        self.deliver_cut_short().await;
    }

    fn last_rate_limit(&self) -> Option<RateLimit> {
        *self.0.rate_limit.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn actor_id(&self) -> Option<&str> {
        self.0.actor_id.get().map(String::as_str)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("role", &self.0.role)
            .field("vault", &self.0.vault_prefix)
            .field("timeout", &self.0.timeout)
            .field("caller", &self.0.caller)
            .field("require_user", &self.0.require_user)
            .field("closed", &self.0.closed)
            .finish_non_exhaustive()
    }
}

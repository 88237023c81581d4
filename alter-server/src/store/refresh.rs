//! What goes into the steps of a refresh and what comes out. Durations are relative in both directions: a lease is counted by
//! the store's own clock (the database's, where there is one), and no two machines' clocks are compared.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use secrecy::SecretString;
use uuid::Uuid;

use crate::{
    domain::{AppId, CredentialVersion, GrantId, Provider, ProviderId, RefreshFailure, TokenGeneration},
    seal::SealedField,
};

/// Signals that are kept for a receiver that is slow; beyond it the receiver is told that it missed some.
pub(super) const SIGNALS: usize = 1024;

/// Take the lease of a grant, and write the note that this generation's refresh token is about to be spent.
#[derive(Debug, Clone, Copy)]
pub struct BeginRefresh {
    /// The generation to be replaced.
    pub version: CredentialVersion,
    /// Who asks: one flight of one process. Asking again under the same name, with the same `lease`, says that no answer came to
    /// the last time, and that nothing was presented under it.
    pub owner: Uuid,
    /// How long the lease lasts unless it is renewed.
    pub lease: Duration,
    /// Ask the provider although a pause is on. For operators; nobody else.
    pub despite_backoff: bool,
}

/// What came of it.
#[derive(Debug)]
pub enum Begun {
    /// The lease is ours, and the note is durable: the store can be written, and a crash from here on will be recognised.
    Taken(Box<RefreshLease>),
    /// The grant has a newer generation: read it again.
    Moved,
    /// Somebody else is at it.
    Held {
        /// Rest of that lease, unless it is renewed.
        remaining: Duration,
    },
    /// The provider is being left alone. Nothing was written.
    Pause {
        /// For so long.
        remaining: Duration,
        /// Because of this.
        failure: RefreshFailure,
    },
    /// It cannot be refreshed: latched as dead, revoked, no refresh token, or the provider's settings lack something.
    Impossible(RefreshFailure),
}

/// A lease on the refresh of one generation of one grant.
#[derive(Debug)]
pub struct RefreshLease {
    /// What it is for.
    pub version: CredentialVersion,
    /// Whose it is.
    pub owner: Uuid,
    /// Grows with each taking of this grant's lease; what an older holder writes is refused.
    pub fence: u64,
    /// Whom to ask.
    pub provider: Arc<Provider>,
    /// The app's secret there.
    pub client_secret: Option<SealedField>,
    /// What to present.
    pub refresh_token: SealedField,
    /// Scopes that the grant has.
    pub scopes: Vec<String>,
    /// The last refresh of this grant replaced its refresh token.
    pub seen_rotating: bool,
    /// An earlier holder wrote the note for the same generation so long ago, and how that ended is not known.
    pub unresolved_since: Option<Duration>,
}

/// Which lease: for its holder's further steps.
#[derive(Debug, Clone, Copy)]
pub struct LeaseRef {
    /// What it is for.
    pub version: CredentialVersion,
    /// Whose it is.
    pub owner: Uuid,
    /// Its number.
    pub fence: u64,
}

impl RefreshLease {
    /// Names this lease.
    #[must_use]
    pub const fn name(&self) -> LeaseRef {
        LeaseRef { version: self.version, owner: self.owner, fence: self.fence }
    }
}

/// Ends a refresh.
#[derive(Debug)]
pub struct FinishRefresh {
    /// The lease under which it ran.
    pub lease: LeaseRef,
    /// When, UTC, for the audit row.
    pub at: Timestamp,
    /// How.
    pub end: RefreshEnd,
}

/// How a refresh ended.
#[derive(Debug, Clone)]
pub enum RefreshEnd {
    /// The provider gave new tokens.
    Renewed(Box<FreshTokens>),
    /// No tokens, and it may go better later.
    Failed {
        /// Why.
        failure: RefreshFailure,
        /// What the provider asked us to wait.
        retry_after: Option<Duration>,
        /// Whether the refresh token was spent is not known: the note stays.
        unresolved: bool,
    },
    /// No tokens, ever: a person must connect again. Latched.
    Dead {
        /// Why.
        failure: RefreshFailure,
    },
}

/// What a provider gave.
#[derive(Debug, Clone)]
pub struct FreshTokens {
    /// The access token. The store seals it.
    pub access_token: SecretString,
    /// The next refresh token; `None` keeps the present one. The store seals it.
    pub refresh_token: Option<SecretString>,
    /// When the access token stops working, UTC.
    pub expires_at: Option<Timestamp>,
    /// When it was obtained, UTC.
    pub obtained_at: Timestamp,
    /// Scopes, if the answer named them.
    pub scopes: Option<Vec<String>>,
    /// The new version as the wire will name it.
    pub token_generation: TokenGeneration,
    /// The answer brought another refresh token than the one presented.
    pub rotated: bool,
}

/// What came of ending it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finished {
    /// It is written, under this generation.
    Written {
        /// The grant's generation now.
        generation: u64,
    },
    /// Refused: another holder has the lease, or the grant has moved on or ended. Nothing was written, but that fresh tokens of
    /// a grant that ended are to die at the provider too ([`crate::domain::Task::RevokeAtProvider`]).
    Overtaken,
}

/// A released access token is at its end and must be replaced first. Nothing was written; repeat the call with the same nonce
/// once the refresh has ended.
#[derive(Debug, Clone)]
pub struct NotFresh {
    /// Which.
    pub version: CredentialVersion,
    /// At whom.
    pub provider: ProviderId,
    /// Until when the present token can be handed out as a last resort; `None` if it cannot.
    pub usable_until: Option<Timestamp>,
}

/// Tokens that were obtained and could not be written yet: its holder hands them out under a row of their own meanwhile.
#[derive(Debug, Clone, Copy)]
pub struct Unsaved {
    /// The generation that they replace.
    pub replaces: CredentialVersion,
    /// The new version as the wire will name it.
    pub token_generation: TokenGeneration,
    /// When the access token stops working, UTC.
    pub expires_at: Option<Timestamp>,
}

/// Grants whose refresh token must be used before it dies.
#[derive(Debug, Clone)]
pub struct IdleQuery {
    /// The app.
    pub app_id: AppId,
    /// The provider.
    pub provider: ProviderId,
    /// Obtained before this moment, UTC.
    pub before: Timestamp,
    /// At most so many, oldest first.
    pub limit: u32,
}

/// A refresh of this grant ended, in whichever process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshSignal {
    /// Which.
    pub grant_id: GrantId,
}

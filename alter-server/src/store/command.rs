//! What goes into a unit of work and what comes out.

use std::{fmt, sync::Arc};

use alter_core::wire::code::Code;
use jiff::Timestamp;

use crate::{
    audit::{Action, CallReport, clean_url},
    domain::{
        ActorId, Address, Admission, AppId, AppStatus, AuditId, CredentialVersion, Destination, Grant,
        GrantFilter, GrantId, GrantKind, Identity, KeyId, Principal, Provider, ProviderId, Refusal, SecretId,
        TokenGeneration, UserId,
    },
    seal::SealedField,
    store::refresh::{NotFresh, Unsaved},
};

/// How a signed call ended in the store.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub enum Outcome<T> {
    /// Done, and its row is durable.
    Done(T),
    /// Refused, and the row that says so is durable.
    Refused(Box<Refusal>),
    /// The app's configuration has moved on: load it again and repeat the call with the same nonce. Nothing was written.
    Stale,
}

/// What the client says it will do with the credential (spec/01 §5). `Debug` shows the URL as the trail keeps it.
#[derive(Clone)]
pub struct RequestFacts {
    /// Upper-case method.
    pub method: String,
    /// URL as sent; it is cleaned before it is kept.
    pub url: String,
    /// The URL read as a destination; `None` if it cannot be, and then the call is refused with `blocked_destination`.
    pub destination: Option<Destination>,
}

impl fmt::Debug for RequestFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestFacts")
            .field("method", &self.method)
            .field("url", &clean_url(&self.url))
            .field("destination", &self.destination)
            .finish()
    }
}

impl RequestFacts {
    /// Reads what the client sent.
    #[must_use]
    pub fn new(method: &str, url: &str) -> Self {
        Self {
            method: method.to_ascii_uppercase(),
            url: url.to_owned(),
            destination: Destination::parse(url).ok(),
        }
    }
}

/// `POST /sdk/token`.
#[derive(Debug, Clone)]
pub struct ReleaseCommand {
    /// The admitted call.
    pub admission: Admission,
    /// Which grant.
    pub address: Address,
    /// Whom for, if a user token came along.
    pub user: Option<Identity>,
    /// What for.
    pub request: RequestFacts,
    /// Why, in the caller's words.
    pub reason: Option<String>,
    /// A refresh was tried and is not possible at the moment: hand out the present token as long as it has not expired.
    pub last_resort: bool,
    /// Tokens of the grant that the caller of this method holds because they could not be written yet. If they still replace
    /// what is kept, they count as the grant's credential.
    pub unsaved: Option<Unsaved>,
}

/// What `POST /sdk/token` comes to once the call is admitted and its grant found.
#[derive(Debug, Clone)]
pub enum Released {
    /// A credential, and its audit row is durable.
    Credential(Box<Release>),
    /// The access token is at its end: refresh it, then repeat the call with the same nonce. Nothing was written.
    NotFresh(Box<NotFresh>),
}

/// A credential that may be handed out: its audit row is durable.
#[derive(Debug, Clone)]
pub struct Release {
    /// The grant.
    pub grant_id: GrantId,
    /// Its kind.
    pub kind: GrantKind,
    /// Whom it belongs to.
    pub principal: Principal,
    /// End of the grant's lifetime, UTC.
    pub grant_expires_at: Option<Timestamp>,
    /// A report said that the provider wants more scopes than granted.
    pub scope_mismatch: bool,
    /// How to inject it.
    pub provider: Arc<Provider>,
    /// The credential; open it with [`crate::seal::Envelope::open`].
    pub credential: ReleasedCredential,
    /// The user the call was made for.
    pub app_user_id: Option<UserId>,
    /// Who called, for `X-Alter-Actor-ID`.
    pub actor_id: Option<ActorId>,
    /// The row.
    pub audit_id: AuditId,
    /// The key is deprecated: answer `X-Alter-Key-Deprecated: true`.
    pub key_deprecated: bool,
    /// It is time to fetch the next token of this version, in the background.
    pub refresh_due: Option<CredentialVersion>,
}

/// The sealed credential of a release.
#[derive(Debug, Clone)]
pub enum ReleasedCredential {
    /// An access token: the opened bytes are its text.
    OAuth {
        /// The token.
        access_token: SealedField,
        /// When it stops working, UTC.
        expires_at: Option<Timestamp>,
        /// Scopes that the provider granted.
        scopes: Vec<String>,
        /// Its version.
        token_generation: TokenGeneration,
    },
    /// The access token that came along as [`ReleaseCommand::unsaved`].
    Unsaved {
        /// Scopes that the grant has.
        scopes: Vec<String>,
    },
    /// A managed secret: the opened bytes are a [`crate::domain::SecretMaterial`].
    ManagedSecret {
        /// The secret.
        secret_id: SecretId,
        /// Its material.
        material: SealedField,
    },
}

impl ReleasedCredential {
    /// The same grant's credential, as the caller of the store holds it.
    pub(super) fn unsaved(self) -> Self {
        match self {
            Self::OAuth { scopes, .. } => Self::Unsaved { scopes },
            other => other,
        }
    }
}

/// A client's report of its call to the provider.
#[derive(Debug, Clone)]
pub struct ReportCommand {
    /// The admitted call.
    pub admission: Admission,
    /// The grant it used.
    pub grant_id: GrantId,
    /// What it says.
    pub report: CallReport,
}

/// A client's report that the provider wants more scopes.
#[derive(Debug, Clone)]
pub struct ScopeMismatchCommand {
    /// The admitted call.
    pub admission: Admission,
    /// The grant.
    pub grant_id: GrantId,
    /// What else the report says, as JSON text of at most 4,096 bytes.
    pub detail: Option<String>,
}

/// List grants.
#[derive(Debug, Clone)]
pub struct ListCommand {
    /// The admitted call.
    pub admission: Admission,
    /// Only this user's, if a user token came along.
    pub user: Option<Identity>,
    /// Which.
    pub filter: GrantFilter,
    /// 1 to 1,000.
    pub limit: u32,
    /// How many to leave out.
    pub offset: u64,
}

/// Revoke a grant.
#[derive(Debug, Clone)]
pub struct RevokeCommand {
    /// The admitted call.
    pub admission: Admission,
    /// Which.
    pub grant_id: GrantId,
    /// Only if it belongs to this user, if a user token came along.
    pub user: Option<Identity>,
    /// Why, in the caller's words.
    pub reason: Option<String>,
}

/// A grant is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revoked {
    /// Which.
    pub grant_id: GrantId,
    /// When it was revoked, UTC; the first time counts.
    pub revoked_at: Timestamp,
}

/// A call that only needs its row.
#[derive(Debug, Clone)]
pub struct AdmittedNote {
    /// The admitted call.
    pub admission: Admission,
    /// What it was.
    pub action: Action,
    /// Whom for; the user is created if not known.
    pub user: Option<Identity>,
    /// `None` if it was allowed, else why it was refused (the answer is then still [`Outcome::Done`]).
    pub code: Option<Code>,
    /// Which grant of which provider it was about, if that was found out.
    pub grant: Option<(GrantId, ProviderId)>,
    /// What else there is to say.
    pub detail: Option<String>,
}

/// A call that was refused before it could be admitted.
#[derive(Debug, Clone)]
pub struct RefusedCall {
    /// The app, if the key is known; else the row goes to the vault's own chain.
    pub app_id: Option<AppId>,
    /// The key, if known.
    pub key_id: Option<KeyId>,
    /// First characters of the key that was sent (at most 16), if it looked like one.
    pub key_prefix: Option<String>,
    /// When, UTC.
    pub at: Timestamp,
    /// Why.
    pub code: Code,
    /// Method and path of the call itself, without the query.
    pub detail: Option<String>,
    /// Who the caller said it was.
    pub caller: Option<String>,
    /// `X-Request-ID`.
    pub request_id: uuid::Uuid,
    /// Address of the peer.
    pub remote: Option<String>,
}

/// What to change of an app; `None` leaves it.
#[derive(Debug, Clone, Default)]
pub struct AppPatch {
    /// Another name.
    pub name: Option<String>,
    /// Suspend or resume.
    pub status: Option<AppStatus>,
    /// Signed calls per minute and key; `Some(None)` takes the vault's default.
    pub rate_limit_per_minute: Option<Option<u32>>,
}

/// What to change of a key; `None` leaves it.
#[derive(Debug, Clone, Default)]
pub struct KeyPatch {
    /// Deprecate or undeprecate.
    pub deprecated: Option<bool>,
    /// Another expiry, UTC; `Some(None)` takes it away.
    pub expires_at: Option<Option<Timestamp>>,
}

/// Tokens were moved in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedGrant {
    /// The grant.
    pub grant: Grant,
    /// It is new; otherwise its credential was replaced.
    pub created: bool,
}

/// Whose chains to verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditVerifyScope {
    /// One app's.
    App(AppId),
    /// Everything, the vault's own chain included.
    Everything,
}

/// Progress of a re-sealing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resealed {
    /// How many values were looked at.
    pub seen: u64,
    /// How many were wrapped anew.
    pub changed: u64,
    /// Where to continue; `None` at the end.
    pub next: Option<String>,
}

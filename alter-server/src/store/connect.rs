//! What the store does for connect sessions, sign-in, the wallet, and for users as such.

use alter_core::wire::code::Code;
use jiff::Timestamp;
use secrecy::SecretString;

use super::{Answer, Outcome, Revoked};
use crate::{
    audit::Action,
    domain::{
        Admission, AppConfig, AppId, Asked, BrowserSession, ConnectSession, ConnectedGrant, Grant,
        GrantFilter, GrantId, GrantPage, HookShape, HookSource, Identity, NewBrowserSession, NewHookSource,
        Operator, PageSettings, Principal, Progress, ProviderId, Refusal, SessionId, SessionKind, SessionRef,
        SignInSettings, TokenDigest, User, UserId, UserRef, UserStatus, WebhookId,
    },
    seal::SealedField,
};

/// A session that an app asks for.
#[derive(Debug, Clone)]
pub struct CreateSession {
    /// The admitted call.
    pub admission: Admission,
    /// Identifier.
    pub id: SessionId,
    /// What for.
    pub kind: SessionKind,
    /// Digest of its token's secret half.
    pub token: TokenDigest,
    /// For whom, if a user's token came along: known from then on, and put into [`Asked::user`] by the store.
    pub user: Option<Identity>,
    /// What is asked for, checked but for what only the store knows: that the providers are the app's OAuth providers
    /// (else [`Code::InvalidRequest`]), and that the grant to repair is an OAuth grant of this app that is not ended,
    /// of the one provider, and the user's (without a user the key's agent's, or else the app's own), else
    /// [`Code::GrantNotFound`]. Its provider becomes the only one that is asked for.
    pub asked: Asked,
    /// UTC.
    pub expires_at: Timestamp,
}

/// An app asks how a session is.
#[derive(Debug, Clone)]
pub struct PollSession {
    /// The admitted call.
    pub admission: Admission,
    /// Which, as the token says; `None` if the text was no token of ours.
    pub session: Option<SessionRef>,
    /// Digest of the token's secret half.
    pub token: TokenDigest,
    /// What for.
    pub kind: SessionKind,
}

/// Who does something in a browser, for the trail.
#[derive(Debug, Clone)]
pub struct Browser {
    /// When, UTC.
    pub at: Timestamp,
    /// The user, as far as the browser has proved it.
    pub user: Option<UserId>,
    /// `X-Request-ID` of the answer.
    pub request_id: uuid::Uuid,
    /// Address of the peer.
    pub remote: Option<String>,
}

/// A row about something that happened in a browser.
#[derive(Debug, Clone)]
pub struct BrowserNote {
    /// Who.
    pub browser: Browser,
    /// The app; [`AppId::VAULT`] when none is known.
    pub app_id: AppId,
    /// What.
    pub action: Action,
    /// Why it was refused; `None` if it was allowed.
    pub code: Option<Code>,
    /// The provider, if one is concerned.
    pub provider: Option<ProviderId>,
    /// Which session, and what else there is to say. No secret.
    pub detail: Option<String>,
}

/// The next state of a session.
#[derive(Debug)]
pub struct AdvanceSession {
    /// Which.
    pub session: SessionRef,
    /// The version that `progress` was made from.
    pub version: u64,
    /// What is kept from now on. Of a connection the store adds the grant itself ([`Progress::grants`]).
    pub progress: Progress,
    /// A connection that came about.
    pub connection: Option<NewConnection>,
    /// The user's token that a sign-in ended with. The store seals it.
    pub user_token: Option<SecretString>,
    /// The row. The store adds what it knows of the grant.
    pub note: BrowserNote,
}

/// A provider has given tokens for an account.
#[derive(Debug)]
pub struct NewConnection {
    /// The provider.
    pub provider: ProviderId,
    /// [`AppConfig::generation`] that the provider's definition was read with: an older one is [`Advanced::Moved`].
    pub config_generation: u64,
    /// Whose grant it will be.
    pub principal: Principal,
    /// Give this grant the credential; it must still be the principal's, active and of this provider. Otherwise the
    /// principal's active grant on the same account gets it, or a new one is made.
    pub repair: Option<GrantId>,
    /// The account's stable id at the provider.
    pub account_id: Option<String>,
    /// The account as people name it.
    pub account_identifier: Option<String>,
    /// The account for people.
    pub account_display_name: Option<String>,
    /// Label of a new grant.
    pub label: Option<String>,
    /// The access token. The store seals it.
    pub access_token: SecretString,
    /// The refresh token; without one, an existing grant keeps the one it has. The store seals it.
    pub refresh_token: Option<SecretString>,
    /// When the access token stops working, UTC.
    pub token_expires_at: Option<Timestamp>,
    /// Scopes that the provider granted.
    pub scopes: Vec<String>,
    /// End of the grant's lifetime, UTC. An existing grant gets this one.
    pub grant_expires_at: Option<Timestamp>,
}

/// How [`Connections::advance_session`] ended.
#[derive(Debug)]
pub enum Advanced {
    /// Kept.
    Done(Box<ConnectSession>),
    /// Somebody else was faster, or the app's configuration moved on: load again and decide anew. Nothing was written.
    Moved,
    /// The connection cannot be made; nothing was changed, and the row says so: another account than that of the grant to
    /// repair (`account_mismatch`), a grant to repair that has ended ([`Code::GrantNotFound`]), a label that is taken
    /// ([`Code::SiblingLabelConflict`]), a user that is suspended or deleted, a provider that is gone.
    Refused(Box<Refusal>),
}

/// A user takes back a grant.
#[derive(Debug, Clone)]
pub struct RevokeAsUser {
    /// Who; [`Browser::user`] must be set, and the grant must be that user's.
    pub browser: Browser,
    /// The app.
    pub app_id: AppId,
    /// Which.
    pub grant_id: GrantId,
}

/// What became of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedUser {
    /// The user as it is now.
    pub user: User,
    /// Grants that ended by this.
    pub revoked: Vec<GrantId>,
}

/// A checked message of an identity provider.
#[derive(Debug, Clone)]
pub struct HookMessage {
    /// The app.
    pub app_id: AppId,
    /// Who said it.
    pub source: WebhookId,
    /// How it looks.
    pub shape: HookShape,
    /// The message's own id, digested: each counts once for as long as its timestamp is accepted.
    pub message: TokenDigest,
    /// When it was signed, Unix seconds.
    pub timestamp: i64,
    /// When it came, UTC.
    pub at: Timestamp,
    /// What it says of which users; empty if nothing that concerns us.
    pub changes: Vec<(UserRef, UserStatus)>,
    /// Address of the peer.
    pub remote: Option<String>,
}

/// How a message was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// It counts.
    Done(Vec<ChangedUser>),
    /// It was heard before; nothing happened.
    Replayed,
}

/// Connect sessions, the wallet's browsers, users; a part of [`super::Store`], by the same rules.
pub trait Connections {
    // ---- Sessions ---------------------------------------------------------------------------------------------------

    /// Admits the call and keeps the session.
    fn create_session(&self, command: CreateSession) -> Answer<'_, Outcome<ConnectSession>>;

    /// Admits the call and reads the session; `None` if there is none of this app and kind with this token. A row is written
    /// when the session has ended, since a sign-in then hands out a token.
    fn poll_session(&self, command: PollSession) -> Answer<'_, Outcome<Option<ConnectSession>>>;

    /// A session, whatever its state.
    fn session(&self, session: SessionRef) -> Answer<'_, Option<ConnectSession>>;

    /// Replaces a session's progress if it is still the one that was read, together with the grant and the row.
    fn advance_session(&self, advance: AdvanceSession) -> Answer<'_, Advanced>;

    /// Writes a row about something that happened in a browser and changed nothing.
    fn note_browser(&self, note: BrowserNote) -> Answer<'_, ()>;

    /// A principal's grants, newest first.
    fn grants_of(
        &self,
        app_id: AppId,
        principal: Principal,
        filter: GrantFilter,
        limit: u32,
        offset: u64,
    ) -> Answer<'_, GrantPage>;

    /// Removes up to `limit` sessions and browser sessions that ended before `before`. Answers how many.
    fn sweep_sessions(&self, before: Timestamp, limit: u32) -> Answer<'_, u64>;

    // ---- The wallet -------------------------------------------------------------------------------------------------

    /// Keeps a browser in which somebody signed in. `Invalid` if the user is suspended or deleted.
    fn open_browser_session(&self, browser: Browser, new: NewBrowserSession) -> Answer<'_, BrowserSession>;

    /// A browser session that has neither ended nor been unused for `idle_seconds` at `now`, and whose user is active;
    /// notes its use.
    fn browser_session(
        &self,
        session: SessionRef,
        now: Timestamp,
        idle_seconds: u32,
    ) -> Answer<'_, Option<BrowserSession>>;

    /// Ends a browser session; again is no error.
    fn close_browser_session(&self, browser: Browser, session: SessionRef) -> Answer<'_, ()>;

    /// The same person in every app: users with this issuer and subject.
    fn same_person(&self, issuer: String, subject: String) -> Answer<'_, Vec<User>>;

    /// Revokes a grant as its user. `NotFound` if it is not that user's; again is no error.
    fn revoke_as_user(&self, revoke: RevokeAsUser) -> Answer<'_, Revoked>;

    // ---- Users ------------------------------------------------------------------------------------------------------

    /// Suspends, deletes or reactivates a user. Suspending and deleting revoke each grant of the user in the same unit of
    /// work; a deleted user stays deleted (`Conflict`). [`UserRef::Id`] of nobody is `NotFound`.
    fn set_user_status(
        &self,
        by: Operator,
        app_id: AppId,
        user: UserRef,
        status: UserStatus,
        reason: Option<String>,
    ) -> Answer<'_, ChangedUser>;

    /// Takes a checked message of an identity provider, once. Writes a row, also for one that changes nothing.
    fn hear(&self, message: HookMessage) -> Answer<'_, Heard>;

    /// Adds somebody who tells of users.
    fn add_hook_source(&self, by: Operator, new: NewHookSource) -> Answer<'_, HookSource>;

    /// A source with its secret.
    fn hook_source(&self, app_id: AppId, id: WebhookId) -> Answer<'_, Option<(HookSource, SealedField)>>;

    /// The app's sources, oldest first.
    fn list_hook_sources(&self, app_id: AppId) -> Answer<'_, Vec<HookSource>>;

    /// Removes a source.
    fn remove_hook_source(&self, by: Operator, app_id: AppId, id: WebhookId) -> Answer<'_, ()>;

    // ---- Pages and sign-in ------------------------------------------------------------------------------------------

    /// Sets how the app appears.
    fn set_page(&self, by: Operator, app_id: AppId, page: PageSettings) -> Answer<'_, AppConfig>;

    /// Sets (or with `None` removes) how users sign in; a secret of `None` keeps the one that is there.
    fn set_sign_in(
        &self,
        by: Operator,
        app_id: AppId,
        sign_in: Option<SignInSettings>,
        secret: Option<SecretString>,
    ) -> Answer<'_, AppConfig>;

    /// The app's client secret at its identity provider.
    fn sign_in_secret(&self, app_id: AppId) -> Answer<'_, Option<SealedField>>;
}

impl ConnectedGrant {
    /// What a session says of a grant that was just made (`created`) or renewed.
    pub(super) fn of(grant: &Grant, created: bool, at: Timestamp) -> Self {
        Self {
            grant_id: grant.facts.id,
            provider: grant.facts.provider.clone(),
            operation: if created {
                crate::domain::Operation::Creation
            } else {
                crate::domain::Operation::Reauth
            },
            scopes: grant.scopes.clone(),
            account_identifier: grant.facts.account_identifier.clone(),
            grant_expires_at: grant.facts.grant_expires_at,
            at,
        }
    }
}

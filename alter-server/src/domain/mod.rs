//! The vault's nouns: apps, keys, agents, users, providers, managed secrets, grants, and what a signed call brings along.
//!
//! Plain data without behaviour that needs a database. Whatever is decided about them is a pure function in
//! `crate::resolve`; whatever is kept of them is behind [`crate::store::Store`].

mod account;
mod admission;
mod agent;
mod app;
mod connect;
mod event;
mod grant;
mod id;
mod key;
mod oauth_settings;
mod page;
mod provider;
mod refresh;
mod refusal;
mod secret;
mod user;

pub use account::{AccountFacts, AccountSource, UserinfoRequest};
pub use admission::{Actor, Admission, CallerType, Nonce, Operator};
pub use agent::{Agent, AgentStatus, NewAgent};
pub use app::{App, AppConfig, AppStatus, ClaimMapping, IdpConfig};
pub use connect::{
    Asked, ConnectSession, ConnectedGrant, DeclinedProvider, FailedGrant, InvalidDigest, InvalidSessionRef,
    Leaving, Operation, Progress, Proof, SessionEnd, SessionKind, SessionRef, SessionUser, TokenDigest,
};
pub use event::{
    DeadJob, GrantEvent, HookShape, HookSource, InvalidShape, Job, NewHookSource, NewWebhook, Task,
    WebhookEndpoint,
};
pub use grant::{
    Address, Candidate, Grant, GrantFacts, GrantFilter, GrantKind, GrantPage, GrantStatus, ImportGrant,
    ImportOwner, NewGrant, Principal,
};
pub use id::{
    ActorId, AgentId, AppId, AuditId, GrantId, InvalidId, JobId, KeyId, RunId, SecretId, SessionId,
    TokenGeneration, UserId, WebhookId,
};
pub use key::{ApiKey, KeyDigest, KeyKind, KeyMaterial, KeyStatus, NewKey, Scope};
pub use oauth_settings::{OAuthSettings, Pkce, Revocation, RevocationForm, RevokedToken, ScopeSeparator};
pub use page::{BrowserSession, NewBrowserSession, PageSettings, SignInSettings, UserTokenKind};
pub use provider::{
    AdditionalInjection, Destination, HostPattern, Injection, InjectionTarget, InvalidProvider, Provider,
    ProviderId, ProviderKind, PutProvider, Refreshing, ValueSource,
};
pub(crate) use provider::{endpoint_url, is_credential_name};
pub(crate) use refresh::RESERVED_MEMBERS;
pub use refresh::{
    ClientAuth, CredentialVersion, DEFAULT_MARGIN_SECONDS, FailureCode, GrantHealth, RefreshFailure,
    RefreshSettings, Rotation,
};
pub use refusal::Refusal;
pub use secret::{ManagedSecret, NewSecret, SecretMaterial};
pub use user::{Identity, User, UserRef, UserStatus};

//! Decisions: pure functions from what was asked and what is there to what happens. Every store uses them, none has its own.

mod backoff;
mod connection;
mod freshness;
mod recovery;
#[cfg(test)]
mod tests;
mod usable;

use std::collections::BTreeSet;

pub use backoff::{LONGEST_PAUSE, backoff};
pub use connection::{ConnectionTarget, Sibling, admit_user, decide_connection, decide_repair, may_advance};
pub use freshness::{FLOOR_SECONDS, Freshness, TokenTimes, freshness};
pub use recovery::{Recovery, recovery};
pub use usable::{KeptCredential, Usable, decide_usable};

use alter_core::wire::code::Code;
use jiff::Timestamp;

use crate::domain::{
    Admission, AgentId, AgentStatus, AppStatus, Candidate, GrantFacts, GrantStatus, KeyKind, KeyStatus,
    Principal, Provider, ProviderId, Refusal, Scope, UserId,
};
use crate::store::RequestFacts;

/// What a store reads of a key at the start of each unit of work.
#[derive(Debug, Clone)]
pub struct KeyState {
    /// Whose key it is.
    pub kind: KeyKind,
    /// State of the key.
    pub status: KeyStatus,
    /// Refused from this moment on.
    pub expires_at: Option<Timestamp>,
    /// What it may do.
    pub scopes: ScopeSet,
    /// State of its app.
    pub app_status: AppStatus,
    /// The app's present configuration.
    pub config_generation: u64,
    /// State of the key's agent; `None` for an app key.
    pub agent_status: Option<AgentStatus>,
}

/// A set of scopes in one number: bit n is `Scope::ALL[n]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScopeSet(pub u32);

impl ScopeSet {
    /// The set of these scopes.
    #[must_use]
    pub fn of(scopes: &[Scope]) -> Self {
        Self(scopes.iter().fold(0, |bits, scope| bits | 1 << (*scope as u32)))
    }

    /// Whether `scope` is in it.
    #[must_use]
    pub const fn contains(self, scope: Scope) -> bool {
        self.0 & (1 << (scope as u32)) != 0
    }

    /// Its scopes.
    #[must_use]
    pub fn to_vec(self) -> Vec<Scope> {
        Scope::ALL.into_iter().filter(|scope| self.contains(*scope)).collect()
    }
}

/// Who is calling, once admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// Whose key it is: this decides what can be reached.
    pub kind: KeyKind,
    /// The agent an app key says it acts for: this is only written down (spec/01 §3.1).
    pub asserted: Option<AgentId>,
    /// The key is deprecated.
    pub key_deprecated: bool,
}

impl Caller {
    /// The agent to attribute the call to.
    #[must_use]
    pub fn agent(&self) -> Option<AgentId> {
        self.kind.agent().or(self.asserted)
    }
}

/// Why a call is not admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotAdmitted {
    /// Refused for good.
    Refused(Box<Refusal>),
    /// Prepared with another generation of the app's configuration.
    Stale,
}

impl From<Box<Refusal>> for NotAdmitted {
    fn from(refusal: Box<Refusal>) -> Self {
        Self::Refused(refusal)
    }
}

/// First half of admission, before the nonce is used up: is the key good for anything at this moment? (spec/02 rows 401-b to 401-g)
///
/// # Errors
///
/// The refusal, or [`NotAdmitted::Stale`].
pub fn admit_key(state: Option<&KeyState>, admission: &Admission) -> Result<(), NotAdmitted> {
    let refuse = |code, text: &str| Err(Refusal::new(code, text).into());
    let Some(state) = state else {
        return refuse(Code::InvalidKey, "no such key: issue a new one");
    };
    if state.status == KeyStatus::Revoked {
        return refuse(Code::KeyRevoked, "this key was revoked: issue a fresh one");
    }
    if state.expires_at.is_some_and(|end| end <= admission.at) {
        return refuse(Code::KeyExpired, "this key has expired: issue a fresh one");
    }
    if state.app_status == AppStatus::Suspended {
        return refuse(
            Code::KeyNotActive,
            "this key's application is suspended: ask the operator to resume it",
        );
    }
    match state.agent_status {
        Some(AgentStatus::Revoked) => {
            return refuse(
                Code::AgentRevoked,
                "this key's agent was revoked: create an agent and issue a key",
            );
        }
        // A paused agent may still say how the calls ended that it had begun.
        Some(AgentStatus::Inactive) if admission.scope != Scope::AuditEmit => {
            return refuse(Code::AgentInactive, "this key's agent is paused: ask the operator to resume it");
        }
        _ => {}
    }
    if state.config_generation == admission.config_generation { Ok(()) } else { Err(NotAdmitted::Stale) }
}

/// Second half, after the nonce: may this key do that, and may it call itself so?
///
/// `asserted` is the state of the agent that an app key's caller header names ([`crate::domain::Actor::asserted_agent`]), `None`
/// if the app has no such agent.
///
/// # Errors
///
/// The refusal.
pub fn admit_caller(
    state: &KeyState,
    admission: &Admission,
    asserted: Option<AgentStatus>,
) -> Result<Caller, Box<Refusal>> {
    if !state.scopes.contains(admission.scope) {
        let text = format!("this key lacks the scope {}", admission.scope);
        let mut refusal = Refusal::new(Code::InsufficientScope, text);
        refusal.required = Some(admission.scope);
        refusal.granted = state.scopes.to_vec();
        return Err(refusal);
    }
    let named = admission.actor.asserted_agent();
    let asserted = match (state.kind, named) {
        (KeyKind::Agent(own), Some(named)) if own != named => {
            return Err(Refusal::new(
                Code::CallerAgentMismatch,
                "the caller names another agent than the one this key belongs to",
            ));
        }
        (KeyKind::App, Some(named)) => {
            if asserted != Some(AgentStatus::Active) {
                return Err(Refusal::new(
                    Code::CallerAgentUnresolved,
                    "the caller is a UUID but not that of an active agent of this application",
                ));
            }
            Some(named)
        }
        _ => None,
    };
    Ok(Caller { kind: state.kind, asserted, key_deprecated: state.status == KeyStatus::Deprecated })
}

/// The user a call is made for.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The user.
    pub id: UserId,
    /// External ids of the groups that the user's JWT names.
    pub groups: &'a [String],
}

/// Whose grants at a provider may answer a call, from [`search`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// The provider.
    pub provider: ProviderId,
    /// Any of these principals.
    pub principals: Vec<Principal>,
    /// Exactly this account.
    pub account: Option<String>,
    /// Exactly this label.
    pub label: Option<String>,
    agent_id: Option<AgentId>,
    app_user_id: Option<UserId>,
    agent_key: bool,
}

impl Search {
    /// The user it is for, if it is for one.
    #[must_use]
    pub const fn app_user_id(&self) -> Option<UserId> {
        self.app_user_id
    }

    fn refuse(&self, code: Code, text: &str) -> Box<Refusal> {
        let mut refusal = Refusal::new(code, text);
        refusal.provider = Some(self.provider.clone());
        refusal.agent_id = self.agent_id;
        refusal.app_user_id = self.app_user_id;
        refusal
    }

    fn nothing(&self) -> Box<Refusal> {
        if self.agent_key {
            return self.refuse(Code::NoDelegatedGrant, "this agent has no grant for that provider");
        }
        self.refuse(Code::GrantNotFound, "there is no grant for that provider")
    }
}

/// Whose grants to look for when a call is addressed by provider.
///
/// | key | user token | looked for |
/// |---|---|---|
/// | app | yes | that user's and the user's groups' |
/// | app | no, but `app_user_id` | that user's |
/// | app | no | the app's own (system) |
/// | agent | either | that agent's own |
///
/// # Errors
///
/// Refused at once when nothing can match: a provider id that is none, an `app_user_id` that is another user than the token's
/// or no user id at all, or one sent by an agent (which reaches no user's grants).
pub fn search(
    caller: &Caller,
    provider: &str,
    account: Option<&str>,
    label: Option<&str>,
    app_user_id: Option<&str>,
    subject: Option<Subject<'_>>,
) -> Result<Search, Box<Refusal>> {
    let agent_key = caller.kind.agent();
    let Ok(provider) = provider.parse::<ProviderId>() else {
        let code = if agent_key.is_some() { Code::NoDelegatedGrant } else { Code::GrantNotFound };
        return Err(Refusal::new(code, "there is no grant for that provider"));
    };
    let named_user = app_user_id.map(str::parse::<UserId>);
    let mut search = Search {
        provider,
        principals: Vec::new(),
        account: account.map(str::to_owned),
        label: label.map(str::to_owned),
        agent_id: caller.agent(),
        app_user_id: subject.map(|subject| subject.id),
        agent_key: agent_key.is_some(),
    };
    if let Some(agent) = agent_key {
        if named_user.is_some() {
            return Err(search.nothing());
        }
        search.principals.push(Principal::Agent(agent));
        return Ok(search);
    }
    match (subject, named_user) {
        (Some(subject), None) => search.principals = owned_by(subject),
        (Some(subject), Some(named)) => {
            if named != Ok(subject.id) {
                return Err(search.nothing());
            }
            search.principals = owned_by(subject);
        }
        (None, Some(named)) => {
            let Ok(named) = named else { return Err(search.nothing()) };
            search.app_user_id = Some(named);
            search.principals.push(Principal::User(named));
        }
        (None, None) => search.principals.push(Principal::System),
    }
    Ok(search)
}

fn owned_by(subject: Subject<'_>) -> Vec<Principal> {
    // Each once: a group that a token names twice must not make its one grant look like two.
    let groups: BTreeSet<_> = subject.groups.iter().collect();
    let groups = groups.into_iter().cloned().map(Principal::Group);
    std::iter::once(Principal::User(subject.id)).chain(groups).collect()
}

/// Picks the one grant that a search means; answers its place in `grants`.
///
/// A store may ask first with the active grants only and, when the answer is a refusal other than `ambiguous_grant`, again with
/// all: active grants alone decide whether there is a match.
///
/// # Errors
///
/// `ambiguous_grant`; `grant_expired` or `grant_revoked` when nothing but such a grant matches (the first in `grants`, so give
/// the newest first); otherwise `grant_not_found` or, for an agent, `no_delegated_grant`.
pub fn decide(search: &Search, grants: &[GrantFacts], at: Timestamp) -> Result<usize, Box<Refusal>> {
    let matching = || grants.iter().enumerate().filter(|(_, grant)| matches(search, grant));
    let mut live = matching().filter(|(_, grant)| is_live(grant, at));
    match (live.next(), live.next()) {
        (Some((only, _)), None) => return Ok(only),
        (Some(_), Some(_)) => {
            let candidates = matching().filter(|(_, grant)| is_live(grant, at)).map(|(_, grant)| grant);
            return Err(ambiguous(search, candidates));
        }
        (None, _) => {}
    }
    let ended = |code, text, status| {
        let (_, grant) = matching().find(|(_, grant)| grant.status == status)?;
        let mut refusal = search.refuse(code, text);
        refusal.grant_id = Some(grant.id);
        Some(refusal)
    };
    // An active grant that is not live is one past its time.
    let expired =
        ended(Code::GrantExpired, "the grant's lifetime is over: connect again", GrantStatus::Active);
    let revoked = || ended(Code::GrantRevoked, "the grant was revoked: connect again", GrantStatus::Revoked);
    Err(expired.or_else(revoked).unwrap_or_else(|| search.nothing()))
}

fn matches(search: &Search, grant: &GrantFacts) -> bool {
    grant.provider == search.provider
        && search.principals.contains(&grant.principal)
        && search.account.as_ref().is_none_or(|account| grant.account_identifier.as_ref() == Some(account))
        && search.label.as_ref().is_none_or(|label| grant.label.as_ref() == Some(label))
}

fn is_live(grant: &GrantFacts, at: Timestamp) -> bool {
    grant.status == GrantStatus::Active && grant.grant_expires_at.is_none_or(|end| at < end)
}

fn ambiguous<'a>(search: &Search, grants: impl Iterator<Item = &'a GrantFacts>) -> Box<Refusal> {
    let mut refusal = search.refuse(
        Code::AmbiguousGrant,
        "several grants match: name one by its id, or narrow by account or label",
    );
    refusal.account_was_provided = search.account.is_some();
    for grant in grants {
        if refusal.candidates.len() == Refusal::MAX_CANDIDATES {
            refusal.candidates_truncated = true;
            break;
        }
        refusal.candidates.push(Candidate {
            grant_id: grant.id,
            label: grant.label.clone(),
            account_identifier: grant.account_identifier.clone(),
            account_display_name: grant.account_display_name.clone(),
        });
    }
    refusal
}

/// Decides on a grant that was named by its id.
///
/// # Errors
///
/// `grant_not_found` without any hint when the caller may not know of it: an agent key reaches only the agent's own grants, a
/// user token only that user's and the user's groups'. Then `grant_deleted`, `grant_revoked`, `grant_expired`.
pub fn decide_by_id(
    caller: &Caller,
    subject: Option<Subject<'_>>,
    grant: Option<&GrantFacts>,
    at: Timestamp,
) -> Result<(), Box<Refusal>> {
    let grant = visible(caller, subject, grant)?;
    match grant.status {
        GrantStatus::Active if is_live(grant, at) => Ok(()),
        GrantStatus::Active => {
            let text = "the grant's lifetime is over: connect again";
            Err(about(grant, caller, subject, Code::GrantExpired, text))
        }
        GrantStatus::Revoked => {
            Err(about(grant, caller, subject, Code::GrantRevoked, "the grant was revoked: connect again"))
        }
        GrantStatus::Deleted => {
            Err(Refusal::new(Code::GrantDeleted, "the grant is gone: connect again, which makes a new one"))
        }
    }
}

/// Decides whether a caller may revoke a grant: whoever may use it, whether or not its time is over.
///
/// # Errors
///
/// As [`decide_by_id`], but an expired grant may be revoked.
pub fn decide_revoke(
    caller: &Caller,
    subject: Option<Subject<'_>>,
    grant: Option<&GrantFacts>,
) -> Result<(), Box<Refusal>> {
    let grant = visible(caller, subject, grant)?;
    match grant.status {
        GrantStatus::Active => Ok(()),
        GrantStatus::Revoked => {
            Err(about(grant, caller, subject, Code::GrantRevoked, "the grant was revoked already"))
        }
        GrantStatus::Deleted => Err(Refusal::new(Code::GrantDeleted, "the grant is gone already")),
    }
}

/// Decides whether a caller may say something about a grant (report a call): as for use, whatever the grant's state.
///
/// # Errors
///
/// `grant_not_found`.
pub fn decide_report(caller: &Caller, grant: Option<&GrantFacts>) -> Result<(), Box<Refusal>> {
    visible(caller, None, grant).map(|_| ())
}

fn visible<'a>(
    caller: &Caller,
    subject: Option<Subject<'_>>,
    grant: Option<&'a GrantFacts>,
) -> Result<&'a GrantFacts, Box<Refusal>> {
    let may_see = |grant: &GrantFacts| match (caller.kind, subject) {
        (KeyKind::Agent(own), _) => grant.principal == Principal::Agent(own),
        (KeyKind::App, Some(subject)) => match &grant.principal {
            Principal::User(id) => *id == subject.id,
            Principal::Group(group) => subject.groups.contains(group),
            Principal::System | Principal::Agent(_) => false,
        },
        (KeyKind::App, None) => true,
    };
    grant
        .filter(|grant| may_see(grant))
        .ok_or_else(|| Refusal::new(Code::GrantNotFound, "there is no such grant"))
}

fn about(
    grant: &GrantFacts,
    caller: &Caller,
    subject: Option<Subject<'_>>,
    code: Code,
    text: &str,
) -> Box<Refusal> {
    let mut refusal = Refusal::new(code, text);
    refusal.grant_id = Some(grant.id);
    refusal.provider = Some(grant.provider.clone());
    refusal.agent_id = caller.agent();
    refusal.app_user_id = subject.map(|subject| subject.id);
    refusal
}

/// Decides whether a credential of `provider` may be taken where the client says it will take it (design promise 8).
///
/// # Errors
///
/// `blocked_destination`.
pub fn decide_destination(provider: &Provider, request: &RequestFacts) -> Result<(), Box<Refusal>> {
    if request.destination.as_ref().is_some_and(|destination| provider.allows(destination)) {
        return Ok(());
    }
    let text = "the URL is unsafe or its host is not one that this provider's credential may be sent to";
    Err(Refusal::new(Code::BlockedDestination, text))
}

/// Whose grants a caller may list; `None` is everybody's in the app.
#[must_use]
pub fn listable(caller: &Caller, subject: Option<Subject<'_>>) -> Option<Vec<Principal>> {
    match (caller.kind, subject) {
        (KeyKind::Agent(own), _) => Some(vec![Principal::Agent(own)]),
        (KeyKind::App, Some(subject)) => Some(owned_by(subject)),
        (KeyKind::App, None) => None,
    }
}

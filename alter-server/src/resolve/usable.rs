//! Whether the credential of a chosen grant is handed out as it is, or has to be replaced first.

use alter_core::wire::code::Code;
use jiff::Timestamp;

use super::{Caller, Freshness, Subject, TokenTimes, about, freshness};
use crate::{
    domain::{AppId, CredentialVersion, GrantFacts, Provider, Refusal},
    store::{ReleaseCommand, refresh::NotFresh, refresh::Unsaved},
};

/// What is kept of a grant's credential, without the secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptCredential {
    /// Its version.
    pub generation: u64,
    /// There is a refresh token.
    pub refreshable: bool,
    /// When it was obtained, UTC.
    pub obtained_at: Option<Timestamp>,
    /// A client reported that the provider refuses this version.
    pub refused: bool,
    /// Why a person must connect again, if so.
    pub reconnect_reason: Option<String>,
}

/// How a credential can be used.
#[derive(Debug, Clone)]
pub enum Usable {
    /// Hand it out.
    Fresh,
    /// Hand it out, and fetch the next one in the background.
    Due(CredentialVersion),
    /// Hand out the tokens that the caller of the store holds.
    Unsaved(Unsaved),
    /// Fetch the next one first.
    NotFresh(Box<NotFresh>),
}

/// Decides whether a chosen grant's credential can be handed out: never one that is known not to work.
///
/// # Errors
///
/// `credential_revoked` when a person must connect again, or the access token's time is over and it cannot be refreshed.
pub fn decide_usable(
    caller: &Caller,
    subject: Option<Subject<'_>>,
    (app_id, grant): (AppId, &GrantFacts),
    kept: &KeptCredential,
    provider: &Provider,
    command: &ReleaseCommand,
) -> Result<Usable, Box<Refusal>> {
    let at = command.admission.at;
    let refuse = |text: &str| Err(about(grant, caller, subject, Code::CredentialRevoked, text));
    if grant.needs_reconnect {
        let text = "the provider no longer accepts this credential";
        let why = kept.reconnect_reason.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
        return refuse(&format!("{text}{why}: connect again"));
    }
    let version = CredentialVersion { app_id, grant_id: grant.id, generation: kept.generation };
    if let Some(unsaved) = command.unsaved
        && unsaved.replaces == version
        && unsaved.expires_at.is_none_or(|end| at < end)
    {
        return Ok(Usable::Unsaved(unsaved));
    }
    let Some(refreshing) = provider.refreshing().filter(|_| kept.refreshable) else {
        if grant.token_expires_at.is_some_and(|end| end <= at) {
            return refuse("the access token has expired: import a fresh one or connect again");
        }
        return Ok(Usable::Fresh);
    };
    let times = TokenTimes {
        expires_at: grant.token_expires_at,
        obtained_at: kept.obtained_at,
        refused: kept.refused,
    };
    let not_fresh = |usable_until| {
        let provider = grant.provider.clone();
        Ok(Usable::NotFresh(Box::new(NotFresh { version, provider, usable_until })))
    };
    match freshness(version, times, refreshing.settings, at) {
        Freshness::Fresh => Ok(Usable::Fresh),
        Freshness::Due => Ok(Usable::Due(version)),
        Freshness::Spent if command.last_resort => Ok(Usable::Fresh),
        // One whose end nobody knows is good for as long as it has to be.
        Freshness::Spent => not_fresh(Some(grant.token_expires_at.unwrap_or(Timestamp::MAX))),
        Freshness::Expired => not_fresh(None),
    }
}

//! Connections: which grant a new credential goes to, and what may still happen in a session.

use alter_core::wire::code::Code;

use super::Caller;
use crate::{
    domain::{
        ConnectSession, GrantFacts, GrantId, GrantKind, GrantStatus, KeyKind, Principal, ProviderId, Refusal,
        SessionEnd, UserId, UserStatus,
    },
    store::{AdvanceSession, NewConnection},
};

/// What is looked at of a grant that a connection may go to.
#[derive(Debug, Clone)]
pub struct Sibling {
    /// The grant.
    pub facts: GrantFacts,
    /// The provider's stable id of its account, if that was ever told.
    pub account_id: Option<String>,
}

/// Where a connection goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionTarget {
    /// This grant gets the credential.
    Existing(GrantId),
    /// A new grant is made.
    New,
}

/// Whether a user may have or get grants; `None` is nobody that the vault knows.
///
/// # Errors
///
/// `jwt_validation_error`: whatever proves to be that user counts for nothing.
pub fn admit_user(status: Option<UserStatus>) -> Result<(), Box<Refusal>> {
    let text = match status {
        Some(UserStatus::Active) => return Ok(()),
        Some(UserStatus::Suspended) => "this user is suspended: ask the operator of the application",
        Some(UserStatus::Deleted) => "this user was deleted",
        None => "there is no such user",
    };
    Err(Refusal::new(Code::JwtValidationError, text))
}

/// Whether a session may ask for a new credential of `grant`: an OAuth grant that has not ended, of the one provider, and of
/// whoever the session is for (`user`; without one the key's own agent, or else the app).
///
/// # Errors
///
/// `grant_not_found`, whatever is wrong.
pub fn decide_repair<'a>(
    caller: &Caller,
    user: Option<UserId>,
    providers: &[ProviderId],
    grant: Option<&'a GrantFacts>,
) -> Result<&'a GrantFacts, Box<Refusal>> {
    let owner = match (user, caller.kind) {
        (Some(user), _) => Principal::User(user),
        (None, KeyKind::Agent(own)) => Principal::Agent(own),
        (None, KeyKind::App) => Principal::System,
    };
    let fits = |grant: &&GrantFacts| {
        grant.kind == GrantKind::OAuth
            && grant.status == GrantStatus::Active
            && grant.principal == owner
            && providers.iter().all(|provider| *provider == grant.provider)
    };
    let text = "there is no such grant to repair: it must be an OAuth grant of this user and provider that was not revoked";
    grant.filter(fits).ok_or_else(|| Refusal::new(Code::GrantNotFound, text))
}

/// Whether this may be the next state of the session: nobody was faster, it has not ended, and its time is not over, unless
/// all that happens is that it ends without success.
#[must_use]
pub fn may_advance(session: &ConnectSession, advance: &AdvanceSession) -> bool {
    let only_ends = advance.connection.is_none()
        && advance.user_token.is_none()
        && advance.progress.grants == session.progress.grants
        && (matches!(advance.progress.end, Some(SessionEnd::Error { .. }))
            || (advance.progress.end.is_some() && !session.progress.grants.is_empty()));
    session.version == advance.version
        && session.progress.end.is_none()
        && (advance.note.browser.at < session.expires_at || only_ends)
}

/// Which grant a connection goes to. `repair` is the grant that [`NewConnection::repair`] names, `siblings` are the principal's
/// active grants at the provider, newest first.
///
/// The account's stable id decides, and the label: one that is asked for names a grant of its own beside others of the same
/// account. A grant whose id was never told (its tokens were moved in) is recognised by the account's name. Where the provider
/// tells neither, a user has one such grant. Of the app's own grants only the id decides: they come from people who do not know
/// each other, and a name that one of them chose must not lead to another one's grant.
///
/// # Errors
///
/// `grant_not_found` when the grant to repair is not the principal's active grant of this provider, `account_mismatch` when
/// the user came back with another account, `sibling_label_conflict` when a new grant would take a sibling's label.
pub fn decide_connection(
    new: &NewConnection,
    repair: Option<&Sibling>,
    siblings: &[Sibling],
) -> Result<ConnectionTarget, Box<Refusal>> {
    if let Some(id) = new.repair {
        let fits = |sibling: &&Sibling| {
            let facts = &sibling.facts;
            facts.id == id
                && facts.kind == GrantKind::OAuth
                && facts.status == GrantStatus::Active
                && facts.principal == new.principal
                && facts.provider == new.provider
        };
        let Some(sibling) = repair.filter(fits) else {
            let mut refusal =
                Refusal::new(Code::GrantNotFound, "the grant to repair is gone: connect as a new one");
            refusal.grant_id = Some(id);
            return Err(refusal);
        };
        let unnamed = sibling.account_id.is_none() && sibling.facts.account_identifier.is_none();
        let untold =
            sibling.account_id.is_none() && new.account_id.is_none() && new.account_identifier.is_none();
        if unnamed || untold || is_same_account(new, sibling) {
            return Ok(ConnectionTarget::Existing(id));
        }
        let text = "another account was chosen than the one that is to be repaired: choose that one, or connect this one as new";
        let mut refusal = Refusal::new(Code::from("account_mismatch"), text);
        refusal.grant_id = Some(id);
        return Err(refusal);
    }
    let same: Vec<&Sibling> = siblings
        .iter()
        .filter(|sibling| sibling.facts.kind == GrantKind::OAuth && is_same_account(new, sibling))
        .collect();
    let labelled = |label: Option<&String>| same.iter().find(|sibling| sibling.facts.label.as_ref() == label);
    // With a label the app asks for a grant of its own beside those of the same account (spec/03 §1.1).
    let same = match &new.label {
        Some(label) => labelled(Some(label)),
        None => labelled(None).or(same.first()),
    };
    if let Some(same) = same {
        return Ok(ConnectionTarget::Existing(same.facts.id));
    }
    let taken = |label: &String| siblings.iter().any(|sibling| sibling.facts.label.as_ref() == Some(label));
    if new.label.as_ref().is_some_and(taken) {
        let text = "another account of this user and provider has this label already: choose another label";
        return Err(Refusal::new(Code::SiblingLabelConflict, text));
    }
    Ok(ConnectionTarget::New)
}

fn is_same_account(new: &NewConnection, sibling: &Sibling) -> bool {
    if !matches!(new.principal, Principal::User(_)) && new.repair.is_none() {
        return new.account_id.is_some() && new.account_id == sibling.account_id;
    }
    let same_name = new.account_identifier == sibling.facts.account_identifier;
    match (&new.account_id, &sibling.account_id) {
        (Some(new), Some(kept)) => new == kept,
        (None, None) => same_name,
        // What has no name on either side is not therefore the same.
        _ => same_name && new.account_identifier.is_some(),
    }
}

//! What a visit needs next.

use super::SignedIn;
use crate::{
    oauth::AuthorizationRequest,
    site::Site,
    state::{State as Remembered, World},
};

/// See the module.
pub(super) enum Next {
    SignIn,
    Accounts,
    Consent(SignedIn),
    /// Nothing: the client gets its code.
    Done(SignedIn),
}

impl Next {
    /// The last part of its page's address.
    pub(super) fn page(&self) -> &'static str {
        match self {
            Self::SignIn => "signin",
            Self::Accounts => "accounts",
            Self::Consent(_) | Self::Done(_) => "consent",
        }
    }
}

/// What the request needs first, or what it cannot have without asking (OIDC Core 1.0 §3.1.2.6).
pub(super) fn first(
    world: &World,
    state: &Remembered,
    request: &AuthorizationRequest,
    accounts: &[SignedIn],
) -> Result<Next, (&'static str, &'static str)> {
    let (site, prompt) = (request.target.site, request.prompt);
    let Some(current) = accounts.first() else {
        return if prompt.none { Err(("login_required", "nobody is signed in")) } else { Ok(Next::SignIn) };
    };
    let several = site != Site::Idp && accounts.len() > 1;
    if !prompt.none {
        return Ok(match () {
            () if prompt.login => Next::SignIn,
            () if prompt.select_account || several => Next::Accounts,
            () => after_account(world, state, request, current.clone()),
        });
    }
    if several {
        return Err(("account_selection_required", "several accounts are signed in"));
    }
    match after_account(world, state, request, current.clone()) {
        Next::Consent(_) => Err(("consent_required", "the user has not consented")),
        Next::SignIn => Err(("login_required", "the user signed in too long ago")),
        next => Ok(next),
    }
}

/// What is left to ask once it is clear who is asked.
pub(super) fn after_account(
    world: &World,
    state: &Remembered,
    request: &AuthorizationRequest,
    who: SignedIn,
) -> Next {
    let site = request.target.site;
    let age = world.clock.now().saturating_sub(who.at);
    if request.max_age.is_some_and(|most| age > most) {
        return Next::SignIn;
    }
    let sub = site.account_id(&who.account);
    let client = world.clients.of(site);
    let remembered = || {
        state.faults.remember_consent
            && !request.prompt.consent
            && state.ledger.has_consent(client, &sub, &who.account, &request.scope)
    };
    if site == Site::Idp || remembered() { Next::Done(who) } else { Next::Consent(who) }
}

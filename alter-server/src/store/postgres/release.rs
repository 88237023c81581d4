//! `POST /sdk/token`: from an address to a sealed credential, with its row.

use std::sync::Arc;

use futures_util::future::try_join4;

use super::{
    admit::{self, Admitted, refuse},
    candidates::{self, Candidates, Loaded},
    columns::micros,
    grants,
    lanes::{Unbegun, Unit},
    users,
};
use crate::{
    audit::{Action, AuditRow},
    domain::{Address, GrantFacts, Refusal, UserId},
    resolve::{self, Caller, Search, Subject, Usable},
    store::{Outcome, Release, ReleaseCommand, Released, ReleasedCredential, StoreError, draft},
};
use alter_core::wire::code::Code;

/// Microseconds between notes of a grant's last use.
const USE_NOTED_EVERY: i64 = 60_000_000;
/// Ended grants that are looked at to say how a grant ended.
const ENDED_LOOKED_AT: i64 = 200;

pub(super) async fn release(
    unbegun: Unbegun<'_>,
    command: &ReleaseCommand,
    mut row: AuditRow,
) -> Result<Outcome<Released>, StoreError> {
    let admission = &command.admission;
    let identity = command.user.as_ref();
    // One flight: whatever does not hang on what the others say. Nothing is decided yet.
    let (mut unit, (seen, known, named, found)) = unbegun
        .begin_with(|sql| {
            let user = users::look(sql, admission.app_id, identity);
            let named = users::status_of(sql, admission.app_id, named_user(command));
            try_join4(admit::look(sql, admission), user, named, candidates::likely(sql, command))
        })
        .await?;
    let unit = &mut unit;
    let caller = match admit::decide(unit, admission, &mut row, seen) {
        Admitted::Yes(caller) => caller,
        Admitted::No(refusal) => return Ok(refuse(unit, row, Action::TokenRefused, refusal)),
        Admitted::Stale => return Ok(Outcome::Stale),
    };
    let user = match users::settle(unit, admission, identity, known, &mut row).await? {
        Ok(user) => user,
        Err(refusal) => return Ok(refuse(unit, row, Action::TokenRefused, refusal)),
    };
    // Nobody's id finds nothing, as ever.
    if let Err(refusal) = resolve::admit_user(Some(named.unwrap_or_default())) {
        row.app_user_id = named_user(command);
        return Ok(refuse(unit, row, Action::TokenRefused, refusal));
    }
    let groups = identity.map_or(&[][..], |user| &user.groups);
    let subject = user.map(|id| Subject { id, groups });
    let (chosen, loaded) = match choose(unit, command, &caller, subject, found, &mut row).await? {
        Ok(chosen) => chosen,
        Err(refusal) => return Ok(refuse(unit, row, Action::TokenRefused, refusal)),
    };
    draft::describe(&mut row, &chosen);
    let Some(provider) = loaded.provider else {
        let text = "the grant's provider is gone: ask the operator";
        let refusal = Refusal::new(Code::GrantNotFound, text);
        return Ok(refuse(unit, row, Action::TokenRefused, refusal));
    };
    if let Err(refusal) = resolve::decide_destination(&provider, &command.request) {
        return Ok(refuse(unit, row, Action::TokenRefused, refusal));
    }
    let place = (admission.app_id, &chosen);
    let usable = match resolve::decide_usable(&caller, subject, place, &loaded.kept, &provider, command) {
        Ok(usable) => usable,
        Err(refusal) => return Ok(refuse(unit, row, Action::TokenRefused, refusal)),
    };
    let Some(mut credential) = loaded.credential else {
        let mut refusal = Refusal::new(Code::CredentialRevoked, "the grant has no credential: connect again");
        refusal.grant_id = Some(chosen.id);
        return Ok(refuse(unit, row, Action::TokenRefused, refusal));
    };
    if let ReleasedCredential::OAuth { token_generation, .. } = &credential {
        row.token_generation = Some(*token_generation);
    }
    let refresh_due = match usable {
        Usable::Fresh => None,
        Usable::Due(version) => Some(version),
        Usable::Unsaved(unsaved) => {
            row.token_generation = Some(unsaved.token_generation);
            credential = credential.unsaved();
            None
        }
        Usable::NotFresh(spent) => {
            // The call comes again with the same nonce.
            unit.leave_nothing();
            return Ok(Outcome::Done(Released::NotFresh(spent)));
        }
    };
    let now = micros(admission.at);
    if loaded.last_used_at.is_none_or(|last| micros(last) + USE_NOTED_EVERY <= now) {
        unit.used(admission.app_id, chosen.id, now);
    }
    let (audit_id, actor_id, app_user_id) = (row.id, row.actor_id, row.app_user_id);
    unit.audit(row);
    Ok(Outcome::Done(Released::Credential(Box::new(Release {
        grant_id: chosen.id,
        kind: chosen.kind,
        principal: chosen.principal,
        grant_expires_at: chosen.grant_expires_at,
        scope_mismatch: loaded.scope_mismatch,
        provider: Arc::new(provider),
        credential,
        app_user_id,
        actor_id,
        audit_id,
        key_deprecated: caller.key_deprecated,
        refresh_due,
    }))))
}

/// The user that a call without a token names by its id.
fn named_user(command: &ReleaseCommand) -> Option<UserId> {
    match (&command.address, &command.user) {
        (Address::Provider { app_user_id: Some(id), .. }, None) => id.parse().ok(),
        _ => None,
    }
}

async fn choose(
    unit: &Unit<'_>,
    command: &ReleaseCommand,
    caller: &Caller,
    subject: Option<Subject<'_>>,
    found: Candidates,
    row: &mut AuditRow,
) -> Result<Result<(GrantFacts, Loaded), Box<Refusal>>, StoreError> {
    let admission = &command.admission;
    match &command.address {
        Address::Grant(id) => {
            row.grant_id = Some(*id);
            let decision = resolve::decide_by_id(caller, subject, found.facts.first(), admission.at);
            match decision {
                Ok(()) if found.facts.is_empty() => {
                    Ok(Err(Refusal::new(Code::GrantNotFound, "there is no such grant")))
                }
                Ok(()) => found.take(0, admission.app_id).map(Ok),
                Err(refusal) => Ok(Err(refusal)),
            }
        }
        Address::Provider { provider, account, label, app_user_id } => {
            row.provider = Some(provider.clone());
            row.account.clone_from(account);
            if app_user_id.is_some() && subject.is_none() {
                row.detail = Some("by app_user_id".to_owned());
            }
            let search = resolve::search(
                caller,
                provider,
                account.as_deref(),
                label.as_deref(),
                app_user_id.as_deref(),
                subject,
            );
            match search {
                Ok(search) => {
                    if row.app_user_id.is_none() {
                        row.app_user_id = search.app_user_id();
                    }
                    by_search(unit, command, &search, found).await
                }
                Err(refusal) => Ok(Err(refusal)),
            }
        }
    }
}

async fn by_search(
    unit: &Unit<'_>,
    command: &ReleaseCommand,
    search: &Search,
    likely: Candidates,
) -> Result<Result<(GrantFacts, Loaded), Box<Refusal>>, StoreError> {
    let admission = &command.admission;
    let (app_id, principals) = (admission.app_id, &search.principals);
    let found = if likely.are_of(principals) {
        likely
    } else {
        candidates::of(unit.sql, app_id, &search.provider, principals).await?
    };
    let decision = resolve::decide(search, &found.facts, admission.at);
    match decision {
        Ok(place) => found.take(place, app_id).map(Ok),
        Err(refusal) if refusal.code == Code::AmbiguousGrant => Ok(Err(refusal)),
        Err(_) => {
            // Only now does it matter what there used to be. None of that can be chosen.
            let ended =
                grants::ended(unit.sql, app_id, &search.provider, principals, ENDED_LOOKED_AT).await?;
            let facts: Vec<_> = found.facts.into_iter().chain(ended).collect();
            let gone = || Refusal::new(Code::GrantNotFound, "there is no such grant");
            Ok(Err(resolve::decide(search, &facts, admission.at).err().unwrap_or_else(gone)))
        }
    }
}

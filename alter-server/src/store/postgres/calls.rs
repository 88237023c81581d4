//! Signed calls other than the release.

use super::{
    admit::{admitted, admitted_user, refuse},
    columns::{execute, micros, params},
    ending::{self, Ending},
    events, grants,
    lanes::Unit,
    refresh,
};
use crate::{
    audit::{Action, AuditRow, Outcome as AuditOutcome},
    domain::{GrantEvent, GrantFacts, GrantId, GrantStatus, Identity, Principal, Refusal, UserId},
    resolve::{self, Caller, Subject},
    seal::Sealed,
    store::{
        AdmittedNote, ListCommand, Outcome, ReportCommand, RevokeCommand, Revoked, ScopeMismatchCommand,
        StoreError, draft, event::Change,
    },
};

fn subject_of(user: Option<UserId>, identity: Option<&Identity>) -> Option<Subject<'_>> {
    user.map(|id| Subject { id, groups: identity.map_or(&[], |identity| &identity.groups) })
}

/// Adds to the row what is known of the grant that a client speaks about.
async fn speak_of(
    unit: &Unit<'_>,
    row: &mut AuditRow,
    caller: &Caller,
    id: GrantId,
) -> Result<Result<Option<GrantFacts>, Box<Refusal>>, StoreError> {
    row.grant_id = Some(id);
    let found = grants::facts_by_id(unit.sql, row.app_id, id).await?;
    if let Err(refusal) = resolve::decide_report(caller, found.as_ref()) {
        return Ok(Err(refusal));
    }
    if let Some(facts) = &found {
        draft::describe(row, facts);
    }
    Ok(Ok(found))
}

pub(super) async fn report(
    unit: &mut Unit<'_>,
    command: &ReportCommand,
    mut row: AuditRow,
    bodies: Option<&Sealed>,
) -> Result<Outcome<()>, StoreError> {
    let caller = admitted!(unit, &command.admission, row, Action::CallReported);
    row.grant_id = Some(command.grant_id);
    let at = command.admission.at;
    let found = grants::reported_by_id(unit.sql, row.app_id, command.grant_id, at).await?;
    if let Err(refusal) = resolve::decide_report(&caller, found.as_ref().map(|(facts, _)| facts)) {
        row.bodies_digest = None;
        return Ok(refuse(unit, row, Action::CallReported, refusal));
    }
    if let Some((facts, known)) = &found {
        draft::describe(&mut row, facts);
        refresh::reported(unit.sql, (row.app_id, facts.id), known, &command.report, at).await?;
    }
    if let Some(bodies) = bodies {
        unit.keeps_bodies(&row);
        let text = "INSERT INTO audit_bodies (app_id, id, at, sealed) VALUES ($1, $2, $3, $4)";
        execute(unit.sql, text, params![row.app_id, row.id, micros(row.at), *bodies]).await?;
    }
    unit.audit(row);
    Ok(Outcome::Done(()))
}

pub(super) async fn scope_mismatch(
    unit: &mut Unit<'_>,
    command: &ScopeMismatchCommand,
    mut row: AuditRow,
) -> Result<Outcome<()>, StoreError> {
    let caller = admitted!(unit, &command.admission, row, Action::ScopeMismatchReported);
    let facts = match speak_of(unit, &mut row, &caller, command.grant_id).await? {
        Ok(facts) => facts,
        Err(refusal) => return Ok(refuse(unit, row, Action::ScopeMismatchReported, refusal)),
    };
    let text = "UPDATE grants SET scope_mismatch = true WHERE app_id = $1 AND id = $2 AND NOT scope_mismatch";
    let news = execute(unit.sql, text, params![row.app_id, command.grant_id]).await? == 1;
    // Others are told once, and not of a grant that has ended.
    if let Some(facts) = facts.filter(|facts| news && facts.status == GrantStatus::Active) {
        let change = Change::new(row.app_id, GrantEvent::ScopeMismatch, &facts, row.at);
        events::tell(unit.sql, &change).await?;
    }
    unit.audit(row);
    Ok(Outcome::Done(()))
}

/// Admits a list and says whose grants it may show (`None`: everybody's).
pub(super) async fn list(
    unit: &mut Unit<'_>,
    command: &ListCommand,
    mut row: AuditRow,
) -> Result<Outcome<Option<Vec<Principal>>>, StoreError> {
    let caller = admitted!(unit, &command.admission, row, Action::GrantListed);
    let user = admitted_user!(unit, &command.admission, command.user.as_ref(), row, Action::GrantListed);
    row.provider.clone_from(&command.filter.provider);
    unit.audit(row);
    Ok(Outcome::Done(resolve::listable(&caller, subject_of(user, command.user.as_ref()))))
}

pub(super) async fn revoke(
    unit: &mut Unit<'_>,
    command: &RevokeCommand,
    mut row: AuditRow,
) -> Result<Outcome<Revoked>, StoreError> {
    let admission = &command.admission;
    let caller = admitted!(unit, admission, row, Action::GrantRevoked);
    let user = admitted_user!(unit, admission, command.user.as_ref(), row, Action::GrantRevoked);
    row.grant_id = Some(command.grant_id);
    let found = grants::facts_by_id(unit.sql, admission.app_id, command.grant_id).await?;
    let subject = subject_of(user, command.user.as_ref());
    let facts = found.as_ref();
    if let Err(refusal) = resolve::decide_revoke(&caller, subject, facts) {
        return Ok(refuse(unit, row, Action::GrantRevoked, refusal));
    }
    let by = match (user, caller.agent()) {
        (Some(user), _) => format!("user:{user}"),
        (None, Some(agent)) => format!("agent:{agent}"),
        (None, None) => format!("key:{}", admission.key_id),
    };
    let ending = Ending { at: row.at, by, row };
    let revoked = ending::end_one(unit, admission.app_id, command.grant_id, &ending).await?;
    Ok(Outcome::Done(revoked))
}

pub(super) async fn note(
    unit: &mut Unit<'_>,
    note: &AdmittedNote,
    mut row: AuditRow,
) -> Result<Outcome<()>, StoreError> {
    let _ = admitted!(unit, &note.admission, row, note.action);
    admitted_user!(unit, &note.admission, note.user.as_ref(), row, note.action);
    if let Some(code) = &note.code {
        row.outcome = AuditOutcome::Refused;
        row.code = Some(code.as_str().to_owned());
    }
    unit.audit(row);
    Ok(Outcome::Done(()))
}

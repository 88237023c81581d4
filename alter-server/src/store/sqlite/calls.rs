//! Signed calls other than the release.

use rusqlite::params;

use super::{
    admit::{Admitted, admit, admitted, refuse},
    ending, events, grants, refresh, users,
    writer::Unit,
};
use crate::{
    audit::{Action, AuditRow, Outcome as AuditOutcome},
    domain::{GrantEvent, GrantId, Identity, Principal, Refusal, UserId},
    resolve::{self, Caller, Subject},
    seal::Sealed,
    store::{
        AdmittedNote, ListCommand, Outcome, ReportCommand, RevokeCommand, Revoked, ScopeMismatchCommand,
        StoreError, draft, event::Change,
    },
};
use alter_core::wire::code::Code;

fn subject_of(user: Option<UserId>, identity: Option<&Identity>) -> Option<Subject<'_>> {
    user.map(|id| Subject { id, groups: identity.map_or(&[], |identity| &identity.groups) })
}

/// Adds to the row what is known of the grant that a client speaks about.
fn speak_of(
    unit: &Unit<'_>,
    row: &mut AuditRow,
    caller: &Caller,
    id: GrantId,
) -> Result<Result<(), Box<Refusal>>, StoreError> {
    row.grant_id = Some(id);
    let found = grants::facts_by_id(unit.sql, row.app_id, id)?;
    let decision = resolve::decide_report(caller, found.as_ref().map(|(facts, _)| facts));
    if let (Ok(()), Some((facts, _))) = (&decision, &found) {
        draft::describe(row, facts);
    }
    Ok(decision)
}

pub(super) fn report(
    unit: &mut Unit<'_>,
    command: &ReportCommand,
    mut row: AuditRow,
    bodies: Option<&Sealed>,
) -> Result<Outcome<()>, StoreError> {
    let caller = admitted!(unit, &command.admission, row, Action::CallReported);
    if let Err(refusal) = speak_of(unit, &mut row, &caller, command.grant_id)? {
        row.bodies_digest = None;
        return refuse(unit, row, Action::CallReported, refusal);
    }
    if let Some(bodies) = bodies {
        unit.sql
            .prepare_cached("INSERT INTO audit_bodies (app_id, id, sealed) VALUES (?1, ?2, ?3)")?
            .execute(params![row.app_id, row.id, bodies])?;
    }
    let place = (row.app_id, command.grant_id);
    refresh::reported(unit.sql, place, &command.report, command.admission.at)?;
    unit.audit(row)?;
    Ok(Outcome::Done(()))
}

pub(super) fn scope_mismatch(
    unit: &mut Unit<'_>,
    command: &ScopeMismatchCommand,
    mut row: AuditRow,
) -> Result<Outcome<()>, StoreError> {
    let caller = admitted!(unit, &command.admission, row, Action::ScopeMismatchReported);
    if let Err(refusal) = speak_of(unit, &mut row, &caller, command.grant_id)? {
        return refuse(unit, row, Action::ScopeMismatchReported, refusal);
    }
    let text = "UPDATE grants SET scope_mismatch = 1 WHERE app_id = ?1 AND id = ?2 AND scope_mismatch = 0";
    let news = unit.sql.prepare_cached(text)?.execute(params![row.app_id, command.grant_id])? == 1;
    // What was reported before is not told again.
    if news && let Some((facts, _)) = grants::facts_by_id(unit.sql, row.app_id, command.grant_id)? {
        events::tell(unit, &Change::new(row.app_id, GrantEvent::ScopeMismatch, &facts, row.at))?;
    }
    unit.audit(row)?;
    Ok(Outcome::Done(()))
}

/// Admits a list and says whose grants it may show (`None`: everybody's).
pub(super) fn list(
    unit: &mut Unit<'_>,
    command: &ListCommand,
    mut row: AuditRow,
) -> Result<Outcome<Option<Vec<Principal>>>, StoreError> {
    let caller = admitted!(unit, &command.admission, row, Action::GrantListed);
    let user = match users::seen(unit, &command.admission, command.user.as_ref(), &mut row)? {
        Ok(user) => user,
        Err(refusal) => return refuse(unit, row, Action::GrantListed, refusal),
    };
    row.provider.clone_from(&command.filter.provider);
    unit.audit(row)?;
    Ok(Outcome::Done(resolve::listable(&caller, subject_of(user, command.user.as_ref()))))
}

pub(super) fn revoke(
    unit: &mut Unit<'_>,
    command: &RevokeCommand,
    mut row: AuditRow,
) -> Result<Outcome<Revoked>, StoreError> {
    let admission = &command.admission;
    let caller = admitted!(unit, admission, row, Action::GrantRevoked);
    let user = match users::seen(unit, admission, command.user.as_ref(), &mut row)? {
        Ok(user) => user,
        Err(refusal) => return refuse(unit, row, Action::GrantRevoked, refusal),
    };
    row.grant_id = Some(command.grant_id);
    let found = grants::facts_by_id(unit.sql, admission.app_id, command.grant_id)?;
    let subject = subject_of(user, command.user.as_ref());
    let facts = found.as_ref().map(|(facts, _)| facts);
    let facts = match (resolve::decide_revoke(&caller, subject, facts), facts) {
        (Ok(()), Some(facts)) => facts,
        (Ok(()), None) => {
            let refusal = Refusal::new(Code::GrantNotFound, "there is no such grant");
            return refuse(unit, row, Action::GrantRevoked, refusal);
        }
        (Err(refusal), _) => return refuse(unit, row, Action::GrantRevoked, refusal),
    };
    let by = match (user, caller.agent()) {
        (Some(user), _) => format!("user:{user}"),
        (None, Some(agent)) => format!("agent:{agent}"),
        (None, None) => format!("key:{}", admission.key_id),
    };
    let revoked = Revoked { grant_id: command.grant_id, revoked_at: row.at };
    ending::end(unit, row, facts, &by)?;
    Ok(Outcome::Done(revoked))
}

pub(super) fn note(
    unit: &mut Unit<'_>,
    note: &AdmittedNote,
    mut row: AuditRow,
) -> Result<Outcome<()>, StoreError> {
    let _ = admitted!(unit, &note.admission, row, note.action);
    if let Err(refusal) = users::seen(unit, &note.admission, note.user.as_ref(), &mut row)? {
        return refuse(unit, row, note.action, refusal);
    }
    if let Some(code) = &note.code {
        row.outcome = AuditOutcome::Refused;
        row.code = Some(code.as_str().to_owned());
    }
    unit.audit(row)?;
    Ok(Outcome::Done(()))
}

//! Signed calls other than the release.

use super::{
    admit::{Admitted, admit, refuse},
    columns::{execute, micros, params},
    grants,
    lanes::Unit,
    refresh, users,
};
use crate::{
    audit::{Action, AuditRow, Outcome as AuditOutcome},
    domain::{GrantId, Identity, Principal, UserId},
    resolve::{self, Caller, Subject},
    seal::Sealed,
    store::{
        AdmittedNote, ListCommand, Outcome, ReportCommand, RevokeCommand, Revoked, ScopeMismatchCommand,
        StoreError, draft,
    },
};

macro_rules! admitted {
    ($unit:expr, $admission:expr, $row:expr, $action:expr) => {
        match admit($unit, $admission, &mut $row).await? {
            Admitted::Yes(caller) => caller,
            Admitted::No(refusal) => return Ok(refuse($unit, $row, $action, refusal)),
            Admitted::Stale => return Ok(Outcome::Stale),
        }
    };
}

fn subject_of(user: Option<UserId>, identity: Option<&Identity>) -> Option<Subject<'_>> {
    user.map(|id| Subject { id, groups: identity.map_or(&[], |identity| &identity.groups) })
}

/// Adds to the row what is known of the grant that a client speaks about.
async fn speak_of(
    unit: &Unit<'_>,
    row: &mut AuditRow,
    caller: &Caller,
    id: GrantId,
) -> Result<Result<(), Box<crate::domain::Refusal>>, StoreError> {
    row.grant_id = Some(id);
    let found = grants::facts_by_id(unit.sql, row.app_id, id).await?;
    let decision = resolve::decide_report(caller, found.as_ref());
    if let (Ok(()), Some(facts)) = (&decision, &found) {
        draft::describe(row, facts);
    }
    Ok(decision)
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
    if let Err(refusal) = speak_of(unit, &mut row, &caller, command.grant_id).await? {
        return Ok(refuse(unit, row, Action::ScopeMismatchReported, refusal));
    }
    let text = "UPDATE grants SET scope_mismatch = true WHERE app_id = $1 AND id = $2";
    execute(unit.sql, text, params![row.app_id, command.grant_id]).await?;
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
    let user = users::seen(unit, &command.admission, command.user.as_ref()).await?;
    row.app_user_id = user;
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
    let user = users::seen(unit, admission, command.user.as_ref()).await?;
    row.app_user_id = user;
    row.grant_id = Some(command.grant_id);
    let found = grants::facts_by_id(unit.sql, admission.app_id, command.grant_id).await?;
    let subject = subject_of(user, command.user.as_ref());
    let facts = found.as_ref();
    if let Err(refusal) = resolve::decide_revoke(&caller, subject, facts) {
        return Ok(refuse(unit, row, Action::GrantRevoked, refusal));
    }
    if let Some(facts) = facts {
        draft::describe(&mut row, facts);
    }
    let by = match (user, caller.agent()) {
        (Some(user), _) => format!("user:{user}"),
        (None, Some(agent)) => format!("agent:{agent}"),
        (None, None) => format!("key:{}", admission.key_id),
    };
    let revoked = grants::end(unit.sql, admission.app_id, command.grant_id, row.at, &by).await?;
    unit.audit(row);
    Ok(Outcome::Done(revoked))
}

pub(super) async fn note(
    unit: &mut Unit<'_>,
    note: &AdmittedNote,
    mut row: AuditRow,
) -> Result<Outcome<()>, StoreError> {
    let _ = admitted!(unit, &note.admission, row, note.action);
    row.app_user_id = users::seen(unit, &note.admission, note.user.as_ref()).await?;
    if let Some(code) = &note.code {
        row.outcome = AuditOutcome::Refused;
        row.code = Some(code.as_str().to_owned());
    }
    unit.audit(row);
    Ok(Outcome::Done(()))
}

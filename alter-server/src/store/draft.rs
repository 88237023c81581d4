//! Audit rows before they are in a chain, and what they say: the same in every store.

use aws_lc_rs::digest;

use super::{AdmittedNote, CutCommand, RefusedCall, ReleaseCommand, ReportCommand, StoreError};
use crate::{
    audit::{Action, AuditRow, Outcome, clean_url},
    domain::{Admission, AppId, GrantFacts, Operator, Principal, ProviderId},
    seal::{Envelope, Field, SealContext, Sealed},
};

/// The row of a signed call, as far as the call itself fills it.
pub(super) fn of_call(admission: &Admission, action: Action) -> AuditRow {
    let mut row = AuditRow::draft(admission.app_id, admission.at, action, Outcome::Allowed);
    let actor = &admission.actor;
    row.key_id = Some(admission.key_id);
    row.caller.clone_from(&actor.caller);
    row.caller_type = actor.caller_type.map(|kind| kind.as_str().to_owned());
    row.actor_id = actor.derived_id(admission.app_id).or(actor.actor_id);
    row.context.clone_from(&actor.context);
    row.request_id = Some(admission.request_id);
    row.trace_parent.clone_from(&admission.trace_parent);
    row.remote.clone_from(&admission.remote);
    row
}

/// The row of a call that only needs its row.
pub(super) fn of_note(note: &AdmittedNote) -> AuditRow {
    let mut row = of_call(&note.admission, note.action);
    row.detail.clone_from(&note.detail);
    if let Some((grant_id, provider)) = &note.grant {
        row.grant_id = Some(*grant_id);
        row.provider = Some(provider.as_str().to_owned());
    }
    row
}

/// A row under the operator's name.
pub(super) fn of_operator(by: &Operator, app_id: AppId, action: Action) -> AuditRow {
    let mut row = AuditRow::draft(app_id, by.at, action, Outcome::Allowed);
    row.caller = Some(by.name.clone());
    row.caller_type = Some("operator".to_owned());
    row
}

/// A row under the vault's own name.
pub(super) fn of_vault(app_id: AppId, at: jiff::Timestamp, action: Action) -> AuditRow {
    let mut row = AuditRow::draft(app_id, at, action, Outcome::Allowed);
    row.caller = Some("vault".to_owned());
    row.caller_type = Some("service".to_owned());
    row
}

/// The row of a call that was refused before it was admitted.
pub(super) fn of_refused(refused: RefusedCall) -> AuditRow {
    let app_id = refused.app_id.unwrap_or(AppId::VAULT);
    let mut row = AuditRow::draft(app_id, refused.at, Action::RequestRefused, Outcome::Refused);
    row.code = Some(refused.code.as_str().to_owned());
    row.key_id = refused.key_id;
    row.key_prefix = refused.key_prefix.map(|prefix| prefix.chars().take(16).collect());
    row.caller = refused.caller;
    row.detail = refused.detail;
    row.request_id = Some(refused.request_id);
    row.remote = refused.remote;
    row
}

/// The row of a release, as far as the command fills it.
pub(super) fn of_release(command: &ReleaseCommand) -> AuditRow {
    let mut row = of_call(&command.admission, Action::TokenReleased);
    row.method = Some(command.request.method.clone());
    row.url = Some(clean_url(&command.request.url));
    row.reason.clone_from(&command.reason);
    row
}

/// The row of a report, and its sealed bodies if it has any.
pub(super) fn of_report(
    command: &ReportCommand,
    envelope: &Envelope,
) -> Result<(AuditRow, Option<Sealed>), StoreError> {
    let mut row = of_call(&command.admission, Action::CallReported);
    let report = &command.report;
    row.method = Some(report.method.clone());
    row.url = Some(clean_url(&report.url));
    row.status = Some(report.status);
    row.latency_ms = Some(report.latency_ms);
    row.reason.clone_from(&report.reason);
    if report.context.is_some() {
        row.context.clone_from(&report.context);
    }
    row.token_generation = report.token_generation;
    let Some(bodies) = report.bodies() else { return Ok((row, None)) };
    let context = SealContext::of(row.app_id, Field::AuditBodies, row.id.uuid(), 1);
    let sealed = envelope.seal(&context, &bodies.to_bytes())?;
    let mut digest = [0; 32];
    digest.copy_from_slice(digest::digest(&digest::SHA256, sealed.content()?).as_ref());
    row.bodies_digest = Some(digest);
    Ok((row, Some(sealed)))
}

/// Makes `row` that of the refusal.
pub(super) fn refuse(row: &mut AuditRow, action: Action, refusal: &crate::domain::Refusal) {
    row.action = action;
    row.outcome = Outcome::Refused;
    row.code = Some(refusal.code.as_str().to_owned());
    if row.grant_id.is_none() {
        row.grant_id = refusal.grant_id;
    }
}

/// Writes down which grant it is about.
pub(super) fn describe(row: &mut AuditRow, facts: &GrantFacts) {
    row.grant_id = Some(facts.id);
    row.provider = Some(facts.provider.as_str().to_owned());
    row.account.clone_from(&facts.account_identifier);
    row.principal = Some(match &facts.principal {
        Principal::User(id) => format!("user:{id}"),
        Principal::Group(name) => format!("group:{name}"),
        Principal::System => "system".to_owned(),
        Principal::Agent(id) => format!("agent:{id}"),
    });
}

/// What the row of a cut says.
pub(super) fn pruned(command: &CutCommand, rows: u64) -> String {
    let (chains, before, file) = (command.ends.len(), command.before, hex::encode(command.export));
    format!("{rows} rows of {chains} chains before {before}; exported to the file with SHA-256 {file}")
}

/// Where a provider's client secret belongs.
pub(super) fn client_secret_context(app_id: AppId, id: &ProviderId, generation: u64) -> SealContext {
    SealContext {
        app_id,
        field: Field::ProviderClientSecret,
        row: id.as_str().as_bytes().to_vec(),
        generation,
    }
}

//! Audit rows before they are in a chain, and what they say: the same in every store.

use aws_lc_rs::digest;

use super::{
    AdmittedNote, Browser, BrowserNote, CreateSession, CutCommand, HookMessage, RefusedCall, ReleaseCommand,
    ReportCommand, StoreError,
};
use crate::{
    audit::{Action, AuditRow, Outcome, clean_url},
    domain::{
        Admission, AppId, GrantFacts, GrantId, JobId, Operator, PageSettings, Principal, ProviderId,
        SessionKind, SessionRef, SignInSettings, UserId, UserStatus, WebhookId,
    },
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

/// The row of something that happened in a browser.
pub(super) fn of_browser(browser: &Browser, app_id: AppId, action: Action) -> AuditRow {
    let mut row = AuditRow::draft(app_id, browser.at, action, Outcome::Allowed);
    row.caller_type = Some("browser".to_owned());
    row.app_user_id = browser.user;
    row.request_id = Some(browser.request_id);
    row.remote.clone_from(&browser.remote);
    row
}

/// The row that a page asks for.
pub(super) fn of_browser_note(note: &BrowserNote) -> AuditRow {
    let mut row = of_browser(&note.browser, note.app_id, note.action);
    if let Some(code) = &note.code {
        row.outcome = Outcome::Refused;
        row.code = Some(code.as_str().to_owned());
    }
    row.provider = note.provider.as_ref().map(|provider| provider.as_str().to_owned());
    row.detail.clone_from(&note.detail);
    row
}

/// The row of a session that an app asks for.
pub(super) fn of_new_session(command: &CreateSession) -> AuditRow {
    let mut row = of_call(&command.admission, Action::SessionCreated);
    let kind = match command.kind {
        SessionKind::Connect => "connect",
        SessionKind::SignIn => "sign-in",
    };
    row.detail = Some(format!("{kind} session {}", command.id));
    row.grant_id = command.asked.repair;
    if let [only] = &*command.asked.providers {
        row.provider = Some(only.as_str().to_owned());
    }
    row
}

/// The row of a grant that ends because `parent` did, by the row of the latter.
pub(super) fn of_child(row: &AuditRow, parent: GrantId, facts: &GrantFacts) -> AuditRow {
    let mut child = AuditRow::draft(row.app_id, row.at, Action::GrantRevoked, Outcome::Allowed);
    child.key_id = row.key_id;
    child.key_prefix.clone_from(&row.key_prefix);
    child.caller.clone_from(&row.caller);
    child.caller_type.clone_from(&row.caller_type);
    child.actor_id = row.actor_id;
    child.agent_id = row.agent_id;
    child.app_user_id = row.app_user_id;
    child.reason.clone_from(&row.reason);
    child.request_id = row.request_id;
    child.remote.clone_from(&row.remote);
    child.detail = Some(format!("with its parent {parent}"));
    describe(&mut child, facts);
    child
}

/// A row of a user whose status changes, or of a grant that ends by that. `by` is what is known of whoever does it.
pub(super) fn of_user_change(by: &AuditRow, action: Action, user: UserId, status: UserStatus) -> AuditRow {
    let mut row = AuditRow::draft(by.app_id, by.at, action, Outcome::Allowed);
    row.caller.clone_from(&by.caller);
    row.caller_type.clone_from(&by.caller_type);
    row.reason.clone_from(&by.reason);
    row.remote.clone_from(&by.remote);
    row.app_user_id = Some(user);
    row.detail = Some(
        match status {
            UserStatus::Active => "user active",
            UserStatus::Suspended => "user suspended",
            UserStatus::Deleted => "user deleted",
        }
        .to_owned(),
    );
    row
}

/// The row of a message that came from an identity provider.
pub(super) fn of_hook(message: &HookMessage) -> AuditRow {
    let mut row = AuditRow::draft(message.app_id, message.at, Action::HookReceived, Outcome::Allowed);
    row.caller = Some(format!("webhook:{}", message.source));
    row.caller_type = Some("service".to_owned());
    row.remote.clone_from(&message.remote);
    let (shape, changes) = (message.shape.as_str(), message.changes.len());
    row.detail = Some(format!("{shape} message, {changes} changes of users"));
    row
}

/// What became of a revocation at the provider, as the grant keeps it.
pub(super) fn receipt(text: &str, done: bool) -> String {
    let text: String = text.chars().filter(|letter| !letter.is_control()).take(300).collect();
    if done { text } else { format!("given up: {text}") }
}

/// The row of a revocation at the provider that is done or given up.
pub(super) fn of_receipt(
    app_id: AppId,
    facts: &GrantFacts,
    receipt: &str,
    done: bool,
    at: jiff::Timestamp,
) -> AuditRow {
    let mut row = of_vault(app_id, at, Action::ProviderRevoked);
    describe(&mut row, facts);
    row.detail = Some(receipt.to_owned());
    if !done {
        row.outcome = Outcome::Refused;
    }
    row
}

/// The row of a dead job that an operator deals with.
pub(super) fn of_dead_job(
    by: &Operator,
    app_id: AppId,
    grant_id: GrantId,
    id: JobId,
    what: &str,
) -> AuditRow {
    let mut row = of_operator(by, app_id, Action::WebhookChanged);
    row.grant_id = Some(grant_id);
    row.detail = Some(format!("dead job {id} {what}"));
    row
}

/// What a message is remembered by, beside the nonces of signed calls: the first half of its digest.
pub(super) fn hook_nonce(message: &HookMessage) -> [u8; 16] {
    let mut nonce = [0; 16];
    nonce.copy_from_slice(&message.message.bytes()[..16]);
    nonce
}

/// What the row of a page says: everything but the picture.
pub(super) fn page_text(page: &PageSettings) -> String {
    let name = page.display_name.as_deref().unwrap_or("its own");
    let (logo, color) = (page.logo.is_some(), page.color.as_deref().unwrap_or("none"));
    format!("page: name {name}, logo {logo}, colour {color}, origins {}", page.origins.join(" "))
}

/// What the row of a sign-in says.
pub(super) fn sign_in_text(sign_in: Option<&SignInSettings>, secret: bool) -> String {
    let Some(sign_in) = sign_in else { return "sign-in: removed".to_owned() };
    format!("sign-in: client {}{}", sign_in.client_id, if secret { ", new secret" } else { "" })
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

/// Where the user's token belongs that a sign-in ends with.
pub(super) fn user_token_context(session: SessionRef) -> SealContext {
    SealContext::of(session.app_id, Field::SessionUserToken, session.id.uuid(), 1)
}

/// Where an app's client secret at its identity provider belongs.
pub(super) fn sign_in_secret_context(app_id: AppId, generation: u64) -> SealContext {
    SealContext::of(app_id, Field::SignInSecret, app_id.uuid(), generation)
}

/// Where the secret of a webhook endpoint ([`Field::WebhookSecret`]) or of a source ([`Field::HookSecret`]) belongs.
pub(super) fn webhook_secret_context(app_id: AppId, field: Field, id: WebhookId) -> SealContext {
    SealContext::of(app_id, field, id.uuid(), 1)
}

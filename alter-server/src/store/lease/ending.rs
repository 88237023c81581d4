//! What a refresh leaves behind: a new pair, a pause or an end, and its row.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretSlice, SecretString};

use super::{KeptGrant, LeaseRow, micros_of, refresh_token_at};
use crate::{
    audit::{Action, AuditRow, Outcome},
    domain::{CredentialVersion, FailureCode, GrantId, GrantStatus, RefreshFailure},
    resolve::{LONGEST_PAUSE, backoff},
    seal::{Envelope, Field, SealContext, Sealed, SealedField},
    store::{
        StoreError, check, draft,
        refresh::{FinishRefresh, FreshTokens, LeaseRef, RefreshEnd},
    },
};

/// A row of `refresh_backoff`.
pub(in crate::store) struct Pause {
    pub(in crate::store) failures: u64,
    pub(in crate::store) not_before: i64,
    pub(in crate::store) failure: RefreshFailure,
}

/// Whether a pause until `until` is on.
pub(super) fn is_on(until: i64, now: i64) -> bool {
    until > now && until.saturating_sub(now) <= micros_of(LONGEST_PAUSE)
}

/// Whole seconds from `now` until `moment`, rounded up; `None` if it is over.
pub(in crate::store) fn seconds_until(moment: i64, now: i64) -> Option<u64> {
    let left = u64::try_from(moment.saturating_sub(now)).ok()?.div_ceil(1_000_000);
    (left > 0).then_some(left)
}

/// The text of `reconnect_reason`.
pub(in crate::store) fn reason_text(failure: &RefreshFailure) -> String {
    failure.to_string()
}

/// Reads what [`reason_text`] wrote.
pub(super) fn reason(text: Option<&str>) -> RefreshFailure {
    let Some(text) = text else {
        return RefreshFailure::new(FailureCode::InvalidGrant, "the user must connect again");
    };
    match text.split_once(": ").map(|(code, detail)| (code.parse(), detail)) {
        Some((Ok(code), detail)) => RefreshFailure::new(code, detail),
        _ => RefreshFailure::new(FailureCode::InvalidGrant, text),
    }
}

/// A failure as two columns hold it.
pub(in crate::store) fn failure(code: Option<&str>, detail: Option<&str>) -> Option<RefreshFailure> {
    // A code of a later version is still a failure.
    let code = code?.parse().unwrap_or(FailureCode::ProviderUnavailable);
    Some(RefreshFailure::new(code, detail.unwrap_or_default()))
}

/// A new pair, sealed for its generation.
pub(in crate::store) struct SealedPair {
    pub(in crate::store) generation: u64,
    pub(in crate::store) access: Sealed,
    pub(in crate::store) refresh: Option<Sealed>,
    pub(in crate::store) scopes: Vec<String>,
}

/// Seals what a provider gave. A refresh token that stays is opened and sealed anew: what is kept is bound to its generation,
/// and the column must not hold a value of an older one.
pub(in crate::store) fn seal_pair(
    envelope: &Envelope,
    lease: &LeaseRef,
    grant: &KeptGrant,
    tokens: &FreshTokens,
) -> Result<SealedPair, StoreError> {
    let generation = lease.version.generation + 1;
    let CredentialVersion { app_id, grant_id, .. } = lease.version;
    let bytes = |secret: &SecretString| SecretSlice::from(secret.expose_secret().as_bytes().to_vec());
    let context = SealContext::of(app_id, Field::GrantAccessToken, grant_id.uuid(), generation);
    let access = envelope.seal(&context, &bytes(&tokens.access_token))?;
    let next = match (&tokens.refresh_token, &grant.refresh_token) {
        (Some(next), _) => Some(bytes(next)),
        (None, Some(kept)) => {
            let context = refresh_token_at(&lease.version, lease.version.generation);
            Some(envelope.open(&SealedField { context, sealed: kept.clone() })?)
        }
        (None, None) => None,
    };
    let at = refresh_token_at(&lease.version, generation);
    let refresh = next.map(|next| envelope.seal(&at, &next)).transpose()?;
    let kept = |scope: &&String| check::scopes(std::slice::from_ref(*scope)).is_ok();
    let scopes = match &tokens.scopes {
        Some(scopes) => scopes.iter().filter(kept).cloned().collect(),
        None => grant.scopes.clone(),
    };
    Ok(SealedPair { generation, access, refresh, scopes })
}

/// Fresh tokens that came when their grant had ended: nobody will use them, and the provider is to be told of them too. They
/// are sealed to the generation that they would have been.
pub(in crate::store) struct Orphans {
    pub(in crate::store) generation: u64,
    pub(in crate::store) access: Sealed,
    pub(in crate::store) refresh: Option<Sealed>,
}

/// The orphans of a refresh that is overtaken, if its grant is over and it has any.
pub(in crate::store) fn seal_orphans(
    envelope: &Envelope,
    finish: &FinishRefresh,
    grant: Option<&KeptGrant>,
) -> Result<Option<Orphans>, StoreError> {
    let RefreshEnd::Renewed(tokens) = &finish.end else { return Ok(None) };
    if grant.is_none_or(|grant| grant.facts.status == GrantStatus::Active) {
        return Ok(None);
    }
    let generation = finish.lease.version.generation + 1;
    let CredentialVersion { app_id, grant_id, .. } = finish.lease.version;
    let bytes = |secret: &SecretString| SecretSlice::from(secret.expose_secret().as_bytes().to_vec());
    let context = SealContext::of(app_id, Field::GrantAccessToken, grant_id.uuid(), generation);
    let access = envelope.seal(&context, &bytes(&tokens.access_token))?;
    let context = refresh_token_at(&finish.lease.version, generation);
    let next = tokens.refresh_token.as_ref();
    let refresh = next.map(|next| envelope.seal(&context, &bytes(next))).transpose()?;
    Ok(Some(Orphans { generation, access, refresh }))
}

/// What a failure leaves behind.
pub(in crate::store) struct Failing {
    pub(in crate::store) failure: RefreshFailure,
    /// Failures of the grant in a row.
    pub(in crate::store) failures: u64,
    /// Pause of the grant alone.
    pub(in crate::store) not_before: Option<i64>,
    /// Pause of the whole OAuth client: failures in a row, and until when.
    pub(in crate::store) client: Option<(u64, i64)>,
    /// The note goes.
    pub(in crate::store) resolved: bool,
}

/// Decides what a failure leaves behind. One that all grants of the client share pauses the client and not this grant: when
/// the provider is back, nobody has to sit out a pause of their own. What fails while a pause is on was begun before it, so
/// it is not counted as one more failure of the client.
pub(in crate::store) fn decide_failing(
    grant: GrantId,
    failure: &RefreshFailure,
    (asked, unresolved): (Option<Duration>, bool),
    row: &LeaseRow,
    client: Option<&Pause>,
    now: i64,
) -> Failing {
    let (spread, _) = grant.uuid().as_u64_pair();
    let until = |failures: u64| {
        let pause = backoff(u32::try_from(failures).unwrap_or(u32::MAX), asked, spread);
        now.saturating_add(micros_of(pause))
    };
    let failures = row.failures.saturating_add(1);
    let shared = failure.code.is_shared();
    let client = shared.then(|| match client {
        Some(pause) if is_on(pause.not_before, now) => {
            let asked = asked.map_or(i64::MIN, |_| until(1));
            (pause.failures, pause.not_before.max(asked))
        }
        Some(pause) => (pause.failures + 1, until(pause.failures + 1)),
        None => (1, until(1)),
    });
    Failing {
        failure: RefreshFailure::new(failure.code, &failure.detail),
        failures,
        not_before: (!shared).then(|| until(failures)),
        client,
        resolved: !unresolved,
    }
}

/// The row of a refresh that ended.
pub(in crate::store) fn audit_row(finish: &FinishRefresh, grant: &KeptGrant) -> AuditRow {
    let app_id = finish.lease.version.app_id;
    let refused = |action, failure: &RefreshFailure| {
        let mut row = draft::of_vault(app_id, finish.at, action);
        row.outcome = Outcome::Refused;
        row.code = Some(failure.code.as_str().to_owned());
        row.detail = Some(RefreshFailure::new(failure.code, &failure.detail).detail);
        row.token_generation = grant.token_generation;
        row
    };
    let mut row = match &finish.end {
        RefreshEnd::Renewed(tokens) => {
            let mut row = draft::of_vault(app_id, finish.at, Action::TokenRefreshed);
            row.token_generation = Some(tokens.token_generation);
            let refresh = if tokens.rotated { "replaced" } else { "kept" };
            let generation = finish.lease.version.generation + 1;
            row.detail = Some(format!("generation {generation}, refresh token {refresh}"));
            row
        }
        RefreshEnd::Failed { failure, .. } => refused(Action::RefreshFailed, failure),
        RefreshEnd::Dead { failure } => refused(Action::ReconnectNeeded, failure),
    };
    draft::describe(&mut row, &grant.facts);
    row
}

//! The first step of every signed call's unit of work, and the row of one that is refused.

use super::{
    columns::{count, get, maybe_instant, maybe_row, params},
    keys,
    lanes::Unit,
};
use crate::{
    audit::{Action, AuditRow},
    domain::{Admission, AgentId, AgentStatus, KeyKind, Refusal},
    resolve::{self, Caller, KeyState, NotAdmitted},
    store::{Outcome, StoreError, draft},
};
use alter_core::wire::code::Code;

/// How admission ended.
pub(super) enum Admitted {
    Yes(Caller),
    No(Box<Refusal>),
    /// Nothing was written.
    Stale,
}

/// Reads the key again, uses up the nonce, and says who is calling. Adds the key to `row`.
pub(super) async fn admit(
    unit: &mut Unit<'_>,
    admission: &Admission,
    row: &mut AuditRow,
) -> Result<Admitted, StoreError> {
    let state = key_state(unit, admission, row).await?;
    match resolve::admit_key(state.as_ref(), admission) {
        Ok(()) => {}
        Err(NotAdmitted::Refused(refusal)) => return Ok(Admitted::No(refusal)),
        Err(NotAdmitted::Stale) => return Ok(Admitted::Stale),
    }
    if !unit.use_nonce(admission).await? {
        let text = "this nonce was used before: sign each request anew";
        return Ok(Admitted::No(Refusal::new(Code::NonceReplayed, text)));
    }
    let Some(state) = state else {
        // `admit_key` refuses a missing key.
        return Ok(Admitted::No(Refusal::new(Code::InvalidKey, "no such key")));
    };
    let asserted = match (state.kind, admission.actor.asserted_agent()) {
        (KeyKind::App, Some(agent)) => agent_status(unit, admission, agent).await?,
        _ => None,
    };
    match resolve::admit_caller(&state, admission, asserted) {
        Ok(caller) => {
            row.agent_id = caller.agent();
            Ok(Admitted::Yes(caller))
        }
        Err(refusal) => Ok(Admitted::No(refusal)),
    }
}

async fn key_state(
    unit: &Unit<'_>,
    admission: &Admission,
    row: &mut AuditRow,
) -> Result<Option<KeyState>, StoreError> {
    let text = "SELECT k.agent_id, k.status, k.expires_at, k.scopes, a.status, a.config_generation, g.status, k.prefix \
         FROM api_keys k JOIN apps a ON a.id = k.app_id \
         LEFT JOIN agents g ON g.app_id = k.app_id AND g.id = k.agent_id \
         WHERE k.app_id = $1 AND k.id = $2";
    let found = maybe_row(unit.sql, text, params![admission.app_id, admission.key_id]).await?;
    let Some(found) = found else { return Ok(None) };
    let state = KeyState {
        kind: keys::kind(get(&found, 0)?),
        status: get(&found, 1)?,
        expires_at: maybe_instant(&found, 2)?,
        scopes: keys::scope_set(&found, 3)?,
        app_status: get(&found, 4)?,
        config_generation: count(&found, 5)?,
        agent_status: get(&found, 6)?,
    };
    row.key_prefix = Some(get(&found, 7)?);
    row.agent_id = state.kind.agent();
    Ok(Some(state))
}

async fn agent_status(
    unit: &Unit<'_>,
    admission: &Admission,
    agent: AgentId,
) -> Result<Option<AgentStatus>, StoreError> {
    let text = "SELECT status FROM agents WHERE app_id = $1 AND id = $2";
    maybe_row(unit.sql, text, params![admission.app_id, agent])
        .await?
        .as_ref()
        .map(|row| get(row, 0))
        .transpose()
}

/// Writes the row of a refused call and answers the refusal.
pub(super) async fn refuse<T>(
    unit: &mut Unit<'_>,
    mut row: AuditRow,
    action: Action,
    refusal: Box<Refusal>,
) -> Result<Outcome<T>, StoreError> {
    draft::refuse(&mut row, action, &refusal);
    unit.audit(row).await?;
    Ok(Outcome::Refused(refusal))
}

//! The first step of every signed call's unit of work, and the row of one that is refused.

use rusqlite::{OptionalExtension, params};

use super::{columns::maybe_instant, writer::Unit};
use crate::{
    audit::{Action, AuditRow},
    domain::{Admission, AgentId, AgentStatus, KeyKind, Refusal},
    resolve::{self, Caller, KeyState, NotAdmitted, ScopeSet},
    store::{Outcome, StoreError, draft},
};
use alter_core::wire::code::Code;

/// The caller of a signed call, or the end of the function around it.
macro_rules! admitted {
    ($unit:expr, $admission:expr, $row:expr, $action:expr) => {
        match admit($unit, $admission, &mut $row)? {
            Admitted::Yes(caller) => caller,
            Admitted::No(refusal) => return refuse($unit, $row, $action, refusal),
            Admitted::Stale => return Ok(Outcome::Stale),
        }
    };
}
pub(super) use admitted;

/// How admission ended.
pub(super) enum Admitted {
    Yes(Caller),
    No(Box<Refusal>),
    Stale,
}

/// Reads the key again, uses up the nonce, and says who is calling. Adds the key to `row`.
pub(super) fn admit(
    unit: &Unit<'_>,
    admission: &Admission,
    row: &mut AuditRow,
) -> Result<Admitted, StoreError> {
    let state = key_state(unit, admission, row)?;
    match resolve::admit_key(state.as_ref(), admission) {
        Ok(()) => {}
        Err(NotAdmitted::Refused(refusal)) => return Ok(Admitted::No(refusal)),
        Err(NotAdmitted::Stale) => return Ok(Admitted::Stale),
    }
    let used = unit
        .sql
        .prepare_cached(
            "INSERT OR IGNORE INTO nonces (app_id, timestamp, key_id, nonce) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![admission.app_id, admission.timestamp, admission.key_id, admission.nonce.bytes()])?;
    if used == 0 {
        let text = "this nonce was used before: sign each request anew";
        return Ok(Admitted::No(Refusal::new(Code::NonceReplayed, text)));
    }
    let Some(state) = state else {
        // `admit_key` refuses a missing key.
        return Ok(Admitted::No(Refusal::new(Code::InvalidKey, "no such key")));
    };
    let asserted = match (state.kind, admission.actor.asserted_agent()) {
        (KeyKind::App, Some(agent)) => agent_status(unit, admission, agent)?,
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

fn key_state(
    unit: &Unit<'_>,
    admission: &Admission,
    row: &mut AuditRow,
) -> Result<Option<KeyState>, StoreError> {
    let found = unit
        .sql
        .prepare_cached(
            "SELECT k.agent_id, k.status, k.expires_at, k.scopes, a.status, a.config_generation, g.status, k.prefix \
             FROM api_keys k JOIN apps a ON a.id = k.app_id \
             LEFT JOIN agents g ON g.app_id = k.app_id AND g.id = k.agent_id \
             WHERE k.app_id = ?1 AND k.id = ?2",
        )?
        .query_row(params![admission.app_id, admission.key_id], |columns| {
            let state = KeyState {
                kind: columns.get::<_, Option<AgentId>>(0)?.map_or(KeyKind::App, KeyKind::Agent),
                status: columns.get(1)?,
                expires_at: maybe_instant(columns, 2)?,
                scopes: ScopeSet(columns.get(3)?),
                app_status: columns.get(4)?,
                config_generation: super::columns::count(columns, 5)?,
                agent_status: columns.get(6)?,
            };
            Ok((state, columns.get::<_, String>(7)?))
        })
        .optional()?;
    Ok(found.map(|(state, prefix)| {
        row.key_prefix = Some(prefix);
        row.agent_id = state.kind.agent();
        state
    }))
}

fn agent_status(
    unit: &Unit<'_>,
    admission: &Admission,
    agent: AgentId,
) -> Result<Option<AgentStatus>, StoreError> {
    Ok(unit
        .sql
        .prepare_cached("SELECT status FROM agents WHERE app_id = ?1 AND id = ?2")?
        .query_row(params![admission.app_id, agent], |columns| columns.get(0))
        .optional()?)
}

/// Writes the row of a refused call and answers the refusal.
pub(super) fn refuse<T>(
    unit: &mut Unit<'_>,
    mut row: AuditRow,
    action: Action,
    refusal: Box<Refusal>,
) -> Result<Outcome<T>, StoreError> {
    draft::refuse(&mut row, action, &refusal);
    unit.audit(row)?;
    Ok(Outcome::Refused(refusal))
}

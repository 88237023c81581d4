//! The first step of every signed call's unit of work, and the row of one that is refused.

use futures_util::future::try_join;
use tokio_postgres::Client;

use super::{
    columns::{count, get, maybe_instant, maybe_row, params},
    keys,
    lanes::Unit,
};
use crate::{
    audit::{Action, AuditRow},
    domain::{Admission, AgentStatus, Refusal},
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

/// What admission goes by.
pub(super) struct Seen {
    /// The key, and its prefix.
    key: Option<(KeyState, String)>,
    /// State of the agent that the caller says it is.
    asserted: Option<AgentStatus>,
}

/// Reads the key again, and says who is calling; the nonce is used up at the end. Adds the key to `row`.
pub(super) async fn admit(
    unit: &mut Unit<'_>,
    admission: &Admission,
    row: &mut AuditRow,
) -> Result<Admitted, StoreError> {
    let seen = look(unit.sql, admission).await?;
    Ok(decide(unit, admission, row, seen))
}

/// Reads what admission goes by, in one flight.
pub(super) async fn look(sql: &Client, admission: &Admission) -> Result<Seen, StoreError> {
    let (key, asserted) = try_join(key_state(sql, admission), agent_status(sql, admission)).await?;
    Ok(Seen { key, asserted })
}

/// Decides on what was read.
pub(super) fn decide(unit: &mut Unit<'_>, admission: &Admission, row: &mut AuditRow, seen: Seen) -> Admitted {
    let state = seen.key.map(|(state, prefix)| {
        row.key_prefix = Some(prefix);
        row.agent_id = state.kind.agent();
        state
    });
    match resolve::admit_key(state.as_ref(), admission) {
        Ok(()) => {}
        Err(NotAdmitted::Refused(refusal)) => return Admitted::No(refusal),
        Err(NotAdmitted::Stale) => return Admitted::Stale,
    }
    if !unit.use_nonce(admission) {
        let text = "this nonce was used before: sign each request anew";
        return Admitted::No(Refusal::new(Code::NonceReplayed, text));
    }
    let Some(state) = state else {
        // `admit_key` refuses a missing key.
        return Admitted::No(Refusal::new(Code::InvalidKey, "no such key"));
    };
    match resolve::admit_caller(&state, admission, seen.asserted) {
        Ok(caller) => {
            row.agent_id = caller.agent();
            Admitted::Yes(caller)
        }
        Err(refusal) => Admitted::No(refusal),
    }
}

async fn key_state(sql: &Client, admission: &Admission) -> Result<Option<(KeyState, String)>, StoreError> {
    let text = "SELECT k.agent_id, k.status, k.expires_at, k.scopes, a.status, a.config_generation, g.status, k.prefix \
         FROM api_keys k JOIN apps a ON a.id = k.app_id \
         LEFT JOIN agents g ON g.app_id = k.app_id AND g.id = k.agent_id \
         WHERE k.app_id = $1 AND k.id = $2";
    let found = maybe_row(sql, text, params![admission.app_id, admission.key_id]).await?;
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
    Ok(Some((state, get(&found, 7)?)))
}

/// State of the agent that the caller's header names, if it names one.
async fn agent_status(sql: &Client, admission: &Admission) -> Result<Option<AgentStatus>, StoreError> {
    let Some(agent) = admission.actor.asserted_agent() else { return Ok(None) };
    let text = "SELECT status FROM agents WHERE app_id = $1 AND id = $2";
    maybe_row(sql, text, params![admission.app_id, agent]).await?.as_ref().map(|row| get(row, 0)).transpose()
}

/// Writes the row of a refused call and answers the refusal.
pub(super) fn refuse<T>(
    unit: &mut Unit<'_>,
    mut row: AuditRow,
    action: Action,
    refusal: Box<Refusal>,
) -> Outcome<T> {
    draft::refuse(&mut row, action, &refusal);
    unit.audit(row);
    Outcome::Refused(refusal)
}

/// Who is calling; ends the function if the call is not admitted.
macro_rules! admitted {
    ($unit:expr, $admission:expr, $row:expr, $action:expr) => {
        match $crate::store::postgres::admit::admit($unit, $admission, &mut $row).await? {
            $crate::store::postgres::admit::Admitted::Yes(caller) => caller,
            $crate::store::postgres::admit::Admitted::No(refusal) => {
                return Ok($crate::store::postgres::admit::refuse($unit, $row, $action, refusal));
            }
            $crate::store::postgres::admit::Admitted::Stale => return Ok(Outcome::Stale),
        }
    };
}

/// The user of a call; ends the function if that user may have no grants.
macro_rules! admitted_user {
    ($unit:expr, $admission:expr, $identity:expr, $row:expr, $action:expr) => {
        match $crate::store::postgres::users::seen($unit, $admission, $identity, &mut $row).await? {
            Ok(user) => user,
            Err(refusal) => {
                return Ok($crate::store::postgres::admit::refuse($unit, $row, $action, refusal));
            }
        }
    };
}

pub(super) use {admitted, admitted_user};

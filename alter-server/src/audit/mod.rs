//! The audit trail: one row per thing that happened, chained by hash within one app and one writer's run (design promise 1).

mod row;
mod verify;

pub use row::{Action, AuditFilter, AuditPage, AuditRow, CallReport, Outcome as AuditOutcome};
pub use verify::{ChainFault, ChainReport, VerifyReport};

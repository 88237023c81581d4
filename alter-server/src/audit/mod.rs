//! The audit trail: one row per thing that happened, chained by hash within one app and one writer's run (design promise 1).
//!
//! A store writes the row in the unit of work it describes. A chain belongs to one app **and** one run of one process, so that
//! replicas never wait for each other's rows. [`Verifier`] finds every change made to the rows afterwards, except by somebody who
//! rewrites a whole chain and its recorded end.

mod chain;
mod row;
#[cfg(test)]
mod tests;
mod url;
mod verify;

pub use chain::ChainHead;
pub use row::{Action, AuditFilter, AuditPage, AuditRow, CallReport, Outcome, ReportedBodies};
pub use url::clean_url;
pub use verify::{ChainFault, ChainRecord, ChainReport, Verifier, VerifyReport};

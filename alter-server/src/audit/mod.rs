//! The audit trail: one row per thing that happened, chained by hash within one app and one writer's run (design promise 1).
//!
//! A store writes the row in the unit of work it describes. A chain belongs to one app **and** one run of one process, so that
//! replicas never wait for each other's rows. [`Checkpoint`]s sign where a chain stands; [`Verifier`] finds every change made to
//! the rows afterwards. What nothing inside of a store can show is that its newest rows **and** their checkpoints were taken away:
//! copies of checkpoints that are kept elsewhere do ([`Evidence::anchors`]).

mod chain;
mod checkpoint;
mod export;
mod row;
#[cfg(test)]
mod tests;
mod text;
mod url;
mod verify;

pub use chain::ChainHead;
pub(crate) use checkpoint::signer_of;
pub use checkpoint::{
    Checkpoint, CheckpointKey, CheckpointKind, Due, Evidence, InvalidPublicKey, PublicKey, Signer,
};
pub use export::{
    ExportFault, ExportFolder, ExportLine, ExportReader, ExportReport, ExportWriter, Exported, NamedCut,
};
pub use row::{Action, AuditFilter, AuditPage, AuditRow, CallReport, Outcome, ReportedBodies};
pub use url::clean_url;
pub use verify::{ChainFault, ChainRecord, ChainReport, Verifier, VerifyReport};

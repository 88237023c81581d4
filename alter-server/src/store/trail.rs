//! What the store does to prove the audit trail, and to let go of its old part.

use jiff::Timestamp;

use super::{Answer, AuditVerifyScope};
use crate::{
    audit::{AuditRow, ChainHead, Checkpoint, CheckpointKey, Evidence, NamedCut, VerifyReport},
    domain::{AppId, Operator, RunId},
    seal::Sealed,
};

/// Chains that are signed in one unit of work.
pub(crate) const SIGN_STEP: usize = 100;
/// Rows that are removed in one unit of work.
pub(crate) const SWEEP_STEP: u32 = 500;

/// The end of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainEnd {
    /// The app.
    pub app_id: AppId,
    /// The chain.
    pub chain: RunId,
    /// Where it stands.
    pub head: ChainHead,
}

/// A chain that may have rows to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainState {
    /// The chain and its recorded end.
    pub end: ChainEnd,
    /// When its first row was written, UTC.
    pub begun_at: Timestamp,
    /// Where retention has cut it; its beginning if never.
    pub cut: ChainHead,
}

/// Rows in the order of writing, with their sealed bodies.
#[derive(Debug, Clone)]
pub struct ExportPage {
    /// Place in the order of writing, row, and bodies if it has any.
    pub rows: Vec<(u64, AuditRow, Option<Sealed>)>,
    /// There are more after these.
    pub more: bool,
}

/// One chain that is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CutEnd {
    /// The chain.
    pub chain: RunId,
    /// Where it was cut before. If that is no longer so, somebody else has cut it meanwhile.
    pub from: u64,
    /// The last row that goes.
    pub to: ChainHead,
}

/// Rows that were exported and may go.
#[derive(Debug, Clone)]
pub struct CutCommand {
    /// The app.
    pub app_id: AppId,
    /// Everything that goes was written before this instant.
    pub before: Timestamp,
    /// Everything that goes has at most this place in the order of writing.
    pub up_to: u64,
    /// The chains.
    pub ends: Vec<CutEnd>,
    /// SHA-256 of the file that the rows were exported to.
    pub export: [u8; 32],
}

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Swept {
    /// Rows that were deleted one by one.
    pub rows: u64,
    /// Partitions of rows that were dropped as a whole, by day (PostgreSQL).
    pub partitions: u64,
}

/// Proofs and retention of the trail; a part of [`super::Store`], by the same rules.
pub trait Trail {
    /// The keys that sign checkpoints, oldest first. The first is made with the first checkpoint.
    fn checkpoint_keys(&self) -> Answer<'_, Vec<CheckpointKey>>;

    /// Makes another key, which signs from now on.
    fn add_checkpoint_key(&self, by: Operator) -> Answer<'_, CheckpointKey>;

    /// Signs where this opening's own chains stand, from memory: what somebody wrote into the store meanwhile is not signed.
    /// Answers how many checkpoints were made; chains that did not move get none.
    fn checkpoint_own(&self) -> Answer<'_, u64>;

    /// Signs ends that the caller has walked to. Answers how many checkpoints were made.
    fn checkpoint_ends(&self, ends: Vec<ChainEnd>) -> Answer<'_, u64>;

    /// The newest checkpoint and the newest cut of every chain of one app or of the whole vault.
    fn newest_checkpoints(&self, app_id: Option<AppId>) -> Answer<'_, Vec<Checkpoint>>;

    /// The cuts that name an exported file by its SHA-256.
    fn cuts_naming(&self, export: [u8; 32]) -> Answer<'_, Vec<NamedCut>>;

    /// Every chain whose rows are not all cut.
    fn uncut_chains(&self) -> Answer<'_, Vec<ChainState>>;

    /// Up to `limit` rows of an app after a place in the order of writing.
    fn export_page(&self, app_id: AppId, after: u64, limit: u32) -> Answer<'_, ExportPage>;

    /// Signs cuts, drops the checkpoints that they replace, writes the row that says so, and marks the rows as to be removed:
    /// one unit of work. From then on the rows are not part of the trail, whether they are there still or not.
    ///
    /// `Conflict` if one of the chains was cut by somebody else meanwhile; nothing happened then.
    fn cut(&self, by: Operator, command: CutCommand) -> Answer<'_, ()>;

    /// Removes the rows that were cut, in steps that hold nobody up. May be interrupted and repeated.
    fn sweep(&self) -> Answer<'_, Swept>;

    /// Walks every chain of one app or of the whole vault, checks their checkpoints and `evidence`, and says what is wrong.
    fn verify_trail(&self, scope: AuditVerifyScope, evidence: Evidence) -> Answer<'_, VerifyReport>;
}

//! Walking the chains.

use serde::Serialize;

use crate::domain::{AppId, RunId};

/// What a walk over the trail found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Every chain that was walked.
    pub chains: Vec<ChainReport>,
}

impl VerifyReport {
    /// Whether every chain is complete and unchanged.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.chains.iter().all(|chain| chain.fault.is_none())
    }
}

/// What a walk over one chain found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChainReport {
    /// The app.
    pub app_id: AppId,
    /// The run that wrote it.
    pub chain: RunId,
    /// Rows that were found.
    pub rows: u64,
    /// The writer marked it as finished.
    pub closed: bool,
    /// The first thing that is wrong.
    pub fault: Option<ChainFault>,
}

/// What is wrong with a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChainFault {
    /// Place in the chain.
    pub seq: u64,
    /// What is wrong there.
    pub what: String,
}

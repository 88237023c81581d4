//! Walking the chains.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{AuditRow, ChainHead};
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

    /// Rows of all chains.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.chains.iter().map(|chain| chain.rows).sum()
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
    /// Place in the chain where it shows.
    pub seq: u64,
    /// What is wrong there.
    pub what: String,
}

/// What a store remembers of a chain besides its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainRecord {
    /// The app.
    pub app_id: AppId,
    /// The run that wrote it.
    pub chain: RunId,
    /// Where it ends.
    pub head: ChainHead,
    /// The writer marked it as finished.
    pub closed: bool,
}

#[derive(Debug)]
struct Walk {
    record: Option<ChainRecord>,
    at: ChainHead,
    rows: u64,
    fault: Option<ChainFault>,
}

/// Checks rows as they come: in order within a chain, chains mixed as they like.
///
/// Found are: a changed field, a row taken out, put in, moved or exchanged, and rows missing at the end.
#[derive(Debug)]
pub struct Verifier {
    walks: BTreeMap<(AppId, RunId), Walk>,
    scratch: Vec<u8>,
}

impl Verifier {
    /// Starts a walk; `records` are the chains that must be there.
    #[must_use]
    pub fn new(records: impl IntoIterator<Item = ChainRecord>) -> Self {
        let start = |record: ChainRecord| {
            let at = ChainHead::genesis(record.app_id, record.chain);
            ((record.app_id, record.chain), Walk { record: Some(record), at, rows: 0, fault: None })
        };
        Self { walks: records.into_iter().map(start).collect(), scratch: Vec::new() }
    }

    fn walk(&mut self, app_id: AppId, chain: RunId) -> &mut Walk {
        self.walks.entry((app_id, chain)).or_insert_with(|| Walk {
            record: None,
            at: ChainHead::genesis(app_id, chain),
            rows: 0,
            fault: Some(ChainFault { seq: 1, what: "rows of a chain that was never begun".to_owned() }),
        })
    }

    /// The next row.
    pub fn push(&mut self, row: &AuditRow) {
        let mut scratch = std::mem::take(&mut self.scratch);
        let computed = row.computed_hash(&mut scratch);
        self.scratch = scratch;
        let walk = self.walk(row.app_id, row.chain);
        walk.rows += 1;
        if walk.fault.is_some() {
            return;
        }
        let expected = walk.at.seq + 1;
        let what = if row.seq != expected {
            format!("row {} comes where row {expected} should", row.seq)
        } else if row.prev_hash != walk.at.hash {
            "the row does not follow the one before it".to_owned()
        } else if row.hash != computed {
            "the row was changed".to_owned()
        } else {
            walk.at = ChainHead { seq: row.seq, hash: row.hash };
            return;
        };
        walk.fault = Some(ChainFault { seq: expected, what });
    }

    /// A row that cannot even be read.
    pub fn push_unreadable(&mut self, app_id: AppId, chain: RunId, what: &str) {
        let walk = self.walk(app_id, chain);
        walk.rows += 1;
        if walk.fault.is_none() {
            walk.fault = Some(ChainFault { seq: walk.at.seq + 1, what: format!("unreadable row: {what}") });
        }
    }

    /// All rows were given.
    #[must_use]
    pub fn finish(self) -> VerifyReport {
        let chains = self.walks.into_iter().map(|((app_id, chain), walk)| {
            let mut fault = walk.fault;
            if let Some(record) = walk.record
                && fault.is_none()
                && record.head != walk.at
            {
                let what = if record.head.seq > walk.at.seq {
                    format!("the chain ends here, but {} rows were written", record.head.seq)
                } else {
                    "the chain's recorded end is another one".to_owned()
                };
                fault = Some(ChainFault { seq: walk.at.seq + 1, what });
            }
            let closed = walk.record.is_some_and(|record| record.closed);
            ChainReport { app_id, chain, rows: walk.rows, closed, fault }
        });
        VerifyReport { chains: chains.collect() }
    }
}

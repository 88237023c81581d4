//! Walking the chains, and holding them against their checkpoints.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{AuditRow, ChainHead, Checkpoint, CheckpointKind, PublicKey};
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

    /// Checkpoints of all chains.
    #[must_use]
    pub fn checkpoints(&self) -> u64 {
        self.chains.iter().map(|chain| chain.checkpoints).sum()
    }

    /// Rows that no checkpoint vouches for yet: whoever can write the store could still forge them unseen.
    #[must_use]
    pub fn unsigned_rows(&self) -> u64 {
        self.chains.iter().map(|chain| chain.end.seq.saturating_sub(chain.signed_to)).sum()
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
    /// Rows that retention removed: the chain was walked from here.
    pub cut: u64,
    /// Checkpoints that were found.
    pub checkpoints: u64,
    /// The last row that a checkpoint vouches for.
    pub signed_to: u64,
    /// Where the walk ended.
    #[serde(skip)]
    pub end: ChainHead,
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

/// The checkpoints of one chain that are of one sort: those that note an end, or those that cut.
#[derive(Debug, Default)]
struct Series {
    first: u64,
    last: u64,
    digest: [u8; 32],
}

impl Series {
    /// Takes the next one; answers what is wrong with its place. The first may follow on others only if `begins_later`.
    fn follow(&mut self, checkpoint: &Checkpoint, begins_later: bool) -> Result<(), String> {
        let number = checkpoint.number;
        let follows = match (self.last, number) {
            (0, 1) => checkpoint.previous.is_none(),
            (0, _) => begins_later,
            (last, _) => number == last + 1 && checkpoint.previous == Some(self.digest),
        };
        let missing = (self.last > 0 || !begins_later) && number > self.last + 1;
        if self.first == 0 {
            self.first = number;
        }
        (self.last, self.digest) = (number, checkpoint.digest());
        match (follows, missing) {
            (true, _) => Ok(()),
            (false, true) => Err(format!("checkpoints before number {number} are missing")),
            (false, false) => Err(format!("checkpoint {number} does not follow the one before it")),
        }
    }
}

#[derive(Debug)]
struct Walk {
    record: Option<ChainRecord>,
    at: ChainHead,
    rows: u64,
    cut: u64,
    cuts: Series,
    notes: Series,
    checkpoints: u64,
    signed_to: u64,
    /// The row after which the writer said that none follows.
    closed_at: Option<u64>,
    /// Hashes that rows must have, of places that were not reached yet.
    expected: BTreeMap<u64, [u8; 32]>,
    fault: Option<ChainFault>,
}

impl Walk {
    fn new(app_id: AppId, chain: RunId, record: Option<ChainRecord>, fault: Option<ChainFault>) -> Self {
        Self {
            record,
            at: ChainHead::genesis(app_id, chain),
            rows: 0,
            cut: 0,
            cuts: Series::default(),
            notes: Series::default(),
            checkpoints: 0,
            signed_to: 0,
            closed_at: None,
            expected: BTreeMap::new(),
            fault,
        }
    }

    fn blame(&mut self, seq: u64, what: impl Into<String>) {
        if self.fault.is_none() {
            self.fault = Some(ChainFault { seq, what: what.into() });
        }
    }

    /// The row at the place of `head` must have its hash.
    fn expect(&mut self, head: ChainHead) {
        let same = if head.seq == self.cut && head.seq > 0 {
            self.at.hash == head.hash
        } else if head.seq > self.cut {
            *self.expected.entry(head.seq).or_insert(head.hash) == head.hash
        } else {
            // Its rows were exported; the cut vouches for them.
            true
        };
        if !same {
            self.blame(head.seq, "two checkpoints disagree about this row");
        }
    }
}

/// Checks rows as they come: in order within a chain, chains mixed as they like; before them the cuts, the checkpoints (both by
/// their number) and the anchors.
///
/// Found are: a changed field, a row taken out, put in, moved or exchanged, rows missing at the end, and a chain that is not the
/// one that was signed. Only the ends of the walked chains and of their checkpoints are held in memory, not the rows.
#[derive(Debug)]
pub struct Verifier {
    walks: BTreeMap<(AppId, RunId), Walk>,
    trusted: BTreeSet<PublicKey>,
    scratch: Vec<u8>,
}

impl Verifier {
    /// Starts a walk; `records` are the chains that must be there, `trusted` the keys whose signatures count.
    #[must_use]
    pub fn new(
        records: impl IntoIterator<Item = ChainRecord>,
        trusted: impl IntoIterator<Item = PublicKey>,
    ) -> Self {
        let start = |record: ChainRecord| {
            let key = (record.app_id, record.chain);
            (key, Walk::new(key.0, key.1, Some(record), None))
        };
        let walks = records.into_iter().map(start).collect();
        Self { walks, trusted: trusted.into_iter().collect(), scratch: Vec::new() }
    }

    fn walk(&mut self, app_id: AppId, chain: RunId, stray: &str) -> &mut Walk {
        self.walks.entry((app_id, chain)).or_insert_with(|| {
            Walk::new(app_id, chain, None, Some(ChainFault { seq: 1, what: stray.to_owned() }))
        })
    }

    /// The next checkpoint of the store: the cuts of a chain first, each sort by its number.
    pub fn push_checkpoint(&mut self, checkpoint: &Checkpoint) {
        let trusted = self.trusted.contains(&checkpoint.key);
        let walk = self.walk(checkpoint.app_id, checkpoint.chain, "checkpoints of a chain that is not there");
        walk.checkpoints += 1;
        if let Some(what) = distrust(checkpoint, trusted) {
            walk.blame(checkpoint.seq, what);
            return;
        }
        walk.signed_to = walk.signed_to.max(checkpoint.seq);
        let placed = match checkpoint.kind {
            CheckpointKind::Cut => {
                let placed = walk.cuts.follow(checkpoint, false);
                walk.expect(checkpoint.head());
                walk.expected.remove(&checkpoint.seq);
                if checkpoint.seq > walk.cut {
                    (walk.cut, walk.at) = (checkpoint.seq, checkpoint.head());
                }
                placed
            }
            CheckpointKind::Progress | CheckpointKind::Closed => {
                let placed = walk.notes.follow(checkpoint, walk.cut > 0);
                walk.expect(checkpoint.head());
                placed
            }
        };
        if checkpoint.kind == CheckpointKind::Closed {
            walk.closed_at = Some(checkpoint.seq);
        }
        if let Err(what) = placed {
            walk.blame(checkpoint.seq, what);
        }
    }

    /// A checkpoint of the store that cannot even be read.
    pub fn push_unreadable_checkpoint(&mut self, app_id: AppId, chain: RunId, what: &str) {
        let walk = self.walk(app_id, chain, "checkpoints of a chain that is not there");
        walk.checkpoints += 1;
        walk.blame(0, format!("unreadable checkpoint: {what}"));
    }

    /// A checkpoint that was kept outside the store, after all of the store's own.
    pub fn push_anchor(&mut self, anchor: &Checkpoint) {
        let trusted = self.trusted.contains(&anchor.key);
        let stray = "an anchor shows this chain, and it is gone from the database";
        let walk = self.walk(anchor.app_id, anchor.chain, stray);
        if let Some(what) = distrust(anchor, trusted) {
            walk.blame(anchor.seq, format!("anchor: {what}"));
            return;
        }
        if anchor.kind == CheckpointKind::Cut {
            if anchor.number > walk.cuts.last {
                walk.blame(anchor.seq, "an anchor shows a cut that is gone from the database");
            }
            return;
        }
        walk.signed_to = walk.signed_to.max(anchor.seq);
        if anchor.kind == CheckpointKind::Closed {
            walk.closed_at = Some(anchor.seq);
        }
        walk.expect(anchor.head());
        let kept = (walk.notes.first..=walk.notes.last).contains(&anchor.number) && walk.notes.last > 0;
        // Retention also takes checkpoints away, of rows that it removed.
        if anchor.seq > walk.cut && !kept {
            walk.blame(
                anchor.seq,
                format!("an anchor shows checkpoint {}, and it is gone from the database", anchor.number),
            );
        }
    }

    /// The next row.
    pub fn push(&mut self, row: &AuditRow) {
        let mut scratch = std::mem::take(&mut self.scratch);
        let computed = row.computed_hash(&mut scratch);
        self.scratch = scratch;
        let walk = self.walk(row.app_id, row.chain, "rows of a chain that was never begun");
        if row.seq <= walk.cut {
            // It was exported and cut; a sweep that was interrupted has not reached it yet.
            return;
        }
        walk.rows += 1;
        if walk.fault.is_some() {
            return;
        }
        let expected = walk.at.seq + 1;
        let signed = walk.expected.remove(&row.seq);
        let what = if row.seq != expected {
            format!("row {} comes where row {expected} should", row.seq)
        } else if row.prev_hash != walk.at.hash {
            "the row does not follow the one before it".to_owned()
        } else if row.hash != computed {
            "the row was changed".to_owned()
        } else if signed.is_some_and(|hash| hash != row.hash) {
            "the chain up to here is not the one that was signed: it was written anew".to_owned()
        } else if walk.closed_at.is_some_and(|closed| row.seq > closed) {
            "the row was added after the chain was closed".to_owned()
        } else {
            walk.at = ChainHead { seq: row.seq, hash: row.hash };
            return;
        };
        walk.fault = Some(ChainFault { seq: expected, what });
    }

    /// A row that cannot even be read.
    pub fn push_unreadable(&mut self, app_id: AppId, chain: RunId, what: &str) {
        let walk = self.walk(app_id, chain, "rows of a chain that was never begun");
        walk.rows += 1;
        walk.blame(walk.at.seq + 1, format!("unreadable row: {what}"));
    }

    /// All rows were given.
    #[must_use]
    pub fn finish(self) -> VerifyReport {
        let chains = self.walks.into_iter().map(|((app_id, chain), mut walk)| {
            let end = walk.at;
            if let Some((signed, _)) = walk.expected.last_key_value()
                && *signed > end.seq
            {
                walk.blame(end.seq + 1, format!("the chain ends here, but row {signed} was signed"));
            }
            if let Some(record) = walk.record
                && record.head != end
            {
                let what = if record.head.seq > end.seq {
                    format!("the chain ends here, but {} rows were written", record.head.seq)
                } else {
                    "the chain's recorded end is another one".to_owned()
                };
                walk.blame(end.seq + 1, what);
            }
            ChainReport {
                app_id,
                chain,
                rows: walk.rows,
                closed: walk.record.is_some_and(|record| record.closed),
                cut: walk.cut,
                checkpoints: walk.checkpoints,
                signed_to: walk.signed_to,
                end,
                fault: walk.fault,
            }
        });
        VerifyReport { chains: chains.collect() }
    }
}

fn distrust(checkpoint: &Checkpoint, trusted: bool) -> Option<String> {
    let number = checkpoint.number;
    if !trusted {
        return Some(format!(
            "checkpoint {number} is signed by key {}, which is not trusted: it was forged, or its key must be named",
            checkpoint.key.id()
        ));
    }
    (!checkpoint.signature_holds())
        .then(|| format!("checkpoint {number} was changed, or belongs to another chain"))
}

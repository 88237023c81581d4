//! The hash chain: what each row's hash covers, and how rows follow each other.

use jiff::Timestamp;

use super::{Action, AuditRow, Outcome, checkpoint::sha256};
use crate::domain::{AppId, AuditId, RunId};

/// The end of a chain: place and hash of its last row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainHead {
    /// Place of the last row; 0 before the first.
    pub seq: u64,
    /// Hash of the last row; before the first, of the chain's name.
    pub hash: [u8; 32],
}

impl ChainHead {
    /// The head of a chain without rows. The first row builds on it, so a row cannot be moved to another app or run.
    #[must_use]
    pub fn genesis(app_id: AppId, chain: RunId) -> Self {
        let mut text = b"alter-audit-chain-v1".to_vec();
        text.extend_from_slice(app_id.bytes());
        text.extend_from_slice(chain.bytes());
        Self { seq: 0, hash: sha256(&text) }
    }

    /// Puts `row` at the end: fills in its place and hashes and moves on.
    pub fn append(&mut self, row: &mut AuditRow, scratch: &mut Vec<u8>) {
        row.fit();
        row.seq = self.seq + 1;
        row.prev_hash = self.hash;
        row.hash = row.computed_hash(scratch);
        *self = Self { seq: row.seq, hash: row.hash };
    }
}

/// Cuts `text` to at most `max` bytes at a character boundary.
fn cut(text: &mut Option<String>, max: usize) {
    if let Some(text) = text
        && text.len() > max
    {
        let mut end = max;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
}

impl AuditRow {
    /// A row with nothing but the necessary, not yet in a chain. `at` is cut to the microsecond.
    #[must_use]
    pub fn draft(app_id: AppId, at: Timestamp, action: Action, outcome: Outcome) -> Self {
        let at = Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at);
        let seconds = u64::try_from(at.as_second()).unwrap_or(0);
        let nanos = u32::try_from(at.subsec_nanosecond()).unwrap_or(0);
        let stamp = uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanos);
        Self {
            id: AuditId::from_uuid(uuid::Uuid::new_v7(stamp)),
            app_id,
            chain: RunId::from_uuid(uuid::Uuid::nil()),
            seq: 0,
            at,
            action,
            outcome,
            code: None,
            key_id: None,
            key_prefix: None,
            caller: None,
            caller_type: None,
            actor_id: None,
            agent_id: None,
            principal: None,
            app_user_id: None,
            grant_id: None,
            provider: None,
            account: None,
            method: None,
            url: None,
            status: None,
            latency_ms: None,
            reason: None,
            context: None,
            token_generation: None,
            request_id: None,
            trace_parent: None,
            remote: None,
            detail: None,
            bodies_digest: None,
            prev_hash: [0; 32],
            hash: [0; 32],
        }
    }

    /// Cuts every text to its limit in bytes, and every number and character to what a store can keep: a row must read back as
    /// it was hashed.
    fn fit(&mut self) {
        self.latency_ms = self.latency_ms.map(|latency| latency.min(i64::MAX.unsigned_abs()));
        for (text, max) in [
            (&mut self.code, 128),
            (&mut self.key_prefix, 32),
            (&mut self.caller, 255),
            (&mut self.caller_type, 16),
            (&mut self.principal, 512),
            (&mut self.provider, 128),
            (&mut self.account, 512),
            (&mut self.method, 32),
            (&mut self.url, 2048),
            (&mut self.reason, 2048),
            (&mut self.context, 4096),
            (&mut self.trace_parent, 64),
            (&mut self.remote, 64),
            (&mut self.detail, 4096),
        ] {
            // One store cannot keep a NUL, and a vault may move there.
            if let Some(text) = text
                && text.contains('\0')
            {
                *text = text.replace('\0', "\u{FFFD}");
            }
            cut(text, max);
        }
    }

    /// SHA-256 of the row: every field in a fixed order, each as presence, length and bytes, so that no two rows have the same
    /// encoding; the hash of the row before included.
    #[must_use]
    pub fn computed_hash(&self, scratch: &mut Vec<u8>) -> [u8; 32] {
        // Every field is named, so that a new one cannot be forgotten here.
        let Self {
            id,
            app_id,
            chain,
            seq,
            at,
            action,
            outcome,
            code,
            key_id,
            key_prefix,
            caller,
            caller_type,
            actor_id,
            agent_id,
            principal,
            app_user_id,
            grant_id,
            provider,
            account,
            method,
            url,
            status,
            latency_ms,
            reason,
            context,
            token_generation,
            request_id,
            trace_parent,
            remote,
            detail,
            bodies_digest,
            prev_hash,
            hash: _,
        } = self;
        scratch.clear();
        let mut put = |field: Option<&[u8]>| match field {
            None => scratch.push(0),
            Some(bytes) => {
                scratch.push(1);
                // The texts are cut to at most 4,096 bytes.
                scratch.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
                scratch.extend_from_slice(bytes);
            }
        };
        put(Some(b"alter-audit-row-v1"));
        put(Some(prev_hash));
        put(Some(id.bytes()));
        put(Some(app_id.bytes()));
        put(Some(chain.bytes()));
        put(Some(&seq.to_be_bytes()));
        put(Some(&at.as_microsecond().to_be_bytes()));
        put(Some(action.as_str().as_bytes()));
        put(Some(&[*outcome as u8]));
        put(code.as_deref().map(str::as_bytes));
        put(key_id.as_ref().map(|id| id.bytes().as_slice()));
        put(key_prefix.as_deref().map(str::as_bytes));
        put(caller.as_deref().map(str::as_bytes));
        put(caller_type.as_deref().map(str::as_bytes));
        put(actor_id.as_ref().map(|id| id.bytes().as_slice()));
        put(agent_id.as_ref().map(|id| id.bytes().as_slice()));
        put(principal.as_deref().map(str::as_bytes));
        put(app_user_id.as_ref().map(|id| id.bytes().as_slice()));
        put(grant_id.as_ref().map(|id| id.bytes().as_slice()));
        put(provider.as_deref().map(str::as_bytes));
        put(account.as_deref().map(str::as_bytes));
        put(method.as_deref().map(str::as_bytes));
        put(url.as_deref().map(str::as_bytes));
        put(status.map(u16::to_be_bytes).as_ref().map(<[u8; 2]>::as_slice));
        put(latency_ms.map(u64::to_be_bytes).as_ref().map(<[u8; 8]>::as_slice));
        put(reason.as_deref().map(str::as_bytes));
        put(context.as_deref().map(str::as_bytes));
        put(token_generation.as_ref().map(|id| id.bytes().as_slice()));
        put(request_id.as_ref().map(|id| id.as_bytes().as_slice()));
        put(trace_parent.as_deref().map(str::as_bytes));
        put(remote.as_deref().map(str::as_bytes));
        put(detail.as_deref().map(str::as_bytes));
        put(bodies_digest.as_ref().map(<[u8; 32]>::as_slice));
        sha256(scratch)
    }
}

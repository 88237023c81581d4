//! The audit trail, and turning the key-encryption keys.

use serde::Serialize;

use super::{Admin, AdminError, invalid};
use crate::{
    audit::{AuditFilter, AuditPage, VerifyReport},
    seal::KeyRing,
    store::AuditVerifyScope,
};

/// Values that are looked at in one unit of work while re-sealing.
const RESEAL_BATCH: u32 = 500;

/// The keys were turned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rotated {
    /// Name of the key that writes now.
    pub writing_key: String,
    /// Sealed values that were looked at.
    pub seen: u64,
    /// Values whose data key was wrapped anew.
    pub changed: u64,
}

impl Admin {
    /// Part of the audit trail.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn audit(&self, filter: AuditFilter) -> Result<AuditPage, AdminError> {
        Ok(self.store().audit_page(filter).await?)
    }

    /// Walks the chains and says what is wrong with them.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn verify_audit(&self, scope: AuditVerifyScope) -> Result<VerifyReport, AdminError> {
        Ok(self.store().verify_audit(scope).await?)
    }

    /// Adds a fresh key-encryption key to the key file, which writes from now on, and wraps every sealed value with it
    /// while calls are served. The old keys stay in the file: take them out once backups that need them are gone.
    ///
    /// A server that runs beside this process notices the new key when it meets it, or on SIGHUP.
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`] when the keys do not come from a file.
    pub async fn rotate_keys(&self) -> Result<Rotated, AdminError> {
        let Some(path) = self.core.ring.file() else {
            return Err(invalid(
                "the keys come from ALTER_KEK or the embedding program: put a new entry in front there, restart, then `rotate --reseal-only`",
            ));
        };
        self.core.ring.envelope.replace_ring(KeyRing::add_key_to_file(path)?);
        self.reseal().await
    }

    /// Wraps every sealed value that is not wrapped with the ring's first key yet.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn reseal(&self) -> Result<Rotated, AdminError> {
        let mut rotated = Rotated { writing_key: self.core.ring.envelope.writing_key(), seen: 0, changed: 0 };
        let mut cursor = None;
        loop {
            let done = self.store().reseal(RESEAL_BATCH, cursor).await?;
            rotated.seen += done.seen;
            rotated.changed += done.changed;
            cursor = done.next;
            if cursor.is_none() {
                return Ok(rotated);
            }
        }
    }
}

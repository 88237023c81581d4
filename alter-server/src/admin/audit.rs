//! The audit trail and what proves it, and turning the key-encryption keys.

use std::path::PathBuf;

use serde::Serialize;

use super::{Admin, AdminError, invalid};
use crate::{
    audit::{
        AuditFilter, AuditPage, Checkpoint, CheckpointKey, Evidence, ExportReader, ExportReport, PublicKey,
        VerifyReport,
    },
    seal::KeyRing,
    store::{AuditVerifyScope, ChainEnd},
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

    /// The same, held against what was kept outside the store.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn verify_audit_with(
        &self,
        scope: AuditVerifyScope,
        evidence: Evidence,
    ) -> Result<VerifyReport, AdminError> {
        Ok(self.store().verify_trail(scope, evidence).await?)
    }

    /// Walks the chains, signs where those without a fault stand, and answers the newest checkpoint and cut of each, to be kept
    /// elsewhere.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn checkpoint_audit(
        &self,
        scope: AuditVerifyScope,
    ) -> Result<(VerifyReport, Vec<Checkpoint>), AdminError> {
        let report = self.store().verify_audit(scope).await?;
        let sound =
            report.chains.iter().filter(|chain| chain.fault.is_none() && chain.end.seq > chain.signed_to);
        let ends = sound
            .map(|chain| ChainEnd { app_id: chain.app_id, chain: chain.chain, head: chain.end })
            .collect();
        self.store().checkpoint_ends(ends).await?;
        let app_id = match scope {
            AuditVerifyScope::App(app_id) => Some(app_id),
            AuditVerifyScope::Everything => None,
        };
        Ok((report, self.store().newest_checkpoints(app_id).await?))
    }

    /// The keys that sign checkpoints, oldest first. Keep their public halves elsewhere.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn checkpoint_keys(&self) -> Result<Vec<CheckpointKey>, AdminError> {
        Ok(self.store().checkpoint_keys().await?)
    }

    /// Makes another key, which signs checkpoints from now on.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn add_checkpoint_key(&self) -> Result<CheckpointKey, AdminError> {
        Ok(self.store().add_checkpoint_key(self.by()).await?)
    }

    /// Reads exported files and holds them against the cuts that name them. `trusted` as in [`Evidence::trusted`].
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`] when a file cannot be read, else those of the store.
    pub async fn verify_exports(
        &self,
        files: Vec<PathBuf>,
        trusted: Option<Vec<PublicKey>>,
    ) -> Result<Vec<ExportReport>, AdminError> {
        let keys = self.store().checkpoint_keys().await?;
        let trusted = Evidence { trusted, anchors: Vec::new() }.keys(&keys, &self.core.ring.envelope);
        let mut reports = Vec::new();
        for file in files {
            let shown = file.display().to_string();
            let read = super::retention::blocking(move || ExportReader::read(&file)).await;
            let read = read.map_err(|error| invalid(format!("cannot read {shown}: {error}")))?;
            let cuts = self.store().cuts_naming(read.sha256).await?;
            reports.push(read.check(&cuts, &trusted));
        }
        Ok(reports)
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

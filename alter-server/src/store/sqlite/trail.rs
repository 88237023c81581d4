//! Proofs and retention of the trail.

use futures_util::FutureExt;

use super::{SqliteStore, audit, checkpoints, retention};
use crate::{
    audit::{Action, Checkpoint, CheckpointKey, CheckpointKind, Evidence, NamedCut, VerifyReport},
    domain::{AppId, Operator},
    store::{
        Answer, AuditVerifyScope, ChainEnd, ChainState, CutCommand, ExportPage, SIGN_STEP, SWEEP_STEP, Swept,
        Trail, draft,
    },
};

impl Trail for SqliteStore {
    fn checkpoint_keys(&self) -> Answer<'_, Vec<CheckpointKey>> {
        self.read(checkpoints::keys).boxed()
    }

    fn add_checkpoint_key(&self, by: Operator) -> Answer<'_, CheckpointKey> {
        let work = self.writer.run(move |unit| {
            let (key, _) = checkpoints::add_key(unit.sql, unit.envelope, by.at)?;
            let mut row = draft::of_operator(&by, AppId::VAULT, Action::AuditKeyCreated);
            row.detail = Some(key.public.id());
            unit.audit(row)?;
            Ok(key)
        });
        work.boxed()
    }

    fn checkpoint_own(&self) -> Answer<'_, u64> {
        async move {
            // They are answered once they are committed.
            let ends = self.writer.run_patiently(|unit| Ok(unit.ends())).await?;
            self.checkpoint_ends(ends).await
        }
        .boxed()
    }

    fn checkpoint_ends(&self, ends: Vec<ChainEnd>) -> Answer<'_, u64> {
        async move {
            let mut signed = 0;
            for ends in ends.chunks(SIGN_STEP) {
                let (ends, at) = (ends.to_vec(), self.clock.now());
                let work = self.writer.run_patiently(move |unit| {
                    checkpoints::sign(unit.sql, unit.envelope, at, CheckpointKind::Progress, &ends)
                });
                signed += work.await?;
            }
            Ok(signed)
        }
        .boxed()
    }

    fn newest_checkpoints(&self, app_id: Option<AppId>) -> Answer<'_, Vec<Checkpoint>> {
        self.read(move |sql| checkpoints::newest_of_all(sql, app_id)).boxed()
    }

    fn cuts_naming(&self, export: [u8; 32]) -> Answer<'_, Vec<NamedCut>> {
        self.read(move |sql| checkpoints::cuts_naming(sql, export)).boxed()
    }

    fn uncut_chains(&self) -> Answer<'_, Vec<ChainState>> {
        self.read(retention::uncut_chains).boxed()
    }

    fn export_page(&self, app_id: AppId, after: u64, limit: u32) -> Answer<'_, ExportPage> {
        self.read(move |sql| retention::export_page(sql, app_id, after, limit)).boxed()
    }

    fn cut(&self, by: Operator, command: CutCommand) -> Answer<'_, ()> {
        self.writer.run(move |unit| retention::cut(unit, &by, &command)).boxed()
    }

    fn sweep(&self) -> Answer<'_, Swept> {
        async move {
            let mut swept = Swept::default();
            for (app_id, up_to) in self.read(retention::sweeps).await? {
                let mut after = i64::MIN;
                loop {
                    let look = move |sql: &_| retention::swept_next(sql, app_id, after, up_to, SWEEP_STEP);
                    let rows = self.read(look).await?;
                    let Some((last, _)) = rows.last() else { break };
                    after = *last;
                    swept.rows += rows.len() as u64;
                    self.writer.run_patiently(move |unit| retention::remove(unit, app_id, &rows)).await?;
                }
                self.writer.run_patiently(move |unit| retention::swept(unit, app_id, up_to)).await?;
            }
            Ok(swept)
        }
        .boxed()
    }

    fn verify_trail(&self, scope: AuditVerifyScope, evidence: Evidence) -> Answer<'_, VerifyReport> {
        let envelope = self.envelope.clone();
        self.read(move |sql| audit::verify(sql, scope, &evidence, &envelope)).boxed()
    }
}

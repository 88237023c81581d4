//! Proofs and retention of the trail.

use futures_util::FutureExt;

use super::{PostgresStore, audit, checkpoints, connect::Mode, lanes::Gate, partitions, retention};
use crate::{
    audit::{Action, Checkpoint, CheckpointKey, CheckpointKind, Evidence, NamedCut, VerifyReport},
    domain::{AppId, Operator},
    store::{
        Answer, AuditVerifyScope, ChainEnd, ChainState, CutCommand, ExportPage, SIGN_STEP, SWEEP_STEP, Swept,
        Trail, draft,
    },
};

impl Trail for PostgresStore {
    fn checkpoint_keys(&self) -> Answer<'_, Vec<CheckpointKey>> {
        read!(self, Read, (), |sql| checkpoints::keys(sql))
    }

    fn add_checkpoint_key(&self, by: Operator) -> Answer<'_, CheckpointKey> {
        unit!(self, Gate::Open, (by), |unit| async {
            let (key, _) = checkpoints::add_key(unit.sql, unit.envelope, by.at).await?;
            let mut row = draft::of_operator(by, AppId::VAULT, Action::AuditKeyCreated);
            row.detail = Some(key.public.id());
            unit.audit(row);
            Ok(key)
        })
    }

    fn checkpoint_own(&self) -> Answer<'_, u64> {
        async move {
            let ends = self.lanes.ends().await;
            self.checkpoint_ends(ends).await
        }
        .boxed()
    }

    fn checkpoint_ends(&self, ends: Vec<ChainEnd>) -> Answer<'_, u64> {
        async move {
            let mut signed = 0;
            for ends in ends.chunks(SIGN_STEP) {
                let (ends, at) = (ends.to_vec(), self.clock.now());
                let work: Answer<'_, u64> = unit!(self, Gate::Open, (ends, at), |unit| checkpoints::sign(
                    unit.sql,
                    unit.envelope,
                    *at,
                    CheckpointKind::Progress,
                    ends
                ));
                signed += work.await?;
            }
            Ok(signed)
        }
        .boxed()
    }

    fn newest_checkpoints(&self, app_id: Option<AppId>) -> Answer<'_, Vec<Checkpoint>> {
        read!(self, Read, (app_id), |sql| checkpoints::newest_of_all(sql, *app_id))
    }

    fn cuts_naming(&self, export: [u8; 32]) -> Answer<'_, Vec<NamedCut>> {
        read!(self, Read, (export), |sql| checkpoints::cuts_naming(sql, export))
    }

    fn uncut_chains(&self) -> Answer<'_, Vec<ChainState>> {
        read!(self, Read, (), |sql| retention::uncut_chains(sql))
    }

    fn export_page(&self, app_id: AppId, after: u64, limit: u32) -> Answer<'_, ExportPage> {
        read!(self, Read, (app_id, after, limit), |sql| retention::export_page(sql, *app_id, *after, *limit))
    }

    fn cut(&self, by: Operator, command: CutCommand) -> Answer<'_, ()> {
        unit!(self, Gate::Open, (by, command), |unit| retention::cut(unit, by, command))
    }

    fn sweep(&self) -> Answer<'_, Swept> {
        async move {
            let due: Answer<'_, _> = read!(self, Read, (), |sql| retention::sweeps(sql));
            let due = due.await?;
            let mut swept = Swept::default();
            let Some(before) = due.iter().map(|sweep| sweep.before).max() else { return Ok(swept) };
            swept.partitions = partitions::drop_cut(self.lanes.connections(), before).await?;
            for sweep in due {
                let mut after = i64::MIN;
                loop {
                    let step: Answer<'_, _> = unit!(self, Gate::Open, (sweep, after), |unit| {
                        retention::remove(unit.sql, *sweep, *after, SWEEP_STEP)
                    });
                    let (rows, last) = step.await?;
                    if rows == 0 {
                        break;
                    }
                    swept.rows += rows;
                    after = last;
                }
                let done: Answer<'_, ()> =
                    unit!(self, Gate::Open, (sweep), |unit| retention::swept(unit.sql, *sweep));
                done.await?;
            }
            Ok(swept)
        }
        .boxed()
    }

    fn verify_trail(&self, scope: AuditVerifyScope, evidence: Evidence) -> Answer<'_, VerifyReport> {
        let envelope = self.envelope.clone();
        read!(self, Snapshot, (scope, evidence, envelope), |sql| audit::verify(
            sql, *scope, evidence, envelope
        ))
    }
}

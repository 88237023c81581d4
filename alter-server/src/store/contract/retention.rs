//! Retention.

use std::path::Path;

use super::*;
use crate::{
    admin::{AdminError, Pruned, Pruner},
    audit::{CallReport, ChainHead, Evidence, ExportFolder, ExportLine, ExportReader, ExportReport},
    store::{CutCommand, CutEnd, ReportCommand, StoreError},
};

const DAY: i64 = 86_400;

impl World {
    pub(crate) async fn prune(&self, before: i64, folder: &Path) -> Result<Pruned, AdminError> {
        let before = jiff::Timestamp::from_second(before).unwrap();
        Pruner { store: &*self.store, by: self.operator() }.prune(before, folder).await
    }

    async fn report_with_body(&self, key: Key, id: GrantId) {
        let report = CallReport {
            method: "POST".to_owned(),
            url: "https://api.example.com/x".to_owned(),
            status: 200,
            request_body: Some("body".to_owned()),
            ..CallReport::default()
        };
        let admission = self.admission(key, Scope::AuditEmit).await;
        let command = ReportCommand { admission, grant_id: id, report };
        decided(self.store.record_report(command).await.unwrap()).unwrap();
    }

    /// An app with a release and a report on each of four days; answers its key, and rows and bodies before the last two days.
    pub(crate) async fn four_days(&self, name: &str) -> (Key, usize) {
        let key = self.app_with_google(name).await;
        let id = self.import(key.app_id, "u1", "a@x", "t1").await;
        let mut old = 0;
        for day in 0..4 {
            if day == 2 {
                old = self.rows(key.app_id).await.len();
            }
            self.token_of(key, "u1").await.unwrap();
            self.report_with_body(key, id).await;
            self.clock.advance(DAY);
        }
        self.token_of(key, "u1").await.unwrap();
        (key, old)
    }

    async fn check_export(&self, file: &Path) -> ExportReport {
        let read = ExportReader::read(file).unwrap();
        let cuts = self.store.cuts_naming(read.sha256).await.unwrap();
        let keys: Vec<_> = self.store.checkpoint_keys().await.unwrap().iter().map(|key| key.public).collect();
        read.check(&cuts, &keys)
    }
}

pub(crate) async fn old_rows_are_exported_signed_and_removed(world: &World) {
    let folder = tempfile::tempdir().unwrap();
    let (key, old) = world.four_days("one").await;
    world.store.checkpoint_own().await.unwrap();
    let anchors = world.store.newest_checkpoints(None).await.unwrap();
    let rows = world.rows(key.app_id).await;
    // In the middle of a day.
    let pruned = world.prune(START + 2 * DAY - 3600, folder.path()).await.unwrap();
    assert_eq!((pruned.rows, pruned.files.len(), pruned.unpruned.len()), (old as u64, 1, 0), "{pruned:?}");
    let left = world.rows(key.app_id).await;
    assert_eq!(left[..left.len() - 1], rows[old..]);
    let said = left.last().unwrap();
    assert_eq!((said.action, said.caller.as_deref()), (Action::AuditPruned, Some("test:operator")));
    assert!(said.detail.as_ref().unwrap().contains(&pruned.files[0].sha256));
    for row in rows.iter().filter(|row| row.bodies_digest.is_some()) {
        let kept = world.store.audit_bodies(key.app_id, row.id).await.unwrap().is_some();
        assert_eq!(kept, rows[old..].contains(row));
    }
    let report = world.store.verify_trail(AuditVerifyScope::Everything, Evidence { trusted: None, anchors });
    let report = report.await.unwrap();
    assert!(report.ok(), "{report:?}");
    assert_eq!(report.chains.iter().map(|chain| chain.cut).sum::<u64>(), old as u64);
    let first = world.check_export(&pruned.files[0].file).await;
    assert_eq!((first.fault, first.rows, first.chains), (None, old as u64, 1));
    // The file is for its owner only.
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(pruned.files[0].file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    // The same again: nothing to do.
    let again = world.prune(START + 2 * DAY - 3600, folder.path()).await.unwrap();
    assert_eq!((again.rows, again.files.len()), (0, 0));
    // Later, everything but the last hour; the files lead from one cut to the next.
    world.clock.advance(DAY);
    let later = world.prune(START + 4 * DAY + 3600, folder.path()).await.unwrap();
    assert!(later.rows > 0);
    let second = world.check_export(&later.files[0].file).await;
    assert_eq!((second.fault, second.rows), (None, later.rows));
    world.assert_chains_verify().await;
    world.token_of(key, "u1").await.unwrap();
    let error = world.prune(START + 6 * DAY, folder.path()).await.unwrap_err();
    assert!(matches!(error, AdminError::Invalid(_)), "the last hour stays");
}

pub(crate) async fn an_interrupted_prune_is_finished_by_the_next(world: &World) {
    let folder = tempfile::tempdir().unwrap();
    let (key, old) = world.four_days("one").await;
    let before = jiff::Timestamp::from_second(START + 2 * DAY - 3600).unwrap();
    let state = world.store.uncut_chains().await.unwrap();
    let chain = state.into_iter().find(|state| state.end.app_id == key.app_id).unwrap();
    let page = world.store.export_page(key.app_id, 0, old as u32).await.unwrap();
    let export = |held: &ExportFolder| {
        let mut writer = held.begin(key.app_id, before).unwrap();
        for (_, row, bodies) in &page.rows {
            writer.push(&ExportLine::new(row.clone(), bodies.as_ref())).unwrap();
        }
        writer.finish().unwrap()
    };
    let files = || {
        let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let names = names.filter_map(|name| name.into_string().ok()).filter(|name| name.starts_with("audit"));
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    };
    // Killed before the cut: the file goes, the rows stay.
    drop(export(&ExportFolder::hold(folder.path()).unwrap()));
    assert_eq!(files().len(), 1);
    let nothing = world.prune(START - DAY, folder.path()).await.unwrap();
    assert_eq!((nothing.rows, files().len()), (0, 0));
    // Killed after the cut and before anything was removed: the trail holds, with the rows still there.
    let exported = export(&ExportFolder::hold(folder.path()).unwrap());
    let (up_to, last, _) = page.rows.last().unwrap();
    let to = ChainHead { seq: last.seq, hash: last.hash };
    let ends = vec![CutEnd { chain: chain.end.chain, from: 0, to }];
    let command = CutCommand { app_id: key.app_id, before, up_to: *up_to, ends, export: exported.sha256 };
    world.store.cut(world.operator(), command).await.unwrap();
    drop(exported);
    world.assert_chains_verify().await;
    assert_eq!(world.rows(key.app_id).await.len(), old + 5 + 1);
    // Also when some of them are gone already.
    let app = world.id(key.app_id.uuid());
    world.tamper(format!("DELETE FROM audit_rows WHERE app_id = {app} AND seq < 3")).await;
    world.assert_chains_verify().await;
    // The next one finishes it, and finds nothing more to do.
    let next = world.prune(START + 2 * DAY - 3600, folder.path()).await.unwrap();
    assert_eq!((next.rows, world.rows(key.app_id).await.len()), (0, 6));
    world.assert_chains_verify().await;
    let [file] = &files()[..] else { panic!("{:?}", files()) };
    assert!(file.ends_with(".ndjson"));
    assert_eq!(world.check_export(&folder.path().join(file)).await.fault, None);
}

pub(crate) async fn a_row_with_an_odd_time_keeps_those_after_it(world: &World) {
    let folder = tempfile::tempdir().unwrap();
    let key = world.app_with_google("one").await;
    world.import(key.app_id, "u1", "a@x", "t1").await;
    let early = world.rows(key.app_id).await.len();
    // The clock is set ahead for one call.
    world.clock.advance(400 * DAY);
    world.token_of(key, "u1").await.unwrap();
    world.clock.advance(-400 * DAY);
    world.token_of(key, "u1").await.unwrap();
    world.clock.advance(30 * DAY);
    world.token_of(key, "u1").await.unwrap();
    let pruned = world.prune(START + 20 * DAY, folder.path()).await.unwrap();
    assert_eq!(pruned.rows, early as u64);
    assert_eq!(world.rows(key.app_id).await.len(), 3 + 1);
    world.assert_chains_verify().await;
}

pub(crate) async fn a_broken_chain_is_left_alone(world: &World) {
    let folder = tempfile::tempdir().unwrap();
    let (key, old) = world.four_days("one").await;
    let other = world.app_with_google("two").await;
    world.clock.advance(10 * DAY);
    world.token_of(other, "u1").await.unwrap_err();
    world.keep_trail().await;
    let rows = world.rows(key.app_id).await.len();
    let app = world.id(key.app_id.uuid());
    world
        .tamper(format!("UPDATE audit_rows SET reason = 'x' WHERE app_id = {app} AND seq = {}", old - 1))
        .await;
    let pruned = world.prune(START + 9 * DAY, folder.path()).await.unwrap();
    assert_eq!(pruned.unpruned.len(), 1, "{pruned:?}");
    assert_eq!((pruned.unpruned[0].seq, pruned.unpruned[0].app_id), (old as u64 - 1, key.app_id));
    assert!(pruned.files.iter().all(|file| file.app_id == other.app_id) && pruned.files.len() == 1);
    assert_eq!(world.rows(key.app_id).await.len(), rows);
    world.tamper(format!("UPDATE audit_rows SET reason = (SELECT reason FROM kept_audit_rows k WHERE k.app_id = {app} AND k.seq = audit_rows.seq) WHERE app_id = {app}")).await;
}

pub(crate) async fn a_chain_that_was_cut_meanwhile_is_not_cut_again(world: &World) {
    let folder = tempfile::tempdir().unwrap();
    let (key, _) = world.four_days("one").await;
    let state = world.store.uncut_chains().await.unwrap();
    let chain = state.into_iter().find(|state| state.end.app_id == key.app_id).unwrap().end;
    let row = world.rows(key.app_id).await.remove(1);
    world.prune(START + 2 * DAY - 3600, folder.path()).await.unwrap();
    let rows = world.rows(key.app_id).await;
    let command = CutCommand {
        app_id: key.app_id,
        before: world.clock.now(),
        up_to: 1,
        ends: vec![CutEnd { chain: chain.chain, from: 0, to: ChainHead { seq: row.seq, hash: row.hash } }],
        export: [1; 32],
    };
    let refused = world.store.cut(world.operator(), command).await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");
    assert_eq!(world.rows(key.app_id).await, rows);
    let held = ExportFolder::hold(folder.path()).unwrap();
    let busy = world.prune(START + 2 * DAY - 3600, folder.path()).await.unwrap_err();
    assert!(matches!(busy, AdminError::Conflict(_)));
    drop(held);
}

pub(crate) async fn a_changed_export_is_found(world: &World) {
    let folder = tempfile::tempdir().unwrap();
    let (_, old) = world.four_days("one").await;
    let pruned = world.prune(START + 2 * DAY - 3600, folder.path()).await.unwrap();
    let file = &pruned.files[0].file;
    let text = std::fs::read_to_string(file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), old + 1);
    let with = async |lines: Vec<&str>| {
        std::fs::write(file, lines.join("\n") + "\n").unwrap();
        world.check_export(file).await.fault.map(|fault| (fault.line, fault.what))
    };
    assert_eq!(with(lines.clone()).await, None);
    let mut fewer = lines.clone();
    fewer.remove(3);
    assert!(with(fewer).await.is_some_and(|(line, what)| line == 4 && what.contains("follow")));
    let changed = text.replacen("because", "forged!", 1);
    assert!(with(changed.lines().collect()).await.is_some_and(|(_, what)| what.contains("changed")));
    let shorter = lines[..old].to_vec();
    assert!(with(shorter).await.is_some_and(|(_, what)| what.contains("no cut names this file")));
    let place = lines.iter().position(|line| line.contains("call.reported")).unwrap();
    let other = lines[place].replace("\"bodies\":\"", "\"bodies\":\"AA");
    let mut swapped = lines.clone();
    swapped[place] = &other;
    assert!(with(swapped).await.is_some_and(|(_, what)| what.contains("bodies") || what.contains("row")));
    assert!(with(vec!["{}"]).await.is_some_and(|(_, what)| what.contains("not an export")));
    assert_eq!(with(lines).await, None);
}

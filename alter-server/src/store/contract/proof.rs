//! Checkpoints, and what they find.

use super::*;
use crate::{
    audit::{ChainHead, Checkpoint, CheckpointKey, CheckpointKind, Due, Evidence, PublicKey, VerifyReport},
    domain::RunId,
    seal::KeyRing,
};

/// Tables that prove the trail.
const TABLES: [&str; 4] = ["audit_rows", "audit_chains", "audit_checkpoints", "audit_cuts"];

impl World {
    /// Keeps the trail's tables as they are.
    pub(crate) async fn keep_trail(&self) {
        for table in TABLES {
            self.tamper(format!("CREATE TABLE kept_{table} AS SELECT * FROM {table}")).await;
        }
    }

    /// Brings back what was kept.
    pub(crate) async fn restore_trail(&self) {
        for table in TABLES {
            let text = format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM kept_{table}");
            self.tamper(text).await;
        }
    }

    async fn app_with_rows(&self, name: &str) -> (Key, RunId) {
        let key = self.app_with_google(name).await;
        self.import(key.app_id, "u1", "a@x", "t1").await;
        for _ in 0..4 {
            self.token_of(key, "u1").await.unwrap();
        }
        // On PostgreSQL one lane does all the work as long as nothing goes on at the same time.
        let chain = self.rows(key.app_id).await[0].chain;
        (key, chain)
    }

    async fn walk(&self, evidence: Evidence) -> VerifyReport {
        self.store.verify_trail(AuditVerifyScope::Everything, evidence).await.unwrap()
    }

    /// What is wrong with the chain, or an empty text.
    async fn fault(&self, app_id: AppId, evidence: Evidence) -> String {
        let report = self.walk(evidence).await;
        let chain = report.chains.into_iter().find(|chain| chain.app_id == app_id && chain.fault.is_some());
        chain.and_then(|chain| chain.fault).map(|fault| fault.what).unwrap_or_default()
    }

    async fn anchors(&self) -> Vec<Checkpoint> {
        self.store.newest_checkpoints(None).await.unwrap()
    }

    /// Writes the app's rows anew from `from` on, as somebody does who knows how they are hashed but has no key: the reason is
    /// another one, every hash and the recorded end fit.
    async fn forge(&self, app_id: AppId, from: u64) {
        let rows = self.rows(app_id).await;
        let mut head = ChainHead::genesis(app_id, rows[0].chain);
        for mut row in rows {
            if row.seq >= from {
                row.reason = Some("forged".to_owned());
            }
            let seq = row.seq;
            head.append(&mut row, &mut Vec::new());
            let text = format!(
                "UPDATE audit_rows SET reason = 'forged', prev_hash = {}, hash = {} WHERE seq = {seq} AND app_id = {}",
                self.blob(&row.prev_hash),
                self.blob(&row.hash),
                self.id(app_id.uuid())
            );
            if seq >= from {
                self.tamper(text).await;
            }
        }
        self.set_head(app_id, head).await;
    }

    async fn set_head(&self, app_id: AppId, head: ChainHead) {
        let (seq, hash, app_id) = (head.seq, self.blob(&head.hash), self.id(app_id.uuid()));
        let text =
            format!("UPDATE audit_chains SET head_seq = {seq}, head_hash = {hash} WHERE app_id = {app_id}");
        self.tamper(text).await;
    }

    /// Takes the last `count` rows away and makes the recorded end fit.
    async fn truncate(&self, app_id: AppId, count: usize) {
        let rows = self.rows(app_id).await;
        let last = &rows[rows.len() - 1 - count];
        let (seq, app) = (last.seq, self.id(app_id.uuid()));
        self.tamper(format!("DELETE FROM audit_rows WHERE app_id = {app} AND seq > {seq}")).await;
        self.set_head(app_id, ChainHead { seq, hash: last.hash }).await;
    }
}

pub(crate) async fn chains_are_signed_when_they_moved_and_when_they_close(world: &World) {
    let (key, chain) = world.app_with_rows("one").await;
    assert!(world.store.checkpoint_keys().await.unwrap().is_empty(), "made when it is needed");
    let signed = world.store.checkpoint_own().await.unwrap();
    assert!(signed > 0);
    assert_eq!(world.store.checkpoint_own().await.unwrap(), 0, "nothing moved");
    assert_eq!(world.walk(Evidence::default()).await.unsigned_rows(), 0);
    world.token_of(key, "u1").await.unwrap();
    assert_eq!(world.walk(Evidence::default()).await.unsigned_rows(), 1);
    assert_eq!(world.store.checkpoint_own().await.unwrap(), 1);
    let added = world.store.add_checkpoint_key(world.operator()).await.unwrap();
    world.clock.advance(1);
    let newest = world.store.add_checkpoint_key(world.operator()).await.unwrap();
    world.token_of(key, "u1").await.unwrap();
    world.store.close().await.unwrap();
    let keys: Vec<_> = world.store.checkpoint_keys().await.unwrap().iter().map(|key| key.public).collect();
    assert!(keys.len() == 3 && keys.contains(&added.public));
    let last = world.anchors().await.into_iter().find(|c| c.app_id == key.app_id).unwrap();
    assert_eq!((last.kind, last.number, last.chain), (CheckpointKind::Closed, 3, chain));
    assert_eq!(last.key, newest.public, "the newest key signs");
    let report = world.walk(Evidence { trusted: Some(keys), anchors: world.anchors().await }).await;
    assert!(report.ok(), "{report:?}");
    assert_eq!((report.unsigned_rows(), report.rows()), (0, world.rows(key.app_id).await.len() as u64 + 2));
}

pub(crate) async fn what_was_signed_cannot_be_forged(world: &World) {
    let (key, _) = world.app_with_rows("one").await;
    let (other, _) = world.app_with_rows("two").await;
    for _ in 0..3 {
        world.store.checkpoint_own().await.unwrap();
        world.token_of(key, "u1").await.unwrap();
        world.token_of(other, "u1").await.unwrap();
    }
    world.store.checkpoint_own().await.unwrap();
    world.token_of(key, "u1").await.unwrap();
    world.keep_trail().await;
    let (app, stranger) = (world.id(key.app_id.uuid()), world.id(other.app_id.uuid()));
    let rows = world.rows(key.app_id).await.len() as u64;
    let fault = async || {
        let fault = world.fault(key.app_id, Evidence::default()).await;
        world.restore_trail().await;
        fault
    };
    // With correct hashes and a fitting end, from the first row and from one in the middle.
    for from in [1, rows - 2] {
        world.forge(key.app_id, from).await;
        assert!(fault().await.contains("not the one that was signed"));
    }
    // Only what came after the last checkpoint can be forged unseen; the report says how much that is.
    world.forge(key.app_id, rows).await;
    assert_eq!(world.walk(Evidence::default()).await.unsigned_rows(), 1);
    assert_eq!(fault().await, "");
    // Cut off behind, with a fitting end.
    world.truncate(key.app_id, 2).await;
    assert!(fault().await.contains("was signed"));
    world.truncate(key.app_id, 1).await;
    assert_eq!(fault().await, "", "after the last checkpoint");
    // A row taken out of the middle, a row changed.
    world.tamper(format!("DELETE FROM audit_rows WHERE app_id = {app} AND seq = 3")).await;
    assert!(fault().await.contains("comes where row 3 should"));
    world.tamper(format!("UPDATE audit_rows SET reason = 'x' WHERE app_id = {app} AND seq = 3")).await;
    assert!(fault().await.contains("was changed"));
    // A checkpoint taken out of the middle, the first ones taken away, one that was changed.
    world.tamper(format!("DELETE FROM audit_checkpoints WHERE app_id = {app} AND number = 2")).await;
    assert!(fault().await.contains("are missing"));
    world.tamper(format!("DELETE FROM audit_checkpoints WHERE app_id = {app} AND number = 1")).await;
    assert!(fault().await.contains("are missing"));
    let change = "UPDATE audit_checkpoints SET seq = seq - 1";
    world.tamper(format!("{change} WHERE app_id = {app} AND number = 4")).await;
    assert!(fault().await.contains("changed, or belongs to another chain"));
    // A checkpoint of another chain in its place.
    let copied =
        "(SELECT %s FROM audit_checkpoints o WHERE o.app_id = %o AND o.number = audit_checkpoints.number)";
    let set = ["seq", "hash", "previous", "row_count", "signature"]
        .map(|column| format!("{column} = {}", copied.replace("%s", column).replace("%o", &stranger)))
        .join(", ");
    world.tamper(format!("UPDATE audit_checkpoints SET {set} WHERE app_id = {app}")).await;
    assert!(fault().await.contains("belongs to another chain"));
    // What cannot be read is a fault, not an error.
    world.tamper(format!("UPDATE audit_checkpoints SET kind = 9 WHERE app_id = {app} AND number = 2")).await;
    assert!(fault().await.contains("unreadable checkpoint"));
}

pub(crate) async fn what_was_anchored_cannot_vanish(world: &World) {
    let (key, _) = world.app_with_rows("one").await;
    let (gone, _) = world.app_with_rows("two").await;
    world.store.checkpoint_own().await.unwrap();
    world.token_of(key, "u1").await.unwrap();
    world.store.checkpoint_own().await.unwrap();
    let evidence = Evidence { trusted: None, anchors: world.anchors().await };
    world.token_of(key, "u1").await.unwrap();
    assert!(world.walk(evidence.clone()).await.ok());
    world.keep_trail().await;
    let app = world.id(key.app_id.uuid());
    let fault = async |app_id| {
        let inside = world.fault(app_id, Evidence::default()).await;
        let fault = world.fault(app_id, evidence.clone()).await;
        world.restore_trail().await;
        assert_eq!(inside, "", "nothing inside shows it");
        fault
    };
    // Rows and their checkpoint.
    world.truncate(key.app_id, 2).await;
    world.tamper(format!("DELETE FROM audit_checkpoints WHERE app_id = {app} AND number = 2")).await;
    assert!(fault(key.app_id).await.contains("gone from the database"));
    // Only the checkpoint.
    world.tamper(format!("DELETE FROM audit_checkpoints WHERE app_id = {app} AND number = 2")).await;
    assert!(fault(key.app_id).await.contains("gone from the database"));
    // A trail that was written anew, its checkpoints taken away.
    world.forge(key.app_id, 1).await;
    world.tamper(format!("DELETE FROM audit_checkpoints WHERE app_id = {app}")).await;
    assert!(!fault(key.app_id).await.is_empty());
    // A whole chain.
    let app = world.id(gone.app_id.uuid());
    for table in TABLES {
        world.tamper(format!("DELETE FROM {table} WHERE app_id = {app}")).await;
    }
    assert!(fault(gone.app_id).await.contains("gone from the database"));
    // An anchor that nobody signed is no evidence.
    let mut forged = evidence.anchors.clone();
    forged[0].hash[0] ^= 1;
    assert!(!world.walk(Evidence { trusted: None, anchors: forged }).await.ok());
}

pub(crate) async fn a_planted_key_signs_nothing_that_counts(world: &World) {
    let (key, chain) = world.app_with_rows("one").await;
    world.store.checkpoint_own().await.unwrap();
    let own = world.store.checkpoint_keys().await.unwrap().remove(0);
    world.keep_trail().await;
    // Somebody with the database, but with key-encryption keys of their own.
    let envelope = Envelope::new(KeyRing::generate("old").unwrap());
    let later = world.clock.now() + jiff::SignedDuration::from_hours(1);
    let (planted, signer) = CheckpointKey::generate(&envelope, later).unwrap();
    let (public, private) = (planted.public, &planted.private.sealed);
    world
        .tamper(format!(
            "INSERT INTO audit_keys (public_key, created_at, private_key) VALUES ({}, {}, {})",
            world.blob(public.bytes()),
            later.as_microsecond(),
            world.blob(private.as_bytes())
        ))
        .await;
    world.forge(key.app_id, 1).await;
    let rows = world.rows(key.app_id).await;
    let last = rows.last().unwrap();
    let head = ChainHead { seq: last.seq, hash: last.hash };
    let (app_id, kind, at) = (key.app_id, CheckpointKind::Progress, later);
    let forged = signer.sign(&Due { app_id, chain, kind, head, at, export: None }, None);
    world
        .tamper(format!(
            "UPDATE audit_checkpoints SET hash = {}, at = {}, public_key = {}, signature = {} WHERE app_id = {}",
            world.blob(&forged.hash),
            at.as_microsecond(),
            world.blob(public.bytes()),
            world.blob(&forged.signature),
            world.id(app_id.uuid())
        ))
        .await;
    assert!(world.fault(app_id, Evidence::default()).await.contains("not trusted"));
    // With that key named from outside it would hold: trust is what the operator says it is.
    let trusted = |keys: &[PublicKey]| Evidence { trusted: Some(keys.to_vec()), anchors: Vec::new() };
    assert_eq!(world.fault(app_id, trusted(&[public])).await, "");
    assert!(world.fault(app_id, trusted(&[own.public])).await.contains("not trusted"));
    world.restore_trail().await;
    assert_eq!(world.fault(app_id, trusted(&[own.public])).await, "");
    // Nor does it sign from now on.
    world.token_of(key, "u1").await.unwrap();
    world.store.checkpoint_own().await.unwrap();
    assert!(world.anchors().await.iter().all(|checkpoint| checkpoint.key == own.public));
}

//! A vault with many grants, written straight into its tables, and what is compared of it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use alter_server::{
    audit::{Action, AuditRow, ChainHead, Outcome},
    domain::{AppId, RunId},
    seal::{Envelope, Field, KeyRing, SealContext, Sealed, SealedField},
};
use jiff::Timestamp;
use rusqlite::{Connection, params};
use secrecy::{ExposeSecret, SecretSlice};
use uuid::Uuid;

use crate::program::{At, command, done};

pub(crate) fn grants() -> usize {
    std::env::var("ALTER_TRANSFER_GRANTS").map_or(5_000, |count| count.parse().unwrap())
}

pub(crate) struct Big {
    pub(crate) folder: PathBuf,
    pub(crate) kek: PathBuf,
    _keep: tempfile::TempDir,
}

impl Big {
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        self._keep.path().join(name)
    }

    /// A vault as the command line makes it, with that many grants of users, their refreshes and their trail.
    pub(crate) fn build(grants: usize) -> Self {
        use std::os::unix::fs::PermissionsExt;

        let keep = tempfile::tempdir().unwrap();
        let (folder, kek) = (keep.path().join("vault"), keep.path().join("kek"));
        let key = |byte: u8| {
            use base64::Engine;
            base64::engine::general_purpose::STANDARD.encode([byte; 32])
        };
        // Two keys: what the second has sealed must come along, too.
        fs::write(&kek, format!("old:{}", key(1))).unwrap();
        fs::set_permissions(&kek, fs::Permissions::from_mode(0o600)).unwrap();
        let word = |words: &str| {
            done(command(At::Folder(&folder), &kek, &words.split(' ').collect::<Vec<_>>()));
        };
        word("app create shop");
        word("key create backend");
        word("agent create mailer");
        word("provider add google --host www.googleapis.com");
        word("provider add billing --kind managed-secret --host billing.example.test");
        fs::write(&kek, format!("new:{}\nold:{}", key(2), key(1))).unwrap();
        word("key create second");
        fill(&folder, &Envelope::new(KeyRing::from_file(&kek).unwrap()), grants);
        Self { folder, kek, _keep: keep }
    }

    pub(crate) fn envelope(&self) -> Envelope {
        Envelope::new(KeyRing::from_file(&self.kek).unwrap())
    }
}

fn fill(folder: &Path, envelope: &Envelope, grants: usize) {
    let mut sql = Connection::open(folder.join("vault.db")).unwrap();
    let app: [u8; 16] = sql.query_row("SELECT id FROM apps", [], |row| row.get(0)).unwrap();
    let app_id = AppId::from_uuid(Uuid::from_bytes(app));
    let now = Timestamp::now();
    let run = RunId::random();
    let mut head = ChainHead::genesis(app_id, run);
    let begun = now - jiff::SignedDuration::from_hours(72);
    let sql = sql.transaction().unwrap();
    let seal = |field, id: Uuid, generation, text: String| {
        let context = SealContext::of(app_id, field, id, generation);
        envelope.seal(&context, &SecretSlice::from(text.into_bytes())).unwrap()
    };
    let mut scratch = Vec::new();
    for number in 0..grants {
        let (user, id) = (Uuid::new_v4(), Uuid::new_v4());
        let generation = number as u64 % 7 + 1;
        sql.prepare_cached("INSERT INTO users (app_id, id, issuer, subject, email, name, created_at) VALUES (?1, ?2, 'https://id.example', ?3, NULL, ?4, ?5)")
            .unwrap()
            .execute(params![app, user.as_bytes(), format!("sub-{number}"), "Zoë 🦀", begun.as_microsecond()])
            .unwrap();
        let access = seal(Field::GrantAccessToken, id, generation, format!("access-{number}"));
        let refresh = (number % 3 > 0)
            .then(|| seal(Field::GrantRefreshToken, id, generation, format!("refresh-{number}")));
        sql.prepare_cached(
            "INSERT INTO grants (app_id, id, provider_id, kind, principal_kind, principal_id, label, status, needs_reconnect, \
             scope_mismatch, generation, created_at, scopes, access_token, refresh_token) \
             VALUES (?1, ?2, 'google', 0, 0, ?3, ?4, 0, ?5, 0, ?6, ?7, 'a\nb', ?8, ?9)",
        )
        .unwrap()
        .execute(params![
            app,
            id.as_bytes(),
            user.as_bytes(),
            (number % 5 == 0).then_some("é\u{301} \"work\""),
            number % 11 == 0,
            generation as i64,
            begun.as_microsecond() + number as i64,
            access.as_bytes(),
            refresh.as_ref().map(Sealed::as_bytes)
        ])
        .unwrap();
        if number % 20 == 0 {
            sql.execute(
                "INSERT INTO refreshes (app_id, grant_id, fence, rotates) VALUES (?1, ?2, ?3, 1)",
                params![app, id.as_bytes(), number as i64],
            )
            .unwrap();
        }
        // Over three days, so that there is more than one partition.
        let at = begun + jiff::SignedDuration::from_millis(72 * 3_600_000 * number as i64 / grants as i64);
        let mut row = AuditRow::draft(app_id, at, Action::TokenReleased, Outcome::Allowed);
        row.chain = run;
        row.reason = Some(format!("because {number}"));
        head.append(&mut row, &mut scratch);
        sql.prepare_cached(
            "INSERT INTO audit_rows (app_id, run_id, seq, id, at, action, outcome, reason, prev_hash, hash) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, ?8, ?9)",
        )
        .unwrap()
        .execute(params![
            app,
            run.uuid().as_bytes(),
            row.seq as i64,
            row.id.uuid().as_bytes(),
            row.at.as_microsecond(),
            row.action.as_str(),
            row.reason,
            row.prev_hash,
            row.hash
        ])
        .unwrap();
        if number % 50 == 0 {
            let sealed = seal(Field::AuditBodies, row.id.uuid(), 1, format!("body-{number}"));
            sql.execute(
                "INSERT INTO audit_bodies (app_id, id, sealed) VALUES (?1, ?2, ?3)",
                params![app, row.id.uuid().as_bytes(), sealed.as_bytes()],
            )
            .unwrap();
            sql.execute(
                "INSERT INTO nonces VALUES (?1, ?2, ?3, ?4)",
                params![app, now.as_second() - number as i64 % 200, user.as_bytes(), id.as_bytes()],
            )
            .unwrap();
        }
    }
    // Nonces are of just now: older ones are dropped by whoever opens the vault.
    sql.execute(
        "INSERT INTO audit_chains VALUES (?1, ?2, ?3, ?4, ?5, NULL)",
        params![app, run.uuid().as_bytes(), begun.as_microsecond(), head.seq as i64, head.hash],
    )
    .unwrap();
    sql.commit().unwrap();
}

/// Everything that is in `left` is in `right`, in the same order; `right` has only some audit rows more.
pub(crate) fn same_rows(left: &Path, right: &Path) {
    let sql = Connection::open(left.join("vault.db")).unwrap();
    sql.execute("ATTACH ?1 AS other", [right.join("vault.db").to_str().unwrap()]).unwrap();
    let tables: Vec<String> = sql
        .prepare("SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT IN ('migrations', 'alter_moves')")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert!(tables.len() >= 13, "{tables:?}");
    let count = |text: String| sql.query_row(&text, [], |row| row.get::<_, i64>(0)).unwrap();
    for table in &tables {
        let ordered = [
            "api_keys",
            "providers",
            "managed_secrets",
            "grants",
            "audit_rows",
            "audit_bodies",
            "audit_keys",
        ];
        let columns = if ordered.contains(&table.as_str()) { "rowid AS place, *" } else { "*" };
        let lost = count(format!(
            "SELECT count(*) FROM (SELECT {columns} FROM main.{table} EXCEPT SELECT {columns} FROM other.{table})"
        ));
        let more = count(format!(
            "SELECT (SELECT count(*) FROM other.{table}) - (SELECT count(*) FROM main.{table})"
        ));
        let grows =
            ["audit_rows", "audit_chains", "audit_keys", "audit_checkpoints"].contains(&table.as_str());
        assert!(lost == 0 && (more == 0 || grows), "{table}: {lost} lost, {more} more");
    }
}

/// Opens every token in both, and compares what comes out, with each other and with what was put in.
pub(crate) fn same_secrets(left: &Path, right: &Path, envelope: &Envelope, grants: usize) {
    let mut sides = [left, right].map(|folder| {
        let sql = Connection::open(folder.join("vault.db")).unwrap();
        let mut statement = sql
            .prepare("SELECT app_id, id, generation, access_token, refresh_token FROM grants ORDER BY rowid")
            .unwrap();
        let opened = statement
            .query_map([], |row| {
                let app_id = AppId::from_uuid(Uuid::from_bytes(row.get(0)?));
                let (id, generation) = (Uuid::from_bytes(row.get(1)?), row.get::<_, i64>(2)? as u64);
                let open = |field, sealed: Option<Vec<u8>>| {
                    let sealed = Sealed::from_bytes(sealed?);
                    let context = SealContext::of(app_id, field, id, generation);
                    let opened = envelope.open(&SealedField { context, sealed }).unwrap();
                    Some(String::from_utf8(opened.expose_secret().to_vec()).unwrap())
                };
                Ok((open(Field::GrantAccessToken, row.get(3)?), open(Field::GrantRefreshToken, row.get(4)?)))
            })
            .unwrap();
        opened.map(Result::unwrap).collect::<Vec<_>>()
    });
    let right = std::mem::take(&mut sides[1]);
    assert_eq!(sides[0].len(), grants);
    assert!(sides[0] == right);
    for (number, (access, refresh)) in right.iter().enumerate() {
        assert_eq!(access.as_deref(), Some(format!("access-{number}").as_str()));
        assert_eq!(refresh.is_some(), number % 3 > 0);
    }
}

//! SQLite → PostgreSQL → SQLite.

use std::time::Instant;

use alter_test_postgres::Database;
use serde_json::Value;

use crate::{
    big::{Big, grants, same_rows, same_secrets},
    program::{At, Killed, command, done, failed, migrate},
};

fn rows(report: &Value, table: &str) -> u64 {
    let tables = report["tables"].as_array().unwrap();
    tables.iter().find(|found| found["name"] == table).unwrap()["rows"].as_u64().unwrap()
}

fn copied(report: &Value, table: &str) -> u64 {
    let tables = report["tables"].as_array().unwrap();
    tables.iter().find(|found| found["name"] == table).unwrap()["copied"].as_u64().unwrap()
}

/// How many rows a table of a SQLite database has; 0 if it is not there yet. Leaves nothing open.
fn lite(folder: &std::path::Path, table: &str) -> i64 {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let Ok(sql) = rusqlite::Connection::open_with_flags(folder.join("vault.db"), flags) else { return 0 };
    sql.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_moves_to_postgresql_and_back_though_it_is_killed_in_the_middle() {
    let count = grants();
    let begun = Instant::now();
    let big = Big::build(count);
    let database = Database::create().await;
    let url = database.text();
    let (first, middle, kek) = (At::Folder(&big.folder), At::Database(&url), big.kek.as_path());
    let back = big.scratch("back");
    println!("{count} grants made in {:.1?}", begun.elapsed());

    // There: killed once the source is fenced, in the middle of the grants, and while everything is compared.
    let sql = database.sql().await;
    let handle = tokio::runtime::Handle::current();
    let there = |table: &str| -> i64 {
        let text = format!("SELECT count(*) FROM {table}");
        let answer = tokio::task::block_in_place(|| handle.block_on(sql.query_one(&text, &[])));
        answer.map_or(0, |row| row.get(0))
    };
    let full = ["--verify", "full"];
    assert!(Killed::start(migrate(first, middle, kek, &full)).when(|| lite(&big.folder, "alter_moves") > 0));
    let (code, text) = failed(command(first, kek, &["app", "list"]));
    assert!(code == 1 && text.contains("is being moved to"), "{text}");
    assert!(Killed::start(migrate(first, middle, kek, &full)).when(|| there("grants") > 0));
    let arrived = there("grants") as u64;
    let (code, text) = failed(command(middle, kek, &["app", "list"]));
    assert!(code == 1 && text.contains("unfinished copy"), "{text}");
    let other = big.scratch("other");
    let (code, text) = failed(migrate(middle, At::Folder(&other), kek, &[]));
    assert!(code == 5 && text.contains("unfinished copy"), "{text}");
    let last = migrate(first, middle, kek, &full);
    assert!(Killed::start(last).when(|| there("audit_bodies") as usize == count.div_ceil(50)));
    let report = done(migrate(first, middle, kek, &full));
    println!("SQLite to PostgreSQL, after three kills: {report}");
    assert_eq!((rows(&report, "grants"), &report["resumed"]), (count as u64, &Value::Bool(true)));
    assert!(arrived > 0 && copied(&report, "grants") <= count as u64 - arrived);
    assert_eq!(report["keys"], serde_json::json!(["new", "old"]));
    assert!(report["opened"].as_u64().unwrap() as usize > count);

    // It is there, and only there.
    let (code, text) = failed(command(first, kek, &["app", "list"]));
    assert!(code == 1 && text.contains("was moved to"), "{text}");
    let (code, text) = failed(migrate(first, At::Folder(&other), kek, &[]));
    assert!(code == 5 && text.contains("was moved to"), "{text}");
    assert_eq!(done(command(middle, kek, &["audit", "verify"]))["ok"], true);
    let trail = done(command(middle, kek, &["audit", "list", "--all", "--limit", "1"]));
    assert_eq!(trail[0]["action"], "vault.migrated");
    assert!(trail[0]["detail"].as_str().unwrap().contains(&format!("{count} grants")), "{trail}");
    // Life goes on where numbers ended.
    done(command(middle, kek, &["key", "create", "third"]));
    done(command(middle, kek, &["provider", "add", "slack", "--host", "slack.com"]));

    // Back, into a new folder.
    let target = At::Folder(&back);
    assert!(Killed::start(migrate(middle, target, kek, &[])).when(|| lite(&back, "grants") > 0));
    let (code, text) = failed(command(target, kek, &["app", "list"]));
    assert!(code == 1 && text.contains("unfinished copy"), "{text}");
    assert!(Killed::start(migrate(middle, target, kek, &[])).when(|| lite(&back, "audit_rows") > 0));
    let report = done(migrate(middle, target, kek, &full));
    println!("PostgreSQL to SQLite, after two kills: {report}");
    assert_eq!((rows(&report, "grants"), rows(&report, "api_keys")), (count as u64, 3));
    let (code, text) = failed(command(middle, kek, &["app", "list"]));
    assert!(code == 1 && text.contains("was moved to"), "{text}");
    assert_eq!(done(command(target, kek, &["audit", "verify"]))["ok"], true);

    // What was added at the other place is not in the first one.
    let at_home = rusqlite::Connection::open(back.join("vault.db")).unwrap();
    at_home
        .execute_batch("DELETE FROM api_keys WHERE name = 'third'; DELETE FROM providers WHERE id = 'slack'")
        .unwrap();
    at_home.execute("UPDATE apps SET config_generation = config_generation - 1", []).unwrap();
    drop(at_home);
    same_rows(&big.folder, &back);
    same_secrets(&big.folder, &back, &big.envelope(), count);
    println!("all of it in {:.1?}", begun.elapsed());
}

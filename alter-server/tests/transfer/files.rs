//! Into a file and back.

use std::{fs, os::unix::fs::PermissionsExt};

use alter_test_postgres::Database;

use crate::{
    big::{Big, same_rows, same_secrets},
    program::{At, Killed, command, done, failed},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_comes_back_from_its_file_in_both_stores() {
    let big = Big::build(1500);
    let (at, kek) = (At::Folder(&big.folder), big.kek.as_path());
    let file = big.scratch("vault.export");
    let path = file.to_str().unwrap();
    let report = done(command(at, kek, &["export", path]));
    assert_eq!(report["keys"], serde_json::json!(["new", "old"]));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    assert!(!text.contains("access-1"), "what is sealed stays sealed");
    // The vault goes on, and an existing file is not replaced.
    assert_eq!(failed(command(at, kek, &["export", path])).0, 5);

    let restored = big.scratch("restored");
    let target = At::Folder(&restored);
    assert!(
        Killed::start(command(target, kek, &["import", path])).when(|| restored.join("vault.db").exists())
    );
    let report = done(command(target, kek, &["import", path, "--verify", "full"]));
    assert_eq!(
        report["tables"].as_array().unwrap().iter().find(|t| t["name"] == "grants").unwrap()["rows"],
        1500
    );
    assert_eq!(done(command(target, kek, &["audit", "verify"]))["ok"], true);
    same_rows(&big.folder, &restored);
    same_secrets(&big.folder, &restored, &big.envelope(), 1500);
    let (code, text) = failed(command(target, kek, &["import", path]));
    assert!(code == 5 && text.contains("not empty"), "{text}");

    let database = Database::create().await;
    let url = database.text();
    let target = At::Database(&url);
    done(command(target, kek, &["import", path]));
    assert_eq!(done(command(target, kek, &["audit", "verify"]))["ok"], true);
    let trail = done(command(target, kek, &["audit", "list", "--all", "--limit", "2"]));
    assert_eq!(
        (&trail[0]["action"], &trail[1]["action"]),
        (&"vault.imported".into(), &"vault.exported".into())
    );
}

#[test]
fn a_file_that_is_cut_or_changed_is_refused_before_anything_is_kept() {
    let big = Big::build(60);
    let (at, kek) = (At::Folder(&big.folder), big.kek.as_path());
    let file = big.scratch("vault.export");
    done(command(at, kek, &["export", file.to_str().unwrap()]));
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let joined = |lines: &[&str]| lines.join("\n") + "\n";
    let last = lines.len() - 1;
    let mut swapped = lines.clone();
    swapped.swap(last / 2, last / 2 + 1);
    let changed = text.replacen("because 7", "because 8", 1);
    assert_ne!(changed, text);
    // Whoever changes a line and makes the digests right still lacks the keys.
    let forged: Vec<(&str, String)> = vec![
        ("nothing", String::new()),
        ("half a line", text[..text.len() / 2].to_owned()),
        ("no end", joined(&lines[..last])),
        ("a line less", joined(&[&lines[..10], &lines[11..]].concat())),
        ("a line twice", joined(&[&lines[..10], &lines[9..]].concat())),
        ("other order", joined(&swapped)),
        ("other content", changed),
        ("more after the end", format!("{text}[]\n")),
        ("another header", text.replacen("\"from\":\"", "\"from\":\"x", 1)),
        ("a newer format", text.replacen("\"version\":1", "\"version\":2", 1)),
        ("no end of the last line", text.trim_end().to_owned()),
    ];
    for (what, text) in forged {
        fs::write(&file, text).unwrap();
        let target = big.scratch("nowhere");
        let (code, said) = failed(command(At::Folder(&target), kek, &["import", file.to_str().unwrap()]));
        assert!(code == 1 && said.contains("not a complete, unchanged export"), "{what}: {said}");
        assert!(!target.exists(), "{what}");
    }
}

#[test]
fn without_the_keys_nothing_is_moved() {
    let big = Big::build(20);
    let file = big.scratch("vault.export");
    done(command(At::Folder(&big.folder), &big.kek, &["export", file.to_str().unwrap()]));
    let ring = fs::read_to_string(&big.kek).unwrap();
    fs::write(&big.kek, ring.lines().next().unwrap()).unwrap();
    let target = big.scratch("target");
    let (code, text) =
        failed(crate::program::migrate(At::Folder(&big.folder), At::Folder(&target), &big.kek, &[]));
    assert!(code == 1 && text.contains("\"old\\\"") || text.contains("old"), "{text}");
    assert!(text.contains("--kek-file"), "{text}");
    let (_, text) =
        failed(command(At::Folder(&big.scratch("other")), &big.kek, &["import", file.to_str().unwrap()]));
    assert!(text.contains("--kek-file"), "{text}");
    // Nothing was fenced.
    fs::write(&big.kek, ring).unwrap();
    done(command(At::Folder(&big.folder), &big.kek, &["app", "list"]));
}

#[test]
fn a_move_that_is_given_up_leaves_the_source_usable() {
    let big = Big::build(20);
    let (at, kek) = (At::Folder(&big.folder), big.kek.as_path());
    let target = big.scratch("target");
    let (code, text) = failed(command(at, kek, &["reopen", "--copy-is-not-used"]));
    assert!(code == 5 && text.contains("not moved"), "{text}");
    done(crate::program::migrate(at, At::Folder(&target), kek, &[]));
    assert_eq!(failed(command(at, kek, &["app", "list"])).0, 1);
    assert_eq!(failed(command(at, kek, &["reopen"])).0, 2, "it must be said that the copy is not used");
    done(command(at, kek, &["reopen", "--copy-is-not-used"]));
    done(command(at, kek, &["key", "create", "again"]));
    assert_eq!(done(command(at, kek, &["audit", "verify"]))["ok"], true);
    // A place with something in it is no target.
    let (code, text) = failed(crate::program::migrate(at, At::Folder(&target), kek, &[]));
    assert!(code == 5 && text.contains("not empty"), "{text}");
    // A source that somebody serves is not moved.
    let mut server = command(at, kek, &["serve", "--listen", "127.0.0.1:0"]).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(server.stdout.take().unwrap()), &mut line)
        .unwrap();
    let (code, text) = failed(crate::program::migrate(at, At::Folder(&big.scratch("third")), kek, &[]));
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(code == 5 && text.contains("has the vault in"), "{text}");
}

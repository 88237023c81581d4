//! Planted secrets: everything that the parts print, log, answer or store is searched for them, in every encoding.

mod binary;
mod moved;
mod program;

use std::{env, fs, path::Path, process::Command, time::Duration};

use serde::{Deserialize, Serialize};

use crate::harness::{Needles, process::run};

/// The folder in which the program works; it does nothing without.
const FOLDER: &str = "ALTER_TESTS_CANARY";
/// The list of what was planted, in that folder.
const PLANTED: &str = "planted.json";
/// Copies of what the vault keeps, in that folder.
const KEPT: &str = "kept";
const LIMIT: Duration = Duration::from_secs(80);

/// A secret that the program planted or was given.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Secret {
    name: String,
    kind: Kind,
    value: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    Text,
    Jwt,
    ApiKey,
    /// Bytes in hex.
    Bytes,
    /// Printed on purpose: proof that the search finds.
    Decoy,
}

fn needles(secrets: &[Secret]) -> Needles {
    let mut needles = Needles::default();
    for Secret { name, kind, value } in secrets {
        match kind {
            Kind::Text | Kind::Decoy => needles.text(name, value),
            Kind::Jwt => needles.jwt(name, value),
            Kind::ApiKey => needles.api_key(name, value),
            Kind::Bytes => needles.bytes(name, &hex::decode(value).unwrap()),
        };
    }
    needles
}

/// Searches every file of a folder but the key file, whose job it is to hold a secret.
fn search_folder(needles: &Needles, folder: &Path) -> Vec<String> {
    let mut searched = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name != "kek" && path.is_file() {
            needles.assert_absent(&path.display().to_string(), &fs::read(&path).unwrap());
            searched.push(name);
        }
    }
    searched
}

#[test]
fn nothing_that_the_parts_print_log_answer_or_store_holds_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    // A process of its own: what it logs at TRACE is everything, and of nothing else.
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args([
            "canary::program::the_whole_program",
            "--exact",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(FOLDER, folder.path());
    let output = run(command, "", LIMIT);
    let (out, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let tail =
        |text: &str| text.chars().rev().take(4_000).collect::<Vec<_>>().into_iter().rev().collect::<String>();
    assert!(output.status.success(), "the program failed:\n{}\n{}", tail(&out), tail(&log));

    // The search works, and what it searches is not empty.
    let planted = fs::read_to_string(folder.path().join(PLANTED)).unwrap();
    let (decoys, secrets): (Vec<Secret>, Vec<Secret>) = serde_json::from_str::<Vec<Secret>>(&planted)
        .unwrap()
        .into_iter()
        .partition(|secret| secret.kind == Kind::Decoy);
    assert!(!needles(&decoys).found_in(&output.stderr).is_empty(), "the log is not what is searched");
    assert!(!needles(&decoys).found_in(&output.stdout).is_empty(), "the output is not what is searched");
    for part in ["alter_core", "alter_server", "alter_tower", "alter_actix", "hyper_util", "reqwest", "actix"]
    {
        assert!(log.contains(part), "nothing of {part} was logged");
    }
    assert!(log.contains("TRACE") && log.contains("DEBUG"), "the log is of every level");

    let needles = needles(&secrets);
    needles.assert_absent("the log", &output.stderr);
    needles.assert_absent("what was printed", &output.stdout);
    let searched = search_folder(&needles, &folder.path().join(KEPT));
    for file in ["running-vault.db", "running-vault.db-wal", "running-vault.db-shm", "closed-vault.db"] {
        assert!(searched.iter().any(|name| name == file), "{file} is not among {searched:?}");
    }
}

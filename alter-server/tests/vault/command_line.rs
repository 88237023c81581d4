//! The program itself, as scripts drive it.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_alter-server");

fn run(folder: &Path, words: &[&str], input: &str) -> Output {
    let mut child = Command::new(PROGRAM)
        .args(["--json", "--data-dir"])
        .arg(folder)
        .args(words)
        .env_remove("ALTER_KEK")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

pub(crate) fn done(folder: &Path, words: &[&str], input: &str) -> Value {
    let output = run(folder, words, input);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

pub(crate) fn failed(folder: &Path, words: &[&str], input: &str) -> (i32, String) {
    let output = run(folder, words, input);
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_vault_is_set_up_word_by_word() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("vault");
    let app = done(&folder, &["app", "create", "shop"], "");
    assert_eq!(app["name"], "shop");
    let key = done(&folder, &["key", "create", "backend", "--scopes", "tokens:retrieve,audit:emit"], "");
    assert!(key["key"].as_str().unwrap().starts_with("alter_rk_"));
    let listed = done(&folder, &["key", "list"], "");
    assert!(!listed.to_string().contains(key["key"].as_str().unwrap()), "a key is shown once");

    done(&folder, &["agent", "create", "mailer"], "");
    let agent = done(&folder, &["agent", "key", "mailer"], "");
    assert!(agent["key"].as_str().unwrap().starts_with("alter_key_"));

    let add = ["provider", "add", "billing", "--kind", "managed-secret", "--host", "billing.example.test"];
    done(&folder, &[&add[..], &["--inject", "query:key"]].concat(), "");
    let secret = done(&folder, &["secret", "create", "billing"], "s3cret-value\n");
    assert!(!secret.to_string().contains("s3cret"));
    let grant = done(&folder, &["grant", "create", "billing", "--principal", "agent:mailer"], "");
    assert_eq!(grant["status"], "active");
    done(&folder, &["grant", "revoke", grant["grant_id"].as_str().unwrap(), "--reason", "test"], "");
    let grants = done(&folder, &["grant", "list"], "");
    assert_eq!((&grants[0]["status"], grants.as_array().unwrap().len()), (&json!("revoked"), 1));

    let rotated = done(&folder, &["rotate"], "");
    assert!(rotated["changed"].as_u64().unwrap() > 0);
    let verified = done(&folder, &["audit", "verify"], "");
    assert_eq!(verified["ok"], true);
    let rows = done(&folder, &["audit", "list"], "");
    assert!(rows.as_array().unwrap().iter().any(|row| row["action"] == "secret.created"));
    let stored = std::fs::read(folder.join("vault.db")).unwrap();
    assert!(!stored.windows(12).any(|window| window == b"s3cret-value"));
}

#[test]
fn how_tokens_are_refreshed_is_set_shown_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    done(folder, &["app", "create", "shop"], "");
    let add = |more: &[&'static str]| {
        let mut words = vec!["provider", "add", "crm", "--host", "api.crm.test", "--client-id", "shop"];
        words.extend(more);
        words
    };
    let url = ["--token-url", "https://id.crm.test/token"];
    let settings = [
        ["--client-auth", "basic"],
        ["--client-secret-file", "-"],
        ["--rotation", "always"],
        ["--reuse-window", "30s"],
        ["--refresh-margin", "10m"],
        ["--refresh-idle", "90d"],
        ["--assumed-lifetime", "1h"],
        ["--refresh-param", "audience=api"],
        ["--refresh-param", "tenant=a=b"],
    ]
    .concat();
    done(folder, &add(&[&url[..], &settings].concat()), "s3cret-of-the-client\n");
    let listed = done(folder, &["provider", "list"], "");
    assert_eq!(listed[0]["oauth"]["client_auth"], "basic");
    let expected = json!({
        "margin_seconds": 600, "rotation": "always", "reuse_window_seconds": 30, "idle_seconds": 7_776_000,
        "assumed_lifetime_seconds": 3600, "extra": {"audience": "api", "tenant": "a=b"},
    });
    assert_eq!(listed[0]["oauth"]["refresh"], expected);
    assert!(!listed.to_string().contains("s3cret"), "{listed}");

    for (words, says) in [
        (&["--token-url", "http://id.crm.test/token"][..], "token_url: the URL's scheme must be https"),
        (&["--token-url", "https://me@id.crm.test/token"], "token_url: the URL contains user information"),
        (&["--token-url", "https://id.crm.test/token#x"], "token_url: the URL has a fragment"),
        (&["--refresh-margin", "25h"], "margin"),
        (&["--reuse-window", "25h"], "reuse window"),
        (&["--refresh-idle", "59m"], "idle"),
        (&["--refresh-idle", "90"], "length of time"),
        (&["--assumed-lifetime", "0s"], "assumed lifetime"),
        (&["--refresh-param", "scope=all"], "scope"),
        (&["--refresh-param", "scope"], "NAME=VALUE"),
        (&["--client-auth", "none", "--client-secret-file", "-"], "public client"),
        (
            &["--kind", "managed-secret", "--rotation", "never", "--token-url", "https://a.test/"],
            "managed-secret",
        ),
        (&["--kind", "managed-secret", "--rotation", "always"], "managed-secret"),
    ] {
        let (code, text) = failed(folder, &add(words), "s3cret-of-the-client\n");
        assert_eq!(
            (code, text.contains(says), text.contains("s3cret")),
            (2, true, false),
            "{words:?}: {text}"
        );
    }
    assert_eq!(done(folder, &["provider", "list"], ""), listed, "nothing was changed");
}

#[test]
fn what_cannot_be_done_is_said_with_its_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    assert_eq!(failed(folder, &["key", "list"], "").0, 4, "there is no vault");
    done(folder, &["app", "create", "shop"], "");
    assert_eq!(failed(folder, &["app", "create", "shop"], "").0, 5);
    assert_eq!(failed(folder, &["app", "suspend", "nobody"], "").0, 4);
    assert_eq!(failed(folder, &["key", "create", ""], "").0, 2);
    assert_eq!(failed(folder, &["idp", "set", "https://id.example.test"], "").0, 2, "an audience is needed");
    let (code, text) = failed(folder, &["idp", "set", "http://127.0.0.1:1", "--audience", "a"], "");
    assert_eq!((code, text.contains("discovery")), (2, true), "{text}");
    assert_eq!(done(folder, &["idp", "show"], ""), Value::Null, "nothing was stored");
    assert_eq!(failed(folder, &["provider", "add", "x"], "").0, 2, "a host is needed");
    let (code, text) = failed(folder, &["grant", "import"], r#"{"sub":"u"}"#);
    assert_eq!((code, text.contains("identity provider")), (2, true), "{text}");
}

#[test]
fn a_wrong_folder_is_refused_and_not_made_into_a_vault() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("wrong");
    for words in [&["audit", "verify"][..], &["key", "list"], &["rotate"]] {
        let (code, text) = failed(&wrong, words, "");
        assert_eq!((code, text.contains("there is no vault in")), (4, true), "{text}");
    }
    assert!(!wrong.exists());
}

#[test]
fn a_vault_whose_key_file_is_gone_gets_no_fresh_key() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    done(folder, &["app", "create", "shop"], "");
    std::fs::remove_file(folder.join("kek")).unwrap();
    for words in [&["app", "list"][..], &["app", "create", "other"], &["rotate"]] {
        let (code, text) = failed(folder, words, "");
        assert_eq!((code, text.contains("without its key file")), (1, true), "{text}");
    }
    assert!(!folder.join("kek").exists());
}

/// The sandbox that `dev` started.
struct Dev {
    child: std::process::Child,
    line: Value,
}

impl Dev {
    fn start(words: &[&str]) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(["dev", "--json"])
            .args(words)
            .env_remove("ALTER_DATA_DIR")
            .env_remove("ALTER_KEK")
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        Self { line: serde_json::from_str(&line).unwrap(), child }
    }

    fn stop(mut self) -> i32 {
        let killed = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(killed.success());
        self.child.wait().unwrap().code().unwrap()
    }
}

#[test]
fn development_mode_prints_one_line_runs_until_it_is_told_and_takes_imports() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let dev = Dev::start(&["--data-dir", path]);
    assert!(dev.line["base_url"].as_str().unwrap().starts_with("http://127.0.0.1:"));

    let line = json!({"sub": "user-7", "provider": "sandbox", "account": "a", "access_token": "s3cret", "expires_at": 4_000_000_000_u64});
    let twice = format!("{line}\n\n{line}\n");
    let output = run(folder.path(), &["grant", "import"], &twice);
    assert_eq!(output.status.code(), Some(1));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&answer["faults"][0]["line"], &answer["imported"]), (&json!(3), &json!([])));
    assert!(!String::from_utf8_lossy(&output.stdout).contains("s3cret"));
    assert_eq!(done(folder.path(), &["grant", "import", "--dry-run"], &line.to_string())["good"], 1);
    let imported = done(folder.path(), &["grant", "import"], &line.to_string());
    assert_eq!(imported["imported"][0]["created"], true);
    let again = done(folder.path(), &["grant", "import"], &line.to_string());
    assert_eq!(again["imported"][0]["created"], false);
    assert_eq!(again["imported"][0]["grant_id"], imported["imported"][0]["grant_id"]);
    let shown =
        done(folder.path(), &["grant", "show", again["imported"][0]["grant_id"].as_str().unwrap()], "");
    assert_eq!((&shown["account"], &shown["health"]["generation"]), (&json!("a"), &json!(2)));
    assert_eq!((&shown["health"]["refreshable"], &shown["next_step"]), (&json!(false), &json!("nothing")));
    let (code, text) = failed(folder.path(), &["grant", "show", "00000000-0000-4000-8000-000000000000"], "");
    assert!(code != 0 && text.contains("no such grant"), "{text}");

    assert_eq!(dev.stop(), 0);
    let verified = done(folder.path(), &["audit", "verify"], "");
    assert_eq!(verified["ok"], true);
}

#[test]
fn a_temporary_vault_leaves_nothing_behind() {
    let own = tempfile::tempdir().unwrap();
    let mut child = Command::new(PROGRAM)
        .args(["dev", "--json"])
        .env("TMPDIR", own.path())
        .env_remove("ALTER_DATA_DIR")
        .env_remove("ALTER_KEK")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(std::fs::read_dir(own.path()).unwrap().count(), 1);
    let dev = Dev { line: Value::Null, child };
    assert_eq!(dev.stop(), 0);
    assert_eq!(std::fs::read_dir(own.path()).unwrap().count(), 0);
}

#[test]
fn the_trail_is_signed_anchored_and_held_against_what_was_kept_elsewhere() {
    let own = tempfile::tempdir().unwrap();
    let folder = own.path().join("vault");
    let folder = folder.as_path();
    let kept = |name: &str| own.path().join(name).to_str().unwrap().to_owned();
    done(folder, &["app", "create", "shop"], "");
    done(folder, &["key", "create", "backend"], "");
    // Each command was a run of its own, signed when it ended.
    let keys = done(folder, &["audit", "key"], "");
    let public = keys[0]["public"].as_str().unwrap();
    assert_eq!(keys.as_array().unwrap().len(), 1);
    std::fs::write(kept("keys"), keys.to_string()).unwrap();
    let anchors = done(folder, &["audit", "checkpoint", "--all"], "");
    assert_eq!(anchors.as_array().unwrap().len(), 2);
    std::fs::write(kept("anchors"), anchors.to_string()).unwrap();

    let verified = done(folder, &["audit", "verify"], "");
    assert_eq!((&verified["keys_from_outside"], &verified["unsigned_rows"]), (&json!(false), &json!(0)));
    for trust in [public, &kept("keys")] {
        let words = ["audit", "verify", "--trust", trust, "--anchors", &kept("anchors")];
        let verified = done(folder, &words, "");
        assert_eq!((&verified["ok"], &verified["anchors"]), (&json!(true), &json!(2)));
    }
    let stranger = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    assert_eq!(run(folder, &["audit", "verify", "--trust", stranger], "").status.code(), Some(1));
    assert_eq!(failed(folder, &["audit", "verify", "--anchors", &kept("keys")], "").0, 2);

    let sql = rusqlite::Connection::open(folder.join("vault.db")).unwrap();
    sql.execute_batch("DELETE FROM audit_rows; DELETE FROM audit_chains; DELETE FROM audit_checkpoints")
        .unwrap();
    assert_eq!(
        done(folder, &["audit", "verify"], "")["ok"],
        true,
        "nothing inside shows that all of it is gone"
    );
    let output = run(folder, &["audit", "verify", "--anchors", &kept("anchors")], "");
    assert!(String::from_utf8_lossy(&output.stdout).contains("gone from the database"));
    assert_eq!(output.status.code(), Some(1));

    let pruned = done(folder, &["audit", "prune", "--before", "90d", "--export", &kept("export")], "");
    assert_eq!((&pruned["rows"], &pruned["files"]), (&json!(0), &json!([])));
    assert_eq!(failed(folder, &["audit", "prune", "--before", "0h", "--export", &kept("export")], "").0, 2);
    assert_eq!(failed(folder, &["audit", "verify", "--export", &kept("nothing")], "").0, 2);
}

#[test]
fn webhooks_sources_and_users_are_set_up_word_by_word() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    done(folder, &["app", "create", "shop"], "");
    let added = done(folder, &["webhook", "add", "https://shop.example/in", "--event", "grant.revoked"], "");
    let secret = added["secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_"));
    let listed = done(folder, &["webhook", "list"], "");
    assert_eq!(listed[0]["events"], json!(["grant.revoked"]));
    assert!(!listed.to_string().contains(secret), "a secret is shown once");
    assert_eq!(failed(folder, &["webhook", "add", "http://shop.example/in"], "").0, 2);
    assert_eq!(
        failed(folder, &["webhook", "add", "https://shop.example/", "--event", "grant.eaten"], "").0,
        2
    );
    assert_eq!(done(folder, &["webhook", "dead"], ""), json!([]));
    assert_eq!(done(folder, &["webhook", "retry", "--all"], "")["retried"], json!([]));
    done(folder, &["webhook", "remove", added["id"].as_str().unwrap()], "");
    assert_eq!(failed(folder, &["webhook", "remove", added["id"].as_str().unwrap()], "").0, 4);

    let hook =
        ["hook", "add", "--shape", "okta", "--secret-file", "-", "--public-url", "https://vault.example/v"];
    assert_eq!(failed(folder, &hook, "short").0, 2);
    let source = done(folder, &hook, "a-value-of-more-than-sixteen\n");
    assert!(source["url"].as_str().unwrap().starts_with("https://vault.example/v/hooks/"), "{source}");
    let listed = done(folder, &["hook", "list"], "");
    assert_eq!((&listed[0]["path"], &listed[0]["shape"]), (&source["path"], &json!("okta")));
    assert!(!listed.to_string().contains("sixteen"));
    done(folder, &["hook", "remove", source["id"].as_str().unwrap()], "");

    assert_eq!(failed(folder, &["user", "suspend", "--subject", "ada"], "").0, 2, "no issuer is known");
    let ada = ["--subject", "ada", "--issuer", "https://id.example"];
    let changed = done(folder, &[&["user", "suspend"][..], &ada].concat(), "");
    assert_eq!((&changed["user"]["status"], &changed["revoked"]), (&json!("suspended"), &json!([])));
    let id = changed["user"]["id"].as_str().unwrap();
    assert_eq!(done(folder, &["user", "activate", "--id", id], "")["user"]["status"], "active");
    done(folder, &["user", "delete", "--id", id, "--reason", "asked to be forgotten"], "");
    assert_eq!(done(folder, &["user", "list"], "")[0]["status"], "deleted");
    assert_eq!(failed(folder, &[&["user", "activate"][..], &ada].concat(), "").0, 5);
    assert_eq!(done(folder, &["grant", "purge", "--older-than", "30d"], "")["purged"], json!([]));
    assert_eq!(failed(folder, &["grant", "purge", "--older-than", "a while"], "").0, 2);
    assert!(done(folder, &["audit", "verify"], "")["ok"].as_bool().unwrap());
}

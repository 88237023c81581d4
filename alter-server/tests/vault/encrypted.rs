//! A database that is reached over TLS.

use std::{
    path::Path,
    process::{Command, Output},
};

use alter_test_postgres::EncryptedDatabase;

/// The program in a process of its own: which authorities count is told by its environment.
fn run(url: &str, authority: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alter-server"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ALTER_")) {
        command.env_remove(name);
    }
    command
        .env("ALTER_DATABASE_URL", url)
        .env("ALTER_KEK", "one:AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=")
        .env("SSL_CERT_FILE", authority)
        .env_remove("SSL_CERT_DIR")
        .arg("--json")
        .args(words)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test]
async fn the_certificate_and_the_name_of_a_database_are_verified() {
    let database = EncryptedDatabase::create().await;
    let (authority, stranger) = (database.authority(), database.stranger());
    let here = database.text("localhost") + "&sslmode=require";
    let made = run(&here, &authority, &["app", "create", "shop"]);
    assert!(made.status.success(), "{}", said(&made));
    let listed = run(&here, &authority, &["app", "list"]);
    assert!(listed.status.success() && said(&listed).contains("shop"), "{}", said(&listed));

    for (url, authority, reason) in [
        (&here, &stranger, "UnknownIssuer"),
        (&(database.text("db.example") + "&sslmode=require"), &authority, "not valid for name"),
        // Without a word about TLS it is required all the same, for the name is not of this machine.
        (&database.text("db.example"), &authority, "not valid for name"),
        // That user must not come in without TLS, so the first ones did not.
        (&database.text("localhost"), &authority, "no encryption"),
    ] {
        let refused = run(url, authority, &["app", "list"]);
        assert!(!refused.status.success(), "{url}: {}", said(&refused));
        assert!(said(&refused).contains(reason), "{url}: {}", said(&refused));
    }
}

//! The sandbox as a program.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use super::{http, json as body};

/// Killed at the end of the test, whatever came of it.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_alter-sandbox"))
}

#[tokio::test]
async fn it_says_where_it_listens_and_serves_with_the_faults_and_the_client_it_was_given() {
    let mut command = program();
    command.args(["--client", "the-app:its:secret", "--faults", r#"{"rotate": true, "expires_in": 60}"#]);
    let mut running = Program(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let said: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&said["client_id"], &said["client_secret"]), (&json!("the-app"), &json!("its:secret")));

    let address = |name: &str| said[name].as_str().unwrap().to_owned();
    let whose = json!({"sub": "user-1", "account": "work"});
    let connect = http().post(format!("{}/connect", address("control_url"))).json(&whose).send();
    let credential = body(connect.await.unwrap()).await;
    let held = credential["refresh_token"].as_str().unwrap();
    let form = [("grant_type", "refresh_token"), ("refresh_token", held)];
    let call = http().post(address("token_url")).basic_auth("the-app", Some("its%3Asecret")).form(&form);
    let refreshed = body(call.send().await.unwrap()).await;
    assert_eq!(refreshed["expires_in"], 60);
    assert_ne!(refreshed["refresh_token"], held);
    for name in ["issuer", "mint_url", "api_url", "authorize_url", "revoke_url", "userinfo_url"] {
        assert!(address(name).starts_with(&format!("http://{}/", address("addr"))));
    }
    for provider in ["sign_in", "provider", "second_provider"] {
        let issuer = said[provider]["issuer"].as_str().unwrap();
        let discovery = format!("{issuer}/.well-known/openid-configuration");
        let document = body(http().get(discovery).send().await.unwrap()).await;
        assert_eq!(document["token_endpoint"], said[provider]["token_url"], "{provider}");
        assert_eq!(document.get("revocation_endpoint"), said[provider].get("revoke_url"), "{provider}");
        assert!(said[provider]["client_id"].is_string() && said[provider]["client_secret"].is_string());
    }
}

#[test]
fn a_mistake_on_the_command_line_is_explained() {
    for (args, message) in [
        (["--listen", "0.0.0.0:0"], "127.0.0.1:0"),
        (["--listen", "here"], "not IP:PORT"),
        (["--faults", r#"{"token_fault":"explode"}"#], "token_fault is one of none, "),
        (["--client", "no-secret"], "ID:SECRET"),
        (["--nonsense", "1"], "--nonsense is not known"),
    ] {
        let output = program().args(args).output().unwrap();
        assert!(!output.status.success() && output.stdout.is_empty());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(message), "{said}");
    }
}

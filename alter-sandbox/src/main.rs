//! A sandbox as a program of its own, for tests that kill and restart everything else.

#![forbid(unsafe_code)]

use std::{
    future::pending,
    io::{self, Write as _},
    process::ExitCode,
};

use alter_sandbox::{Client, Faults, OauthEndpoints, Sandbox, SandboxBuilder};
use serde_json::json;

const USAGE: &str =
    "alter-sandbox [--listen 127.0.0.1:PORT] [--client ID:SECRET] [--sign-in-client ID:SECRET]
              [--faults JSON]

An OIDC identity provider, an OAuth provider and an API on loopback, until it is killed. The first line on
standard output is a JSON object with their addresses and the OAuth client. JSON is an object of faults, as
POST /control takes it.
";

fn main() -> ExitCode {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    if asked.iter().any(|arg| arg == "--help" || arg == "-h") {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match builder(asked).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("alter-sandbox: {error}");
            ExitCode::FAILURE
        }
    }
}

fn builder(asked: Vec<String>) -> Result<SandboxBuilder, String> {
    let mut builder = Sandbox::builder();
    let mut asked = asked.into_iter();
    while let Some(flag) = asked.next() {
        let value = asked.next().ok_or_else(|| format!("{flag} wants a value\n\n{USAGE}"))?;
        builder = match flag.as_str() {
            "--listen" => {
                builder.listen(value.parse().map_err(|_| format!("--listen {value} is not IP:PORT"))?)
            }
            "--client" => {
                let (id, secret) = value.split_once(':').ok_or("--client is ID:SECRET")?;
                builder.client(id, secret)
            }
            "--sign-in-client" => {
                let (id, secret) = value.split_once(':').ok_or("--sign-in-client is ID:SECRET")?;
                builder.sign_in_client(id, secret)
            }
            "--faults" => builder.faults(Faults::from_json(&value)?),
            _ => return Err(format!("{flag} is not known\n\n{USAGE}")),
        };
    }
    Ok(builder)
}

fn run(builder: SandboxBuilder) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    runtime.block_on(async {
        let sandbox = builder.start().await.map_err(|error| error.to_string())?;
        let mut out = io::stdout().lock();
        // In one piece, for readers who take what the first read gives them.
        let line = format!("{}\n", addresses(&sandbox));
        out.write_all(line.as_bytes())
            .and_then(|()| out.flush())
            .map_err(|error| format!("standard output is closed: {error}"))?;
        pending().await
    })
}

fn addresses(sandbox: &Sandbox) -> serde_json::Value {
    let (endpoints, client) = (sandbox.oauth_endpoints(), sandbox.client());
    let second = sandbox.second_provider();
    let mut sign_in = provider(&sandbox.sign_in_endpoints(), &sandbox.sign_in_client());
    // The identity provider revokes nothing.
    sign_in.as_object_mut().map(|members| members.remove("revoke_url"));
    json!({
        "addr": sandbox.addr().to_string(),
        "issuer": sandbox.issuer(),
        "mint_url": sandbox.mint_url(),
        "api_url": sandbox.api_url(),
        "control_url": sandbox.control_url(),
        "authorize_url": endpoints.authorize,
        "token_url": endpoints.token,
        "revoke_url": endpoints.revoke,
        "userinfo_url": endpoints.userinfo,
        "client_id": client.client_id,
        "client_secret": client.client_secret,
        "sign_in": sign_in,
        "provider": provider(&endpoints, &client),
        "second_provider": provider(&second.endpoints(), &second.client()),
    })
}

fn provider(endpoints: &OauthEndpoints, client: &Client) -> serde_json::Value {
    json!({
        "issuer": endpoints.issuer,
        "authorize_url": endpoints.authorize,
        "token_url": endpoints.token,
        "revoke_url": endpoints.revoke,
        "userinfo_url": endpoints.userinfo,
        "sign_out_url": endpoints.sign_out,
        "client_id": client.client_id,
        "client_secret": client.client_secret,
    })
}

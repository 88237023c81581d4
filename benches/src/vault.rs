//! The vault under test, with the sandbox beside it, in a process of its own; and the signed calls that it is sent.

use std::{num::NonZeroU32, path::Path};

use alter_core::wire::{header, key::ApiKey, sign, sign::Stamp, token};
use alter_server::dev::Dev;
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Outcome, process::Process};

/// Serves a vault over `data_dir` until standard input ends, on as many threads as there are cores.
pub(crate) fn serve(data_dir: &Path) -> Outcome<()> {
    tokio::runtime::Runtime::new()?.block_on(async move {
        let listener = crate::loopback().await?;
        let addr = listener.local_addr()?;
        // What is measured is the vault, not when it says "later".
        let configure = |config: alter_server::VaultConfig| config.rate_limit_per_minute(NonZeroU32::MAX);
        let dev = Dev::start_with(Some(data_dir.to_owned()), format!("http://{addr}"), configure).await?;
        println!("{}", json!({"addr": addr, "dev": dev.ready}));
        tokio::select! {
            served = axum::serve(listener, dev.vault.router()) => served?,
            () = crate::orphaned() => {}
        }
        dev.stop().await?;
        Ok(())
    })
}

/// A running vault.
pub(crate) struct Vault {
    pub(crate) process: Process,
    _data_dir: TempDir,
}

impl Vault {
    pub(crate) fn start() -> Outcome<Self> {
        let data_dir = tempfile::Builder::new().prefix("alter-bench-").tempdir()?;
        let path = data_dir.path().join("data");
        let path = path.to_str().ok_or("the temporary folder's name is not UTF-8")?;
        Ok(Self {
            process: Process::start(&["serve", "vault", "--data-dir", path], None)?,
            _data_dir: data_dir,
        })
    }

    /// A text of the line that `alter-server dev --json` prints.
    pub(crate) fn text(&self, pointer: &str) -> Outcome<&str> {
        self.process.text(&format!("/dev{pointer}"))
    }

    /// What `user-1` wants to call.
    pub(crate) fn target(&self) -> Outcome<String> {
        Ok(format!("{}/me", self.text("/provider/api_url")?))
    }

    /// Body of a call that names the provider and brings the user's token.
    pub(crate) fn by_user_token(&self) -> Outcome<Vec<u8>> {
        let (provider, token) = (self.text("/provider/id")?, self.text("/users/0/token")?);
        self.body(&json!({"provider_id": provider, "user_token": token}))
    }

    /// Body of a call that names the grant.
    pub(crate) fn by_grant(&self) -> Outcome<Vec<u8>> {
        let grant = self.text("/users/0/grants/0/grant_id")?;
        self.body(&json!({"grant_id": grant}))
    }

    fn body(&self, address: &Value) -> Outcome<Vec<u8>> {
        let mut body = address.clone();
        body["reason"] = Value::Null;
        body["request"] = json!({"method": "GET", "url": self.target()?});
        Ok(serde_json::to_vec(&body)?)
    }

    /// Headers of a call with that body: signed now, good for five minutes, once.
    pub(crate) fn signed(&self, key: &ApiKey, body: &[u8]) -> Outcome<HeaderMap> {
        signed(token::PATH, key, body)
    }

    /// The same for another path.
    pub(crate) fn signed_for(&self, path: &str, key: &ApiKey, body: &[u8]) -> Outcome<HeaderMap> {
        signed(path, key, body)
    }

    pub(crate) fn key(&self) -> Outcome<ApiKey> {
        Ok(ApiKey::parse(self.text("/app/key")?)?)
    }

    /// `count` calls with that body as they go over the wire.
    pub(crate) fn calls(&self, body: &[u8], count: usize) -> Outcome<Vec<Vec<u8>>> {
        let key = self.key()?;
        (0..count).map(|_| call(&key, body)).collect()
    }
}

/// Headers of a call: signed now, good for five minutes, once.
fn signed(path: &str, key: &ApiKey, body: &[u8]) -> Outcome<HeaderMap> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let mut headers = HeaderMap::new();
    headers.insert(header::API_KEY, key.expose().parse()?);
    headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    let stamp = Stamp::fresh(i64::try_from(now)?)?;
    sign::sign(&key.signing_key(), &Method::POST, path, &stamp, body, &mut headers)?;
    Ok(headers)
}

/// A call of `POST /sdk/token` as it goes over the wire.
pub(crate) fn call(key: &ApiKey, body: &[u8]) -> Outcome<Vec<u8>> {
    let mut call = format!(
        "POST {} HTTP/1.1\r\nhost: 127.0.0.1:8720\r\nuser-agent: bench\r\naccept: */*\r\ncontent-length: {}\r\n",
        token::PATH,
        body.len()
    )
    .into_bytes();
    for (name, value) in &signed(token::PATH, key, body)? {
        call.extend_from_slice(name.as_str().as_bytes());
        call.extend_from_slice(b": ");
        call.extend_from_slice(value.as_bytes());
        call.extend_from_slice(b"\r\n");
    }
    call.extend_from_slice(b"\r\n");
    call.extend_from_slice(body);
    Ok(call)
}

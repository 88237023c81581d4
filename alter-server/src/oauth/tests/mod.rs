//! Token endpoints over real loopback connections: what they say, and what no answer may do.

use std::{sync::Arc, time::Duration};

use alter_core::clock::{ManualClock, SystemClock};
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::*;
use crate::domain::{ClientAuth, FailureCode, RefreshSettings, Refreshing};

mod asking;
mod pure;
mod revoking;
#[cfg(feature = "dev")]
mod sandbox;
mod table;

const REFRESH_TOKEN: &str = "rt-canary-1//abc+def";
const CLIENT_SECRET: &str = "cs-canary/ü&x=y z";

/// What the other side does with one connection.
#[derive(Debug, Clone)]
enum Act {
    /// Answers with these bytes and closes.
    Say(Vec<u8>),
    /// Reads the request and closes without a word.
    Hang,
    /// Closes before it has read anything.
    Slam,
    /// Reads the request and says nothing.
    Silence,
    /// Sends the bytes one by one, for ever.
    Trickle(Vec<u8>),
}

/// A provider that serves one connection, and tells what it was sent.
async fn provider(act: Act) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    let served = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        if matches!(act, Act::Slam) {
            return String::new();
        }
        let request = request(&mut socket).await;
        match act {
            Act::Say(bytes) => {
                let _ = socket.write_all(&bytes).await;
                let _ = socket.shutdown().await;
                // Reads on, so that the close is no reset that throws the answer away.
                let _ = socket.read(&mut [0; 64]).await;
            }
            Act::Hang | Act::Slam => {}
            Act::Silence => drop(socket.read(&mut [0; 64]).await),
            Act::Trickle(bytes) => {
                for byte in bytes.into_iter().chain(std::iter::repeat(b' ')) {
                    if socket.write_all(&[byte]).await.is_err() {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
        }
        request
    });
    (url, served)
}

/// The request with its whole body.
async fn request(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let mut part = [0; 4096];
        let read = socket.read(&mut part).await.unwrap();
        bytes.extend_from_slice(&part[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
        });
        if read == 0 || body.len() >= length.unwrap_or(0) {
            return text;
        }
    }
}

fn limits() -> Limits {
    Limits {
        connect: Duration::from_secs(2),
        whole: Duration::from_secs(3),
        idle: Duration::from_millis(300),
        ..Limits::default()
    }
}

fn refreshing<'a>(url: &'a str, auth: ClientAuth, settings: &'a RefreshSettings) -> Refreshing<'a> {
    Refreshing { token_url: url, client_id: "client/1 é", client_auth: auth, settings }
}

async fn ask(url: &str, auth: ClientAuth, limits: Limits) -> Result<TokenAnswer, TokenFailure> {
    ask_at(&TokenEndpoint::with_limits(SystemClock::shared(), limits), url, auth).await
}

async fn ask_at(endpoint: &TokenEndpoint, url: &str, auth: ClientAuth) -> Result<TokenAnswer, TokenFailure> {
    let settings = RefreshSettings::default();
    let (secret, token) = (SecretString::from(CLIENT_SECRET), SecretString::from(REFRESH_TOKEN));
    let call = RefreshCall {
        refreshing: refreshing(url, auth, &settings),
        client_secret: Some(&secret),
        refresh_token: &token,
    };
    endpoint.refresh(&call).await
}

fn http(status: &str, headers: &str, body: &str) -> Act {
    let length = body.len();
    Act::Say(format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n{body}").into_bytes())
}

fn json(status: &str, body: &str) -> Act {
    http(status, "content-type: application/json\r\n", body)
}

const GOOD: &str = r#"{"access_token":"at-1","refresh_token":"rt-2","expires_in":3600,"scope":"read write"}"#;

//! A backend that asks for credentials: signed by hand, so that nothing is retried behind one's back.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use alter_core::wire::{
    header,
    key::ApiKey,
    sign::{self, SigningKey, Stamp},
    token,
};
use alter_server::domain::GrantId;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// Longer than any call may wait.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The holder of an app's key. Clones share their connections.
#[derive(Debug, Clone)]
pub(crate) struct Caller(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    http: reqwest::Client,
    key: String,
    signing: SigningKey,
    /// Where the credential is wanted for.
    url: String,
}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// 0 if no answer came.
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn is_served(&self) -> bool {
        self.status == 200
    }

    /// The vault's error code, or what was wrong on the way.
    pub(crate) fn code(&self) -> &str {
        self.body["error"].as_str().unwrap_or_default()
    }

    pub(crate) fn token(&self) -> Option<&str> {
        self.body["access_token"].as_str()
    }

    /// Whether asking again makes sense, and after how long: the token is being refreshed, or the vault has no database.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        let passing =
            matches!(self.status, 409 | 503) || (self.status == 0 && self.code() != "no answer in time");
        passing.then(|| Duration::from_secs(self.body["retry_after"].as_u64().unwrap_or(0)))
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.status, self.code()) {
            (0, code) => f.write_str(code),
            (status, "") => write!(f, "{status}"),
            (status, code) => write!(f, "{status} `{code}`"),
        }
    }
}

impl Caller {
    pub(crate) fn new(key: &str, url: String) -> Self {
        let http = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build().unwrap();
        let signing = ApiKey::parse(key).unwrap().signing_key();
        Self(Arc::new(Inner { http, key: key.to_owned(), signing, url }))
    }

    /// Asks once for the credential of a grant.
    pub(crate) async fn ask(&self, base_url: &str, grant: GrantId) -> Answer {
        let request = json!({"method": "GET", "url": self.0.url});
        let body = json!({"grant_id": grant.to_string(), "reason": null, "request": request});
        self.post(base_url, token::PATH, &body).await
    }

    /// The app's key.
    #[cfg(test)]
    pub(crate) fn key(&self) -> &str {
        &self.0.key
    }

    /// Revokes a grant.
    #[cfg(test)]
    pub(crate) async fn revoke(&self, base_url: &str, grant: GrantId) -> Answer {
        self.post(base_url, &format!("/sdk/oauth/grants/{grant}/revoke"), &json!({})).await
    }

    async fn post(&self, base_url: &str, path: &str, body: &Value) -> Answer {
        let body = body.to_string().into_bytes();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let stamp = Stamp::fresh(i64::try_from(now).unwrap()).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::API_KEY, HeaderValue::from_str(&self.0.key).unwrap());
        sign::sign(&self.0.signing, &Method::POST, path, &stamp, &body, &mut headers).unwrap();
        let request = self.0.http.post(format!("{base_url}{path}")).headers(headers).body(body);
        let sent = async {
            let response = request.send().await?;
            let status = response.status().as_u16();
            Ok((status, response.bytes().await?))
        };
        match sent.await {
            Ok((status, bytes)) => {
                Answer { status, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) }
            }
            Err(error) => {
                let error: reqwest::Error = error;
                let what = if error.is_timeout() { "no answer in time" } else { "connection lost" };
                Answer { status: 0, body: json!({ "error": what }) }
            }
        }
    }

    /// Asks until there is an answer that asking again would not change, for at most that long. Also answers what came before.
    pub(crate) async fn insist(
        &self,
        base_url: &str,
        grant: GrantId,
        limit: Duration,
    ) -> (Vec<Answer>, Answer) {
        let (until, mut before) = (Instant::now() + limit, Vec::new());
        loop {
            let answer = self.ask(base_url, grant).await;
            match answer.retry_after() {
                Some(pause) if Instant::now() + pause < until => {
                    sleep(pause.max(Duration::from_millis(100))).await;
                    before.push(answer);
                }
                _ => return (before, answer),
            }
        }
    }
}

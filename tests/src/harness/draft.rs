//! Requests made by hand: signed as the protocol wants it, then changed in ways that no client would.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use alter_core::wire::{
    header,
    key::ApiKey,
    sign::{self, Stamp},
    token,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::{Value, json};

/// Seconds since the Unix epoch.
pub(crate) fn unix_now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// An HTTP client that does nothing on its own: no redirects, no proxies.
pub(crate) fn plain_client() -> reqwest::Client {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(Duration::from_secs(20))
        .build()
        .unwrap()
}

/// A request to the vault.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Draft {
    /// A `POST` of JSON, not signed yet.
    pub(crate) fn post(target: impl Into<String>, body: &Value) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Self { method: Method::POST, target: target.into(), headers, body: body.to_string().into_bytes() }
    }

    /// `POST /sdk/token` by provider, for the bearer of a user token.
    pub(crate) fn by_provider(provider: &str, user_token: Option<&str>, url: &str) -> Self {
        let mut body = json!({
            "provider_id": provider,
            "reason": null,
            "request": {"method": "GET", "url": url},
        });
        if let Some(token) = user_token {
            body["user_token"] = token.into();
        }
        Self::post(token::PATH, &body)
    }

    /// `POST /sdk/token` by grant id.
    pub(crate) fn by_grant(grant_id: &str, user_token: Option<&str>, url: &str) -> Self {
        let mut body = json!({
            "grant_id": grant_id,
            "reason": null,
            "request": {"method": "GET", "url": url},
        });
        if let Some(token) = user_token {
            body["user_token"] = token.into();
        }
        Self::post(token::PATH, &body)
    }

    /// Sets a header, before signing or after.
    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Self {
        self.headers.insert(name, HeaderValue::from_str(value).unwrap());
        self
    }

    /// Adds a header line beside those of the same name.
    pub(crate) fn also(mut self, name: HeaderName, value: &str) -> Self {
        self.headers.append(name, HeaderValue::from_str(value).unwrap());
        self
    }

    /// Takes a header away.
    pub(crate) fn without(mut self, name: &HeaderName) -> Self {
        self.headers.remove(name);
        self
    }

    /// Replaces the body and leaves the signature as it is.
    pub(crate) fn body(mut self, body: &Value) -> Self {
        self.body = body.to_string().into_bytes();
        self
    }

    /// Replaces the target and leaves the signature as it is.
    pub(crate) fn target(mut self, target: &str) -> Self {
        target.clone_into(&mut self.target);
        self
    }

    /// Signs as the holder of `key` does, now.
    pub(crate) fn signed(self, key: &str) -> Self {
        self.signed_at(key, unix_now())
    }

    /// Signs with this timestamp.
    pub(crate) fn signed_at(self, key: &str, unix_seconds: i64) -> Self {
        let stamp = Stamp::fresh(unix_seconds).unwrap();
        self.signed_as(key, key, &stamp)
    }

    /// Names one key and signs with another.
    pub(crate) fn signed_as(mut self, named: &str, signing: &str, stamp: &Stamp) -> Self {
        self.headers.insert(header::API_KEY, HeaderValue::from_str(named).unwrap());
        let signing = ApiKey::parse(signing).unwrap().signing_key();
        sign::sign(&signing, &self.method, &self.target, stamp, &self.body, &mut self.headers).unwrap();
        self
    }

    /// Sends it over a socket.
    pub(crate) async fn send(&self, http: &reqwest::Client, base_url: &str) -> Reply {
        let request = http
            .request(self.method.clone(), format!("{base_url}{}", self.target))
            .headers(self.headers.clone())
            .body(self.body.clone());
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        Reply { status, headers, body: response.bytes().await.unwrap().to_vec() }
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The code of an error answer, or nothing.
    pub(crate) fn code(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }

    /// Everything of the answer, for a search.
    pub(crate) fn everything(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for (name, value) in &self.headers {
            all.extend_from_slice(name.as_str().as_bytes());
            all.extend_from_slice(b": ");
            all.extend_from_slice(value.as_bytes());
            all.push(b'\n');
        }
        all.extend_from_slice(&self.body);
        all
    }
}

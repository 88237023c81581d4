//! A browser by hand: it keeps cookies, opens links as the page's script does, presses buttons, and walks through the sandbox.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::collections::BTreeMap;

use alter_core::wire::key::ApiKey;
use alter_server::testkit::TestVault;
use axum::{Router, body::Body};
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;
use url::Url;

use crate::support::{send, signed};

/// Where the test vault says that it is.
pub(crate) const VAULT: &str = "http://localhost:8720";

/// What a browser shows.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    /// Path and query, where it came to after redirects.
    pub(crate) at: String,
    pub(crate) headers: HeaderMap,
    pub(crate) html: String,
}

impl Page {
    pub(crate) fn h1(&self) -> String {
        let text = self.html.split("<h1>").nth(1).unwrap_or_default();
        unescape(text.split("</h1>").next().unwrap_or_default())
    }

    /// The form field `csrf` of the page.
    pub(crate) fn csrf(&self) -> String {
        let rest = self.html.split(r#"name="csrf" value=""#).nth(1);
        rest.unwrap_or_else(|| panic!("no form: {}", self.html)).split('"').next().unwrap().to_owned()
    }

    /// An attribute of the element with this id.
    pub(crate) fn attribute(&self, id: &str, name: &str) -> Option<String> {
        let tag = self.html.split('<').find(|tag| tag.contains(&format!(r#"id="{id}""#)))?;
        let value = tag.split(&format!(r#" {name}=""#)).nth(1)?.split('"').next()?;
        Some(unescape(value))
    }

    /// What the end page's script is to tell the application.
    pub(crate) fn delivery(&self) -> Value {
        let text = self.attribute("end", "data-delivery").unwrap_or_else(|| panic!("no end: {}", self.html));
        serde_json::from_str(&text).unwrap()
    }

    /// The address at the provider that the page leads to.
    pub(crate) fn provider_url(&self) -> Url {
        let url = self.attribute("provider-link", "href");
        Url::parse(&url.unwrap_or_else(|| panic!("no way to a provider: {}", self.html))).unwrap()
    }
}

fn unescape(text: &str) -> String {
    let pairs = [
        ("&#60;", "<"),
        ("&#62;", ">"),
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#38;", "&"),
        ("&amp;", "&"),
    ];
    pairs.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// One browser.
#[derive(Clone)]
pub(crate) struct Browser {
    router: Router,
    pub(crate) cookies: BTreeMap<String, String>,
    pub(crate) origin: Option<String>,
}

impl Browser {
    pub(crate) fn new(router: &Router) -> Self {
        Self { router: router.clone(), cookies: BTreeMap::new(), origin: Some(VAULT.to_owned()) }
    }

    async fn send(&mut self, mut request: Request<Body>) -> (StatusCode, HeaderMap, String) {
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !cookies.is_empty() {
            request.headers_mut().insert(header::COOKIE, cookies.join("; ").parse().unwrap());
        }
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        for cookie in parts.headers.get_all(header::SET_COOKIE) {
            let (name, value) = cookie.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status, parts.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    /// Loads a page and follows redirects within the vault.
    pub(crate) async fn get(&mut self, path: &str) -> Page {
        let mut at = path.to_owned();
        for _ in 0..10 {
            let request = Request::get(&at).body(Body::empty()).unwrap();
            let (status, headers, html) = self.send(request).await;
            let Some(location) = headers.get(header::LOCATION) else {
                return Page { status, at, headers, html };
            };
            location.to_str().unwrap().clone_into(&mut at);
            assert!(at.starts_with('/'), "led out of the vault: {at}");
        }
        panic!("redirected without end, at last to {at}")
    }

    /// Sends a form and follows redirects.
    pub(crate) async fn post(&mut self, path: &str, form: &[(&str, &str)]) -> Page {
        let page = self.post_only(path, form).await;
        match page.headers.get(header::LOCATION) {
            Some(location) => {
                assert_eq!(page.status, 303);
                let location = location.to_str().unwrap().to_owned();
                self.get(&location).await
            }
            None => page,
        }
    }

    /// Sends a form.
    pub(crate) async fn post_only(&mut self, path: &str, form: &[(&str, &str)]) -> Page {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let mut request =
            Request::post(path).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(origin) = &self.origin {
            request = request.header(header::ORIGIN, origin);
        }
        let (status, headers, html) = self.send(request.body(Body::from(body)).unwrap()).await;
        Page { status, at: path.to_owned(), headers, html }
    }

    /// Presses a button of a page: its form's target below the session's address, with these fields more.
    pub(crate) async fn press(&mut self, page: &Page, to: &str, more: &[(&str, &str)]) -> Page {
        let csrf = page.csrf();
        let mut form = vec![("csrf", csrf.as_str())];
        form.extend(more);
        let path = format!("{}{to}", session_of(&page.at));
        self.post(&path, &form).await
    }

    /// What the script of the link's page does. The answer is the script's.
    pub(crate) async fn open_only(&mut self, link: &str) -> (StatusCode, Value) {
        let url = Url::parse(link).unwrap();
        let shell = self.get(url.path()).await;
        assert_eq!(shell.status, 200);
        let path = shell.attribute("opening", "data-open").unwrap();
        let token = url.fragment().unwrap().strip_prefix("session=").unwrap();
        let answer = self.post_only(&path, &[("session", token)]).await;
        (answer.status, serde_json::from_str(&answer.html).unwrap())
    }

    /// Opens a link and goes where its script goes.
    pub(crate) async fn open(&mut self, link: &str) -> Page {
        let (status, told) = self.open_only(link).await;
        assert_eq!(status, 200, "{told}");
        let next = told["next"].as_str().unwrap().to_owned();
        self.get(&next).await
    }

    /// Goes to the provider from the page that leads there, says yes as `sub`, and comes back.
    pub(crate) async fn allow(&mut self, go: &Page, sub: &str) -> Page {
        let back = answer_of(go.provider_url(), sub).await;
        self.get(&back).await
    }

    /// Consents on a provider's page and at the provider.
    pub(crate) async fn connect(&mut self, consent: &Page, sub: &str) -> Page {
        let go = self.agree(consent, &[]).await;
        self.allow(&go, sub).await
    }

    /// Consents on a provider's page; the answer is the page that leads to the provider.
    pub(crate) async fn agree(&mut self, consent: &Page, more: &[(&str, &str)]) -> Page {
        let provider = consent.at.split("/p/").nth(1).unwrap().to_owned();
        self.press(consent, &format!("/p/{provider}/go"), more).await
    }
}

/// `/sdk/oauth/connect/s/{session}` of an address below it.
pub(crate) fn session_of(path: &str) -> String {
    path.split('?').next().unwrap().split('/').take(6).collect::<Vec<_>>().join("/")
}

/// How the sandbox answers an authorization request for `sub`: path and query of the callback.
pub(crate) async fn answer_of(mut url: Url, sub: &str) -> String {
    url.query_pairs_mut().append_pair("sandbox_sub", sub);
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let answer = client.get(url).send().await.unwrap();
    let location = answer.headers().get(header::LOCATION);
    let location = Url::parse(location.unwrap().to_str().unwrap()).unwrap();
    assert_eq!(location.origin().ascii_serialization(), VAULT);
    format!("{}?{}", location.path(), location.query().unwrap_or_default())
}

/// A session as an app asks for it.
pub(crate) async fn session(kit: &TestVault, router: &Router, more: Value) -> Value {
    let answer = send(router, &signed(&kit.app_key(), "/sdk/oauth/connect/session", &asked(&more))).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

/// The request's body: the four members that are always there, and these.
pub(crate) fn asked(more: &Value) -> Value {
    let mut body =
        json!({"allowed_providers": null, "return_url": null, "allowed_origin": null, "metadata": null});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// How a session is.
pub(crate) async fn poll(key: &ApiKey, router: &Router, session: &Value) -> Value {
    let body = json!({"session_token": session["session_token"]});
    let answer = send(router, &signed(key, "/sdk/oauth/connect/session/poll", &body)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

//! A visitor of the wallet: a browser without a window: cookies, forms as a page would post them, and the sandbox's sign-in approved at once.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{collections::BTreeMap, convert::Infallible};

use alter_server::testkit::TestVault;
use axum::{Router, body::Body, response::Response};
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use tower::ServiceExt;

/// Where the vault of a [`TestVault`] says that it is.
pub(crate) const ORIGIN: &str = "http://localhost:8720";

pub(crate) struct Visitor {
    router: Router,
    pub(crate) cookies: BTreeMap<String, String>,
}

pub(crate) struct Shown {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Shown {
    pub(crate) fn location(&self) -> &str {
        self.headers.get(header::LOCATION).map(|to| to.to_str().unwrap()).unwrap_or_default()
    }

    /// The value of the first hidden field `csrf`.
    pub(crate) fn csrf(&self) -> &str {
        let (_, rest) = self.text.split_once("name=\"csrf\" value=\"").unwrap();
        rest.split('"').next().unwrap()
    }

    /// Addresses in the page that begin like this.
    pub(crate) fn links(&self, start: &str) -> Vec<String> {
        let links = self.text.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap());
        links.filter(|link| link.starts_with(start)).map(str::to_owned).collect()
    }
}

impl Visitor {
    pub(crate) fn new(kit: &TestVault) -> Self {
        Self { router: kit.vault().router(), cookies: BTreeMap::new() }
    }

    pub(crate) async fn send(
        &mut self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Shown {
        let target = target.strip_prefix(ORIGIN).unwrap_or(target);
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !self.cookies.is_empty() {
            let cookies: Vec<_> =
                self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request = request.header(header::COOKIE, cookies.join("; "));
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let answer: Result<Response, Infallible> = self.router.clone().oneshot(request).await;
        let (parts, body) = answer.unwrap().into_parts();
        for cookie in parts.headers.get_all(header::SET_COOKIE) {
            let (pair, rest) = cookie.to_str().unwrap().split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            assert!(rest.contains("HttpOnly") && rest.contains("SameSite=Lax") && rest.contains("Path=/"));
            if rest.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Shown { status: parts.status, headers: parts.headers, text }
    }

    pub(crate) async fn get(&mut self, target: &str) -> Shown {
        self.send(Method::GET, target, &[], "").await
    }

    /// Posts a form as a page of ours does.
    pub(crate) async fn post(&mut self, target: &str, form: &[(&str, &str)]) -> Shown {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let headers = [("origin", ORIGIN), ("sec-fetch-site", "same-origin"), FORM];
        self.send(Method::POST, target, &headers, &body).await
    }

    /// Follows redirects within the vault.
    pub(crate) async fn go(&mut self, target: &str) -> Shown {
        let mut shown = self.get(target).await;
        while shown.status == StatusCode::SEE_OTHER && !shown.location().starts_with("http") {
            let next = shown.location().to_owned();
            shown = self.get(&next).await;
        }
        shown
    }

    /// Signs in to the wallet at the sandbox, as `sub`; shows what the callback answers.
    pub(crate) async fn sign_in(&mut self, sub: &str) -> Shown {
        let back = self.come_back(sub).await;
        self.get(&back).await
    }

    /// Signs in at the sandbox, and says where it sends the browser.
    pub(crate) async fn come_back(&mut self, sub: &str) -> String {
        let leave = self.go("/wallet/sign-in").await;
        approve(leave.location(), sub).await
    }
}

pub(crate) const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// What the sandbox answers to a browser whose user says yes at once: where it goes next.
pub(crate) async fn approve(authorize: &str, sub: &str) -> String {
    assert!(authorize.starts_with("http://127.0.0.1"), "{authorize}");
    let client =
        reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap();
    let answer = client.get(format!("{authorize}&sandbox_sub={sub}")).send().await.unwrap();
    answer.headers().get(header::LOCATION).unwrap().to_str().unwrap().to_owned()
}

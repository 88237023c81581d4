//! A browser without a window: cookies, redirects, links and forms. It runs no script; what the vault's pages do by script,
//! [`Browser::finish`](super::Browser::finish) does for them.

use std::{collections::BTreeMap, fmt};

use alter_sandbox::{Provider, Sandbox};
use axum::{Router, body::Body};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use tower::ServiceExt;
use url::{Origin, Position, Url};

use super::{BrowseError, Page, Person};
use crate::vault::Vault;

/// Most redirects that are followed in a row, as in Chromium.
const REDIRECTS: usize = 20;

/// A browser without a window, in the hands of a [`Person`]. It keeps cookies, follows redirects and sends forms. Wherever a
/// page of the sandbox would ask who it is and whether that is all right, the person has said so already.
///
/// ```
/// use alter_server::testkit::{Browser, Person, TestVault};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let kit = TestVault::start().await?;
/// let session = kit.app()?.connect_session().provider("sandbox").as_app().create().await?;
///
/// let mut browser = Browser::new(kit.sandbox(), Person::new("ann").says_no()).vault(kit.vault());
/// let ended = browser.finish(session.url()).await?;
/// assert!(!ended.connected);
/// # kit.stop().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Browser {
    http: reqwest::Client,
    /// Served in this process, without a socket.
    near: Vec<(Origin, Router)>,
    /// By host and name; ports share them (RFC 6265 §8.5).
    cookies: BTreeMap<(String, String), Cookie>,
    /// Where the sandbox asks.
    sign_in: String,
    providers: [Provider; 2],
    pub(super) person: Person,
}

#[derive(Clone)]
struct Cookie {
    value: String,
    path: String,
}

/// One request's answer.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Browser {
    /// One that goes everywhere by sockets.
    #[must_use]
    pub fn new(sandbox: &Sandbox, person: Person) -> Self {
        // The builder fails on TLS settings and resolvers only, of which there are none.
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build();
        Self {
            http: http.unwrap_or_default(),
            near: Vec::new(),
            cookies: BTreeMap::new(),
            sign_in: sandbox.sign_in_endpoints().authorize,
            providers: [sandbox.provider(), sandbox.second_provider()],
            person,
        }
    }

    /// What is at the vault's public address is asked of the vault itself, in this process: no socket, no TLS, any name. A vault
    /// without a public address has no pages.
    #[must_use]
    pub fn vault(self, vault: &Vault) -> Self {
        let Some(public) = vault.public_url() else { return self };
        let router = match public.path("") {
            prefix if prefix.is_empty() => vault.router(),
            prefix => Router::new().nest(&prefix, vault.router()),
        };
        self.near(&public.join("/"), router)
    }

    /// What has the origin of `url` is asked of `router`, in this process.
    #[must_use]
    pub fn near(mut self, url: &Url, router: Router) -> Self {
        self.near.push((url.origin(), router));
        self
    }

    /// Whose hands it is in from now on. Cookies stay.
    pub fn hand_to(&mut self, person: Person) {
        self.person = person;
    }

    /// Sets a cookie of a host, for all of its paths.
    pub fn set_cookie(&mut self, host: impl Into<String>, name: impl Into<String>, value: impl Into<String>) {
        let cookie = Cookie { value: value.into(), path: "/".to_owned() };
        self.cookies.insert((host.into(), name.into()), cookie);
    }

    /// The value of a cookie of a host.
    #[must_use]
    pub fn cookie(&self, host: &str, name: &str) -> Option<&str> {
        self.cookies.get(&(host.to_owned(), name.to_owned())).map(|cookie| cookie.value.as_str())
    }

    /// Loads a page and follows redirects.
    ///
    /// # Errors
    ///
    /// [`BrowseError::Address`], [`BrowseError::Unreachable`], [`BrowseError::Redirects`]. Whatever a server answers is a page.
    pub async fn get(&mut self, url: &str) -> Result<Page, BrowseError> {
        let url = Url::parse(url).map_err(|_| BrowseError::Address(url.to_owned()))?;
        self.load(Method::GET, url, None, None).await
    }

    /// Follows the link with this id.
    ///
    /// # Errors
    ///
    /// As for [`Self::get`], and [`BrowseError::Missing`].
    pub async fn follow(&mut self, page: &Page, link: &str) -> Result<Page, BrowseError> {
        let url = page.link(link).ok_or_else(|| BrowseError::missing(page, link))?;
        self.load(Method::GET, url, None, None).await
    }

    /// Presses the button with this id: sends the form that it stands in, as the page filled it in.
    ///
    /// # Errors
    ///
    /// As for [`Self::get`], and [`BrowseError::Missing`].
    pub async fn press(&mut self, page: &Page, button: &str) -> Result<Page, BrowseError> {
        self.press_with(page, button, &[]).await
    }

    /// As [`Self::press`], after these fields were filled in.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn press_with(
        &mut self,
        page: &Page,
        button: &str,
        fields: &[(&str, &str)],
    ) -> Result<Page, BrowseError> {
        let form = page.form(button, fields).ok_or_else(|| BrowseError::missing(page, button))?;
        if form.post {
            return self.load(Method::POST, form.action, Some(form.body), Some(page.url())).await;
        }
        let mut url = form.action;
        url.set_query(Some(&form.body));
        self.load(Method::GET, url, None, None).await
    }

    /// Sends a form of `page`'s own as its script would.
    pub(super) async fn post(&mut self, page: &Page, url: Url, body: String) -> Result<Page, BrowseError> {
        self.load(Method::POST, url, Some(body), Some(page.url())).await
    }

    async fn load(
        &mut self,
        mut method: Method,
        mut url: Url,
        mut body: Option<String>,
        from: Option<&Url>,
    ) -> Result<Page, BrowseError> {
        for _ in 0..REDIRECTS {
            self.answer_for_person(&mut url);
            let answer = self.send(&method, &url, body.clone(), from).await?;
            self.keep_cookies(&url, &answer.headers);
            let location = answer.headers.get(header::LOCATION).and_then(|to| to.to_str().ok());
            let Some(location) = location.filter(|_| answer.status.is_redirection()) else {
                return Ok(Page::new(answer.status, url, answer.body));
            };
            if !matches!(answer.status.as_u16(), 307 | 308) {
                (method, body) = (Method::GET, None);
            }
            url = url.join(location).map_err(|_| BrowseError::Address(location.to_owned()))?;
        }
        Err(BrowseError::Redirects(shown(&url)))
    }

    /// Where the sandbox would ask, it is told at once, and to the same effect as if the person had typed the name there.
    fn answer_for_person(&self, url: &mut Url) {
        let Person { sub, account, .. } = &self.person;
        let account = account.as_ref().unwrap_or(sub);
        let at = &url[..Position::AfterPath];
        let sub = match self.providers.iter().find(|provider| provider.endpoints().authorize == at) {
            Some(provider) => provider.account_id(account),
            None if at == self.sign_in => sub.clone(),
            None => return,
        };
        if url.query_pairs().any(|(name, _)| name == "sandbox_sub") {
            return;
        }
        let mut query = url.query_pairs_mut();
        query.append_pair("sandbox_sub", &sub).append_pair("sandbox_account", account);
    }

    async fn send(
        &self,
        method: &Method,
        url: &Url,
        body: Option<String>,
        from: Option<&Url>,
    ) -> Result<Answer, BrowseError> {
        let mut headers = HeaderMap::new();
        if let Ok(cookies) = HeaderValue::from_str(&self.cookies_for(url))
            && !cookies.is_empty()
        {
            headers.insert(header::COOKIE, cookies);
        }
        if body.is_some() {
            let form = HeaderValue::from_static("application/x-www-form-urlencoded");
            headers.insert(header::CONTENT_TYPE, form);
        }
        let origin = from.map(|from| from.origin().ascii_serialization());
        if let Some(origin) = origin.and_then(|origin| HeaderValue::try_from(origin).ok()) {
            headers.insert(header::ORIGIN, origin);
        }
        let body = body.unwrap_or_default();
        let near = self.near.iter().find(|(origin, _)| *origin == url.origin());
        if let Some((_, router)) = near {
            return ask(router, method, url, headers, body).await;
        }
        let request = self.http.request(method.clone(), url.clone()).headers(headers).body(body);
        let unreachable = |source| BrowseError::Unreachable { url: shown(url), source };
        let answer = request.send().await.map_err(unreachable)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        Ok(Answer { status, headers, body: answer.text().await.map_err(unreachable)? })
    }

    fn cookies_for(&self, url: &Url) -> String {
        let host = url.host_str().unwrap_or_default();
        let applies = |path: &str| {
            url.path()
                .strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || path.ends_with('/') || rest.starts_with('/'))
        };
        let cookies = self.cookies.iter().filter(|((of, _), cookie)| of == host && applies(&cookie.path));
        cookies.map(|((_, name), cookie)| format!("{name}={}", cookie.value)).collect::<Vec<_>>().join("; ")
    }

    fn keep_cookies(&mut self, url: &Url, headers: &HeaderMap) {
        let host = url.host_str().unwrap_or_default().to_owned();
        for line in headers.get_all(header::SET_COOKIE).iter().filter_map(|line| line.to_str().ok()) {
            let mut parts = line.split(';').map(str::trim);
            let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else { continue };
            let attribute = |wanted: &str| {
                parts.clone().find_map(|part| {
                    let (name, value) = part.split_once('=').unwrap_or((part, ""));
                    name.eq_ignore_ascii_case(wanted).then(|| value.to_owned())
                })
            };
            let key = (host.clone(), name.to_owned());
            let gone =
                attribute("Max-Age").and_then(|age| age.parse::<i64>().ok()).is_some_and(|age| age <= 0);
            if gone {
                self.cookies.remove(&key);
                continue;
            }
            let path =
                attribute("Path").filter(|path| path.starts_with('/')).unwrap_or_else(|| "/".to_owned());
            self.cookies.insert(key, Cookie { value: value.to_owned(), path });
        }
    }
}

async fn ask(
    router: &Router,
    method: &Method,
    url: &Url,
    headers: HeaderMap,
    body: String,
) -> Result<Answer, BrowseError> {
    let address = || BrowseError::Address(shown(url));
    let to = &url[Position::BeforePath..Position::AfterQuery];
    let request = Request::builder().method(method.clone()).uri(to).body(Body::from(body));
    let mut request = request.map_err(|_| address())?;
    *request.headers_mut() = headers;
    let (parts, body) = match router.clone().oneshot(request).await {
        Ok(answer) => answer.into_parts(),
        Err(never) => match never {},
    };
    let body = body.collect().await.map_err(|_| address())?.to_bytes();
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Answer { status: parts.status, headers: parts.headers, body })
}

/// An address without what may be secret in it.
fn shown(url: &Url) -> String {
    url[..Position::AfterPath].to_owned()
}

impl fmt::Debug for Browser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cookies: Vec<_> = self.cookies.keys().collect();
        f.debug_struct("Browser")
            .field("person", &self.person)
            .field("cookies", &cookies)
            .finish_non_exhaustive()
    }
}

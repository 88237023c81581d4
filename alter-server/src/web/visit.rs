//! One request of a browser, and the answers to it.

use std::{net::SocketAddr, sync::Arc};

use alter_core::wire::{code::Code, header as wire_header};
use askama::Template;
use axum::{
    body::Body,
    extract::{ConnectInfo, FromRequest, FromRequestParts, Query, Request},
    response::Response,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use tokio_util::task::task_tracker::TaskTrackerToken;
use uuid::Uuid;

use super::{
    BrowserSecret, Cookie, PublicUrl,
    brand::Brand,
    cookie::{self, NoRandomness},
    trouble::Trouble,
};
use crate::{
    audit::Action,
    domain::{AppId, ProviderId, UserId},
    idp::AppEntry,
    store::{Browser, BrowserNote, StoreError},
    telemetry,
    vault::Core,
};

/// Largest form, in bytes.
const MAX_FORM: usize = 64 * 1024;

/// One request of a browser. As an extractor it refuses what comes too often and what comes while the vault is closing.
pub(crate) struct Visit {
    pub(crate) core: Arc<Core>,
    pub(crate) public: PublicUrl,
    /// `X-Request-ID` of the answer; also on error pages.
    pub(crate) request_id: Uuid,
    /// When it came, UTC.
    pub(crate) at: Timestamp,
    remote: Option<String>,
    headers: HeaderMap,
    nonce: String,
    /// Closing the vault waits for it.
    _busy: TaskTrackerToken,
}

/// What every page needs besides its content; the field `shell` of each template.
#[derive(Debug)]
pub(crate) struct Shell {
    /// Title and only `h1`.
    pub(crate) title: String,
    /// Of every `<script>` and `<style>`.
    pub(crate) nonce: String,
    pub(crate) brand: Brand,
    pub(crate) request_id: Uuid,
    public: PublicUrl,
}

impl Shell {
    /// A path of the vault, to be written into links and forms.
    pub(crate) fn at(&self, path: &str) -> String {
        self.public.path(path)
    }
}

/// What a row about a browser says.
#[derive(Debug)]
pub(crate) struct Remark {
    pub(crate) app_id: AppId,
    pub(crate) action: Action,
    /// Why it was refused; `None` if it was allowed.
    pub(crate) code: Option<Code>,
    pub(crate) user: Option<UserId>,
    pub(crate) provider: Option<ProviderId>,
    /// No secret, and no text of a stranger that was not cleaned.
    pub(crate) detail: Option<String>,
}

impl Remark {
    /// Something was refused.
    pub(crate) fn refused(app_id: AppId, action: Action, code: Code, detail: impl Into<String>) -> Self {
        Self { app_id, action, code: Some(code), user: None, provider: None, detail: Some(detail.into()) }
    }

    /// Something was done.
    pub(crate) fn allowed(
        app_id: AppId,
        action: Action,
        user: Option<UserId>,
        detail: impl Into<String>,
    ) -> Self {
        Self { app_id, action, code: None, user, provider: None, detail: Some(detail.into()) }
    }
}

impl Visit {
    /// The cookie's 32 bytes, if the browser has it.
    pub(crate) fn secret(&self, cookie: Cookie) -> Option<BrowserSecret> {
        cookie.read_secret(&self.public, &self.headers)
    }

    /// The cookie's session and secret, if the browser has it.
    pub(crate) fn session(&self, cookie: Cookie) -> Option<(crate::domain::SessionRef, BrowserSecret)> {
        cookie.read_session(&self.public, &self.headers)
    }

    /// Whether a cookie holds just this, which is no secret.
    pub(crate) fn cookie_is(&self, cookie: Cookie, value: &str) -> bool {
        cookie.read(&self.public, &self.headers) == Some(value)
    }

    /// A cookie that somebody else set.
    pub(crate) fn foreign_cookie(&self, name: &str) -> Option<&str> {
        cookie::value(&self.headers, name)
    }

    /// Who does this, for the trail.
    pub(crate) fn browser(&self, user: Option<UserId>) -> Browser {
        Browser { at: self.at, user, request_id: self.request_id, remote: self.remote.clone() }
    }

    /// An app as it is now. Pages have no call whose admission would notice an old configuration, so it is read again.
    pub(crate) async fn app(&self, app: AppId) -> Result<Option<Arc<AppEntry>>, StoreError> {
        self.core.apps.reload(app, &*self.core.store).await
    }

    /// The row of a remark, for a unit of work that writes it itself.
    pub(crate) fn note(&self, remark: Remark) -> BrowserNote {
        let Remark { app_id, action, code, user, provider, detail } = remark;
        BrowserNote { browser: self.browser(user), app_id, action, code, provider, detail }
    }

    /// Writes a row.
    pub(crate) async fn record(&self, remark: Remark) -> Result<(), StoreError> {
        self.core.store.note_browser(self.note(remark)).await
    }

    /// Refuses: writes the row, and answers with the page. For whom the vault knows: a session, a signed-in browser.
    pub(crate) async fn refuse(&self, brand: Brand, remark: Remark, trouble: Trouble) -> Response {
        match self.record(remark).await {
            Ok(()) => self.trouble(brand, trouble),
            Err(error) => self.store_trouble(brand, &error),
        }
    }

    /// The same for strangers, who cause few rows: beyond 20 in a second they are counted, and the next row says how many.
    pub(crate) async fn refuse_stranger(
        &self,
        brand: Brand,
        mut remark: Remark,
        trouble: Trouble,
    ) -> Response {
        match self.core.web.rows.take() {
            None => self.trouble(brand, trouble),
            Some(0) => self.refuse(brand, remark, trouble).await,
            Some(left_out) => {
                let detail = remark.detail.take().unwrap_or_default();
                remark.detail = Some(format!(
                    "{detail} ({left_out} refusals of this kind before it have no row of their own)"
                ));
                self.refuse(brand, remark, trouble).await
            }
        }
    }

    /// What a page begins with.
    pub(crate) fn shell(&self, brand: Brand, title: impl Into<String>) -> Shell {
        Shell {
            title: title.into(),
            nonce: self.nonce.clone(),
            brand,
            request_id: self.request_id,
            public: self.public.clone(),
        }
    }

    /// A page.
    pub(crate) fn page(&self, template: &impl Template) -> Response {
        self.page_with(StatusCode::OK, template)
    }

    /// A page under a status.
    pub(crate) fn page_with(&self, status: StatusCode, template: &impl Template) -> Response {
        match template.render() {
            Ok(html) => self.dressed(with_type(status, "text/html; charset=utf-8", html)),
            Err(error) => {
                tracing::error!(request_id = %self.request_id, %error, "a page could not be written");
                plain(StatusCode::INTERNAL_SERVER_ERROR, "The page could not be written.", self.request_id)
            }
        }
    }

    /// An error page.
    pub(crate) fn trouble(&self, brand: Brand, trouble: Trouble) -> Response {
        let (status, retry_after) = (trouble.status, trouble.retry_after);
        let mut response = self.page_with(status, &trouble.page(self, brand));
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    /// The page for a store that did not do it. What happened inside goes to the log only.
    pub(crate) fn store_trouble(&self, brand: Brand, error: &StoreError) -> Response {
        match error {
            StoreError::Busy => telemetry::store_busy(),
            StoreError::Unavailable { .. } => telemetry::store_unavailable(),
            _ => {}
        }
        let trouble = match error {
            StoreError::Busy | StoreError::Closed | StoreError::Unavailable { .. } => {
                tracing::debug!(request_id = %self.request_id, %error, "a page was not served");
                Trouble::busy()
            }
            _ => {
                tracing::error!(request_id = %self.request_id, %error, "the store did not do it");
                Trouble::internal()
            }
        };
        self.trouble(brand, trouble)
    }

    /// 303 to a path of the vault.
    pub(crate) fn to_path(&self, path: &str) -> Response {
        self.redirect(&self.public.path(path))
    }

    /// 303 to an address that was checked. Never as the answer to a form if it is not ours: pages forbid that (`form-action`).
    pub(crate) fn redirect(&self, location: &str) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SEE_OTHER;
        // What is no header value cannot have come out of a `Url`.
        if let Ok(location) = HeaderValue::from_str(location) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        self.dressed(response)
    }

    /// JSON for a script of ours.
    pub(crate) fn json(&self, status: StatusCode, body: &impl serde::Serialize) -> Response {
        match serde_json::to_vec(body) {
            Ok(body) => self.dressed(with_type(status, "application/json", body)),
            Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "{}", self.request_id),
        }
    }

    /// Adds what every answer to a browser carries.
    pub(crate) fn dressed(&self, mut response: Response) -> Response {
        dress(response.headers_mut(), Some(&self.nonce), self.request_id);
        response
    }

    /// Whether a request was sent by a page of ours (Fetch Metadata; RFC 6454 §7).
    fn is_from_our_page(&self) -> bool {
        let one = |name: HeaderName| {
            let mut all = self.headers.get_all(name).iter();
            all.next().filter(|_| all.next().is_none())
        };
        let origin = one(header::ORIGIN).and_then(|origin| origin.to_str().ok());
        let site = self.headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        origin == Some(self.public.origin()) && site.is_none_or(|site| site == b"same-origin")
    }
}

fn with_type(status: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// An answer for when not even a page can be made.
fn plain(status: StatusCode, text: &'static str, request_id: Uuid) -> Response {
    let mut response = with_type(status, "text/plain; charset=utf-8", text);
    dress(response.headers_mut(), None, request_id);
    response
}

/// There is no `Cross-Origin-Opener-Policy` on purpose: the application's page that opened ours as a popup waits for the
/// result. `same-origin` as referrer policy, not `no-referrer`: with the latter browsers send `Origin: null` with our forms
/// (Fetch §3.2), and other origins learn nothing by either.
fn dress(headers: &mut HeaderMap, nonce: Option<&str>, request_id: Uuid) {
    let nonce = nonce.map_or_else(|| "'none'".to_owned(), |nonce| format!("'nonce-{nonce}'"));
    let policy = format!(
        "default-src 'none'; style-src {nonce}; script-src {nonce}; img-src 'self' data:; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    let text = |text: &str| HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""));
    headers.insert(header::CONTENT_SECURITY_POLICY, text(&policy));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    );
    headers.insert(HeaderName::from_static("x-robots-tag"), HeaderValue::from_static("noindex, nofollow"));
    headers.insert(wire_header::REQUEST_ID, text(&request_id.to_string()));
}

impl FromRequestParts<Arc<Core>> for Visit {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, core: &Arc<Core>) -> Result<Self, Response> {
        let request_id = Uuid::new_v4();
        let closing = || {
            let text = "The vault is shutting down. Please try again in a moment.";
            plain(StatusCode::SERVICE_UNAVAILABLE, text, request_id)
        };
        let busy = core.enter().ok_or_else(closing)?;
        let Some(public) = core.web.public_url.clone() else {
            let text = "This vault does not know its own public address, so it has no pages. \
                        Its operator sets it with --public-url (ALTER_PUBLIC_URL).";
            return Err(plain(StatusCode::SERVICE_UNAVAILABLE, text, request_id));
        };
        let random: Result<[u8; 16], NoRandomness> = cookie::random();
        let Ok(random) = random else {
            return Err(plain(StatusCode::INTERNAL_SERVER_ERROR, "The vault failed.", request_id));
        };
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        let visit = Self {
            core: Arc::clone(core),
            public,
            request_id,
            at: core.clock.now(),
            remote: peer.map(|peer| peer.to_string()),
            headers: parts.headers.clone(),
            nonce: URL_SAFE_NO_PAD.encode(random),
            _busy: busy,
        };
        if core.web.gate.opens(peer) {
            return Ok(visit);
        }
        let route = format!("{} {}", parts.method, parts.uri.path());
        let remark = Remark::refused(AppId::VAULT, Action::RequestRefused, Code::RateLimitExceeded, route);
        Err(visit.refuse_stranger(Brand::vault(), remark, Trouble::too_often()).await)
    }
}

/// A page's query. What cannot be read asks for nothing: people edit addresses.
pub(crate) struct Asked<T>(pub(crate) T);

impl<T: DeserializeOwned + Default + Send, S: Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(Query::try_from_uri(&parts.uri).map(|Query(asked)| asked).unwrap_or_default()))
    }
}

/// A form that a page of ours posted: its origin was checked and its size is bounded. Its `csrf` is the handler's to check
/// ([`BrowserSecret::csrf_is`]), who knows what it belongs to.
pub(crate) struct Posted<T> {
    pub(crate) visit: Visit,
    pub(crate) form: T,
}

impl<T: DeserializeOwned + Send> FromRequest<Arc<Core>> for Posted<T> {
    type Rejection = Response;

    async fn from_request(request: Request, core: &Arc<Core>) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let visit = Visit::from_request_parts(&mut parts, core).await?;
        let route = format!("{} {}", parts.method, parts.uri.path());
        if !visit.is_from_our_page() {
            let remark = Remark::refused(
                AppId::VAULT,
                Action::RequestRefused,
                Code::from("cross_site_request"),
                route,
            );
            return Err(visit.refuse_stranger(Brand::vault(), remark, Trouble::cross_site()).await);
        }
        let body = match crate::api::read_body(body, MAX_FORM).await {
            Ok(body) => body,
            Err((code, _)) => {
                let remark = Remark::refused(AppId::VAULT, Action::RequestRefused, code, route);
                return Err(visit.refuse_stranger(Brand::vault(), remark, Trouble::bad_form()).await);
            }
        };
        let kind =
            parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let is_form =
            kind.split(';').next().is_some_and(|kind| kind.trim() == "application/x-www-form-urlencoded");
        let form = if is_form { read_form(body).await } else { None };
        match form {
            Some(form) => Ok(Self { visit, form }),
            None => {
                let remark =
                    Remark::refused(AppId::VAULT, Action::RequestRefused, Code::InvalidRequest, route);
                Err(visit.refuse_stranger(Brand::vault(), remark, Trouble::bad_form()).await)
            }
        }
    }
}

async fn read_form<T: DeserializeOwned>(body: bytes::Bytes) -> Option<T> {
    let request = Request::builder()
        .method(http::Method::POST)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(body))
        .ok()?;
    axum::Form::from_request(request, &()).await.ok().map(|axum::Form(form)| form)
}

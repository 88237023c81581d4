//! A browser that is signed in to the wallet.

use std::sync::Arc;

use alter_core::wire::code::Code;
use axum::{extract::FromRequestParts, response::Response};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Method, request::Parts};
use subtle::ConstantTimeEq;

use crate::{
    audit::Action,
    domain::{AppId, BrowserSession, GrantId},
    idp::AppEntry,
    vault::Core,
    web::{Brand, BrowserSecret, Cookie, Remark, Shell, Trouble, Visit},
};

/// Without use for so many seconds, a browser is signed out: 30 minutes.
pub(crate) const IDLE_SECONDS: u32 = 30 * 60;
/// So many seconds after signing in, a browser is signed out whatever happens: 12 hours.
pub(crate) const ABSOLUTE_SECONDS: u32 = 12 * 60 * 60;

/// What the cookie holds in a browser in which somebody signed out.
pub(super) const SIGNED_OUT: &str = "signed-out";

/// A request of a browser that is signed in. As an extractor it sends others to the sign-in (or, for a form, says so).
pub(super) struct Signed {
    pub(super) visit: Visit,
    pub(super) session: BrowserSession,
    /// The app at whose identity provider the person signed in.
    pub(super) app: Arc<AppEntry>,
    secret: BrowserSecret,
}

impl Signed {
    /// What belongs to the cookie of this visit; `None` if it is not, or no longer, signed in.
    pub(super) async fn of(visit: Visit) -> Result<Result<Self, Visit>, Response> {
        let Some((session, secret)) = visit.session(Cookie::Wallet) else { return Ok(Err(visit)) };
        let found = visit.core.store.browser_session(session, visit.at, IDLE_SECONDS).await;
        let found = found.map_err(|error| visit.store_trouble(Brand::vault(), &error))?;
        let Some(session) = found.filter(|session| session.secret.is_of(secret.bytes())) else {
            return Ok(Err(visit));
        };
        let app = visit.app(session.session.app_id).await;
        match app.map_err(|error| visit.store_trouble(Brand::vault(), &error))? {
            Some(app) => Ok(Ok(Self { visit, session, app, secret })),
            None => Ok(Err(visit)),
        }
    }

    pub(super) fn brand(&self) -> Brand {
        Brand::of(&self.app.config)
    }

    pub(super) fn shell(&self, title: impl Into<String>) -> Shell {
        self.visit.shell(self.brand(), title)
    }

    /// The hidden field of this browser's forms.
    pub(super) fn csrf(&self) -> String {
        self.secret.csrf(&self.session.session.to_string())
    }

    /// Whether a form is this browser's; else the refusal.
    pub(super) async fn check_csrf(&self, given: &str) -> Result<(), Response> {
        if self.secret.csrf_is(&self.session.session.to_string(), given) {
            return Ok(());
        }
        let mut remark = Remark::refused(
            self.session.session.app_id,
            Action::RequestRefused,
            Code::from("cross_site_request"),
            "a form of the wallet without its token",
        );
        remark.user = Some(self.session.user);
        Err(self
            .visit
            .refuse(self.brand(), remark, Trouble::stale_form().link("/wallet", "To the wallet"))
            .await)
    }

    /// How addresses and forms of this browser name an app: nothing that is worth anything elsewhere.
    pub(super) fn app_name(&self, app: AppId) -> String {
        self.name("wallet app", app.bytes())
    }

    /// How they name a connection. Who cannot make the name cannot ask for the connection.
    pub(super) fn connection_name(&self, app: AppId, grant: GrantId) -> String {
        self.name("wallet connection", &[*app.bytes(), *grant.bytes()].concat())
    }

    fn name(&self, label: &str, what: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(&self.secret.mac(label, what)[..16])
    }
}

/// Whether two names are the same one.
pub(super) fn same(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

impl FromRequestParts<Arc<Core>> for Signed {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, core: &Arc<Core>) -> Result<Self, Response> {
        let visit = Visit::from_request_parts(parts, core).await?;
        let method = parts.method.clone();
        match Self::of(visit).await? {
            Ok(signed) => Ok(signed),
            Err(visit) if method == Method::GET || method == Method::HEAD => {
                // The identity provider would sign whoever signed out in again without a word: going back would be enough.
                let out = visit.cookie_is(Cookie::Wallet, SIGNED_OUT);
                Err(visit.to_path(if out { "/wallet/signed-out" } else { "/wallet/sign-in" }))
            }
            Err(visit) => Err(signed_out(&visit).await),
        }
    }
}

/// A form came from a browser that is not signed in any more.
pub(super) async fn signed_out(visit: &Visit) -> Response {
    let remark = Remark::refused(
        AppId::VAULT,
        Action::RequestRefused,
        Code::from("not_signed_in"),
        "a form of the wallet from a browser that is not signed in",
    );
    let trouble = Trouble::new(
        http::StatusCode::UNAUTHORIZED,
        "You are signed out",
        "Your session has ended, so nothing was changed.",
        "Sign in again, and repeat what you wanted to do.",
    );
    visit.refuse_stranger(Brand::vault(), remark, trouble.link("/wallet", "Sign in")).await
}

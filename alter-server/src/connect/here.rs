//! One request of the browser that works on a session.

use std::sync::Arc;

use alter_core::wire::{code::Code, connect::PAGE_PATH};
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::choice;
use crate::{
    audit::Action,
    domain::{
        AppId, ConnectSession, Grant, GrantFilter, Principal, Progress, Provider, ProviderId, SessionRef,
        UserId,
    },
    idp::AppEntry,
    store::{AdvanceSession, Advanced, NewConnection, StoreError},
    web::{Brand, BrowserSecret, Cookie, Remark, Trouble, Visit},
};

/// How often a change is made anew because somebody else was faster.
const ATTEMPTS: usize = 8;
/// Most connected accounts that a page shows.
const MAX_ACCOUNTS: u32 = 50;

/// An answer that ends a request early.
#[derive(Debug)]
pub(super) struct Stop(Box<Response>);

impl From<Response> for Stop {
    fn from(response: Response) -> Self {
        Self(Box::new(response))
    }
}

impl IntoResponse for Stop {
    fn into_response(self) -> Response {
        *self.0
    }
}

/// What a handler answers.
pub(super) type Page = Result<Response, Stop>;

/// What a change of a session is.
pub(super) struct Change {
    pub(super) progress: Progress,
    pub(super) remark: Remark,
    pub(super) connection: Option<NewConnection>,
}

impl Change {
    pub(super) fn new(progress: Progress, remark: Remark) -> Self {
        Self { progress, remark, connection: None }
    }
}

/// How a change ended.
pub(super) enum Changed {
    /// It was made; [`Here::session`] is what came of it.
    Made,
    /// It did not apply to what the session is by now.
    Not,
    /// The store refused the connection, and wrote the row.
    Refused(Box<crate::domain::Refusal>),
}

/// A session in the browser that it belongs to.
pub(super) struct Here {
    pub(super) visit: Visit,
    pub(super) app: Arc<AppEntry>,
    pub(super) secret: BrowserSecret,
    pub(super) session: ConnectSession,
}

impl Here {
    /// The session of an address, in the browser that opened it. Whoever has not is a stranger, whatever the address is.
    pub(super) async fn load(visit: Visit, text: &str) -> Result<Self, Stop> {
        let Ok(session) = text.parse::<SessionRef>() else {
            return Err(stranger(
                &visit,
                AppId::VAULT,
                "unknown_session",
                "an address that names no session",
                gone(),
            )
            .await);
        };
        Self::of(visit, session).await
    }

    /// The same by its name.
    pub(super) async fn of(visit: Visit, session: SessionRef) -> Result<Self, Stop> {
        let found = visit.core.store.session(session).await;
        let Some(found) = found.map_err(|error| store(&visit, Brand::vault(), &error))? else {
            let what = format!("session {} is not there", session.id);
            return Err(stranger(&visit, AppId::VAULT, "unknown_session", what, gone()).await);
        };
        let app = visit.core.apps.reload(session.app_id, &*visit.core.store).await;
        let Some(app) = app.map_err(|error| store(&visit, Brand::vault(), &error))? else {
            return Err(stranger(&visit, AppId::VAULT, "unknown_session", "its app is gone", gone()).await);
        };
        let secret = visit.secret(Cookie::Connect);
        match (secret, found.progress.browser) {
            (Some(secret), Some(bound)) if secret.digest() == bound => {
                if visit.core.web.admits_session(session) {
                    return Ok(Self { visit, app, secret, session: found });
                }
                let what = format!("session {}", session.id);
                let code = Code::RateLimitExceeded;
                Err(stranger(&visit, session.app_id, code.as_str(), what, Trouble::too_often()).await)
            }
            _ => {
                let what = format!("session {} was opened in another browser", session.id);
                Err(stranger(&visit, session.app_id, "other_browser", what, other_browser()).await)
            }
        }
    }

    pub(super) fn brand(&self) -> Brand {
        Brand::of(&self.app.config)
    }

    /// A path of the session, without the vault's prefix.
    pub(super) fn path(&self, rest: &str) -> String {
        session_path(self.session.session, rest)
    }

    /// 303 to a page of the session.
    pub(super) fn to(&self, rest: &str) -> Response {
        self.visit.to_path(&self.path(rest))
    }

    pub(super) fn csrf(&self) -> String {
        self.secret.csrf(&self.session.session.to_string())
    }

    /// Refuses a form that no page of this session posted.
    pub(super) async fn check_csrf(&self, given: &str) -> Result<(), Stop> {
        if self.secret.csrf_is(&self.session.session.to_string(), given) {
            return Ok(());
        }
        let remark =
            self.remark(Action::RequestRefused, Some("csrf_mismatch"), "a form without this browser's mark");
        Err(self.refuse(remark, Trouble::stale_form()).await)
    }

    /// Whether something can still be done in it, by this browser.
    pub(super) fn is_open(&self) -> bool {
        self.session.is_open(self.visit.core.clock.now())
    }

    /// Whether the browser has proved to be the user's, if it must.
    pub(super) fn is_proved(&self) -> bool {
        let asked = &self.session.asked;
        let must = asked.user.is_some() || asked.browser_binding.is_some();
        !must || self.session.progress.proof.is_some()
    }

    /// The user, as far as the browser has proved it.
    pub(super) fn user(&self) -> Option<UserId> {
        let user = self.session.asked.user.as_ref()?;
        self.session.progress.proof.map(|_| user.id)
    }

    /// Whose grants they will be.
    pub(super) fn principal(&self) -> Principal {
        self.session.asked.user.as_ref().map_or(Principal::System, |user| Principal::User(user.id))
    }

    /// A remark about this session. No secret, and no text of a stranger.
    pub(super) fn remark(&self, action: Action, code: Option<&str>, what: impl std::fmt::Display) -> Remark {
        Remark {
            app_id: self.session.session.app_id,
            action,
            code: code.map(Code::from),
            user: self.user(),
            provider: None,
            detail: Some(format!("session {}: {what}", self.session.session.id)),
        }
    }

    /// The same about a provider.
    pub(super) fn remark_of(
        &self,
        provider: &ProviderId,
        action: Action,
        code: Option<&str>,
        what: impl std::fmt::Display,
    ) -> Remark {
        Remark { provider: Some(provider.clone()), ..self.remark(action, code, what) }
    }

    /// Refuses with a row and a page.
    pub(super) async fn refuse(&self, remark: Remark, trouble: Trouble) -> Stop {
        self.visit.refuse(self.brand(), remark, trouble).await.into()
    }

    pub(super) fn store(&self, error: &StoreError) -> Stop {
        store(&self.visit, self.brand(), error)
    }

    /// The providers of the session, with the generation of the configuration that they belong to.
    pub(super) async fn providers(&self) -> Result<Vec<Provider>, Stop> {
        let all = self.visit.core.store.list_providers(self.session.session.app_id).await;
        let all = all.map_err(|error| self.store(&error))?;
        Ok(choice::offered(&self.session.asked, &all).into_iter().cloned().collect())
    }

    /// Accounts that are connected at a provider and that this person may see and take: the user's own. Those of the app itself
    /// were connected by all kinds of people, and whoever has a link is not known to be any of them: of those there is only the
    /// one that the app wants repaired.
    pub(super) async fn grants(&self, provider: Option<&ProviderId>) -> Result<Vec<Grant>, Stop> {
        let app_id = self.session.session.app_id;
        if self.session.asked.user.is_none() {
            let Some(repair) = self.session.asked.repair else { return Ok(Vec::new()) };
            return match self.visit.core.store.grant(app_id, repair).await {
                Ok(grant) if provider.is_none_or(|provider| *provider == grant.facts.provider) => {
                    Ok(vec![grant])
                }
                Ok(_) | Err(StoreError::NotFound(_)) => Ok(Vec::new()),
                Err(error) => Err(self.store(&error)),
            };
        }
        let filter = GrantFilter {
            provider: provider.map(ToString::to_string),
            status: Some("active".to_owned()),
            ..GrantFilter::default()
        };
        let page = self.visit.core.store.grants_of(app_id, self.principal(), filter, MAX_ACCOUNTS, 0).await;
        Ok(page.map_err(|error| self.store(&error))?.grants)
    }

    /// Reads the session and the app again.
    pub(super) async fn reload(&mut self) -> Result<(), Stop> {
        let session = self.session.session;
        let found = self.visit.core.store.session(session).await.map_err(|error| self.store(&error))?;
        let Some(found) = found else {
            return Err(stranger(&self.visit, session.app_id, "unknown_session", "it is gone", gone()).await);
        };
        let app = self.visit.core.apps.reload(session.app_id, &*self.visit.core.store).await;
        if let Some(app) = app.map_err(|error| self.store(&error))? {
            self.app = app;
        }
        self.session = found;
        Ok(())
    }

    /// Changes the session as `change` says, anew if somebody else was faster; `None` if it no longer applies.
    pub(super) async fn change(
        &mut self,
        mut change: impl FnMut(&Self) -> Option<Change> + Send,
    ) -> Result<Changed, Stop> {
        for _ in 0..ATTEMPTS {
            let Some(Change { progress, remark, connection }) = change(self) else { return Ok(Changed::Not) };
            let connects = connection.is_some();
            let advance = AdvanceSession {
                session: self.session.session,
                version: self.session.version,
                progress,
                connection,
                user_token: None,
                note: self.visit.note(remark),
            };
            match self.visit.core.store.advance_session(advance).await {
                Ok(Advanced::Done(session)) => {
                    self.session = *session;
                    if connects {
                        self.visit.core.outbox.wake();
                    }
                    return Ok(Changed::Made);
                }
                Ok(Advanced::Refused(refusal)) => return Ok(Changed::Refused(refusal)),
                Ok(Advanced::Moved) => self.reload().await?,
                Err(error) => return Err(self.store(&error)),
            }
        }
        Err(self.visit.trouble(self.brand(), Trouble::busy()).into())
    }
}

/// A path of a session, without the vault's prefix.
pub(super) fn session_path(session: SessionRef, rest: &str) -> String {
    format!("{PAGE_PATH}/s/{session}{rest}")
}

pub(super) fn store(visit: &Visit, brand: Brand, error: &StoreError) -> Stop {
    visit.store_trouble(brand, error).into()
}

/// Refuses somebody whom the vault does not know.
pub(super) async fn stranger(
    visit: &Visit,
    app_id: AppId,
    code: &str,
    what: impl Into<String>,
    trouble: Trouble,
) -> Stop {
    let remark = Remark::refused(app_id, Action::RequestRefused, Code::from(code), what);
    visit.refuse_stranger(Brand::vault(), remark, trouble).await.into()
}

/// A session that is not there (any more).
pub(super) fn gone() -> Trouble {
    Trouble::new(
        StatusCode::NOT_FOUND,
        "This link has expired",
        "It was good for ten minutes, or it was never one.",
        "Go back to the application and start again there.",
    )
}

/// A session that another browser works on.
pub(super) fn other_browser() -> Trouble {
    Trouble::new(
        StatusCode::FORBIDDEN,
        "This link belongs to another browser",
        "It was opened in another browser, or this browser no longer has the cookie that says so. A link works in one browser only.",
        "Go back to the application and ask for a new link there. If somebody sent you this link, do not use it.",
    )
}

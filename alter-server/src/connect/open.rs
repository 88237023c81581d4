//! The page that a link leads to. The token stands in its fragment, so it reaches no server and no log; the page's script
//! takes it out of the address and posts it. The first browser that does so is the one that the session belongs to.

use alter_core::wire::{code::Code, secret::SecretText};
use askama::Template;
use axum::response::Response;
use http::{StatusCode, header};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use super::{OPEN_PATH, deliver::Delivery, here::session_path, split_token};
use crate::{
    audit::Action,
    domain::{AppId, ConnectSession, Progress, SessionKind},
    store::{AdvanceSession, Advanced, StoreError},
    web::{Brand, BrowserSecret, Cookie, Posted, Remark, Shell, Visit},
};

/// How long a browser keeps its cookie, in seconds. Longer than any session lasts.
const COOKIE_AGE: u32 = 3_600;
/// How often opening is tried anew because somebody else was faster.
const ATTEMPTS: usize = 8;

#[derive(Template)]
#[template(path = "connect/open.html")]
struct OpenPage {
    shell: Shell,
    open: String,
}

/// `GET /sdk/oauth/connect` and `GET /sdk/auth/sign-in`.
pub(super) async fn shell(visit: Visit) -> Response {
    visit.page(&OpenPage {
        shell: visit.shell(Brand::vault(), "One moment"),
        open: visit.public.path(OPEN_PATH),
    })
}

#[derive(Deserialize)]
pub(super) struct OpenForm {
    #[serde(default)]
    session: Option<SecretText>,
}

/// The answer to the script.
#[derive(Serialize)]
#[serde(untagged)]
enum Told {
    /// Go there.
    Next { next: String },
    /// Say this, and tell the application.
    Not { title: &'static str, text: &'static str, deliver: Option<Delivery> },
}

/// Why a session is not opened.
enum Closed {
    Unknown,
    Expired(Box<ConnectSession>),
    OtherBrowser,
}

/// `POST /sdk/oauth/connect/open`.
pub(super) async fn open(posted: Posted<OpenForm>) -> Response {
    let Posted { visit, form } = posted;
    let text = form.session.as_ref().map_or("", SecretText::expose);
    let split = [SessionKind::Connect, SessionKind::SignIn]
        .into_iter()
        .find_map(|kind| split_token(kind, text).map(|(session, secret)| (kind, session, secret)));
    let Some((kind, session, token)) = split else {
        return not(&visit, AppId::VAULT, Closed::Unknown).await;
    };
    let secret = match visit.secret(Cookie::Connect).map_or_else(BrowserSecret::fresh, Ok) {
        Ok(secret) => secret,
        Err(error) => return broken(&visit, &error.to_string()),
    };
    for _ in 0..ATTEMPTS {
        let found = match visit.core.store.session(session).await {
            Ok(found) => found,
            Err(error) => return unavailable(&visit, &error),
        };
        let Some(found) =
            found.filter(|found| found.kind == kind && found.token.is_of(token.expose_secret()))
        else {
            return not(&visit, AppId::VAULT, Closed::Unknown).await;
        };
        let bound = match found.progress.browser {
            Some(bound) if bound == secret.digest() => true,
            Some(_) => return not(&visit, session.app_id, Closed::OtherBrowser).await,
            None => false,
        };
        if bound {
            // Opened again: its page says how it is, whatever that is.
            return next(&visit, &found, &secret);
        }
        if !found.is_open(visit.core.clock.now()) {
            return not(&visit, session.app_id, Closed::Expired(Box::new(found))).await;
        }
        match bind(&visit, &found, &secret).await {
            Ok(Advanced::Done(opened)) => return next(&visit, &opened, &secret),
            Ok(Advanced::Moved) => {}
            Ok(Advanced::Refused(refusal)) => return broken(&visit, &refusal.message),
            Err(error) => return unavailable(&visit, &error),
        }
    }
    visit.json(StatusCode::SERVICE_UNAVAILABLE, &BUSY)
}

async fn bind(
    visit: &Visit,
    session: &ConnectSession,
    secret: &BrowserSecret,
) -> Result<Advanced, StoreError> {
    let what = format!("session {} was opened", session.session.id);
    let remark = Remark::allowed(session.session.app_id, Action::SessionOpened, None, what);
    let advance = AdvanceSession {
        session: session.session,
        version: session.version,
        progress: Progress { browser: Some(secret.digest()), ..session.progress.clone() },
        connection: None,
        user_token: None,
        note: visit.note(remark),
    };
    visit.core.store.advance_session(advance).await
}

fn next(visit: &Visit, session: &ConnectSession, secret: &BrowserSecret) -> Response {
    let next = visit.public.path(&session_path(session.session, ""));
    let mut response = visit.json(StatusCode::OK, &Told::Next { next });
    // Also one that was there already: it must outlast this session.
    let cookie = Cookie::Connect.set_secret(&visit.public, secret, Some(COOKIE_AGE));
    response.headers_mut().append(header::SET_COOKIE, cookie);
    response
}

const BUSY: Told = Told::Not {
    title: "Not possible at the moment",
    text: "The service is busy or being restarted. Nothing was changed. Try again in a few seconds.",
    deliver: None,
};

/// Refuses with a row, within what strangers may cause.
async fn not(visit: &Visit, app_id: AppId, closed: Closed) -> Response {
    let (code, told) = match closed {
        Closed::Unknown => (
            "unknown_session",
            Told::Not {
                title: "This link does not work",
                text: "It is not complete, or it was good for ten minutes and they are over. Go back to the application and \
                       start again there.",
                deliver: None,
            },
        ),
        Closed::Expired(session) => (
            "session_expired",
            Told::Not {
                title: "This link has expired",
                text: "It was good for ten minutes. Go back to the application and start again there.",
                deliver: Some(Delivery::of(&session, &[])),
            },
        ),
        Closed::OtherBrowser => (
            "other_browser",
            Told::Not {
                title: "This link belongs to another browser",
                text: "It was opened in another browser already, and works in that one only. Go back to the application and \
                       ask for a new link. If somebody sent you this link, do not use it.",
                deliver: None,
            },
        ),
    };
    let remark =
        Remark::refused(app_id, Action::SessionOpened, Code::from(code), "POST /sdk/oauth/connect/open");
    // The page of the refusal is not for the script; only its row is wanted.
    let recorded = visit.refuse_stranger(Brand::vault(), remark, crate::web::Trouble::bad_form()).await;
    if recorded.status().is_server_error() {
        return visit.json(StatusCode::SERVICE_UNAVAILABLE, &BUSY);
    }
    visit.json(StatusCode::FORBIDDEN, &told)
}

fn unavailable(visit: &Visit, error: &StoreError) -> Response {
    // Counted and logged there.
    let page = visit.store_trouble(Brand::vault(), error);
    visit.json(page.status(), &BUSY)
}

fn broken(visit: &Visit, why: &str) -> Response {
    tracing::error!(request_id = %visit.request_id, why, "a session could not be opened");
    visit.json(StatusCode::INTERNAL_SERVER_ERROR, &BUSY)
}

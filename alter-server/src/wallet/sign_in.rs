//! Signing in to the wallet, and out.

use std::sync::Arc;

use alter_core::wire::code::Code;
use askama::Template;
use axum::response::Response;
use http::{StatusCode, header};
use jiff::SignedDuration;
use serde::Deserialize;

use super::session::{ABSOLUTE_SECONDS, SIGNED_OUT, Signed, signed_out};
use crate::{
    audit::Action,
    domain::{AppId, NewBrowserSession, SessionId, SessionRef},
    idp::AppEntry,
    signin::{self, Prompt, Purpose, SignInError, SignedIn},
    store::StoreError,
    web::{Asked, Brand, BrowserSecret, Cookie, Posted, Remark, Shell, Trouble, Visit},
};

/// How long a browser keeps the cookie of a sign-in that is under way, in seconds.
const PENDING_SECONDS: u32 = 15 * 60;

/// Apps that are offered; others are reached by `?app=`.
const MAX_DOORS: usize = 100;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Choice {
    app: Option<String>,
    /// Ask for the account: after a sign-out, or from somebody who is the wrong person.
    again: Option<String>,
}

#[derive(Template)]
#[template(path = "wallet/sign_in.html")]
struct SignInPage {
    shell: Shell,
    apps: Vec<Door>,
}

/// An app to sign in at.
struct Door {
    name: String,
    /// Its name in the vault, as part of an address.
    query: String,
}

#[derive(Template)]
#[template(path = "wallet/signed_out.html")]
struct SignedOutPage {
    shell: Shell,
}

/// `GET /wallet/sign-in`: to the app's identity provider at once if there is only one, or one was chosen; else the choice.
pub(super) async fn sign_in(visit: Visit, Asked(choice): Asked<Choice>) -> Response {
    let apps = match apps(&visit, choice.app.as_deref()).await {
        Ok(apps) => apps,
        Err(error) => return visit.store_trouble(Brand::vault(), &error),
    };
    match (apps.as_slice(), choice.app) {
        ([app], _) => {
            let prompt = if choice.again.is_some() { Prompt::SelectAccount } else { Prompt::Automatic };
            leave(&visit, app, prompt).await
        }
        ([], None) => visit.trouble(Brand::vault(), SignInError::NotConfigured.trouble()),
        ([], Some(_)) => {
            let remark = Remark::refused(
                AppId::VAULT,
                Action::WalletSignedIn,
                Code::from("sign_in_not_configured"),
                "GET /wallet/sign-in: there is no app of that name with a sign-in",
            );
            visit.refuse_stranger(Brand::vault(), remark, SignInError::NotConfigured.trouble()).await
        }
        (apps, _) => {
            let apps = apps.iter().map(|app| Door {
                name: Brand::of(&app.config).name,
                query: form_urlencoded::byte_serialize(app.config.name.as_bytes()).collect(),
            });
            let apps = apps.collect();
            let shell = visit.shell(Brand::vault(), "Where do you want to sign in?");
            visit.page(&SignInPage { shell, apps })
        }
    }
}

/// The apps whose users can sign in, or the one of this name; oldest first.
async fn apps(visit: &Visit, name: Option<&str>) -> Result<Vec<Arc<AppEntry>>, StoreError> {
    let mut found = Vec::new();
    let apps = visit.core.store.list_apps().await?;
    for app in apps.into_iter().filter(|app| name.is_none_or(|name| app.name == name)).take(MAX_DOORS) {
        if let Some(app) = visit.app(app.id).await?
            && app.relying_party.is_some()
        {
            found.push(app);
        }
    }
    Ok(found)
}

async fn leave(visit: &Visit, app: &AppEntry, prompt: Prompt) -> Response {
    let brand = || Brand::of(&app.config);
    let purpose = Purpose::Wallet(app.config.app_id);
    // One per browser, so that two tabs do not spoil each other's sign-in.
    let secret = match visit.secret(Cookie::SignIn).map_or_else(BrowserSecret::fresh, Ok) {
        Ok(secret) => secret,
        Err(error) => {
            tracing::error!(%error, "no sign-in could be begun");
            return visit.trouble(brand(), Trouble::internal());
        }
    };
    match signin::begin(&visit.core, app, purpose, &secret, prompt).await {
        Ok(url) => {
            let mut response = visit.redirect(url.as_str());
            let cookie = Cookie::SignIn.set_secret(&visit.public, &secret, Some(PENDING_SECONDS));
            response.headers_mut().append(header::SET_COOKIE, cookie);
            response
        }
        Err(error) => failed(visit, app, &error).await,
    }
}

async fn failed(visit: &Visit, app: &AppEntry, error: &SignInError) -> Response {
    let remark = Remark::refused(app.config.app_id, Action::WalletSignedIn, error.code(), error.to_string());
    let trouble = error.trouble().link("/wallet/sign-in?again=1", "Try again");
    visit.refuse_stranger(Brand::of(&app.config), remark, trouble).await
}

/// Goes on after somebody came back from the identity provider: a session of its own, whatever cookie the browser brought.
pub(crate) async fn after_sign_in(
    visit: Visit,
    app: Arc<AppEntry>,
    result: Result<SignedIn, SignInError>,
) -> Response {
    let signed_in = match result {
        Ok(signed_in) => signed_in,
        Err(error) => return failed(&visit, &app, &error).await,
    };
    let brand = || Brand::of(&app.config);
    let Ok(secret) = BrowserSecret::fresh() else { return visit.trouble(brand(), Trouble::internal()) };
    // The session that the browser had ends: somebody else may sign in now.
    if let Some((old, old_secret)) = visit.session(Cookie::Wallet)
        && let Err(error) = end(&visit, old, &old_secret).await
    {
        return visit.store_trouble(brand(), &error);
    }
    let session = SessionRef { app_id: app.config.app_id, id: SessionId::random() };
    let new = NewBrowserSession {
        app_id: session.app_id,
        id: session.id,
        secret: secret.digest(),
        identity: signed_in.identity,
        expires_at: visit
            .at
            .saturating_add(SignedDuration::from_secs(ABSOLUTE_SECONDS.into()))
            .unwrap_or(visit.at),
    };
    match visit.core.store.open_browser_session(visit.browser(None), new).await {
        Ok(_) => {
            let mut response = visit.to_path("/wallet");
            let wallet = Cookie::Wallet.set_session(&visit.public, session, &secret, None);
            response.headers_mut().append(header::SET_COOKIE, wallet);
            response.headers_mut().append(header::SET_COOKIE, Cookie::SignIn.clear(&visit.public));
            response
        }
        Err(StoreError::Invalid(_)) => {
            let remark = Remark::refused(
                session.app_id,
                Action::WalletSignedIn,
                Code::from("user_not_active"),
                "the user is suspended or deleted",
            );
            let trouble = Trouble::new(
                StatusCode::FORBIDDEN,
                "Your access has ended",
                "The application has suspended or deleted your user, so its connections have ended as well.",
                "If that is a mistake, tell the application's support.",
            );
            visit.refuse(brand(), remark, trouble).await
        }
        Err(error) => visit.store_trouble(brand(), &error),
    }
}

/// Ends a session, if the browser has its secret.
async fn end(visit: &Visit, session: SessionRef, secret: &BrowserSecret) -> Result<(), StoreError> {
    let store = &visit.core.store;
    let found = store.browser_session(session, visit.at, u32::MAX).await?;
    match found.filter(|found| found.secret.is_of(secret.bytes())) {
        Some(found) => store.close_browser_session(visit.browser(Some(found.user)), session).await,
        None => Ok(()),
    }
}

#[derive(Deserialize)]
pub(super) struct SignOut {
    csrf: String,
}

/// `POST /wallet/sign-out`.
pub(super) async fn sign_out(Posted { visit, form }: Posted<SignOut>) -> Response {
    let signed = match Signed::of(visit).await {
        Ok(Ok(signed)) => signed,
        Ok(Err(visit)) => return signed_out(&visit).await,
        Err(response) => return response,
    };
    if let Err(response) = signed.check_csrf(&form.csrf).await {
        return response;
    }
    let Signed { visit, session, .. } = signed;
    let browser = visit.browser(Some(session.user));
    if let Err(error) = visit.core.store.close_browser_session(browser, session.session).await {
        return visit.store_trouble(Brand::vault(), &error);
    }
    let mut response = visit.to_path("/wallet/signed-out");
    // Not just cleared: the next page is then not a sign-in that asks nobody.
    let out = Cookie::Wallet.set(&visit.public, SIGNED_OUT, None);
    response.headers_mut().append(header::SET_COOKIE, out);
    response
}

/// `GET /wallet/signed-out`.
pub(super) async fn signed_out_page(visit: Visit) -> Response {
    let shell = visit.shell(Brand::vault(), "You are signed out");
    visit.page(&SignedOutPage { shell })
}

//! That a browser is the user's. A session that was made for a user ends only in a browser in which that user signed in at
//! the app's identity provider, or which carries the cookie that the app set in its user's browser. So a link that is sent
//! to somebody else connects nothing: neither the victim's account to the attacker's grant nor the reverse.
//!
//! The same sign-in ends a session of [`SessionKind::SignIn`], after the person has said that it was them who began it.

use alter_core::wire::code::Code;
use askama::Template;
use axum::{
    extract::{Path, Query},
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::Deserialize;

use super::{
    here::{Change, Changed, Here, Page},
    leave::GoPage,
    show::{EndPage, last},
};
use crate::{
    audit::Action,
    domain::{Identity, Progress, Proof, SessionEnd, SessionKind},
    signin::{self, Prompt, Purpose, SignInError, SignedIn},
    store::{AdvanceSession, Advanced},
    web::{BrowserSecret, Posted, Shell, Trouble, Visit, binding, shown},
};

type Params = Path<Vec<(String, String)>>;

#[derive(Template)]
#[template(path = "connect/prove.html")]
struct ProvePage {
    shell: Shell,
    base: String,
    csrf: String,
    app: String,
    /// For a program that waits for the user's token.
    for_program: bool,
    /// Somebody else is signed in: their name.
    wrong: Option<String>,
}

/// Whether the browser has the cookie that the app set; then that is kept.
pub(super) async fn by_binding(here: &mut Here) -> Result<bool, super::here::Stop> {
    let has = |here: &Here| {
        let cookie = here.visit.foreign_cookie(binding(&here.visit.public))?;
        here.session.asked.browser_binding.filter(|binding| binding.is_of(cookie.as_bytes()))
    };
    if has(here).is_none() {
        return Ok(false);
    }
    let changed = here.change(|here| proved(here, Proof::HostBinding, "the application's cookie")).await?;
    Ok(matches!(changed, Changed::Made) || here.is_proved())
}

fn proved(here: &Here, proof: Proof, how: &str) -> Option<Change> {
    if !here.is_open() || here.is_proved() {
        return None;
    }
    let user = here.session.asked.user.as_ref().map(|user| user.id);
    let progress = Progress { proof: Some(proof), ..here.session.progress.clone() };
    let remark = here.remark(Action::SessionProved, None, format_args!("proved by {how}"));
    Some(Change::new(progress, crate::web::Remark { user, ..remark }))
}

/// The page that asks for proof.
pub(super) async fn page(here: &Here) -> Page {
    if here.session.asked.user.is_some() && here.app.config.sign_in.is_some() {
        return Ok(ask(here, None));
    }
    // Only the application's cookie can prove it, and it is not there.
    let remark = here.remark(
        Action::SessionProved,
        Some("browser_binding_missing"),
        "the application's cookie is not there",
    );
    let trouble = Trouble::new(
        StatusCode::FORBIDDEN,
        "This link works in one browser only",
        "It was made for somebody who uses the application in another browser, or this browser's cookies are gone.",
        "Open it in the browser in which you use the application, or start again there. If somebody sent you this link, do not use it.",
    );
    Err(here.refuse(remark, trouble).await)
}

fn ask(here: &Here, wrong: Option<String>) -> Response {
    let app = here.brand().name;
    let title = if wrong.is_some() {
        "This link is for somebody else".to_owned()
    } else {
        format!("Sign in to {app}")
    };
    let status = if wrong.is_some() { StatusCode::FORBIDDEN } else { StatusCode::OK };
    here.visit.page_with(
        status,
        &ProvePage {
            shell: here.visit.shell(here.brand(), title),
            base: here.path(""),
            csrf: here.csrf(),
            app,
            for_program: false,
            wrong,
        },
    )
}

/// Asks whether it was this person who began the sign-in of a program.
pub(super) fn confirm_page(here: &Here) -> Response {
    let app = here.brand().name;
    here.visit.page(&ProvePage {
        shell: here.visit.shell(here.brand(), format!("A program asks to act as you in {app}")),
        base: here.path(""),
        csrf: here.csrf(),
        app,
        for_program: true,
        wrong: None,
    })
}

/// The end of a program's sign-in.
pub(super) fn signed_in_page(here: &Here) -> Response {
    let app = here.brand().name;
    let (good, title, what, next) = match &here.session.progress.end {
        Some(SessionEnd::Completed) => (
            true,
            "You are signed in",
            format!("The program can act as you in {app} now."),
            "Go back to the program. You can close this window.",
        ),
        Some(SessionEnd::Error { message, .. }) => {
            (false, "You are not signed in", shown(message), "You can close this window.")
        }
        None => (
            false,
            "This link has expired",
            "It was good for ten minutes.".to_owned(),
            "Go back to the program and start again there.",
        ),
    };
    here.visit.page(&EndPage {
        shell: here.visit.shell(here.brand(), title),
        app,
        good,
        what,
        next: next.to_owned(),
        connected: Vec::new(),
        failed: Vec::new(),
        delivery: r#"{"origin":null,"message":null,"return_url":null}"#.to_owned(),
        once: here.session.session.to_string(),
        return_url: None,
    })
}

/// What the form sends.
#[derive(Deserialize)]
pub(super) struct SignInForm {
    #[serde(default)]
    csrf: String,
    /// Ask which account, even if one is signed in.
    #[serde(default)]
    another: String,
    /// It was not this person.
    #[serde(default)]
    decline: String,
}

fn mark(here: &Here) -> String {
    format!("sign-in:{}", here.session.session)
}

/// `POST …/sign-in`: the person wants to.
pub(super) async fn sign_in(params: Params, posted: Posted<SignInForm>) -> Page {
    let Posted { visit, form } = posted;
    let mut here = Here::load(visit, last(&params.0, "session")).await?;
    here.check_csrf(&form.csrf).await?;
    if !here.is_open() {
        return Ok(here.to(""));
    }
    if !form.decline.is_empty() && here.session.kind == SessionKind::SignIn {
        here.change(|here| {
            let mut progress = here.is_open().then(|| here.session.progress.clone())?;
            progress.end = Some(SessionEnd::Error {
                code: "connect_denied".to_owned(),
                message: "The user did not allow the sign-in.".to_owned(),
            });
            Some(Change::new(
                progress,
                here.remark(Action::SessionEnded, Some("connect_denied"), "declined by the user"),
            ))
        })
        .await?;
        return Ok(here.to(""));
    }
    let another = if form.another.is_empty() { "" } else { "&another=1" };
    // What stands in the address is proof that the form was sent: going there without it leads nowhere.
    Ok(here.to(&format!("/sign-in?mark={}{another}", here.secret.csrf(&mark(&here)))))
}

#[derive(Deserialize)]
pub(super) struct SignInQuery {
    #[serde(default)]
    mark: String,
    #[serde(default)]
    another: String,
}

/// `GET …/sign-in`: leaves for the app's identity provider.
pub(super) async fn leave(params: Params, Query(query): Query<SignInQuery>, visit: Visit) -> Page {
    let here = Here::load(visit, last(&params.0, "session")).await?;
    if !here.secret.csrf_is(&mark(&here), &query.mark) || !here.is_open() {
        return Ok(here.to(""));
    }
    let purpose = match here.session.kind {
        SessionKind::Connect => Purpose::Connect(here.session.session),
        SessionKind::SignIn => Purpose::SignIn(here.session.session),
    };
    let prompt = if query.another.is_empty() { Prompt::Automatic } else { Prompt::SelectAccount };
    let url = match signin::begin(&here.visit.core, &here.app, purpose, &here.secret, prompt).await {
        Ok(url) => url,
        Err(error) => return Err(not_signed_in(&here, &error).await),
    };
    let app = here.brand().name;
    Ok(here.visit.page(&GoPage {
        shell: here.visit.shell(here.brand(), format!("Sign in to {app}")),
        base: here.path(""),
        provider: format!("the sign-in of {app}"),
        url: url.into(),
        own_window: false,
        channel: String::new(),
        version: here.session.version,
    }))
}

async fn not_signed_in(here: &Here, error: &SignInError) -> super::here::Stop {
    let remark = here.remark(Action::SessionProved, Some(error.code().as_str()), error);
    here.refuse(remark, error.trouble().link(here.path(""), "Try again")).await
}

/// Goes on after somebody signed in, or failed to. `secret` is the one that the sign-in was begun with.
pub(crate) async fn after_sign_in(
    visit: Visit,
    purpose: Purpose,
    secret: BrowserSecret,
    result: Result<SignedIn, SignInError>,
) -> Response {
    let (Purpose::Connect(session) | Purpose::SignIn(session)) = purpose else {
        return visit.trouble(crate::web::Brand::vault(), Trouble::internal());
    };
    let page = async {
        let here = Here::of(visit, session).await?;
        if here.secret.bytes() != secret.bytes() {
            return Err(here
                .refuse(
                    here.remark(
                        Action::SessionProved,
                        Some("other_browser"),
                        "another cookie than at the beginning",
                    ),
                    super::here::other_browser(),
                )
                .await);
        }
        match result {
            Err(error) => Err(not_signed_in(&here, &error).await),
            Ok(signed_in) => match (purpose, here.session.kind) {
                (Purpose::Connect(_), SessionKind::Connect) => prove(here, &signed_in.identity).await,
                (Purpose::SignIn(_), SessionKind::SignIn) => hand_over(here, signed_in).await,
                _ => Ok(here.to("")),
            },
        }
    };
    page.await.into_response()
}

/// The right person goes on; another one is told so, and the session stays open for the right one.
async fn prove(mut here: Here, identity: &Identity) -> Page {
    let Some(user) = &here.session.asked.user else { return Ok(here.to("")) };
    if !user.is(identity) {
        let what = "somebody else signed in than the user that the session is for";
        let remark = here.remark(Action::SessionProved, Some("wrong_user"), what);
        here.visit.record(remark).await.map_err(|error| here.store(&error))?;
        let name = identity.name.as_ref().or(identity.email.as_ref()).unwrap_or(&identity.subject);
        return Ok(ask(&here, Some(shown(name))));
    }
    here.change(|here| proved(here, Proof::SignedIn, "signing in")).await?;
    Ok(here.to(""))
}

/// Leaves the user's token for the program that waits for it. The store seals it.
async fn hand_over(mut here: Here, signed_in: SignedIn) -> Page {
    // A few, as for every change of a session.
    for _ in 0..8 {
        if !here.is_open() {
            return Ok(here.to(""));
        }
        let progress = Progress {
            proof: Some(Proof::SignedIn),
            end: Some(SessionEnd::Completed),
            ..here.session.progress.clone()
        };
        let remark = here.remark(Action::SessionEnded, None, "signed in for a program");
        let advance = AdvanceSession {
            session: here.session.session,
            version: here.session.version,
            progress,
            connection: None,
            user_token: Some(signed_in.user_token.clone()),
            note: here.visit.note(remark),
        };
        match here.visit.core.store.advance_session(advance).await {
            Ok(Advanced::Done(session)) => {
                here.session = *session;
                return Ok(here.to(""));
            }
            Ok(Advanced::Moved) => here.reload().await?,
            Ok(Advanced::Refused(refusal)) => {
                let trouble = Trouble::new(
                    StatusCode::FORBIDDEN,
                    "You are not signed in",
                    shown(&refusal.message),
                    "Tell the application's support, with the number below.",
                );
                return Err(here.visit.trouble(here.brand(), trouble).into());
            }
            Err(error) => return Err(here.store(&error)),
        }
    }
    let code = Code::ServiceUnavailable;
    let remark = here.remark(Action::SessionProved, Some(code.as_str()), "the session keeps changing");
    Err(here.refuse(remark, Trouble::busy()).await)
}

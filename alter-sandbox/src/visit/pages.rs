//! What the pages say.

use std::fmt::Write as _;

use axum::{http::StatusCode, response::Response};

use super::{Session, SignedIn, Visit};
use crate::{
    html::{escape, page},
    site::Site,
};

/// What every form carries: which visit it belongs to, and that it comes from this browser's own page.
fn hidden(id: &str, session: &Session) -> String {
    let (id, csrf) = (escape(id), escape(&session.csrf));
    format!(
        "<input type=\"hidden\" name=\"request\" value=\"{id}\">\n\
         <input type=\"hidden\" name=\"csrf\" value=\"{csrf}\">"
    )
}

pub(super) fn sign_in(id: &str, visit: &Visit, session: &Session, wrong: Option<&str>) -> Response {
    let site = visit.request.target.site;
    let (prefix, hidden) = (site.prefix(), hidden(id, session));
    let client = escape(&visit.request.client_id);
    let hint = escape(visit.request.login_hint.as_deref().unwrap_or_default());
    let (status, alert, invalid) = match wrong {
        None => (StatusCode::OK, String::new(), ""),
        Some(why) => (
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("<p role=\"alert\" id=\"error\">{}</p>\n", escape(why)),
            " aria-invalid=\"true\" aria-describedby=\"error\"",
        ),
    };
    let body = format!(
        "<p>to continue to <strong>{client}</strong></p>\n{alert}\
         <form method=\"post\" action=\"{prefix}/signin\">\n{hidden}\n\
         <label for=\"account\">User name</label>\n\
         <input type=\"text\" id=\"account\" name=\"account\" value=\"{hint}\" required maxlength=\"200\" \
         autocomplete=\"username\" autocapitalize=\"none\" spellcheck=\"false\"{invalid}>\n\
         <button type=\"submit\" id=\"sign-in\">Sign in</button>\n</form>\n\
         <p>This is a test provider. It has no passwords: any name will do.</p>"
    );
    page(status, &format!("Sign in to {}", site.title()), &body)
}

pub(super) fn accounts(id: &str, visit: &Visit, session: &Session) -> Response {
    let site = visit.request.target.site;
    let (prefix, hidden) = (site.prefix(), hidden(id, session));
    let mut list = String::new();
    for SignedIn { account, .. } in &session.accounts {
        let account = escape(account);
        // Writing to a string cannot fail.
        let _ = writeln!(
            list,
            "<li><button type=\"submit\" name=\"account\" value=\"{account}\">{account}</button></li>"
        );
    }
    let client = escape(&visit.request.client_id);
    let id = escape(id);
    let body = format!(
        "<p>to continue to <strong>{client}</strong></p>\n\
         <form method=\"post\" action=\"{prefix}/accounts\">\n{hidden}\n<ul id=\"accounts\">\n{list}</ul>\n</form>\n\
         <p><a id=\"other-account\" href=\"{prefix}/signin?request={id}\">Use another account</a></p>"
    );
    page(StatusCode::OK, &format!("Choose an account at {}", site.title()), &body)
}

pub(super) fn consent(id: &str, visit: &Visit, session: &Session, who: &SignedIn) -> Response {
    let request = &visit.request;
    let site = request.target.site;
    let (prefix, hidden) = (site.prefix(), hidden(id, session));
    let mut scopes = String::new();
    for (index, scope) in request.scope.split(' ').enumerate() {
        let (meaning, scope) = (escape(meaning(scope)), escape(scope));
        // Writing to a string cannot fail.
        let _ = writeln!(
            scopes,
            "<label for=\"scope-{index}\"><input type=\"checkbox\" id=\"scope-{index}\" name=\"scope\" \
             value=\"{scope}\" checked> <code>{scope}</code>: {meaning}</label>"
        );
    }
    let (account, back) = (escape(&who.account), escape(&request.target.redirect_uri));
    let id = escape(id);
    let body = format!(
        "<p>Signed in as <strong id=\"signed-in\">{account}</strong>. \
         <a id=\"other-account\" href=\"{prefix}/accounts?request={id}\">Use another account</a></p>\n\
         <form method=\"post\" action=\"{prefix}/consent\">\n{hidden}\n\
         <fieldset id=\"scopes\">\n<legend>It wants to</legend>\n{scopes}</fieldset>\n\
         <p>The answer goes to <code>{back}</code>.</p>\n\
         <button type=\"submit\" id=\"allow\" name=\"decision\" value=\"allow\">Allow</button>\n\
         <button type=\"submit\" id=\"deny\" name=\"decision\" value=\"deny\">Deny</button>\n</form>"
    );
    let title = format!("Let {} use your {} account?", request.client_id, site.title());
    page(StatusCode::OK, &title, &body)
}

pub(super) fn signed_out(site: Site) -> Response {
    let body = "<p>This browser is signed in to no account here any more.</p>";
    page(StatusCode::OK, &format!("Signed out of {}", site.title()), body)
}

fn meaning(scope: &str) -> &'static str {
    match scope {
        "openid" => "know who you are",
        "email" => "see your address",
        "profile" => "see your name",
        "offline_access" => "go on while you are away",
        "read" => "see what is yours",
        "write" => "change what is yours",
        _ => "do what this scope is for",
    }
}

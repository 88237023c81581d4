//! `GET /sdk/oauth/callback`: the provider sends the browser back (RFC 6749 §4.1.2, RFC 9207).
//!
//! Whatever comes is judged in this order: the parameters, the session of the state, the browser, the state itself, the
//! issuer. Then the state is used up, before anything is done with the code: of two answers for one state, one counts.

use axum::{
    extract::RawQuery,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use super::{
    choice,
    dance::Dance,
    decide,
    here::{Change, Changed, Here, Page, Stop, stranger},
    redeem,
};
use crate::{
    audit::Action,
    domain::{AppId, FailedGrant, Leaving, Progress, Provider, SessionEnd, SessionRef},
    web::{Trouble, Visit, shown},
};

/// Longest query, in bytes.
const MAX_QUERY: usize = 16 * 1024;
/// Longest code, in bytes.
const MAX_CODE: usize = 8 * 1024;
/// Most further parameters that are read.
const MAX_PARAMS: usize = 50;
/// The person said no, in the words of the standard and of providers.
const DENIED: [&str; 6] = [
    "access_denied",
    "user_denied",
    "user_cancelled_login",
    "user_cancelled_authorize",
    "consent_required",
    "interaction_required",
];

/// What a provider's answer says.
struct Answer {
    state: String,
    code: Option<SecretString>,
    iss: Option<String>,
    error: Option<String>,
    description: Option<String>,
    /// The rest: some providers name the account here.
    more: Map<String, Value>,
}

impl Answer {
    /// Reads the query; `None` if it is none that a provider sends: too long, without a state, a parameter twice, neither code nor error.
    fn read(query: &str) -> Option<Self> {
        if query.len() > MAX_QUERY {
            return None;
        }
        let mut answer = Self {
            state: String::new(),
            code: None,
            iss: None,
            error: None,
            description: None,
            more: Map::new(),
        };
        for (count, (name, value)) in form_urlencoded::parse(query.as_bytes()).enumerate() {
            if count >= MAX_PARAMS {
                return None;
            }
            let value = value.into_owned();
            let twice = match name.as_ref() {
                "state" => !std::mem::replace(&mut answer.state, value).is_empty(),
                "code" => answer.code.replace(SecretString::from(value)).is_some(),
                "iss" => answer.iss.replace(value).is_some(),
                "error" => answer.error.replace(value).is_some(),
                "error_description" => answer.description.replace(value).is_some(),
                _ => {
                    answer.more.insert(name.into_owned(), value.into());
                    false
                }
            };
            if twice {
                return None;
            }
        }
        let code = answer.code.as_ref().map(|code| code.expose_secret().len());
        let fits = match (code, &answer.error) {
            (Some(length), None) => (1..=MAX_CODE).contains(&length),
            (None, Some(error)) => !error.is_empty(),
            _ => false,
        };
        (fits && !answer.state.is_empty()).then_some(answer)
    }
}

pub(super) async fn callback(visit: Visit, RawQuery(query): RawQuery) -> Response {
    // A code is good for one use: a browser that goes away must not leave it half used.
    let request_id = visit.request_id;
    let handled =
        tokio::spawn(async move { returned(visit, query.unwrap_or_default()).await.into_response() });
    match handled.await {
        Ok(response) => response,
        Err(error) => {
            tracing::error!(%request_id, %error, "a provider's answer was not handled");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn returned(visit: Visit, query: String) -> Page {
    let Some(answer) = Answer::read(&query) else {
        return Err(stranger(
            &visit,
            AppId::VAULT,
            "invalid_request",
            "GET /sdk/oauth/callback: no answer of a provider",
            forged(),
        )
        .await);
    };
    let Some((session, secret)) = SessionRef::split(&answer.state) else {
        return Err(stranger(
            &visit,
            AppId::VAULT,
            "state_mismatch",
            "GET /sdk/oauth/callback: a state that is none of ours",
            forged(),
        )
        .await);
    };
    let mut here = Here::of(visit, session).await?;
    let dance = Dance::returned(&here.secret, &answer.state, secret.expose_secret());
    let leaving = here.session.progress.leaving.clone().filter(|leaving| leaving.state == dance.digest);
    let Some(leaving) = leaving else { return Err(replayed(&here).await) };
    if !here.is_open() || !here.is_proved() {
        let remark = here.remark_of(
            &leaving.provider,
            Action::ConnectFailed,
            Some("session_expired"),
            "the provider answered too late",
        );
        here.visit.record(remark).await.map_err(|error| here.store(&error))?;
        return Ok(on(&here, &leaving));
    }
    let all = here.visit.core.store.list_providers(here.session.session.app_id).await;
    let all = all.map_err(|error| here.store(&error))?;
    let offered = choice::offered(&here.session.asked, &all);
    let alone = offered.len() == 1;
    let Some(provider) = offered.into_iter().find(|provider| provider.id == leaving.provider).cloned() else {
        return fail(
            &mut here,
            &leaving,
            alone,
            Failed::config("provider_configuration_unavailable", "the provider is gone"),
        )
        .await;
    };
    if let Err(what) = check_issuer(&provider, &all, answer.iss.as_deref()) {
        return wrong_issuer(&mut here, &leaving, what).await;
    }
    if let Some(error) = &answer.error {
        return refused(&mut here, &leaving, &provider, alone, error, answer.description.as_deref()).await;
    }
    // From here on the state is used up, whatever becomes of the code.
    let used = use_up(&mut here, &leaving, |here| {
        let mut progress = here.session.progress.clone();
        progress.leaving = None;
        progress.failed.retain(|failed| failed.provider != leaving.provider);
        Change::new(
            progress,
            here.remark_of(
                &leaving.provider,
                Action::ConnectBegun,
                None,
                "the provider answered with a code",
            ),
        )
    })
    .await?;
    if !used {
        return Err(replayed(&here).await);
    }
    let Some(code) = answer.code else { return Ok(on(&here, &leaving)) };
    redeem::redeem(here, redeem::Granted { provider, alone, leaving, dance, code, callback: answer.more })
        .await
}

/// Changes the session if this state is still the one that it waits for; `false` if another answer was faster.
async fn use_up(
    here: &mut Here,
    leaving: &Leaving,
    change: impl Fn(&Here) -> Change + Send + Sync,
) -> Result<bool, Stop> {
    let changed = here
        .change(|here| {
            let waits = here.session.progress.leaving.as_ref().is_some_and(|now| now.state == leaving.state);
            waits.then(|| change(here))
        })
        .await?;
    Ok(matches!(changed, Changed::Made))
}

/// A response of another issuer than the provider's is refused (RFC 9207 §2.4, against mix-up), and one that leaves it out
/// although the provider announces it. Of a provider whose issuer nobody wrote down, an issuer that is another one's of `all`.
fn check_issuer(provider: &Provider, all: &[Provider], given: Option<&str>) -> Result<(), &'static str> {
    let issuer = |provider: &Provider| provider.oauth.as_ref().and_then(|oauth| oauth.issuer.clone());
    let required = provider.oauth.as_ref().is_some_and(|oauth| oauth.iss_required);
    match (issuer(provider), given) {
        (Some(expected), Some(given)) if expected != given => Err("another issuer answered"),
        (None, Some(given)) if all.iter().any(|other| issuer(other).as_deref() == Some(given)) => {
            Err("another provider's issuer answered")
        }
        (Some(_), None) if required => Err("the answer names no issuer"),
        _ => Ok(()),
    }
}

async fn wrong_issuer(here: &mut Here, leaving: &Leaving, what: &'static str) -> Page {
    let remark =
        |here: &Here| here.remark_of(&leaving.provider, Action::ConnectFailed, Some("issuer_mismatch"), what);
    let used = use_up(here, leaving, |here| {
        Change::new(Progress { leaving: None, ..here.session.progress.clone() }, remark(here))
    })
    .await?;
    if !used {
        return Err(replayed(here).await);
    }
    let trouble = Trouble::new(
        StatusCode::FORBIDDEN,
        "This answer was refused",
        "It does not come from the provider that you were sent to. It was not used, and nothing was connected.",
        "Try again. If it happens again, tell the application's support the number below.",
    );
    Err(here.visit.trouble(here.brand(), trouble.link(here.path(""), "Try again")).into())
}

async fn replayed(here: &Here) -> Stop {
    let what = "a state that the session does not wait for: used before, or replaced by a newer one";
    let remark = here.remark(Action::ConnectFailed, Some("state_replayed"), what);
    let trouble = Trouble::new(
        StatusCode::FORBIDDEN,
        "This answer was refused",
        "It was used before, or you have begun anew since. Nothing was changed by it.",
        "Go on where you were.",
    );
    here.refuse(remark, trouble.link(here.path(""), "Go on")).await
}

fn forged() -> Trouble {
    Trouble::new(
        StatusCode::BAD_REQUEST,
        "This answer was refused",
        "It is not the answer of a provider that this browser was sent to. Nothing was changed.",
        "Go back to the application and start again there. If a link brought you here, do not trust whoever sent it.",
    )
}

/// On to the session's page; from a window of its own by way of the page that closes it.
pub(super) fn on(here: &Here, leaving: &Leaving) -> Response {
    here.to(if leaving.own_window { "/back" } else { "" })
}

/// A connection that did not come about.
pub(super) struct Failed {
    /// For the trail, and for the app if it is the end.
    pub(super) code: String,
    /// For people.
    pub(super) message: String,
    /// For the trail; cleaned.
    pub(super) what: String,
    /// Trying again can help: the session goes on.
    pub(super) passing: bool,
}

impl Failed {
    /// The app's registration at the provider is not right.
    pub(super) fn config(code: &str, what: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: "The application's registration at the provider does not work.".to_owned(),
            what: what.into(),
            passing: false,
        }
    }

    /// Trying again can help.
    pub(super) fn passing(code: &str, message: impl Into<String>, what: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), what: what.into(), passing: true }
    }
}

/// Keeps a failure: the end of a session with one provider, unless trying again can help.
pub(super) async fn fail(here: &mut Here, leaving: &Leaving, alone: bool, failed: Failed) -> Page {
    here.change(|here| here.is_open().then(|| failure(here, leaving, alone, &failed))).await?;
    Ok(on(here, leaving))
}

fn failure(here: &Here, leaving: &Leaving, alone: bool, failed: &Failed) -> Change {
    let mut progress = here.session.progress.clone();
    progress.leaving = progress.leaving.filter(|now| now.state != leaving.state);
    progress.failed.retain(|before| before.provider != leaving.provider);
    progress.failed.push(FailedGrant {
        provider: leaving.provider.clone(),
        reason: "activation_failed".to_owned(),
        message: failed.message.clone(),
    });
    if alone && !failed.passing {
        progress.end = Some(SessionEnd::Error { code: failed.code.clone(), message: failed.message.clone() });
    }
    let remark =
        here.remark_of(&leaving.provider, Action::ConnectFailed, Some(failed.code.as_str()), &failed.what);
    Change::new(progress, remark)
}

/// The provider answered with an error (RFC 6749 §4.1.2.1).
async fn refused(
    here: &mut Here,
    leaving: &Leaving,
    provider: &Provider,
    alone: bool,
    error: &str,
    description: Option<&str>,
) -> Page {
    let what =
        shown(&format!("the provider answered {error}: {}", description.unwrap_or("without a description")));
    let name = shown(&provider.name);
    let failed = match error {
        denied if DENIED.contains(&denied) => {
            let used = use_up(here, leaving, |here| {
                let progress = decide::declined(here, &leaving.provider, alone);
                Change::new(
                    progress,
                    here.remark_of(&leaving.provider, Action::ConnectFailed, Some("connect_denied"), &what),
                )
            })
            .await?;
            return if used { Ok(on(here, leaving)) } else { Err(replayed(here).await) };
        }
        "server_error" | "temporarily_unavailable" => {
            let message =
                format!("{name} is not at its best at the moment. Nothing was connected. Try again.");
            Failed::passing("service_unavailable", message, what)
        }
        "unauthorized_client" => Failed::config("unauthorized_client", what),
        "invalid_client" => Failed::config("invalid_client", what),
        _ => Failed::config("connect_config_error", what),
    };
    // The state is used up by this as by a code: the other answer for it does not count any more.
    let used = use_up(here, leaving, |here| failure(here, leaving, alone, &failed)).await?;
    if used { Ok(on(here, leaving)) } else { Err(replayed(here).await) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_a_state_and_either_a_code_or_an_error_each_once() {
        assert!(
            Answer::read("state=s&code=c&iss=i&realmId=9")
                .is_some_and(|answer| answer.more["realmId"] == "9")
        );
        assert!(Answer::read("state=s&error=access_denied").is_some());
        for bad in [
            "",
            "code=c",
            "state=&code=c",
            "state=s",
            "state=s&code=",
            "state=s&code=c&error=e",
            "state=s&state=s&code=c",
            "state=s&code=c&code=d",
            "state=s&code=c&iss=a&iss=b",
        ] {
            assert!(Answer::read(bad).is_none(), "{bad}");
        }
        assert!(Answer::read(&format!("state=s&code={}", "c".repeat(MAX_CODE + 1))).is_none());
        assert!(Answer::read(&format!("state=s&code=c{}", "&a=b".repeat(MAX_PARAMS))).is_none());
    }
}

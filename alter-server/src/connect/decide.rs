//! What the person decides: to go to a provider, to use an account that is connected already, to decline, to finish.

use axum::extract::Path;
use http::StatusCode;
use serde::Deserialize;

use super::{
    choice,
    dance::{Attempt, Dance, write_attempt},
    here::{Change, Changed, Here, Page},
    show::{find, last},
};
use crate::{
    audit::Action,
    domain::{
        ConnectedGrant, DeclinedProvider, Leaving, Operation, Progress, ProviderId, SessionEnd, SessionKind,
    },
    web::{Posted, Trouble, random},
};

/// Path parameters, in order: a prefix may have some of its own.
type Params = Path<Vec<(String, String)>>;

/// What the forms of a session send.
#[derive(Deserialize)]
pub(super) struct Decision {
    #[serde(default)]
    csrf: String,
    /// Seconds; empty for no end.
    #[serde(default)]
    ttl: String,
    /// Ask the provider which account is meant.
    #[serde(default)]
    another: String,
    /// The account to use, or to get more scopes for.
    #[serde(default)]
    grant: String,
}

/// The session of a form, if its browser may decide something in it; else the page that says why not.
async fn deciding(posted: Posted<Decision>, params: &Params) -> Result<(Here, Decision), super::here::Stop> {
    let Posted { visit, form } = posted;
    let here = Here::load(visit, last(&params.0, "session")).await?;
    here.check_csrf(&form.csrf).await?;
    if !here.is_open() || !here.is_proved() || here.session.kind != SessionKind::Connect {
        let remark = here.remark(
            Action::RequestRefused,
            Some("session_not_open"),
            "a form after the end, or before proof",
        );
        here.visit.record(remark).await.map_err(|error| here.store(&error))?;
        return Err(here.to("").into());
    }
    Ok((here, form))
}

/// `POST …/p/{provider}/go`: the person agrees.
pub(super) async fn go(params: Params, posted: Posted<Decision>) -> Page {
    let (mut here, form) = deciding(posted, &params).await?;
    let providers = here.providers().await?;
    let provider = find(&here, &providers, last(&params.0, "provider")).await?.clone();
    let asked = &here.session.asked;
    let ttl = if asked.direct { Some(choice::proposed(asked)) } else { choice::chosen(asked, &form.ttl) };
    let Some(ttl_seconds) = ttl else {
        let remark = here.remark_of(
            &provider.id,
            Action::RequestRefused,
            Some("invalid_grant_policy"),
            "a lifetime that was not offered",
        );
        return Err(here.refuse(remark, bad_choice(&here)).await);
    };
    let grants = here.grants(Some(&provider.id)).await?;
    let now = here.visit.core.clock.now();
    let connected = choice::connected(&here.session, &provider, &grants, now);
    let more = connected.iter().find(|one| {
        let id = one.grant.facts.id;
        Some(id) == here.session.asked.repair || id.to_string() == form.grant
    });
    let Some(oauth) = provider.oauth.clone() else { return Ok(here.to("")) };
    let whole = choice::scopes(&here.session.asked, &provider);
    let (scopes, adds) = match more {
        Some(one) if oauth.incremental.is_some() && !one.missing.is_empty() => (one.missing.clone(), true),
        _ => (whole, false),
    };
    let attempt: Attempt = random().map_err(|_| here.visit.trouble(here.brand(), Trouble::internal()))?;
    let dance = Dance::new(&here.secret, here.session.session, &attempt);
    let changed = here
        .change(|here| {
            if !here.is_open() || !here.is_proved() {
                return None;
            }
            let leaving = Leaving {
                provider: provider.id.clone(),
                state: dance.digest,
                scopes: scopes.clone(),
                ttl_seconds,
                own_window: oauth.opener_isolated,
                at: here.visit.core.clock.now(),
            };
            let progress = Progress { leaving: Some(leaving), ..here.session.progress.clone() };
            let what = format!("sent to the provider for: {}", scopes.join(" "));
            Some(Change::new(progress, here.remark_of(&provider.id, Action::ConnectBegun, None, what)))
        })
        .await?;
    if !matches!(changed, Changed::Made) {
        return Ok(here.to(""));
    }
    let mut path = format!("/go?attempt={}", write_attempt(&attempt));
    if here.session.asked.switch_account || !form.another.is_empty() {
        path.push_str("&select=1");
    }
    if adds {
        path.push_str("&adds=1");
    }
    Ok(here.to(&path))
}

fn bad_choice(here: &Here) -> Trouble {
    Trouble::new(
        StatusCode::BAD_REQUEST,
        "This cannot be chosen",
        "What was chosen is not among what the application offers. Nothing was changed.",
        "Go back and choose again.",
    )
    .link(here.path(""), "Go back")
}

/// `POST …/p/{provider}/use`: an account that is connected already is enough.
pub(super) async fn use_connected(params: Params, posted: Posted<Decision>) -> Page {
    let (mut here, form) = deciding(posted, &params).await?;
    let providers = here.providers().await?;
    let provider = find(&here, &providers, last(&params.0, "provider")).await?.clone();
    let grants = here.grants(Some(&provider.id)).await?;
    let now = here.visit.core.clock.now();
    let connected = choice::connected(&here.session, &provider, &grants, now);
    let grant = connected.iter().find(|one| one.usable && one.grant.facts.id.to_string() == form.grant);
    let Some(grant) = grant.map(|one| one.grant) else {
        let remark = here.remark_of(
            &provider.id,
            Action::RequestRefused,
            Some("grant_not_found"),
            "an account that was not offered",
        );
        return Err(here.refuse(remark, bad_choice(&here)).await);
    };
    let told = ConnectedGrant {
        grant_id: grant.facts.id,
        provider: provider.id.clone(),
        operation: Operation::Reauth,
        scopes: grant.scopes.clone(),
        account_identifier: grant.facts.account_identifier.clone(),
        grant_expires_at: grant.facts.grant_expires_at,
        at: now,
    };
    here.change(|here| {
        if !here.is_open() {
            return None;
        }
        let mut progress = here.session.progress.clone();
        progress.leaving = None;
        progress.failed.retain(|failed| failed.provider != provider.id);
        progress.grants.retain(|before| before.grant_id != told.grant_id);
        progress.grants.push(told.clone());
        end_if_nothing_is_left(&mut progress, providers.iter().map(|provider| &provider.id));
        let what = format!("the account that is connected already was taken: grant {}", told.grant_id);
        Some(Change::new(progress, here.remark_of(&provider.id, Action::GrantConnected, None, what)))
    })
    .await?;
    Ok(here.to(""))
}

/// Ends a session in which everything that it offers is connected.
pub(super) fn end_if_nothing_is_left<'a>(
    progress: &mut Progress,
    offered: impl IntoIterator<Item = &'a ProviderId>,
) {
    let connected = |id: &&ProviderId| progress.grants.iter().any(|grant| grant.provider == **id);
    if offered.into_iter().all(|id| connected(&id)) {
        progress.end = Some(SessionEnd::Completed);
    }
}

/// `POST …/p/{provider}/decline`: not this one.
pub(super) async fn decline(params: Params, posted: Posted<Decision>) -> Page {
    let (mut here, _) = deciding(posted, &params).await?;
    let providers = here.providers().await?;
    let provider = find(&here, &providers, last(&params.0, "provider")).await?.id.clone();
    let alone = providers.len() == 1;
    here.change(|here| {
        let progress = here.is_open().then(|| declined(here, &provider, alone))?;
        let what = "declined on the vault's page";
        Some(Change::new(
            progress,
            here.remark_of(&provider, Action::ConnectFailed, Some("connect_denied"), what),
        ))
    })
    .await?;
    Ok(here.to(""))
}

/// The progress after a provider was declined: the end if it is the only one.
pub(super) fn declined(here: &Here, provider: &ProviderId, alone: bool) -> Progress {
    let mut progress = here.session.progress.clone();
    progress.leaving = None;
    if alone {
        progress.end = Some(denied(&progress));
    }
    progress.declined.retain(|before| before.provider != *provider);
    progress.declined.push(DeclinedProvider {
        provider: provider.clone(),
        error_code: "connect_denied".to_owned(),
        at: here.visit.core.clock.now(),
    });
    progress
}

/// The end of a session that the person leaves without a grant. If something went wrong before, that is what is told.
fn denied(progress: &Progress) -> SessionEnd {
    match progress.failed.last() {
        Some(failed) => {
            SessionEnd::Error { code: "grant_activation_failed".to_owned(), message: failed.message.clone() }
        }
        None => SessionEnd::Error {
            code: "connect_denied".to_owned(),
            message: "The user did not allow the connection.".to_owned(),
        },
    }
}

/// `POST …/finish`: enough is connected, or nothing shall be.
pub(super) async fn finish(params: Params, posted: Posted<Decision>) -> Page {
    let (mut here, _) = deciding(posted, &params).await?;
    here.change(|here| {
        let mut progress = here.is_open().then(|| here.session.progress.clone())?;
        progress.leaving = None;
        let code = if progress.grants.is_empty() {
            progress.end = Some(denied(&progress));
            Some("connect_denied")
        } else {
            progress.end = Some(SessionEnd::Completed);
            None
        };
        Some(Change::new(progress, here.remark(Action::SessionEnded, code, "ended by the user")))
    })
    .await?;
    Ok(here.to(""))
}

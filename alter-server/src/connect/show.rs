//! The session's page: what can be done next, or how it ended.

use askama::Template;
use axum::extract::Path;
use http::StatusCode;

use super::{
    choice::{self, Connected, Lifetime},
    deliver::Delivery,
    here::{Change, Here, Page, Stop},
    prove,
    view::{self, Ability},
};
use crate::{
    audit::Action,
    domain::{FailedGrant, Progress, Provider, ProviderId, SessionEnd, SessionKind},
    web::{Shell, Trouble, Visit, shown},
};

#[derive(Template)]
#[template(path = "connect/picker.html")]
struct PickerPage {
    shell: Shell,
    base: String,
    csrf: String,
    providers: Vec<PickerRow>,
    /// Something was connected in this session already.
    any: bool,
}

struct PickerRow {
    id: ProviderId,
    name: String,
    /// Accounts that are connected.
    accounts: Vec<String>,
    /// Connected in this session.
    done: bool,
    declined: bool,
    failed: Option<String>,
}

#[derive(Template)]
#[template(path = "connect/consent.html")]
struct ConsentPage {
    shell: Shell,
    base: String,
    csrf: String,
    app: String,
    provider: Provider,
    /// Whom the browser proved to be.
    user: Option<String>,
    abilities: Vec<Ability>,
    accounts: Vec<AccountRow>,
    /// The grant that gets a new credential, or more scopes.
    repairs: Option<String>,
    lifetimes: Vec<Lifetime>,
    failed: Option<String>,
    /// There are other providers to choose from.
    several: bool,
    /// Nothing is to be asked: the page sends its form by itself.
    at_once: bool,
    own_window: bool,
}

struct AccountRow {
    grant: String,
    name: String,
    usable: bool,
    needs_reconnect: bool,
    /// What it lacks.
    missing: Vec<Ability>,
}

#[derive(Template)]
#[template(path = "connect/end.html")]
pub(super) struct EndPage {
    pub(super) shell: Shell,
    pub(super) app: String,
    pub(super) good: bool,
    pub(super) what: String,
    pub(super) next: String,
    pub(super) connected: Vec<(String, String)>,
    pub(super) failed: Vec<(String, String)>,
    pub(super) delivery: String,
    pub(super) once: String,
    pub(super) return_url: Option<String>,
}

/// `GET /sdk/oauth/connect/s/{session}`.
pub(super) async fn session(visit: Visit, Path(text): Path<Vec<(String, String)>>) -> Page {
    let mut here = Here::load(visit, last(&text, "session")).await?;
    if !here.is_open() {
        return end(&here).await;
    }
    if here.session.kind == SessionKind::SignIn {
        return Ok(prove::confirm_page(&here));
    }
    if !here.is_proved() && !prove::by_binding(&mut here).await? {
        return prove::page(&here).await;
    }
    let providers = here.providers().await?;
    match providers.as_slice() {
        [] => nothing_to_connect(&mut here).await,
        [one] => Ok(here.to(&format!("/p/{}", one.id))),
        _ => picker(&here, &providers).await,
    }
}

/// The last parameter of that name: one before it stands in the prefix that the vault is mounted under.
pub(super) fn last<'a>(params: &'a [(String, String)], name: &str) -> &'a str {
    params.iter().rev().find(|(found, _)| found == name).map_or("", |(_, value)| value.as_str())
}

async fn picker(here: &Here, providers: &[Provider]) -> Page {
    let grants = here.grants(None).await?;
    let now = here.visit.core.clock.now();
    let progress = &here.session.progress;
    let row = |provider: &Provider| PickerRow {
        id: provider.id.clone(),
        name: shown(&provider.name),
        accounts: choice::connected(&here.session, provider, &grants, now)
            .iter()
            .map(|connected| choice::account_name(connected.grant))
            .collect(),
        done: progress.grants.iter().any(|grant| grant.provider == provider.id),
        declined: progress.declined.iter().any(|declined| declined.provider == provider.id),
        failed: failure(progress, &provider.id),
    };
    let rows = providers.iter().map(row).collect();
    let any = !progress.grants.is_empty();
    let app = here.brand().name;
    let title =
        if any { "Connect another account?".to_owned() } else { format!("Connect an account to {app}") };
    Ok(here.visit.page(&PickerPage {
        shell: here.visit.shell(here.brand(), title),
        base: here.path(""),
        csrf: here.csrf(),
        providers: rows,
        any,
    }))
}

fn failure(progress: &Progress, provider: &ProviderId) -> Option<String> {
    let failed = progress.failed.iter().find(|failed| failed.provider == *provider)?;
    Some(shown(&failed.message))
}

/// `GET /sdk/oauth/connect/s/{session}/p/{provider}`.
pub(super) async fn provider(visit: Visit, Path(text): Path<Vec<(String, String)>>) -> Page {
    let here = Here::load(visit, last(&text, "session")).await?;
    if !here.is_open() || !here.is_proved() || here.session.kind != SessionKind::Connect {
        return Ok(here.to(""));
    }
    let providers = here.providers().await?;
    let provider = find(&here, &providers, last(&text, "provider")).await?;
    let grants = here.grants(Some(&provider.id)).await?;
    Ok(here.visit.page(&consent(&here, provider, &grants, providers.len() > 1)))
}

/// The provider of an address, if the session may connect it.
pub(super) async fn find<'a>(here: &Here, providers: &'a [Provider], id: &str) -> Result<&'a Provider, Stop> {
    if let Some(provider) = providers.iter().find(|provider| provider.id.as_str() == id) {
        return Ok(provider);
    }
    let remark =
        here.remark(Action::RequestRefused, Some("unknown_provider"), "a provider that is not offered");
    let trouble = Trouble::new(
        StatusCode::NOT_FOUND,
        "This cannot be connected here",
        "The application did not ask for it.",
        "Go back and choose something else.",
    );
    Err(here.refuse(remark, trouble.link(here.path(""), "Go back")).await)
}

fn consent(here: &Here, provider: &Provider, grants: &[crate::domain::Grant], several: bool) -> ConsentPage {
    let now = here.visit.core.clock.now();
    let (session, asked) = (&here.session, &here.session.asked);
    let app = here.brand().name;
    let connected = choice::connected(session, provider, grants, now);
    let repaired = connected.iter().find(|one| Some(one.grant.facts.id) == asked.repair);
    let wanted = choice::scopes(asked, provider);
    // Asked again in whole unless the provider adds to what it granted; then only the difference is new.
    let incremental = provider.oauth.as_ref().is_some_and(|oauth| oauth.incremental.is_some());
    let news = match repaired {
        Some(one) if incremental && !one.missing.is_empty() => one.missing.clone(),
        _ => wanted,
    };
    let account = |one: &Connected<'_>| AccountRow {
        grant: one.grant.facts.id.to_string(),
        name: choice::account_name(one.grant),
        usable: one.usable,
        needs_reconnect: one.grant.facts.needs_reconnect,
        missing: view::abilities(provider, &one.missing),
    };
    let offer = asked.repair.is_none() && !asked.switch_account;
    let accounts: Vec<AccountRow> = if offer { connected.iter().map(account).collect() } else { Vec::new() };
    let failed = failure(&session.progress, &provider.id);
    let untouched = session.progress.leaving.is_none()
        && failed.is_none()
        && session.progress.declined.is_empty()
        && session.progress.grants.is_empty();
    let name = shown(&provider.name);
    ConsentPage {
        shell: here.visit.shell(here.brand(), format!("Connect {name} to {app}")),
        base: here.path(""),
        csrf: here.csrf(),
        app,
        user: here.user().and_then(|_| {
            let user = asked.user.as_ref()?;
            Some(shown(user.name.as_ref().unwrap_or(&user.subject)))
        }),
        abilities: view::abilities(provider, &news),
        repairs: repaired.map(|one| choice::account_name(one.grant)),
        lifetimes: if asked.direct { Vec::new() } else { choice::lifetimes(asked) },
        failed,
        several,
        at_once: asked.direct && untouched && accounts.is_empty(),
        own_window: provider.oauth.as_ref().is_some_and(|oauth| oauth.opener_isolated),
        accounts,
        provider: Provider { name, ..provider.clone() },
    }
}

/// The operator took away what was to be connected.
async fn nothing_to_connect(here: &mut Here) -> Page {
    here.change(|here| {
        let mut progress = here.session.progress.clone();
        if progress.end.is_some() {
            return None;
        }
        progress.end = Some(SessionEnd::Error {
            code: "provider_configuration_unavailable".to_owned(),
            message: "What the application wanted to connect is not set up any more.".to_owned(),
        });
        let what = "no provider is left to connect";
        Some(Change::new(
            progress,
            here.remark(Action::SessionEnded, Some("provider_configuration_unavailable"), what),
        ))
    })
    .await?;
    end(here).await
}

/// How it ended.
pub(super) async fn end(here: &Here) -> Page {
    if here.session.kind == SessionKind::SignIn {
        return Ok(prove::signed_in_page(here));
    }
    let all = here.visit.core.store.list_providers(here.session.session.app_id).await;
    let all = all.map_err(|error| here.store(&error))?;
    let name = |id: &ProviderId| {
        all.iter()
            .find(|provider| provider.id == *id)
            .map_or_else(|| id.to_string(), |found| shown(&found.name))
    };
    let progress = &here.session.progress;
    let app = here.brand().name;
    let good = !progress.grants.is_empty() && !matches!(progress.end, Some(SessionEnd::Error { .. }));
    let (title, what, next) = if good {
        let what = format!("{app} can use what you connected now.");
        ("Connected".to_owned(), what, "You can close this window.".to_owned())
    } else if let Some(ended) = &progress.end {
        let ending = view::ending(ended, &app);
        (ending.title, ending.what, ending.next.to_owned())
    } else {
        let what = "Too much time has passed since the link was made.".to_owned();
        (
            "This link has expired".to_owned(),
            what,
            "Go back to the application and start again there.".to_owned(),
        )
    };
    let delivery = Delivery::of(&here.session, &all);
    let connected = progress.grants.iter().map(|grant| {
        let account = grant.account_identifier.as_deref().map(shown);
        (name(&grant.provider), account.unwrap_or_default())
    });
    let failed = progress
        .failed
        .iter()
        .filter(|_| good)
        .map(|failed: &FailedGrant| (name(&failed.provider), shown(&failed.message)));
    let page = EndPage {
        shell: here.visit.shell(here.brand(), title),
        app,
        good,
        what,
        next,
        connected: connected.collect(),
        failed: failed.collect(),
        delivery: delivery.to_json(),
        once: here.session.session.to_string(),
        return_url: delivery.return_url,
    };
    Ok(here.visit.page(&page))
}

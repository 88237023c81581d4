//! From a code to a grant: tokens, account, scopes, and the one unit of work that keeps them.

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use alter_core::wire::connect::CALLBACK_PATH;

use super::{
    callback::{Failed, fail, on},
    choice,
    dance::Dance,
    decide::end_if_nothing_is_left,
    here::{Change, Changed, Here, Page, Stop},
    view,
};
use crate::{
    audit::Action,
    domain::{AccountFacts, ConnectedGrant, FailureCode, Leaving, Operation, Progress, Provider, Refusal},
    oauth::{AccountFailure, CodeCall, Exchanged, TokenFailure},
    store::{NewConnection, StoreError},
    web::shown,
};

/// How often a connection is tried anew because the app's configuration moves on.
const ATTEMPTS: usize = 8;

/// What a provider gave for a state that was good.
pub(super) struct Granted {
    pub(super) provider: Provider,
    /// It is the session's only provider.
    pub(super) alone: bool,
    pub(super) leaving: Leaving,
    pub(super) dance: Dance,
    pub(super) code: SecretString,
    pub(super) callback: Map<String, Value>,
}

/// Redeems the code and keeps what it is good for.
pub(super) async fn redeem(mut here: Here, granted: Granted) -> Page {
    let Granted { provider, alone, leaving, dance, code, callback } = granted;
    let name = shown(&provider.name);
    let Some(oauth) = provider.oauth.clone() else {
        let what = "the provider has no OAuth settings";
        return fail(&mut here, &leaving, alone, Failed::config("connect_config_error", what)).await;
    };
    let client_secret = match client_secret(&here, &provider).await? {
        Ok(secret) => secret,
        Err(what) => {
            return fail(&mut here, &leaving, alone, Failed::config("connect_config_error", what)).await;
        }
    };
    let redirect_uri = here.visit.public.join(CALLBACK_PATH);
    let began = here.visit.core.clock.now();
    let exchanged = here
        .visit
        .core
        .oauth
        .exchange(&CodeCall {
            oauth: &oauth,
            client_secret: client_secret.as_ref(),
            code: &code,
            verifier: &dance.verifier,
            redirect_uri: redirect_uri.as_str(),
        })
        .await;
    let Exchanged { tokens, facts, .. } = match exchanged {
        Ok(exchanged) => exchanged,
        Err(failure) => return fail(&mut here, &leaving, alone, not_exchanged(&name, &failure)).await,
    };
    let nonce = dance.nonce.expose_secret();
    let account = here
        .visit
        .core
        .oauth
        .account(&provider, &tokens.access_token, tokens.id_token.as_ref(), nonce, facts, callback)
        .await;
    let mut account = match account {
        Ok(account) => account,
        Err(failure) => return fail(&mut here, &leaving, alone, no_account(&name, &failure)).await,
    };
    // What stands in the callback's address is the browser's to write. A user can only spoil grants of their own by that; among
    // the app's it would lead to somebody else's.
    if here.session.asked.user.is_none() && oauth.account.id_from_callback() {
        account.id = None;
    }
    let scopes = match tokens.scopes.clone() {
        Some(scopes) => scopes,
        None => silent_scopes(&here, &provider, &leaving, &account).await?,
    };
    let required = here.session.asked.required_scopes.get(&provider.id).cloned().unwrap_or_default();
    let missing: Vec<String> =
        oauth.missing_scopes(&required, &scopes).into_iter().map(str::to_owned).collect();
    if !missing.is_empty() {
        let failed = not_enough(&here.brand().name, &provider, &missing);
        return fail(&mut here, &leaving, alone, failed).await;
    }
    let grant_expires_at = grant_end(&here, &leaving).await?;
    let lifetime = tokens.expires_in.map(|lasts| lasts.as_secs()).or(oauth.refresh.assumed_lifetime_seconds);
    let connection = Connection {
        account,
        access_token: tokens.access_token,
        refresh_token: tokens.refresh_token,
        token_expires_at: choice::ends(began, lifetime),
        scopes,
        grant_expires_at,
    };
    keep(here, provider, alone, leaving, connection).await
}

/// What is kept; `NewConnection` is made from it for each try.
struct Connection {
    account: AccountFacts,
    access_token: SecretString,
    refresh_token: Option<SecretString>,
    token_expires_at: Option<jiff::Timestamp>,
    scopes: Vec<String>,
    grant_expires_at: Option<jiff::Timestamp>,
}

/// When the grant ends: as it was chosen. A grant that is repaired without a word about its lifetime keeps the one it has.
async fn grant_end(here: &Here, leaving: &Leaving) -> Result<Option<jiff::Timestamp>, Stop> {
    let chosen = choice::ends(here.visit.core.clock.now(), leaving.ttl_seconds);
    let (Some(repair), None) = (here.session.asked.repair, chosen) else { return Ok(chosen) };
    match here.visit.core.store.grant(here.session.session.app_id, repair).await {
        Ok(grant) => Ok(grant.facts.grant_expires_at),
        // The store says so again when the connection is made.
        Err(StoreError::NotFound(_)) => Ok(None),
        Err(error) => Err(here.store(&error)),
    }
}

async fn keep(mut here: Here, provider: Provider, alone: bool, leaving: Leaving, made: Connection) -> Page {
    let mut offered: Vec<_> = here.providers().await?.into_iter().map(|provider| provider.id).collect();
    let oauth = provider.oauth.clone().unwrap_or_default();
    let wanted = choice::scopes(&here.session.asked, &provider);
    let without = oauth.missing_scopes(&wanted, &made.scopes).join(" ");
    let mut generation = here.app.config.generation;
    let mut tries = 0;
    let changed = loop {
        let mut is_old = false;
        let changed = here
            .change(|here| {
                let mut progress = here.session.progress.clone();
                is_old = here.app.config.generation != generation;
                if progress.end.is_some() || is_old {
                    return None;
                }
                progress.failed.retain(|failed| failed.provider != provider.id);
                progress.declined.retain(|declined| declined.provider != provider.id);
                progress.end = ended(&progress, &provider, &offered);
                let connection = NewConnection {
                    provider: provider.id.clone(),
                    config_generation: generation,
                    principal: here.principal(),
                    repair: here.session.asked.repair,
                    account_id: made.account.id.clone(),
                    account_identifier: made.account.identifier.clone(),
                    account_display_name: made.account.name.clone(),
                    label: here.session.asked.label.clone(),
                    access_token: made.access_token.clone(),
                    refresh_token: made.refresh_token.clone(),
                    token_expires_at: made.token_expires_at,
                    scopes: made.scopes.clone(),
                    grant_expires_at: made.grant_expires_at,
                };
                let what = if without.is_empty() {
                    "connected".to_owned()
                } else {
                    format!("connected without: {without}")
                };
                let remark = here.remark_of(&provider.id, Action::GrantConnected, None, what);
                Some(Change { progress, remark, connection: Some(connection) })
            })
            .await?;
        tries += 1;
        if !is_old || tries > ATTEMPTS {
            break changed;
        }
        // The operator changed something meanwhile. These tokens may go only where the definition says that gave them.
        generation = here.app.config.generation;
        let now = here.providers().await?;
        if !now.contains(&provider) {
            let what = "the provider's definition was changed meanwhile; its tokens were dropped";
            let failed = Failed::passing(
                "provider_configuration_unavailable",
                "The application's registration at the provider was changed just now. Nothing was connected. Try again.",
                what,
            );
            return fail(&mut here, &leaving, alone, failed).await;
        }
        offered = now.into_iter().map(|provider| provider.id).collect();
    };
    match changed {
        Changed::Made => Ok(on(&here, &leaving)),
        Changed::Refused(refusal) => fail(&mut here, &leaving, alone, not_kept(&provider, &refusal)).await,
        Changed::Not => {
            let remark = here.remark_of(
                &provider.id,
                Action::ConnectFailed,
                Some("session_ended"),
                "the session ended while the provider was asked; its tokens were dropped",
            );
            here.visit.record(remark).await.map_err(|error| here.store(&error))?;
            Ok(on(&here, &leaving))
        }
    }
}

/// The end, if this connection is the last that the session offers.
fn ended(
    progress: &Progress,
    provider: &Provider,
    offered: &[crate::domain::ProviderId],
) -> Option<crate::domain::SessionEnd> {
    let mut after = progress.clone();
    // Stands for the grant that the store is about to make.
    after.grants.push(ConnectedGrant {
        grant_id: crate::domain::GrantId::from_uuid(uuid::Uuid::nil()),
        provider: provider.id.clone(),
        operation: Operation::Creation,
        scopes: Vec::new(),
        account_identifier: None,
        grant_expires_at: None,
        at: jiff::Timestamp::UNIX_EPOCH,
    });
    end_if_nothing_is_left(&mut after, offered);
    after.end
}

/// The app's secret at the provider, opened. The inner error says why there is none that can be used.
async fn client_secret(
    here: &Here,
    provider: &Provider,
) -> Result<Result<Option<SecretString>, String>, Stop> {
    let app_id = here.session.session.app_id;
    let sealed = here.visit.core.store.provider_client_secret(app_id, provider.id.clone()).await;
    let Some(sealed) = sealed.map_err(|error| here.store(&error))? else { return Ok(Ok(None)) };
    let opened = match here.visit.core.open(&sealed) {
        Ok(opened) => opened,
        Err(error) => return Ok(Err(format!("the client secret cannot be opened: {error}"))),
    };
    let text = std::str::from_utf8(opened.expose_secret());
    Ok(text.map(|text| Some(SecretString::from(text))).map_err(|_| "the client secret is no text".to_owned()))
}

/// The scopes of an answer that names none: those that were asked for (RFC 6749 §5.1), and where the provider adds to what
/// the same account granted before, those as well.
async fn silent_scopes(
    here: &Here,
    provider: &Provider,
    leaving: &Leaving,
    account: &AccountFacts,
) -> Result<Vec<String>, Stop> {
    let mut scopes = leaving.scopes.clone();
    let adds = provider.oauth.as_ref().is_some_and(|oauth| oauth.incremental.is_some());
    if adds && account.identifier.is_some() {
        let grants = here.grants(Some(&provider.id)).await?;
        let same = grants.iter().find(|grant| grant.facts.account_identifier == account.identifier);
        for scope in same.iter().flat_map(|grant| &grant.scopes) {
            if !scopes.contains(scope) {
                scopes.push(scope.clone());
            }
        }
    }
    Ok(scopes)
}

fn not_exchanged(name: &str, failure: &TokenFailure) -> Failed {
    let what = format!("the code was not redeemed: {failure}");
    match failure.failure.code {
        FailureCode::InvalidClient => Failed::config("invalid_client", what),
        FailureCode::InvalidGrant => {
            let message =
                format!("{name} did not take its own answer any more. Nothing was connected. Try again.");
            Failed::passing("invalid_grant", message, what)
        }
        code if code.is_passing() => {
            let message = format!("{name} did not answer. Nothing was connected. Try again.");
            Failed::passing("service_unavailable", message, what)
        }
        _ => Failed::config("connect_config_error", what),
    }
}

fn no_account(name: &str, failure: &AccountFailure) -> Failed {
    let what = failure.to_string();
    match failure {
        AccountFailure::IdToken(_) => Failed {
            code: "id_token_refused".to_owned(),
            message: format!(
                "What {name} said about the account could not be trusted. Nothing was connected."
            ),
            what,
            passing: false,
        },
        AccountFailure::Unavailable(_) => {
            let message =
                format!("{name} did not say which account this is. Nothing was connected. Try again.");
            Failed::passing("service_unavailable", message, what)
        }
    }
}

fn not_enough(app: &str, provider: &Provider, missing: &[String]) -> Failed {
    let words: Vec<String> =
        view::abilities(provider, missing).into_iter().map(|ability| format!("“{}”", ability.text)).collect();
    let message = format!(
        "You did not allow everything that {app} needs at {}. Missing: {}. Nothing was connected. Try again and allow it, or do not connect.",
        shown(&provider.name),
        words.join(", ")
    );
    Failed::passing("scopes_not_granted", message, format!("not granted: {}", missing.join(" ")))
}

fn not_kept(provider: &Provider, refusal: &Refusal) -> Failed {
    let name = shown(&provider.name);
    let code = refusal.code.as_str();
    if code == "account_mismatch" {
        let message = format!(
            "You chose another account at {name} than the one that is to be connected again. Nothing was changed. Try again and choose the same account."
        );
        return Failed::passing(code, message, refusal.message.clone());
    }
    Failed {
        code: code.to_owned(),
        message: shown(&refusal.message),
        what: refusal.message.clone(),
        passing: false,
    }
}

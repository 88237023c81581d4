//! `POST /sdk/token`: a credential and how to inject it (spec/01 §5).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use alter_core::wire::{
    code::Code,
    error::ErrorBody,
    secret::SecretText,
    token::{Injection, RetryInfo, TokenRequest, TokenResponse, seconds_until},
};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use tokio::time::Instant;

use super::{
    answer::{Failure, Reply},
    call::{Call, Endpoint, decided},
};
use crate::{
    audit::Action,
    domain::{Address, Provider, RefreshFailure, Scope, SecretMaterial},
    refresh::{Held, Waited},
    store::{Release, ReleaseCommand, Released, ReleasedCredential, RequestFacts, refresh::NotFresh},
};

/// How often a release is repeated because the token was at its end.
const MAX_ROUNDS: usize = 4;
/// When to come back if nothing is known about it.
const LATER: Duration = Duration::from_secs(60);

pub(super) struct Token;

impl Endpoint for Token {
    const ROUTE: &'static str = "POST /sdk/token";
    const SCOPE: Scope = Scope::TokensRetrieve;
    const REFUSED: Action = Action::TokenRefused;

    async fn answer(call: &Call) -> Result<Reply, Failure> {
        let asked: TokenRequest = call.json()?;
        let address = address(&asked)?;
        let user = call.user(asked.user_token.as_ref().map(SecretText::expose)).await?;
        // Without a request there is no destination, and a provider's hosts are always bound: the store refuses it.
        let request = asked.request.as_ref().map_or_else(
            || RequestFacts::new("", ""),
            |request| RequestFacts::new(&request.method, &request.url),
        );
        let command = ReleaseCommand {
            admission: call.admission(),
            address,
            user,
            request,
            reason: asked.reason,
            last_resort: false,
            unsaved: None,
        };
        let Ready { release, held, retry_info } = ready(call, command).await?;
        call.key.set_deprecated(release.key_deprecated);
        if let Some(version) = release.refresh_due {
            call.core.refresher.start(version, &release.provider.id);
        }
        let mut answer = response(call, &release, held.as_deref())?;
        answer.retry_info = retry_info;
        // The row is durable, so nothing is lost when the credential stays here.
        answer.check().map_err(|error| {
            Failure::Internal(format!("release {} breaks the contract: {error}", release.audit_id))
        })?;
        Ok(Reply::json(&answer))
    }
}

/// A release, and what it took.
struct Ready {
    release: Box<Release>,
    /// The token itself, when nobody else keeps it yet.
    held: Option<Arc<Held>>,
    retry_info: Option<RetryInfo>,
}

/// Releases, after a refresh if the token is at its end.
async fn ready(call: &Call, mut command: ReleaseCommand) -> Result<Ready, Failure> {
    let deadline = Instant::now() + call.core.refresh_wait;
    let (mut held, mut retry_info) = (None, None);
    for _ in 0..MAX_ROUNDS {
        let spent = match decided(call.core.store.release(command.clone()).await?)? {
            Released::Credential(release) => return Ok(Ready { release, held, retry_info }),
            Released::NotFresh(spent) => spent,
        };
        let (failure, retry_in) =
            match call.core.refresher.wait(spent.version, &spent.provider, deadline).await {
                Waited::Renewed(info) => {
                    retry_info = info.or(retry_info);
                    (None, None)
                }
                Waited::Unsaved(token) => {
                    command.unsaved = Some(token.unsaved);
                    held = Some(token);
                    (None, None)
                }
                // The grant is latched: the store says so, with a row.
                Waited::Failed { failure, .. } if failure.code.is_final() => (None, None),
                Waited::Failed { failure, retry_in } => (Some(failure), retry_in),
                Waited::Late => (None, Some(Duration::from_secs(1))),
            };
        // Time has passed; the signature, the nonce and the user's token were good when the call came.
        command.admission.at = call.core.clock.now();
        if failure.is_none() && retry_in.is_none() {
            continue;
        }
        let usable = spent.usable_until.is_some_and(|end| end > command.admission.at);
        if usable && !command.last_resort {
            command.last_resort = true;
            continue;
        }
        return Err(not_refreshed(&spent, failure.as_ref(), retry_in));
    }
    let text = "the token ends faster than it can be refreshed";
    Err(Failure::refused(Code::ServiceUnavailable, text))
}

/// There is no token at the moment, and none is released that is known to have ended.
fn not_refreshed(spent: &NotFresh, failure: Option<&RefreshFailure>, retry_in: Option<Duration>) -> Failure {
    let mut body = match failure {
        None => {
            let text = "the token is being refreshed and the provider takes its time: ask again";
            ErrorBody::new(Code::TokenRefreshInProgress, text)
        }
        Some(failure) if failure.code.blames_the_app() => {
            let text = format!(
                "the provider refuses the application's own registration, which its operator must repair ({failure})"
            );
            ErrorBody::new(Code::ServiceUnavailable, text)
        }
        Some(failure) => {
            let text = format!("the token has expired and could not be refreshed at the moment ({failure})");
            ErrorBody::new(Code::ServiceUnavailable, text)
        }
    };
    if failure.is_none() {
        body.grant_id = Some(spent.version.grant_id.to_string());
    }
    let wait = retry_in.unwrap_or(LATER);
    body.retry_after = Some((wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).clamp(1, 3600));
    Failure::NotRefreshed(Box::new(body), (spent.version.grant_id, spent.provider.clone()))
}

fn address(asked: &TokenRequest) -> Result<Address, Failure> {
    let invalid = |text: &str| Failure::refused(Code::InvalidRequest, text);
    match (&asked.grant_id, &asked.provider_id) {
        (Some(grant), None) => {
            if asked.account.is_some() || asked.label.is_some() || asked.app_user_id.is_some() {
                return Err(invalid("account, label and app_user_id go with provider_id, not with grant_id"));
            }
            let unknown = || Failure::refused(Code::GrantNotFound, "there is no such grant");
            Ok(Address::Grant(grant.parse().map_err(|_| unknown())?))
        }
        (None, Some(provider)) => Ok(Address::Provider {
            provider: provider.clone(),
            account: asked.account.clone(),
            label: asked.label.clone(),
            app_user_id: asked.app_user_id.clone(),
        }),
        _ => Err(invalid("give exactly one of grant_id and provider_id")),
    }
}

/// The credential, unsealed, and how the provider wants it.
fn response(call: &Call, release: &Release, held: Option<&Held>) -> Result<TokenResponse, Failure> {
    let open = |field| {
        call.core
            .open(field)
            .map_err(|error| Failure::Internal(format!("credential of grant {}: {error}", release.grant_id)))
    };
    let odd = || Failure::Internal(format!("the credential of grant {} is damaged", release.grant_id));
    let provider = &release.provider;
    let mut answer = TokenResponse {
        access_token: SecretText::from(""),
        grant_id: release.grant_id.uuid(),
        token_type: "Bearer".to_owned(),
        expires_in: None,
        expires_at: None,
        scopes: Vec::new(),
        provider_id: provider.id.to_string(),
        token_generation: None,
        scope_mismatch: release.scope_mismatch,
        injection_header: provider.injection.header.clone(),
        injection_format: provider.injection.format.clone(),
        additional_credentials: None,
        additional_injections: injections(provider),
        allowed_hosts: Some(provider.hosts.iter().map(|host| String::from(host.clone())).collect()),
        retry_info: None,
    };
    let mut ends = release.grant_expires_at;
    match &release.credential {
        ReleasedCredential::OAuth { access_token, expires_at, scopes, token_generation } => {
            let opened = open(access_token)?;
            answer.access_token =
                SecretText::from(std::str::from_utf8(opened.expose_secret()).map_err(|_| odd())?);
            answer.scopes.clone_from(scopes);
            answer.token_generation = Some(token_generation.uuid());
            ends = earlier(ends, *expires_at);
        }
        ReleasedCredential::Unsaved { scopes } => {
            let held = held.ok_or_else(odd)?;
            answer.access_token = SecretText::from(held.access_token.expose_secret());
            answer.scopes.clone_from(scopes);
            answer.token_generation = Some(held.unsaved.token_generation.uuid());
            ends = earlier(ends, held.unsaved.expires_at);
        }
        ReleasedCredential::ManagedSecret { material, .. } => {
            let material = SecretMaterial::from_bytes(&open(material)?).ok_or_else(odd)?;
            answer.access_token = SecretText::from(material.token.expose_secret());
            let additional: BTreeMap<_, _> = material
                .additional
                .iter()
                .map(|(name, value)| (name.clone(), SecretText::from(value.expose_secret())))
                .collect();
            answer.additional_credentials = (!additional.is_empty()).then_some(additional);
        }
    }
    answer.expires_in = seconds_until(ends, call.core.clock.now());
    answer.expires_at = ends.map(|at| at.to_string());
    Ok(answer)
}

fn injections(provider: &Provider) -> Option<Vec<Injection>> {
    let all: Vec<_> = provider.additional.iter().map(Injection::from).collect();
    (!all.is_empty()).then_some(all)
}

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earlier_end_counts() {
        let at = |second| Some(Timestamp::from_second(second).unwrap());
        assert_eq!(earlier(at(1), at(2)), at(1));
        assert_eq!(earlier(None, at(2)), at(2));
        assert_eq!(earlier(None, None), None);
    }

    #[test]
    fn an_address_is_one_thing_only() {
        let asked = |text: &str| address(&serde_json::from_str(text).unwrap()).ok();
        assert!(asked(r#"{"provider_id":"p","account":"a"}"#).is_some());
        assert!(asked(r#"{"grant_id":"11111111-2222-3333-4444-555555555555"}"#).is_some());
        assert!(asked(r#"{"grant_id":"11111111-2222-3333-4444-555555555555","account":"a"}"#).is_none());
        assert!(asked(r#"{"grant_id":"x","provider_id":"p"}"#).is_none());
        assert!(asked(r#"{"grant_id":"not-a-uuid"}"#).is_none());
        assert!(asked("{}").is_none());
    }
}

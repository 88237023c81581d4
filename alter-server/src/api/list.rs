//! `POST /sdk/grants/list` (spec/03 §3.1).

use alter_core::wire::{
    code::Code,
    grants::{
        AccessVia, Grant as WireGrant, ListRequest, ListResponse, MAX_LIMIT, ManagedSecretGrant, OauthGrant,
        PrincipalType,
    },
    secret::SecretText,
};
use jiff::Timestamp;

use super::{
    answer::{Failure, Reply},
    call::{Call, Endpoint, decided},
};
use crate::{
    domain::{Grant, GrantFilter, GrantKind, GrantStatus, Principal, Scope},
    store::ListCommand,
};

pub(super) struct List;

impl Endpoint for List {
    const ROUTE: &'static str = "POST /sdk/grants/list";
    const SCOPE: Scope = Scope::GrantsRead;

    async fn answer(call: &Call) -> Result<Reply, Failure> {
        let asked: ListRequest = call.json()?;
        if !(1..=MAX_LIMIT).contains(&asked.limit) {
            return Err(Failure::refused(Code::InvalidRequest, "limit must be 1 to 1000"));
        }
        let user = call.user(asked.user_token.as_ref().map(SecretText::expose)).await?;
        let command = ListCommand {
            admission: call.admission(),
            user,
            filter: GrantFilter {
                provider: asked.provider_id,
                status: asked.status,
                account: asked.account,
                label: asked.label,
            },
            limit: asked.limit,
            offset: asked.offset.into(),
        };
        let page = decided(call.core.store.list_grants(command).await?)?;
        let now = call.core.clock.now();
        let seen = u64::from(asked.offset) + page.grants.len() as u64;
        Ok(Reply::json(&ListResponse {
            grants: page.grants.iter().filter_map(|grant| listed(grant, now)).collect(),
            total: page.total,
            limit: asked.limit,
            offset: asked.offset,
            has_more: seen < page.total,
        }))
    }
}

/// A grant as it is listed. A group's OAuth grant is left out: published clients refuse the whole page for it.
pub(crate) fn listed(grant: &Grant, now: Timestamp) -> Option<WireGrant> {
    let facts = &grant.facts;
    let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
    let principal_type = match &facts.principal {
        Principal::User(_) => PrincipalType::User,
        Principal::Group(_) => PrincipalType::Group,
        Principal::System => PrincipalType::System,
        Principal::Agent(_) => PrincipalType::Agent,
    };
    Some(match facts.kind {
        GrantKind::OAuth if principal_type == PrincipalType::Group => return None,
        GrantKind::OAuth => WireGrant::Oauth(OauthGrant {
            grant_id: facts.id.to_string(),
            provider_id: facts.provider.to_string(),
            scopes: grant.scopes.clone(),
            account_identifier: facts.account_identifier.clone(),
            account_display_name: facts.account_display_name.clone(),
            status: status(grant, now).to_owned(),
            scope_mismatch: grant.scope_mismatch,
            needs_reconnect: facts.needs_reconnect,
            expires_at: text(facts.token_expires_at),
            grant_expires_at: text(facts.grant_expires_at),
            created_at: grant.created_at.to_string(),
            last_used_at: text(grant.last_used_at),
            principal_type,
            label: facts.label.clone(),
            delegated_agent_ids: Vec::new(),
            access_via: AccessVia::Ownership,
            parent_grant_id: None,
            depth: 0,
            delegable: false,
            grant_policy: None,
        }),
        GrantKind::ManagedSecret => WireGrant::ManagedSecret(ManagedSecretGrant {
            grant_id: facts.id.to_string(),
            managed_secret_id: grant.secret_id.map(|id| id.to_string()).unwrap_or_default(),
            managed_secret_slug: facts.provider.to_string(),
            managed_secret_name: grant.secret_name.clone().unwrap_or_else(|| facts.provider.to_string()),
            agent_id: match &facts.principal {
                Principal::Agent(agent) => Some(agent.to_string()),
                _ => None,
            },
            label: facts.label.clone(),
            status: status(grant, now).to_owned(),
            created_at: grant.created_at.to_string(),
            last_used_at: text(grant.last_used_at),
            grant_expires_at: text(facts.grant_expires_at),
            principal_type,
            access_via: AccessVia::Ownership,
            parent_grant_id: None,
            depth: 0,
            delegable: false,
            grant_policy: None,
        }),
    })
}

/// The state that clients are told: a grant past its end is expired at once (spec/03 §3.1).
pub(crate) fn status(grant: &Grant, now: Timestamp) -> &'static str {
    match grant.facts.status {
        GrantStatus::Active if grant.facts.grant_expires_at.is_some_and(|end| end <= now) => "expired",
        GrantStatus::Active => "active",
        GrantStatus::Revoked | GrantStatus::Deleted => "revoked",
    }
}

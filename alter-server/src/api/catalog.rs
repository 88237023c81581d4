//! `GET /sdk/oauth/provider-catalog` (spec/04 §5.3).

use std::collections::{BTreeMap, BTreeSet};

use alter_core::wire::catalog::{CatalogProvider, CatalogScope, ProviderCatalog};

use super::{
    answer::{Failure, Reply},
    call::{Call, Endpoint, decided},
};
use crate::{
    audit::Action,
    catalog::Entry,
    domain::{Pkce, Provider, Scope},
    store::AdmittedNote,
};

pub(super) struct Catalog;

impl Endpoint for Catalog {
    const ROUTE: &'static str = "GET /sdk/oauth/provider-catalog";
    const SCOPE: Scope = Scope::ProvidersRead;
    const MAX_BODY: usize = 64 * 1024;

    async fn answer(call: &Call) -> Result<Reply, Failure> {
        let admission = call.admission();
        let app = admission.app_id;
        let note = AdmittedNote {
            admission,
            action: Action::ProvidersListed,
            user: None,
            code: None,
            grant: None,
            detail: None,
        };
        decided(call.core.store.note(note).await?)?;
        let providers = call.core.store.list_providers(app).await?;
        let listed = providers.iter().filter_map(listed).map(|item| (item.id.clone(), item));
        Ok(Reply::json(&ProviderCatalog { providers: listed.collect() }))
    }
}

/// A provider as it is listed: one that people can connect. What the catalogue knows of another one with the same id says
/// what kind of thing it is.
fn listed(provider: &Provider) -> Option<CatalogProvider> {
    let oauth = provider.oauth.as_ref().filter(|oauth| oauth.connectable())?;
    let known = crate::catalog::find(provider.id.as_str()).ok();
    let scopes = oauth.scope_texts.keys().chain(&oauth.scopes).chain(&oauth.required_scopes);
    let scopes: BTreeSet<&String> = scopes.collect();
    let scope = |scope: &String| CatalogScope {
        description: oauth.scope_texts.get(scope).unwrap_or(scope).clone(),
        required: oauth.required_scopes.contains(scope),
        is_default: oauth.scopes.contains(scope) || oauth.required_scopes.contains(scope),
        requires: Vec::new(),
    };
    let available: BTreeMap<_, _> = scopes.into_iter().map(|name| (name.clone(), scope(name))).collect();
    Some(CatalogProvider {
        id: provider.id.to_string(),
        name: provider.id.to_string(),
        display_name: provider.name.clone(),
        category: known.and_then(|entry: &Entry| entry.category.clone()),
        description: known.and_then(|entry| entry.description.clone()),
        logo_url: None,
        supports_refresh: provider.refreshing().is_some(),
        supports_pkce: oauth.pkce == Pkce::S256,
        available_scopes: available,
        default_scopes: oauth.asked_scopes(&[]),
        required_scopes: oauth.required_scopes.clone(),
        status: "active".to_owned(),
    })
}

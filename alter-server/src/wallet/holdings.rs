//! What belongs to the person who is signed in: applications, and what they can reach.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::session::{Signed, same};
use crate::{
    domain::{
        AppId, Grant, GrantFilter, GrantKind, GrantStatus, IdpConfig, Principal, Provider, ProviderId, User,
        UserStatus,
    },
    idp::AppEntry,
    store::StoreError,
    web::{Brand, shown},
};

/// Connections that are shown per application; the newest.
const MAX_CONNECTIONS: u32 = 200;

/// One application of the person.
pub(super) struct Holding {
    /// The person there.
    pub(super) user: User,
    /// How this browser's addresses name it.
    pub(super) name: String,
    pub(super) brand: Brand,
    /// Newest first.
    pub(super) connections: Vec<Connection>,
    /// More than are shown.
    pub(super) truncated: bool,
}

/// What an application can reach.
pub(super) struct Connection {
    /// How this browser's addresses name it.
    pub(super) name: String,
    pub(super) grant: Grant,
    pub(super) provider: String,
    pub(super) account: String,
    /// What it may do, in words.
    pub(super) scopes: Vec<String>,
    pub(super) state: State,
}

/// How a connection is, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Active,
    NeedsReconnect,
    Expired,
    Revoked,
}

impl State {
    fn of(grant: &Grant, now: Timestamp) -> Self {
        match grant.facts.status {
            GrantStatus::Revoked | GrantStatus::Deleted => Self::Revoked,
            GrantStatus::Active if grant.facts.grant_expires_at.is_some_and(|end| end <= now) => {
                Self::Expired
            }
            GrantStatus::Active if grant.facts.needs_reconnect => Self::NeedsReconnect,
            GrantStatus::Active => Self::Active,
        }
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Active => "Active",
            Self::NeedsReconnect => "Needs reconnecting",
            Self::Expired => "Expired",
            Self::Revoked => "Access taken back",
        }
    }

    /// The badge's class.
    pub(super) fn tone(self) -> &'static str {
        match self {
            Self::Active => "good",
            Self::NeedsReconnect => "warn",
            Self::Expired => "plain",
            Self::Revoked => "bad",
        }
    }

    /// Whether there is anything to take back.
    pub(super) fn is_open(self) -> bool {
        self != Self::Revoked
    }
}

impl Signed {
    /// Everything of the person, in every application that knows its users by the same identity provider.
    pub(super) async fn holdings(&self) -> Result<Vec<Holding>, StoreError> {
        let store = &self.visit.core.store;
        let (issuer, subject) = (self.session.issuer.clone(), self.session.subject.clone());
        let mut holdings = Vec::new();
        for user in store.same_person(issuer, subject).await? {
            let app_id = user.app_id;
            let Some(app) = self.visit.app(app_id).await? else { continue };
            let ours = app_id == self.session.session.app_id;
            let same = same_people(self.app.config.idp.as_ref(), app.config.idp.as_ref());
            if user.status == UserStatus::Deleted || !(ours || same) {
                continue;
            }
            holdings.push(self.holding(&app, user).await?);
        }
        holdings.sort_by_key(|holding| holding.brand.name.to_lowercase());
        Ok(holdings)
    }

    async fn holding(&self, app: &AppEntry, user: User) -> Result<Holding, StoreError> {
        let store = &self.visit.core.store;
        let app_id = user.app_id;
        let providers: BTreeMap<ProviderId, Provider> = store
            .list_providers(app_id)
            .await?
            .into_iter()
            .map(|provider| (provider.id.clone(), provider))
            .collect();
        let principal = Principal::User(user.id);
        let page = store.grants_of(app_id, principal, GrantFilter::default(), MAX_CONNECTIONS, 0).await?;
        let truncated = page.total > page.grants.len() as u64;
        let mut connections: Vec<_> =
            page.grants.into_iter().map(|grant| self.connection(app_id, grant, &providers)).collect();
        // What still works first; the store's order (newest first) within.
        connections.sort_by_key(|connection| !connection.state.is_open());
        let brand = Brand::of(&app.config);
        Ok(Holding { name: self.app_name(app_id), user, brand, connections, truncated })
    }

    fn connection(&self, app: AppId, grant: Grant, providers: &BTreeMap<ProviderId, Provider>) -> Connection {
        let facts = &grant.facts;
        let provider = providers.get(&facts.provider);
        // What tells two accounts of one person apart, as on the connect pages; both may be called Ada.
        let account = facts.account_identifier.as_ref().or(facts.account_display_name.as_ref());
        let account = match (account, &facts.label, facts.kind) {
            (Some(account), _, _) => shown(account),
            (None, Some(label), _) => shown(label),
            (None, None, GrantKind::ManagedSecret) => "A key that the operator keeps".to_owned(),
            (None, None, GrantKind::OAuth) => "An account without a name".to_owned(),
        };
        let texts = provider.and_then(|provider| provider.oauth.as_ref()).map(|oauth| &oauth.scope_texts);
        let words = |scope: &String| {
            texts.and_then(|texts| texts.get(scope)).map_or_else(|| shown(scope), |text| shown(text))
        };
        Connection {
            name: self.connection_name(app, facts.id),
            provider: provider.map_or_else(|| facts.provider.to_string(), |provider| shown(&provider.name)),
            account,
            scopes: grant.scopes.iter().map(words).collect(),
            state: State::of(&grant, self.visit.at),
            grant,
        }
    }
}

/// Whether two apps know people by the same identity provider: same issuer, same keys, same claim. Only then is the same
/// subject the same person; an app whose operator names other keys could else claim to be anybody.
fn same_people(one: Option<&IdpConfig>, other: Option<&IdpConfig>) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return false };
    one.issuer == other.issuer && one.jwks_url == other.jwks_url && one.claims.subject == other.claims.subject
}

/// The connection of this name, with its application.
pub(super) fn find<'a>(holdings: &'a [Holding], name: &str) -> Option<(&'a Holding, &'a Connection)> {
    holdings.iter().find_map(|holding| {
        let found = holding.connections.iter().find(|connection| same(&connection.name, name));
        found.map(|connection| (holding, connection))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ClaimMapping;

    #[test]
    fn the_same_subject_elsewhere_is_another_person() {
        let idp = |issuer: &str, jwks: Option<&str>, claim: &str| IdpConfig {
            issuer: issuer.to_owned(),
            jwks_url: jwks.map(str::to_owned),
            audiences: Vec::new(),
            algorithms: Vec::new(),
            leeway_seconds: 0,
            claims: ClaimMapping { subject: claim.to_owned(), ..ClaimMapping::default() },
        };
        let ours = idp("https://id.example", None, "sub");
        assert!(same_people(Some(&ours), Some(&idp("https://id.example", None, "sub"))));
        for other in [
            idp("https://id.example/", None, "sub"),
            idp("https://id.example", Some("https://evil.example/jwks"), "sub"),
            idp("https://id.example", None, "email"),
        ] {
            assert!(!same_people(Some(&ours), Some(&other)), "{other:?}");
        }
        assert!(!same_people(Some(&ours), None) && !same_people(None, None));
    }
}

//! Grants that a release may be about, each with everything that would be handed out.

use futures_util::future::try_join;
use tokio_postgres::{Client, Row};

use super::{
    columns::{count, get, maybe_instant, parameter, params, rows, scopes},
    grants, providers,
};
use crate::{
    domain::{
        Address, AppId, GrantFacts, GrantId, GrantKind, Identity, Principal, Provider, ProviderId, SecretId,
        TokenGeneration,
    },
    resolve::KeptCredential,
    seal::{Field, SealContext, Sealed, SealedField},
    store::{ReleaseCommand, ReleasedCredential, StoreError},
};

/// Facts and more, in one statement.
macro_rules! columns {
    () => {
        concat!(
            grants::facts_columns!(),
            ", v.definition, g.scope_mismatch, g.last_used_at, g.generation, g.token_generation, g.scopes, \
             g.access_token, g.secret_id, s.generation, s.material, g.refresh_token IS NOT NULL, g.obtained_at, \
             g.refused_generation IS NOT DISTINCT FROM g.generation, g.reconnect_reason, g.n"
        )
    };
}

macro_rules! around {
    () => {
        " LEFT JOIN providers v ON v.app_id = g.app_id AND v.id = g.provider_id \
         LEFT JOIN managed_secrets s ON s.app_id = g.app_id AND s.id = g.secret_id "
    };
}

/// Number of the first column that is no fact.
const FIRST: usize = 12;

/// Grants, and the rows they were read from.
#[derive(Default)]
pub(super) struct Candidates {
    pub(super) facts: Vec<GrantFacts>,
    rows: Vec<Row>,
    /// Whose grants these are; `None`: they were not looked for by principal.
    principals: Option<Vec<Principal>>,
}

/// Everything that a release hands out.
pub(super) struct Loaded {
    pub(super) provider: Option<Provider>,
    pub(super) credential: Option<ReleasedCredential>,
    pub(super) kept: KeptCredential,
    pub(super) scope_mismatch: bool,
    pub(super) last_used_at: Option<jiff::Timestamp>,
}

/// Grants as far as they can be looked for before it is known who is calling. Whether these are the ones that the caller may
/// have is not decided here: see [`Candidates::are_of`].
pub(super) async fn likely(sql: &Client, command: &ReleaseCommand) -> Result<Candidates, StoreError> {
    let app_id = command.admission.app_id;
    match (&command.address, &command.user) {
        (Address::Grant(id), _) => by_id(sql, app_id, *id).await,
        (Address::Provider { provider, app_user_id, .. }, user) => {
            let Ok(provider) = provider.parse::<ProviderId>() else { return Ok(Candidates::default()) };
            match (user, app_user_id) {
                (Some(user), None) => of_user(sql, app_id, &provider, user).await,
                (None, None) => of(sql, app_id, &provider, &[Principal::System]).await,
                (_, Some(id)) => match id.parse() {
                    Ok(id) => of(sql, app_id, &provider, &[Principal::User(id)]).await,
                    Err(_) => Ok(Candidates::default()),
                },
            }
        }
    }
}

/// Active grants of these principals at a provider, newest first.
pub(super) async fn of(
    sql: &Client,
    app_id: AppId,
    provider: &ProviderId,
    principals: &[Principal],
) -> Result<Candidates, StoreError> {
    let found = rows_of(sql, app_id, provider, principals).await?;
    Candidates::read(found, Some(principals.to_vec()))
}

async fn rows_of(
    sql: &Client,
    app_id: AppId,
    provider: &ProviderId,
    principals: &[Principal],
) -> Result<Vec<Row>, StoreError> {
    let (kinds, ids) = grants::arrays(principals);
    let text =
        concat!(columns!(), grants::of_principals!(), around!(), "WHERE g.status = 0 ORDER BY g.n DESC");
    rows(sql, text, params![app_id, *provider, kinds, ids]).await
}

/// The same of a user, by issuer and subject, and the user's groups. Of a user who is not known yet there is nothing.
async fn of_user(
    sql: &Client,
    app_id: AppId,
    provider: &ProviderId,
    user: &Identity,
) -> Result<Candidates, StoreError> {
    let text = concat!(
        columns!(),
        ", u.id FROM users u JOIN grants g ON g.app_id = $1 AND g.provider_id = $2 AND g.principal_kind = 0 \
         AND g.principal_id = uuid_send(u.id)",
        around!(),
        "WHERE u.app_id = $1 AND u.issuer = $3 AND u.subject = $4 AND g.status = 0 ORDER BY g.n DESC"
    );
    let (issuer, subject) = (&user.issuer, &user.subject);
    let params = [parameter(&app_id), parameter(provider), parameter(issuer), parameter(subject)];
    let own = rows(sql, text, &params);
    let groups: std::collections::BTreeSet<_> = user.groups.iter().collect();
    let groups: Vec<_> = groups.into_iter().cloned().map(Principal::Group).collect();
    if groups.is_empty() {
        return Candidates::of_user(own.await?, groups);
    }
    let (mut found, theirs) = try_join(own, rows_of(sql, app_id, provider, &groups)).await?;
    if found.is_empty() {
        return Candidates::of_user(found, groups);
    }
    found.extend(theirs);
    Candidates::of_user(found, groups)
}

/// A grant, whatever its state.
async fn by_id(sql: &Client, app_id: AppId, id: GrantId) -> Result<Candidates, StoreError> {
    let text = concat!(columns!(), " FROM grants g", around!(), "WHERE g.app_id = $1 AND g.id = $2");
    Candidates::read(rows(sql, text, params![app_id, id]).await?, None)
}

impl Candidates {
    fn read(rows: Vec<Row>, principals: Option<Vec<Principal>>) -> Result<Self, StoreError> {
        let facts = rows.iter().map(grants::facts).collect::<Result<_, _>>()?;
        Ok(Self { facts, rows, principals })
    }

    fn of_user(mut rows: Vec<Row>, groups: Vec<Principal>) -> Result<Self, StoreError> {
        // Without a grant of the user's own it is not known here who the user is.
        let Some(user) = rows.first().map(|row| get(row, FIRST + 15)).transpose()? else {
            return Ok(Self::default());
        };
        let mut numbered = rows.drain(..).map(|row| Ok((get(&row, FIRST + 14)?, row)));
        let mut numbered: Vec<(i64, Row)> = numbered.by_ref().collect::<Result<_, StoreError>>()?;
        numbered.sort_by_key(|(n, _)| std::cmp::Reverse(*n));
        let rows = numbered.into_iter().map(|(_, row)| row).collect();
        let principals = std::iter::once(Principal::User(user)).chain(groups).collect();
        Self::read(rows, Some(principals))
    }

    /// Whether these are all the active grants of exactly these principals.
    pub(super) fn are_of(&self, principals: &[Principal]) -> bool {
        self.principals.as_deref() == Some(principals)
    }

    /// One of them.
    pub(super) fn take(mut self, place: usize, app_id: AppId) -> Result<(GrantFacts, Loaded), StoreError> {
        let facts = self.facts.swap_remove(place);
        let loaded = load(&self.rows[place], app_id, &facts)?;
        Ok((facts, loaded))
    }
}

fn load(row: &Row, app_id: AppId, chosen: &GrantFacts) -> Result<Loaded, StoreError> {
    let definition: Option<&str> = get(row, FIRST)?;
    let credential = match chosen.kind {
        GrantKind::OAuth => {
            match (get::<Option<TokenGeneration>>(row, FIRST + 4)?, get::<Option<Sealed>>(row, FIRST + 6)?) {
                (Some(token_generation), Some(sealed)) => {
                    let generation = count(row, FIRST + 3)?;
                    let context =
                        SealContext::of(app_id, Field::GrantAccessToken, chosen.id.uuid(), generation);
                    Some(ReleasedCredential::OAuth {
                        access_token: SealedField { context, sealed },
                        expires_at: chosen.token_expires_at,
                        scopes: scopes(get(row, FIRST + 5)?),
                        token_generation,
                    })
                }
                _ => None,
            }
        }
        GrantKind::ManagedSecret => {
            match (get::<Option<SecretId>>(row, FIRST + 7)?, get::<Option<Sealed>>(row, FIRST + 9)?) {
                (Some(secret_id), Some(sealed)) => {
                    let generation = count(row, FIRST + 8)?;
                    let context =
                        SealContext::of(app_id, Field::SecretMaterial, secret_id.uuid(), generation);
                    let material = SealedField { context, sealed };
                    Some(ReleasedCredential::ManagedSecret { secret_id, material })
                }
                _ => None,
            }
        }
    };
    Ok(Loaded {
        provider: definition.map(|text| providers::parse(text, chosen.provider.as_str())).transpose()?,
        credential,
        kept: KeptCredential {
            generation: count(row, FIRST + 3)?,
            refreshable: get(row, FIRST + 10)?,
            obtained_at: maybe_instant(row, FIRST + 11)?,
            refused: get(row, FIRST + 12)?,
            reconnect_reason: get(row, FIRST + 13)?,
        },
        scope_mismatch: get(row, FIRST + 1)?,
        last_used_at: maybe_instant(row, FIRST + 2)?,
    })
}

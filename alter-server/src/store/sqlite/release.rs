//! `POST /sdk/token`: from an address to a sealed credential, with its row.

use std::{collections::HashMap, sync::Arc};

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    admit::{Admitted, admit, refuse},
    columns::{Micros, count, maybe_instant, scopes},
    grants, users,
    writer::Unit,
};
use crate::{
    audit::{Action, AuditRow},
    domain::{
        Address, AppId, GrantFacts, GrantKind, Provider, ProviderId, Refusal, SecretId, TokenGeneration,
    },
    resolve::{self, Caller, KeptCredential, Search, Subject, Usable},
    seal::{Field, SealContext, Sealed, SealedField},
    store::{Outcome, Release, ReleaseCommand, Released, ReleasedCredential, StoreError, draft},
};
use alter_core::wire::code::Code;

/// Seconds between notes of a grant's last use.
const USE_NOTED_EVERY: i64 = 60;
/// Ended grants that are looked at to say how a grant ended.
const ENDED_LOOKED_AT: u32 = 200;

/// Parsed provider definitions. An entry is good for one generation of its app's configuration, which every unit of work reads
/// anew; so another process's change is seen by the next call.
#[derive(Debug, Default)]
pub(super) struct ProviderCache(HashMap<AppId, (u64, HashMap<ProviderId, Arc<Provider>>)>);

impl ProviderCache {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    fn get(
        &mut self,
        sql: &Connection,
        app_id: AppId,
        generation: u64,
        id: &ProviderId,
    ) -> Result<Option<Arc<Provider>>, StoreError> {
        let (kept, providers) = self.0.entry(app_id).or_default();
        if *kept != generation {
            providers.clear();
            *kept = generation;
        }
        if let Some(provider) = providers.get(id) {
            return Ok(Some(Arc::clone(provider)));
        }
        let provider = super::providers::load(sql, app_id, id)?.map(Arc::new);
        if let Some(provider) = &provider {
            providers.insert(id.clone(), Arc::clone(provider));
        }
        Ok(provider)
    }
}

/// A grant that an address means, and where its row is.
struct Chosen {
    facts: GrantFacts,
    row_id: i64,
}

pub(super) fn release(
    unit: &mut Unit<'_>,
    command: &ReleaseCommand,
    mut row: AuditRow,
) -> Result<Outcome<Released>, StoreError> {
    let admission = &command.admission;
    let caller = match admit(unit, admission, &mut row)? {
        Admitted::Yes(caller) => caller,
        Admitted::No(refusal) => return refuse(unit, row, Action::TokenRefused, refusal),
        Admitted::Stale => return Ok(Outcome::Stale),
    };
    let user = match users::seen(unit, admission, command.user.as_ref(), &mut row)? {
        Ok(user) => user,
        Err(refusal) => return refuse(unit, row, Action::TokenRefused, refusal),
    };
    let groups = command.user.as_ref().map_or(&[][..], |user| &user.groups);
    let subject = user.map(|id| Subject { id, groups });
    let chosen = match choose(unit, command, &caller, subject, &mut row)? {
        Ok(chosen) => chosen,
        Err(refusal) => return refuse(unit, row, Action::TokenRefused, refusal),
    };
    draft::describe(&mut row, &chosen.facts);
    let app_id = admission.app_id;
    let provider =
        unit.providers.get(unit.sql, app_id, admission.config_generation, &chosen.facts.provider)?;
    let Some(provider) = provider else {
        let text = "the grant's provider is gone: ask the operator";
        let refusal = Refusal::new(Code::GrantNotFound, text);
        return refuse(unit, row, Action::TokenRefused, refusal);
    };
    let refused = resolve::decide_destination(&provider, &command.request).err();
    if let Some(refusal) = refused {
        return refuse(unit, row, Action::TokenRefused, refusal);
    }
    let loaded = load(unit.sql, app_id, &chosen)?;
    let place = (app_id, &chosen.facts);
    let usable = match resolve::decide_usable(&caller, subject, place, &loaded.kept, &provider, command) {
        Ok(usable) => usable,
        Err(refusal) => return refuse(unit, row, Action::TokenRefused, refusal),
    };
    let Some(mut credential) = loaded.credential else {
        let mut refusal = Refusal::new(Code::CredentialRevoked, "the grant has no credential: connect again");
        refusal.grant_id = Some(chosen.facts.id);
        return refuse(unit, row, Action::TokenRefused, refusal);
    };
    if let ReleasedCredential::OAuth { token_generation, .. } = &credential {
        row.token_generation = Some(*token_generation);
    }
    let refresh_due = match usable {
        Usable::Fresh => None,
        Usable::Due(version) => Some(version),
        Usable::Unsaved(unsaved) => {
            row.token_generation = Some(unsaved.token_generation);
            credential = credential.unsaved();
            None
        }
        Usable::NotFresh(spent) => {
            // The call comes again with the same nonce.
            unit.leave_nothing();
            return Ok(Outcome::Done(Released::NotFresh(spent)));
        }
    };
    if loaded.last_used_at.is_none_or(|last| last.as_second() + USE_NOTED_EVERY <= admission.at.as_second()) {
        unit.sql
            .prepare_cached("UPDATE grants SET last_used_at = ?2 WHERE rowid = ?1")?
            .execute(params![chosen.row_id, Micros(admission.at)])?;
    }
    let (audit_id, actor_id, app_user_id) = (row.id, row.actor_id, row.app_user_id);
    unit.audit(row)?;
    Ok(Outcome::Done(Released::Credential(Box::new(Release {
        grant_id: chosen.facts.id,
        kind: chosen.facts.kind,
        principal: chosen.facts.principal,
        grant_expires_at: chosen.facts.grant_expires_at,
        scope_mismatch: loaded.scope_mismatch,
        provider,
        credential,
        app_user_id,
        actor_id,
        audit_id,
        key_deprecated: caller.key_deprecated,
        refresh_due,
    }))))
}

fn choose(
    unit: &Unit<'_>,
    command: &ReleaseCommand,
    caller: &Caller,
    subject: Option<Subject<'_>>,
    row: &mut AuditRow,
) -> Result<Result<Chosen, Box<Refusal>>, StoreError> {
    let admission = &command.admission;
    match &command.address {
        Address::Grant(id) => {
            row.grant_id = Some(*id);
            let found = grants::facts_by_id(unit.sql, admission.app_id, *id)?;
            let facts = found.as_ref().map(|(facts, _)| facts);
            let decision = resolve::decide_by_id(caller, subject, facts, admission.at);
            Ok(match (decision, found) {
                (Ok(()), Some((facts, row_id))) => Ok(Chosen { facts, row_id }),
                (Ok(()), None) => Err(Refusal::new(Code::GrantNotFound, "there is no such grant")),
                (Err(refusal), _) => Err(refusal),
            })
        }
        Address::Provider { provider, account, label, app_user_id } => {
            row.provider = Some(provider.clone());
            row.account.clone_from(account);
            if app_user_id.is_some() && subject.is_none() {
                row.detail = Some("by app_user_id".to_owned());
            }
            let search = resolve::search(
                caller,
                provider,
                account.as_deref(),
                label.as_deref(),
                app_user_id.as_deref(),
                subject,
            );
            match search {
                Ok(search) => {
                    if row.app_user_id.is_none()
                        && let Some(named) = search.app_user_id()
                    {
                        row.app_user_id = Some(named);
                        // Nobody's id finds nothing, as ever.
                        let status = users::status(unit.sql, admission.app_id, named)?.unwrap_or_default();
                        if let Err(refusal) = resolve::admit_user(Some(status)) {
                            return Ok(Err(refusal));
                        }
                    }
                    by_search(unit, command, &search)
                }
                Err(refusal) => Ok(Err(refusal)),
            }
        }
    }
}

fn by_search(
    unit: &Unit<'_>,
    command: &ReleaseCommand,
    search: &Search,
) -> Result<Result<Chosen, Box<Refusal>>, StoreError> {
    let admission = &command.admission;
    let (mut facts, mut row_ids) = (Vec::new(), Vec::new());
    for principal in &search.principals {
        grants::active(unit.sql, admission.app_id, &search.provider, principal, &mut facts, &mut row_ids)?;
    }
    let mut decision = resolve::decide(search, &facts, admission.at);
    if decision.as_ref().is_err_and(|refusal| refusal.code != Code::AmbiguousGrant) {
        // Only now does it matter what there used to be.
        for principal in &search.principals {
            let place = (admission.app_id, &search.provider, principal);
            grants::ended(unit.sql, place, ENDED_LOOKED_AT, &mut facts, &mut row_ids)?;
        }
        decision = resolve::decide(search, &facts, admission.at);
    }
    Ok(match decision {
        Ok(place) => Ok(Chosen { facts: facts.swap_remove(place), row_id: row_ids[place] }),
        Err(refusal) => Err(refusal),
    })
}

struct Loaded {
    credential: Option<ReleasedCredential>,
    kept: KeptCredential,
    scope_mismatch: bool,
    last_used_at: Option<jiff::Timestamp>,
}

fn load(sql: &Connection, app_id: AppId, chosen: &Chosen) -> Result<Loaded, StoreError> {
    let mut statement = sql.prepare_cached(
        "SELECT generation, token_generation, secret_id, scope_mismatch, last_used_at, scopes, access_token, \
         refresh_token IS NOT NULL, obtained_at, refused_generation IS generation, reconnect_reason \
         FROM grants WHERE rowid = ?1",
    )?;
    let mut rows = statement.query([chosen.row_id])?;
    let columns =
        rows.next()?.ok_or_else(|| StoreError::Corrupt("a grant is there and is not".to_owned()))?;
    Ok(Loaded {
        credential: credential(sql, app_id, chosen, columns)?,
        kept: KeptCredential {
            generation: count(columns, 0)?,
            refreshable: columns.get(7)?,
            obtained_at: maybe_instant(columns, 8)?,
            refused: columns.get(9)?,
            reconnect_reason: columns.get(10)?,
        },
        scope_mismatch: columns.get(3)?,
        last_used_at: maybe_instant(columns, 4)?,
    })
}

fn credential(
    sql: &Connection,
    app_id: AppId,
    chosen: &Chosen,
    columns: &Row<'_>,
) -> Result<Option<ReleasedCredential>, StoreError> {
    match chosen.facts.kind {
        GrantKind::OAuth => {
            let (Some(token_generation), Some(sealed)) =
                (columns.get::<_, Option<TokenGeneration>>(1)?, columns.get::<_, Option<Sealed>>(6)?)
            else {
                return Ok(None);
            };
            let generation = count(columns, 0)?;
            let context =
                SealContext::of(app_id, Field::GrantAccessToken, chosen.facts.id.uuid(), generation);
            Ok(Some(ReleasedCredential::OAuth {
                access_token: SealedField { context, sealed },
                expires_at: chosen.facts.token_expires_at,
                scopes: scopes(columns.get_ref(5)?.as_str().unwrap_or_default()),
                token_generation,
            }))
        }
        GrantKind::ManagedSecret => {
            let Some(secret_id) = columns.get::<_, Option<SecretId>>(2)? else { return Ok(None) };
            let found = sql
                .prepare_cached(
                    "SELECT generation, material FROM managed_secrets WHERE app_id = ?1 AND id = ?2",
                )?
                .query_row(params![app_id, secret_id], |columns| {
                    Ok((count(columns, 0)?, columns.get::<_, Sealed>(1)?))
                })
                .optional()?;
            let Some((generation, sealed)) = found else { return Ok(None) };
            let context = SealContext::of(app_id, Field::SecretMaterial, secret_id.uuid(), generation);
            let material = SealedField { context, sealed };
            Ok(Some(ReleasedCredential::ManagedSecret { secret_id, material }))
        }
    }
}

//! `POST /sdk/token`: from an address to a sealed credential, with its row.

use std::sync::Arc;

use tokio_postgres::Client;

use super::{
    admit::{Admitted, admit, refuse},
    columns::{count, execute, get, maybe_instant, maybe_row, micros, params, scopes},
    grants,
    lanes::Unit,
    providers, users,
};
use crate::{
    audit::{Action, AuditRow},
    domain::{Address, AppId, GrantFacts, GrantKind, Provider, Refusal, SecretId, TokenGeneration},
    resolve::{self, Caller, KeptCredential, Search, Subject, Usable},
    seal::{Field, SealContext, Sealed, SealedField},
    store::{Outcome, Release, ReleaseCommand, Released, ReleasedCredential, StoreError, draft},
};
use alter_core::wire::code::Code;

/// Microseconds between notes of a grant's last use.
const USE_NOTED_EVERY: i64 = 60_000_000;
/// Ended grants that are looked at to say how a grant ended.
const ENDED_LOOKED_AT: i64 = 200;

pub(super) async fn release(
    unit: &mut Unit<'_>,
    command: &ReleaseCommand,
    mut row: AuditRow,
) -> Result<Outcome<Released>, StoreError> {
    let admission = &command.admission;
    let caller = match admit(unit, admission, &mut row).await? {
        Admitted::Yes(caller) => caller,
        Admitted::No(refusal) => return refuse(unit, row, Action::TokenRefused, refusal).await,
        Admitted::Stale => return Ok(Outcome::Stale),
    };
    let user = users::seen(unit, admission, command.user.as_ref()).await?;
    row.app_user_id = user;
    let groups = command.user.as_ref().map_or(&[][..], |user| &user.groups);
    let subject = user.map(|id| Subject { id, groups });
    let mut chosen = match choose(unit, command, &caller, subject, &mut row).await? {
        Ok(chosen) => chosen,
        Err(refusal) => return refuse(unit, row, Action::TokenRefused, refusal).await,
    };
    draft::describe(&mut row, &chosen);
    let loaded = load(unit.sql, admission.app_id, &mut chosen).await?;
    let Some(provider) = loaded.provider else {
        let text = "the grant's provider is gone: ask the operator";
        return refuse(unit, row, Action::TokenRefused, Refusal::new(Code::GrantNotFound, text)).await;
    };
    if let Err(refusal) = resolve::decide_destination(&provider, &command.request) {
        return refuse(unit, row, Action::TokenRefused, refusal).await;
    }
    let place = (admission.app_id, &chosen);
    let usable = match resolve::decide_usable(&caller, subject, place, &loaded.kept, &provider, command) {
        Ok(usable) => usable,
        Err(refusal) => return refuse(unit, row, Action::TokenRefused, refusal).await,
    };
    let Some(mut credential) = loaded.credential else {
        let mut refusal = Refusal::new(Code::CredentialRevoked, "the grant has no credential: connect again");
        refusal.grant_id = Some(chosen.id);
        return refuse(unit, row, Action::TokenRefused, refusal).await;
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
    let now = micros(admission.at);
    if loaded.last_used_at.is_none_or(|last| micros(last) + USE_NOTED_EVERY <= now) {
        // Calls of the same moment do not wait for each other to note the same.
        let text = "UPDATE grants SET last_used_at = $3 WHERE app_id = $1 AND id = (SELECT id FROM grants \
             WHERE app_id = $1 AND id = $2 FOR NO KEY UPDATE SKIP LOCKED)";
        execute(unit.sql, text, params![admission.app_id, chosen.id, now]).await?;
    }
    let (audit_id, actor_id, app_user_id) = (row.id, row.actor_id, row.app_user_id);
    unit.audit(row).await?;
    Ok(Outcome::Done(Released::Credential(Box::new(Release {
        grant_id: chosen.id,
        kind: chosen.kind,
        principal: chosen.principal,
        grant_expires_at: chosen.grant_expires_at,
        scope_mismatch: loaded.scope_mismatch,
        provider: Arc::new(provider),
        credential,
        app_user_id,
        actor_id,
        audit_id,
        key_deprecated: caller.key_deprecated,
        refresh_due,
    }))))
}

async fn choose(
    unit: &Unit<'_>,
    command: &ReleaseCommand,
    caller: &Caller,
    subject: Option<Subject<'_>>,
    row: &mut AuditRow,
) -> Result<Result<GrantFacts, Box<Refusal>>, StoreError> {
    let admission = &command.admission;
    match &command.address {
        Address::Grant(id) => {
            row.grant_id = Some(*id);
            let found = grants::facts_by_id(unit.sql, admission.app_id, *id).await?;
            let decision = resolve::decide_by_id(caller, subject, found.as_ref(), admission.at);
            Ok(match (decision, found) {
                (Ok(()), Some(facts)) => Ok(facts),
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
                    if row.app_user_id.is_none() {
                        row.app_user_id = search.app_user_id();
                    }
                    by_search(unit, command, &search).await
                }
                Err(refusal) => Ok(Err(refusal)),
            }
        }
    }
}

async fn by_search(
    unit: &Unit<'_>,
    command: &ReleaseCommand,
    search: &Search,
) -> Result<Result<GrantFacts, Box<Refusal>>, StoreError> {
    let admission = &command.admission;
    let (app_id, principals) = (admission.app_id, &search.principals);
    let mut facts = grants::active(unit.sql, app_id, &search.provider, principals).await?;
    let mut decision = resolve::decide(search, &facts, admission.at);
    if decision.as_ref().is_err_and(|refusal| refusal.code != Code::AmbiguousGrant) {
        // Only now does it matter what there used to be.
        facts.extend(grants::ended(unit.sql, app_id, &search.provider, principals, ENDED_LOOKED_AT).await?);
        decision = resolve::decide(search, &facts, admission.at);
    }
    Ok(decision.map(|place| facts.swap_remove(place)))
}

struct Loaded {
    provider: Option<Provider>,
    credential: Option<ReleasedCredential>,
    kept: KeptCredential,
    scope_mismatch: bool,
    last_used_at: Option<jiff::Timestamp>,
}

/// Everything that a release hands out: one statement. A refresh may have ended since the grant was chosen, so what was
/// chosen takes on what belongs to the credential: the old end with the new generation would cost a second refresh.
async fn load(sql: &Client, app_id: AppId, chosen: &mut GrantFacts) -> Result<Loaded, StoreError> {
    let text = "SELECT p.definition, g.scope_mismatch, g.last_used_at, g.generation, g.token_generation, g.scopes, \
         g.access_token, g.secret_id, s.generation, s.material, g.refresh_token IS NOT NULL, g.obtained_at, \
         g.refused_generation IS NOT DISTINCT FROM g.generation, g.reconnect_reason, g.token_expires_at, \
         g.needs_reconnect FROM grants g \
         LEFT JOIN providers p ON p.app_id = g.app_id AND p.id = g.provider_id \
         LEFT JOIN managed_secrets s ON s.app_id = g.app_id AND s.id = g.secret_id \
         WHERE g.app_id = $1 AND g.id = $2";
    let found = maybe_row(sql, text, params![app_id, chosen.id]).await?;
    let row = found.ok_or_else(|| StoreError::Corrupt("a grant is there and is not".to_owned()))?;
    let definition: Option<&str> = get(&row, 0)?;
    chosen.token_expires_at = maybe_instant(&row, 14)?;
    chosen.needs_reconnect = get(&row, 15)?;
    let credential = match chosen.kind {
        GrantKind::OAuth => {
            match (get::<Option<TokenGeneration>>(&row, 4)?, get::<Option<Sealed>>(&row, 6)?) {
                (Some(token_generation), Some(sealed)) => {
                    let generation = count(&row, 3)?;
                    let context =
                        SealContext::of(app_id, Field::GrantAccessToken, chosen.id.uuid(), generation);
                    Some(ReleasedCredential::OAuth {
                        access_token: SealedField { context, sealed },
                        expires_at: chosen.token_expires_at,
                        scopes: scopes(get(&row, 5)?),
                        token_generation,
                    })
                }
                _ => None,
            }
        }
        GrantKind::ManagedSecret => {
            match (get::<Option<SecretId>>(&row, 7)?, get::<Option<Sealed>>(&row, 9)?) {
                (Some(secret_id), Some(sealed)) => {
                    let context =
                        SealContext::of(app_id, Field::SecretMaterial, secret_id.uuid(), count(&row, 8)?);
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
            generation: count(&row, 3)?,
            refreshable: get(&row, 10)?,
            obtained_at: maybe_instant(&row, 11)?,
            refused: get(&row, 12)?,
            reconnect_reason: get(&row, 13)?,
        },
        scope_mismatch: get(&row, 1)?,
        last_used_at: maybe_instant(&row, 2)?,
    })
}

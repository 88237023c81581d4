//! How an app appears on the vault's pages, and where its users sign in.

use rusqlite::{Connection, OptionalExtension, params};
use secrecy::{ExposeSecret, SecretSlice, SecretString};

use super::{
    apps,
    columns::{count, integer},
    writer::Unit,
};
use crate::{
    audit::Action,
    domain::{AppConfig, AppId, Operator, PageSettings, SignInSettings},
    seal::{Sealed, SealedField},
    store::{StoreError, check, draft},
};

pub(super) fn set_page(
    unit: &mut Unit<'_>,
    by: &Operator,
    id: AppId,
    page: &PageSettings,
) -> Result<AppConfig, StoreError> {
    apps::must_exist(unit.sql, id)?;
    let text = serde_json::to_string(page).map_err(|error| StoreError::Invalid(error.to_string()))?;
    unit.sql.execute("UPDATE apps SET page = ?2 WHERE id = ?1", params![id, text])?;
    changed(unit, by, id, draft::page_text(page))
}

pub(super) fn set_sign_in(
    unit: &mut Unit<'_>,
    by: &Operator,
    id: AppId,
    sign_in: Option<&SignInSettings>,
    secret: Option<&SecretString>,
) -> Result<AppConfig, StoreError> {
    apps::must_exist(unit.sql, id)?;
    check::sign_in(sign_in, secret)?;
    let text = sign_in
        .map(serde_json::to_string)
        .transpose()
        .map_err(|error| StoreError::Invalid(error.to_string()))?;
    unit.sql.execute("UPDATE apps SET sign_in = ?2 WHERE id = ?1", params![id, text])?;
    if sign_in.is_none() {
        unit.sql.execute("UPDATE apps SET sign_in_secret = NULL WHERE id = ?1", [id])?;
    }
    if let Some(secret) = secret {
        let (generation, _) = kept_secret(unit.sql, id)?.ok_or(StoreError::NotFound("app"))?;
        let generation = generation + 1;
        let plain = SecretSlice::from(secret.expose_secret().as_bytes().to_vec());
        let sealed = unit.envelope.seal(&draft::sign_in_secret_context(id, generation), &plain)?;
        unit.sql.execute(
            "UPDATE apps SET sign_in_secret = ?2, sign_in_secret_generation = ?3 WHERE id = ?1",
            params![id, sealed, integer(generation)],
        )?;
    }
    changed(unit, by, id, draft::sign_in_text(sign_in, secret.is_some()))
}

fn changed(unit: &mut Unit<'_>, by: &Operator, id: AppId, text: String) -> Result<AppConfig, StoreError> {
    apps::bump(unit.sql, id)?;
    let mut row = draft::of_operator(by, id, Action::PageChanged);
    row.detail = Some(text);
    unit.audit(row)?;
    apps::config(unit.sql, id)?.ok_or(StoreError::NotFound("app"))
}

fn kept_secret(sql: &Connection, id: AppId) -> Result<Option<(u64, Option<Sealed>)>, StoreError> {
    let text = "SELECT sign_in_secret_generation, sign_in_secret FROM apps WHERE id = ?1";
    Ok(sql.prepare_cached(text)?.query_row([id], |row| Ok((count(row, 0)?, row.get(1)?))).optional()?)
}

pub(super) fn sign_in_secret(sql: &Connection, id: AppId) -> Result<Option<SealedField>, StoreError> {
    let (generation, sealed) = kept_secret(sql, id)?.ok_or(StoreError::NotFound("app"))?;
    Ok(sealed.map(|sealed| SealedField { context: draft::sign_in_secret_context(id, generation), sealed }))
}

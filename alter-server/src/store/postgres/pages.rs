//! How an app appears on the vault's pages, and where its users sign in.

use secrecy::{ExposeSecret, SecretSlice, SecretString};
use tokio_postgres::Client;

use super::{
    apps,
    columns::{count, execute, get, integer, maybe_row, params},
    lanes::Unit,
};
use crate::{
    audit::Action,
    domain::{AppConfig, AppId, Operator, PageSettings, SignInSettings},
    seal::{Sealed, SealedField},
    store::{StoreError, check, draft},
};

pub(super) async fn set_page(
    unit: &mut Unit<'_>,
    by: &Operator,
    id: AppId,
    page: &PageSettings,
) -> Result<AppConfig, StoreError> {
    apps::must_exist(unit.sql, id).await?;
    let text = serde_json::to_string(page).map_err(|error| StoreError::Invalid(error.to_string()))?;
    execute(unit.sql, "UPDATE apps SET page = $2 WHERE id = $1", params![id, text]).await?;
    changed(unit, by, id, draft::page_text(page)).await
}

pub(super) async fn set_sign_in(
    unit: &mut Unit<'_>,
    by: &Operator,
    id: AppId,
    sign_in: Option<&SignInSettings>,
    secret: Option<&SecretString>,
) -> Result<AppConfig, StoreError> {
    apps::must_exist(unit.sql, id).await?;
    check::sign_in(sign_in, secret)?;
    let text = sign_in
        .map(serde_json::to_string)
        .transpose()
        .map_err(|error| StoreError::Invalid(error.to_string()))?;
    // Without a sign-in there is nothing that a secret could be for.
    let change = "UPDATE apps SET sign_in = $2, \
         sign_in_secret = CASE WHEN $2::text IS NULL THEN NULL ELSE sign_in_secret END WHERE id = $1";
    execute(unit.sql, change, params![id, text]).await?;
    if let Some(secret) = secret {
        let (generation, _) = kept_secret(unit.sql, id).await?;
        let generation = generation + 1;
        let plain = SecretSlice::from(secret.expose_secret().as_bytes().to_vec());
        let sealed = unit.envelope.seal(&draft::sign_in_secret_context(id, generation), &plain)?;
        let text = "UPDATE apps SET sign_in_secret = $2, sign_in_secret_generation = $3 WHERE id = $1";
        execute(unit.sql, text, params![id, sealed, integer(generation)]).await?;
    }
    changed(unit, by, id, draft::sign_in_text(sign_in, secret.is_some())).await
}

async fn changed(
    unit: &mut Unit<'_>,
    by: &Operator,
    id: AppId,
    text: String,
) -> Result<AppConfig, StoreError> {
    apps::bump(unit.sql, id).await?;
    let mut row = draft::of_operator(by, id, Action::PageChanged);
    row.detail = Some(text);
    unit.audit(row);
    apps::config(unit.sql, id).await?.ok_or(StoreError::NotFound("app"))
}

async fn kept_secret(sql: &Client, id: AppId) -> Result<(u64, Option<Sealed>), StoreError> {
    let text = "SELECT sign_in_secret_generation, sign_in_secret FROM apps WHERE id = $1";
    let row = maybe_row(sql, text, params![id]).await?.ok_or(StoreError::NotFound("app"))?;
    Ok((count(&row, 0)?, get(&row, 1)?))
}

/// The app's client secret at its identity provider.
pub(super) async fn sign_in_secret(sql: &Client, id: AppId) -> Result<Option<SealedField>, StoreError> {
    let (generation, sealed) = kept_secret(sql, id).await?;
    Ok(sealed.map(|sealed| SealedField { context: draft::sign_in_secret_context(id, generation), sealed }))
}

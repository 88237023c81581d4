//! An app's configuration as it is kept: JSON in columns of its own, the same in every store.

use serde::de::DeserializeOwned;

use super::StoreError;
use crate::domain::{AppConfig, AppId};

/// The texts as they are read.
pub(super) struct AppTexts {
    pub(super) idp: Option<String>,
    pub(super) page: Option<String>,
    pub(super) sign_in: Option<String>,
}

impl AppTexts {
    pub(super) fn into_config(
        self,
        app_id: AppId,
        generation: u64,
        rate_limit_per_minute: Option<u32>,
        name: String,
    ) -> Result<AppConfig, StoreError> {
        Ok(AppConfig {
            app_id,
            generation,
            idp: parse(app_id, "identity provider", self.idp)?,
            rate_limit_per_minute,
            name,
            page: parse(app_id, "page", self.page)?.unwrap_or_default(),
            sign_in: parse(app_id, "sign-in", self.sign_in)?,
        })
    }
}

fn parse<T: DeserializeOwned>(
    app_id: AppId,
    what: &str,
    text: Option<String>,
) -> Result<Option<T>, StoreError> {
    text.map(|text| serde_json::from_str(&text))
        .transpose()
        .map_err(|error| StoreError::Corrupt(format!("{what} of app {app_id}: {error}")))
}

//! Operator operations: what the command line and an embedding program do to a vault. Input is checked before anything
//! is stored, and each change of an app and what it owns leaves an audit row under the operator's name. Turning the
//! key-encryption keys belongs to no app and leaves none.

mod access;
mod audit;
mod grants;
mod hooks;
mod import;
mod pages;
mod providers;
mod retention;
mod secrets;
mod users;
mod webhooks;

use std::sync::Arc;

pub use access::{KeyRequest, MintedKey};
pub use audit::Rotated;
pub use hooks::AddedHookSource;
pub use import::{ImportFault, ImportPlan, ImportedLine};
pub use providers::InjectionStyle;
#[cfg(test)]
pub(crate) use retention::Pruner;
pub use retention::{ExportedFile, Pruned, UnprunedChain};
pub use webhooks::AddedWebhook;

use crate::{
    domain::{App, AppId, Operator},
    idp::InvalidIdp,
    seal::KeyRingError,
    store::{Store, StoreError},
    vault::Core,
};

/// Why an operation was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The input breaks a rule; the text says which and what to do.
    #[error("{0}")]
    Invalid(String),
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// It contradicts what is there.
    #[error("{0}")]
    Conflict(String),
    /// The key-encryption keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeyRingError),
    /// The store did not do it.
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Invalid(text) => Self::Invalid(text),
            StoreError::NotFound(what) => Self::NotFound(format!("there is no such {what}")),
            StoreError::Conflict(text) => Self::Conflict(text),
            other => Self::Store(other),
        }
    }
}

impl From<InvalidIdp> for AdminError {
    fn from(error: InvalidIdp) -> Self {
        Self::Invalid(error.to_string())
    }
}

pub(crate) fn invalid(text: impl Into<String>) -> AdminError {
    AdminError::Invalid(text.into())
}

/// An operator of a vault. Made by [`crate::Vault::admin`].
///
/// ```no_run
/// # async fn demo(vault: alter_server::Vault) -> Result<(), alter_server::admin::AdminError> {
/// use alter_server::admin::KeyRequest;
///
/// let admin = vault.admin("setup");
/// let app = admin.create_app("shop").await?;
/// let minted = admin.create_key(app.id, KeyRequest::named("backend")).await?;
/// let client_key = minted.key; // shown once: only a digest is kept
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Admin {
    core: Arc<Core>,
    operator: String,
}

impl Admin {
    pub(crate) fn new(core: Arc<Core>, operator: String) -> Self {
        Self { core, operator }
    }

    fn by(&self) -> Operator {
        // The store keeps microseconds: what is answered now is what will be read later.
        let now = self.core.clock.now();
        let at = jiff::Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now);
        Operator { name: self.operator.clone(), at }
    }

    fn store(&self) -> &dyn Store {
        &*self.core.store
    }

    /// The app with this id or name.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`] if there is none.
    pub async fn app(&self, id_or_name: &str) -> Result<App, AdminError> {
        let id = id_or_name.parse::<AppId>().ok();
        let apps = self.store().list_apps().await?;
        let found = apps.into_iter().find(|app| Some(app.id) == id || app.name == id_or_name);
        found.ok_or_else(|| AdminError::NotFound(format!("there is no app {id_or_name:?}")))
    }

    /// The only app of the vault, for commands that name none.
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`] unless there is exactly one.
    pub async fn only_app(&self) -> Result<App, AdminError> {
        let mut apps = self.store().list_apps().await?;
        match (apps.pop(), apps.is_empty()) {
            (Some(app), true) => Ok(app),
            (Some(_), false) => Err(invalid("the vault has several apps: name one with --app")),
            (None, _) => {
                Err(AdminError::NotFound("the vault has no app yet: make one with `app create`".to_owned()))
            }
        }
    }
}

/// Checks a name for people: 1 to 100 characters, no control characters, no space around it.
fn named(what: &str, name: &str) -> Result<String, AdminError> {
    let fits = (1..=100).contains(&name.chars().count())
        && name.trim() == name
        && !name.chars().any(char::is_control);
    if fits {
        Ok(name.to_owned())
    } else {
        Err(invalid(format!("the {what}'s name must be 1 to 100 characters without control characters")))
    }
}

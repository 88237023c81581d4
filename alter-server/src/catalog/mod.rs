//! What is known of real OAuth providers: one reviewed file, `catalog/providers.toml`, that is part of the program.
//!
//! An entry is a provider without the app's registration there. [`Entry::provider`] makes a [`Provider`] of it, and that
//! is what the vault keeps: a later version of this file changes no vault. An operator's own file has the same form
//! ([`Entry::parse`]), so that no provider needs code.
//!
//! ```
//! use alter_server::catalog::{self, Registration};
//!
//! let google = catalog::find("google")?;
//! let provider = google.provider(Registration::new("123.apps.googleusercontent.com"))?;
//! assert_eq!(provider.oauth.unwrap().token_url.unwrap(), "https://oauth2.googleapis.com/token");
//!
//! let wrong = catalog::find("gogle").unwrap_err();
//! assert!(wrong.to_string().contains("google"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod entry;
mod fill;

use std::{collections::BTreeMap, sync::LazyLock};

pub use entry::{Checked, Entry, Registration, Variable};
use serde::Deserialize;

#[cfg(doc)]
use crate::domain::Provider;

const FILE: &str = include_str!("../../catalog/providers.toml");

static ENTRIES: LazyLock<BTreeMap<String, Entry>> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "a test reads the whole file, which does not change after that")]
    read(FILE).expect("the catalogue is well-formed")
});

/// Why the catalogue or a file of its form gave no provider. The text says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// No entry has this id.
    #[error("the catalogue has no provider {id:?}{}; `alter-server provider catalog` lists it, `--from-file` takes a definition of yours", did_you_mean(.nearest))]
    Unknown {
        /// What was asked for.
        id: String,
        /// Ids that are spelt alike, the nearest first.
        nearest: Vec<String>,
    },
    /// The file is not of this form.
    #[error("{0}")]
    Form(String),
    /// A value that a placeholder stands for was not given.
    #[error("{provider} needs --set {name}={}: {about}", .example)]
    Missing {
        /// The entry.
        provider: String,
        /// Name of the placeholder.
        name: String,
        /// What it is.
        about: String,
        /// What one looks like.
        example: String,
    },
    /// A value that cannot stand there.
    #[error("--set {name}: {rule}")]
    Value {
        /// Name of the placeholder.
        name: String,
        /// What it must be.
        rule: String,
    },
    /// The provider that came out is refused by [`Provider::check`].
    #[error("{provider}: {rule}")]
    Provider {
        /// The entry.
        provider: String,
        /// The rule that it breaks.
        rule: String,
    },
}

fn did_you_mean(nearest: &[String]) -> String {
    if nearest.is_empty() { String::new() } else { format!(" (near: {})", nearest.join(", ")) }
}

/// Every entry, by id.
pub fn entries() -> impl Iterator<Item = &'static Entry> {
    ENTRIES.values()
}

/// The entry with this id.
///
/// # Errors
///
/// [`CatalogError::Unknown`] with the ids that are spelt alike.
pub fn find(id: &str) -> Result<&'static Entry, CatalogError> {
    ENTRIES.get(id).ok_or_else(|| CatalogError::Unknown { id: shown(id), nearest: nearest(id) })
}

/// Up to three ids that are spelt like `id`.
fn nearest(id: &str) -> Vec<String> {
    let wanted = id.to_ascii_lowercase();
    let mut found: Vec<(f64, &String)> = ENTRIES
        .keys()
        .map(|known| {
            let part = wanted.len() >= 3 && (known.contains(&wanted) || wanted.contains(known.as_str()));
            let alike = strsim::jaro_winkler(known, &wanted);
            (if part { alike + 1.0 } else { alike }, known)
        })
        .filter(|(alike, _)| *alike > 0.8)
        .collect();
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found.into_iter().take(3).map(|(_, known)| known.clone()).collect()
}

/// Text that somebody typed, fit to be shown.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(100).collect()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    provider: Vec<Entry>,
}

fn read(text: &str) -> Result<BTreeMap<String, Entry>, CatalogError> {
    let file: File = entry::strict(text)?;
    let mut entries = BTreeMap::new();
    for entry in file.provider {
        let id = entry.id.to_string();
        if entries.insert(id.clone(), entry).is_some() {
            return Err(CatalogError::Form(format!("the id {id} is used twice")));
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests;

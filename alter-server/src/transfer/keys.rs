//! The key-encryption keys: whether everything that is sealed will open at the target.

use std::{collections::BTreeMap, path::Path};

use super::{
    At, Place, SOURCE, TransferError,
    side::Side,
    tables::{Seal, TABLES, Table},
    value::{Row, Value},
};
use crate::{
    domain::AppId,
    seal::{Envelope, KeyRing, SealContext, SealError, Sealed, SealedField},
};

/// The ring that a transfer works with: of `file` if one is named, else of the environment variable `ALTER_KEK`, else of the file
/// `kek` in the first of `places` that has one.
///
/// # Errors
///
/// [`TransferError::Keys`] if there is none, [`TransferError::Ring`] if it cannot be read.
pub fn ring_for(file: Option<&Path>, places: &[&Place]) -> Result<KeyRing, TransferError> {
    if let Some(file) = file {
        return Ok(KeyRing::from_file(file)?);
    }
    if let Some(ring) = KeyRing::from_env()? {
        return Ok(ring);
    }
    for place in places {
        if let Place::Folder(folder) = place
            && folder.join(crate::vault::KEY_FILE).exists()
        {
            return Ok(KeyRing::from_file(&folder.join(crate::vault::KEY_FILE))?);
        }
    }
    Err(TransferError::Keys(
        "no key-encryption keys: set ALTER_KEK or name the file that the vault is served with (--kek-file)"
            .to_owned(),
    ))
}

/// What is sealed in a row, with the place it belongs to.
pub(super) fn sealed_of(
    table: &'static Table,
    row: &Row,
) -> impl Iterator<Item = Result<SealedField, SealError>> {
    table.columns.iter().zip(row).filter_map(|(column, value)| {
        let (Some(seal), Value::Bytes(bytes)) = (column.sealed, value) else { return None };
        Some(
            context(table, row, seal)
                .map(|context| SealedField { context, sealed: Sealed::from_bytes(bytes.clone()) }),
        )
    })
}

fn context(table: &Table, row: &Row, seal: Seal) -> Result<SealContext, SealError> {
    let value = |name: &str| table.place(name).map(|place| &row[place]);
    // An app's own row is named by its id alone.
    let app = if table.name == "apps" { "id" } else { "app_id" };
    let app_id = match value(app) {
        Some(Value::Uuid(id)) => AppId::from_uuid(uuid::Uuid::from_bytes(*id)),
        // What belongs to the vault itself.
        None => AppId::VAULT,
        Some(_) => return Err(SealError::Malformed),
    };
    let name = match value(seal.row) {
        Some(Value::Uuid(id)) => id.to_vec(),
        Some(Value::Text(text)) => text.clone().into_bytes(),
        Some(Value::Bytes(bytes)) => bytes.clone(),
        _ => return Err(SealError::Malformed),
    };
    let generation = match seal.generation.map(value) {
        None => 1,
        Some(Some(Value::Int(generation))) => u64::try_from(*generation).map_err(|_| SealError::Malformed)?,
        Some(_) => return Err(SealError::Malformed),
    };
    Ok(SealContext { app_id, field: seal.field, row: name, generation })
}

/// Names of keys, and how many values each has sealed.
#[derive(Debug, Default)]
pub(super) struct KeyNames(BTreeMap<String, u64>);

impl KeyNames {
    /// Notes what a row is sealed with. The first value of each key is opened.
    ///
    /// # Errors
    ///
    /// [`TransferError::Keys`] if it does not open.
    pub(super) fn add(
        &mut self,
        table: &'static Table,
        row: &Row,
        envelope: &Envelope,
    ) -> Result<(), TransferError> {
        for field in sealed_of(table, row) {
            let field = field?;
            let name = field.sealed.key_name()?;
            if let Some(count) = self.0.get_mut(name) {
                *count += 1;
                continue;
            }
            let name = name.to_owned();
            envelope.open(&field).map_err(|error| {
                TransferError::Keys(format!(
                    "the vault has values (in {}) sealed with the key-encryption key {name:?}, and the ring that was given does not open \
                     them ({error}): give the ring that the vault is served with (--kek-file or ALTER_KEK)",
                    table.name
                ))
            })?;
            self.0.insert(name, 1);
        }
        Ok(())
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }
}

/// Looks at every sealed value of the source, and opens one of each key.
pub(super) async fn check(source: &Side, envelope: &Envelope) -> Result<KeyNames, TransferError> {
    let mut names = KeyNames::default();
    let sealed = |table: &&Table| table.columns.iter().any(|column| column.sealed.is_some());
    for table in TABLES.iter().filter(sealed) {
        let mut after = None;
        loop {
            let page = source.page(table, after).await.at(SOURCE)?;
            let Some(last) = page.last() else { break };
            after = Some(super::copy::key_of(table, last));
            for row in &page {
                names.add(table, row, envelope)?;
            }
        }
    }
    Ok(names)
}

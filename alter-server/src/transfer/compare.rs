//! Whether what arrived is what left.

use secrecy::ExposeSecret;

use super::{
    At, Depth, Place, SOURCE, TARGET, TableReport, TransferError,
    copy::key_of,
    keys::sealed_of,
    side::{self, Side},
    tables::{TABLES, Table},
    value::{Row, TableDigest},
};
use crate::{
    audit::VerifyReport,
    seal::{Envelope, SealedField},
};

/// What was the same.
pub(super) struct Compared {
    pub(super) tables: Vec<TableReport>,
    /// Sealed values that were opened.
    pub(super) opened: u64,
}

/// Reads both sides, side by side: every row must be the same, and what is opened must be, too.
pub(super) async fn sides(
    source: &Side,
    target: &Side,
    envelope: &Envelope,
    depth: Depth,
) -> Result<Compared, TransferError> {
    let mut compared = Compared { tables: Vec::with_capacity(TABLES.len()), opened: 0 };
    for table in TABLES {
        let (mut left, mut arrived) = (TableDigest::new(table), TableDigest::new(table));
        let mut after = None;
        loop {
            let (a, b) = tokio::join!(source.page(table, after.clone()), target.page(table, after));
            let (a, b) = (a.at(SOURCE)?, b.at(TARGET)?);
            if a.len() != b.len() {
                let (a, b) = (left.rows + a.len() as u64, arrived.rows + b.len() as u64);
                let name = table.name;
                return Err(TransferError::Differs(format!(
                    "{name} has {a} rows at the source and {b} at the target"
                )));
            }
            let Some(last) = a.last() else { break };
            after = Some(key_of(table, last));
            for (a, b) in a.iter().zip(&b) {
                let row = left.rows;
                left.add(a);
                arrived.add(b);
                if a != b {
                    return Err(differs(table, a, b));
                }
                if depth.covers(row) {
                    compared.opened += open_both(table, a, b, envelope)?;
                }
            }
        }
        let (rows, sha256) = (left.rows, left.finish());
        if arrived.rows != rows || arrived.finish() != sha256 {
            return Err(TransferError::Differs(format!("the rows of {}", table.name)));
        }
        compared.tables.push(TableReport { name: table.name.to_owned(), rows, copied: 0, sha256 });
    }
    Ok(compared)
}

fn differs(table: &Table, a: &Row, b: &Row) -> TransferError {
    let columns = table.columns.iter().zip(a.iter().zip(b));
    let column = columns.filter(|(_, (a, b))| a != b).map(|(column, _)| column.name).next().unwrap_or("?");
    TransferError::Differs(format!("row {:?} of {} in {column}", key_of(table, a), table.name))
}

fn open_both(table: &'static Table, a: &Row, b: &Row, envelope: &Envelope) -> Result<u64, TransferError> {
    let mut opened = 0;
    for (left, arrived) in sealed_of(table, a).zip(sealed_of(table, b)) {
        let (left, arrived) = (open(table, a, &left?, envelope)?, open(table, b, &arrived?, envelope)?);
        if left.expose_secret() != arrived.expose_secret() {
            return Err(TransferError::Differs(format!("a sealed value of {}", table.name)));
        }
        opened += 1;
    }
    Ok(opened)
}

/// Opens a value that a row holds.
pub(super) fn open(
    table: &Table,
    row: &Row,
    field: &SealedField,
    envelope: &Envelope,
) -> Result<secrecy::SecretSlice<u8>, TransferError> {
    envelope.open(field).map_err(|error| {
        TransferError::Differs(format!(
            "a sealed value of row {:?} of {}: {error}",
            key_of(table, row),
            table.name
        ))
    })
}

/// Walks the audit chains at the target.
pub(super) async fn chains(place: &Place, envelope: &Envelope) -> Result<VerifyReport, TransferError> {
    let report = side::verify_chains(place, envelope).await.at(TARGET)?;
    match report.chains.iter().find_map(|chain| Some((chain, chain.fault.as_ref()?))) {
        None => Ok(report),
        Some((chain, fault)) => Err(TransferError::Differs(format!(
            "the audit chain {} of app {} is broken at row {}: {}",
            chain.chain, chain.app_id, fault.seq, fault.what
        ))),
    }
}

//! A whole vault in one file: reading it. The format: see `file.rs`.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Seek},
    path::{Path, PathBuf},
    time::Instant,
};

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use secrecy::ExposeSecret;
use serde_json::Value as Json;
use subtle::ConstantTimeEq;

use super::{
    At, Depth, Place, Report, TARGET, TableReport, TransferError,
    compare::{chains, open},
    copy::{detail, key_of},
    file::{FORMAT, Footer, Header, VERSION, described, digest_context, sealed_digest},
    keys::{KeyNames, sealed_of},
    marker::{Marker, Role},
    side::{Chained, Side},
    tables::{TABLES, Table},
    value::{Row, TableDigest, Value},
};
use crate::{
    audit::Action,
    domain::Operator,
    seal::{Envelope, Sealed, SealedField},
};

/// Longest line that is read, bytes.
const LINE: u64 = 16 << 20;

/// Fills the empty place `to` with the vault that [`super::export`] wrote into `file`. The whole file is read and checked before anything
/// is kept. May be interrupted and run again with the same file.
///
/// # Errors
///
/// [`TransferError`]. Until the answer is `Ok`, the place cannot be opened.
pub async fn import(
    file: &Path,
    to: &Place,
    keys: &Envelope,
    by: &Operator,
    depth: Depth,
) -> Result<Report, TransferError> {
    let mut reader = Lines::open(file)?;
    let checked = reader.check(keys)?;
    let target = Side::open(to, true).await.at(TARGET)?;
    let there = target.marker().await.at(TARGET)?;
    let id = checked.id.clone();
    let resumed = match &there {
        Some(marker) if marker.role == Role::Filling && marker.id == id => true,
        Some(marker) => return Err(TransferError::Refused(format!("the target: {}", marker.refusal()))),
        None if target.is_empty().await.at(TARGET)? => false,
        None => {
            return Err(TransferError::Refused(format!(
                "the target ({}) is not empty: name a place where nothing is",
                target.describe()
            )));
        }
    };
    if !resumed {
        let marker = Marker { id: id.clone(), role: Role::Filling, peer: checked.from.clone(), at: by.at };
        target.mark(marker).await.at(TARGET)?;
    }
    tracing::info!(file = %file.display(), to = target.describe(), resumed, "filling the vault");
    let started = Instant::now();
    let mut copied = vec![0; TABLES.len()];
    reader.rewind()?;
    for (place, table) in TABLES.iter().enumerate() {
        let after = target.last_key(table).await.at(TARGET)?;
        loop {
            let mut page = reader.page(place, table)?;
            if page.is_empty() {
                break;
            }
            page.retain(|row| after.as_ref().is_none_or(|after| key_of(table, row) > *after));
            copied[place] += page.len() as u64;
            if !page.is_empty() {
                target.write(table, page, &id).await.at(TARGET)?;
            }
        }
    }
    let copy_seconds = started.elapsed().as_secs_f64();

    let started = Instant::now();
    let (tables, opened) = compare(&target, &checked.tables, keys, depth).await?;
    let walked = chains(to, keys).await?;
    let verify_seconds = started.elapsed().as_secs_f64();
    let tables: Vec<TableReport> =
        tables.into_iter().zip(copied).map(|(table, copied)| TableReport { copied, ..table }).collect();
    let from = format!("{} of {} ({})", file.display(), checked.at, checked.from);
    let row = Chained::of_operator(by, Action::VaultImported, by.at, detail("from", &from, &id, &tables));
    target.finish(&id, row).await.at(TARGET)?;
    let to = target.describe();
    target.close().await.at(TARGET)?;
    Ok(Report {
        id,
        from,
        to,
        resumed,
        tables,
        chains: walked.chains.len() as u64,
        audit_rows: walked.rows(),
        opened,
        keys: checked.keys,
        copy_seconds,
        verify_seconds,
    })
}

/// Reads what arrived, and holds it against the footer.
async fn compare(
    target: &Side,
    promised: &[TableReport],
    envelope: &Envelope,
    depth: Depth,
) -> Result<(Vec<TableReport>, u64), TransferError> {
    let (mut tables, mut opened) = (Vec::with_capacity(TABLES.len()), 0);
    for (table, promised) in TABLES.iter().zip(promised) {
        let mut digest = TableDigest::new(table);
        let mut page = target.page(table, None).await.at(TARGET)?;
        while let Some(last) = page.last() {
            let after = key_of(table, last);
            for row in &page {
                if depth.covers(digest.rows) {
                    for field in sealed_of(table, row) {
                        open(table, row, &field?, envelope)?;
                        opened += 1;
                    }
                }
                digest.add(row);
            }
            page = target.page(table, Some(after)).await.at(TARGET)?;
        }
        let (rows, sha256) = (digest.rows, digest.finish());
        if rows != promised.rows || sha256 != promised.sha256 {
            return Err(TransferError::Differs(format!("the rows of {}", table.name)));
        }
        tables.push(TableReport { copied: 0, ..promised.clone() });
    }
    Ok((tables, opened))
}

/// What a file says of itself, and what was found to be true.
struct Checked {
    id: String,
    at: String,
    from: String,
    tables: Vec<TableReport>,
    keys: Vec<String>,
}

/// The lines of an opened file. The same open file is read twice, so that nobody can exchange it in between.
struct Lines {
    path: PathBuf,
    input: BufReader<fs::File>,
    line: Vec<u8>,
    number: u64,
    /// A row that was read and belongs to the next page.
    ahead: Option<(usize, Row)>,
}

fn altered<T>(what: impl Into<String>) -> Result<T, TransferError> {
    Err(TransferError::Altered(what.into()))
}

impl Lines {
    fn open(path: &Path) -> Result<Self, TransferError> {
        let file = fs::File::open(path).map_err(|source| TransferError::File {
            path: path.to_owned(),
            what: "it cannot be opened",
            source,
        })?;
        let input = BufReader::with_capacity(1 << 18, file);
        Ok(Self { path: path.to_owned(), input, line: Vec::new(), number: 0, ahead: None })
    }

    fn rewind(&mut self) -> Result<(), TransferError> {
        (self.number, self.ahead) = (0, None);
        let done = self.input.rewind();
        done.map_err(|source| TransferError::File {
            path: self.path.clone(),
            what: "it cannot be read again",
            source,
        })?;
        // The header was checked.
        self.next().map(|_| ())
    }

    /// Reads the next line; whether there was one.
    fn next(&mut self) -> Result<bool, TransferError> {
        self.line.clear();
        self.number += 1;
        let read = self.input.by_ref().take(LINE).read_until(b'\n', &mut self.line);
        let length = read.map_err(|source| TransferError::File {
            path: self.path.clone(),
            what: "it cannot be read",
            source,
        })?;
        if length > 0 && self.line.last() != Some(&b'\n') {
            return altered(format!("line {} is cut or too long", self.number));
        }
        Ok(length > 0)
    }

    fn header(&mut self) -> Result<Header, TransferError> {
        let head: Option<Json> = if self.next()? { serde_json::from_slice(&self.line).ok() } else { None };
        let Some(head) = head.filter(|head| head["format"] == FORMAT) else {
            return altered("it does not begin with the header of one");
        };
        if head["version"] != VERSION {
            return altered(format!(
                "its format has version {}, and this program knows {VERSION}: use the newer program",
                head["version"]
            ));
        }
        let Ok(header) = serde_json::from_value::<Header>(head) else {
            return altered("its header is damaged");
        };
        if header.tables != described() {
            return altered(format!(
                "it was written with schema {}, and this program has {}: import it with the version that wrote it, then open the \
                 vault with this one",
                header.schema,
                crate::store::sqlite::SCHEMA
            ));
        }
        Ok(header)
    }

    /// The row in the present line, and the place of its table; `None` in the footer.
    fn row(&self) -> Result<Option<(usize, Row)>, TransferError> {
        if self.line.first() != Some(&b'[') {
            return Ok(None);
        }
        let row = || {
            let mut values = serde_json::from_slice::<Vec<Json>>(&self.line).ok()?.into_iter();
            let name = values.next()?;
            let place = TABLES.iter().position(|table| name == table.name)?;
            let columns = TABLES[place].columns;
            if values.len() != columns.len() {
                return None;
            }
            let row = values.zip(columns).map(|(value, column)| Value::from_json(value, column.kind));
            Some((place, row.collect::<Option<Row>>()?))
        };
        row().map_or_else(|| altered(format!("line {} is no row", self.number)), |row| Ok(Some(row)))
    }

    /// Reads all of it.
    ///
    /// # Errors
    ///
    /// [`TransferError::Altered`] unless every byte is what the vault wrote.
    fn check(&mut self, envelope: &Envelope) -> Result<Checked, TransferError> {
        let header = self.header()?;
        let mut digest = digest::Context::new(&digest::SHA256);
        digest.update(&self.line);
        let mut names = KeyNames::default();
        let mut tables: Vec<TableReport> = Vec::with_capacity(TABLES.len());
        let mut current = TableDigest::new(&TABLES[0]);
        let mut last: Option<Vec<Value>> = None;
        let close = |digest: TableDigest, tables: &mut Vec<TableReport>| {
            let name = TABLES[tables.len()].name.to_owned();
            tables.push(TableReport { name, rows: digest.rows, copied: 0, sha256: digest.finish() });
        };
        loop {
            if !self.next()? {
                return altered("its end is missing");
            }
            let Some((place, row)) = self.row()? else { break };
            if place < tables.len() {
                return altered(format!("line {} is out of order", self.number));
            }
            while tables.len() < place {
                let next = TableDigest::new(&TABLES[tables.len() + 1]);
                close(std::mem::replace(&mut current, next), &mut tables);
                last = None;
            }
            let table = &TABLES[place];
            let key = key_of(table, &row);
            if last.as_ref().is_some_and(|last| *last >= key) {
                return altered(format!("line {} is out of order", self.number));
            }
            last = Some(key);
            current.add(&row);
            names.add(table, &row, envelope)?;
            digest.update(&self.line);
        }
        close(current, &mut tables);
        for table in &TABLES[tables.len()..] {
            close(TableDigest::new(table), &mut tables);
        }
        let Ok(Footer { footer }) = serde_json::from_slice::<Footer>(&self.line) else {
            return altered(format!("line {} is neither a row nor the end", self.number));
        };
        if self.next()? {
            return altered("something follows after its end");
        }
        let found = sealed_digest(digest, &footer.tables, &footer.keys).ok();
        let found = found.as_ref().map(AsRef::as_ref).unwrap_or_default();
        if footer.tables != tables || footer.keys != names.names() || footer.sha256 != hex::encode(found) {
            return altered("its content is not what its end says");
        }
        let sealed = Sealed::from_bytes(BASE64.decode(&footer.sealed).unwrap_or_default());
        let opened = envelope.open(&SealedField { context: digest_context(), sealed });
        let opened = opened.map_err(|error| {
            TransferError::Altered(format!("its seal does not open with the keys that were given ({error})"))
        })?;
        if !bool::from(opened.expose_secret().ct_eq(found)) {
            return altered("its seal is of another file");
        }
        Ok(Checked { id: header.id, at: header.at, from: header.from, tables, keys: footer.keys })
    }

    /// The next rows of a table; none once another one begins.
    fn page(&mut self, place: usize, table: &Table) -> Result<Vec<Row>, TransferError> {
        let mut page = Vec::new();
        while page.len() < table.page as usize {
            let next = match self.ahead.take() {
                Some(ahead) => Some(ahead),
                None if self.next()? => self.row()?,
                None => None,
            };
            match next {
                Some((of, row)) if of == place => page.push(row),
                other => {
                    self.ahead = other;
                    break;
                }
            }
        }
        Ok(page)
    }
}

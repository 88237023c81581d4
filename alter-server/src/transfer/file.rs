//! A whole vault in one file: writing it.
//!
//! Lines of JSON, each ended by one LF. The first is a [`Header`], the last a [`Footer`], between them one line for each row:
//! `["grants", value, …]` with the values in the order of the header's columns. Tables come in the header's order, rows in the
//! order of their key. Integers, texts, booleans and null are themselves; bytes are base64, UUIDs their usual text.

use std::{
    fs,
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Instant,
};

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use secrecy::SecretSlice;
use serde::{Deserialize, Serialize};

use super::{
    At, ExportReport, Place, SOURCE, TableReport, TransferError,
    copy::key_of,
    keys::KeyNames,
    side::{self, Chained, Side},
    tables::{TABLES, Table},
    value::{Row, TableDigest},
};
use crate::{
    audit::Action,
    domain::{AppId, Operator},
    seal::{Envelope, Field, SealContext},
};

/// What the file is.
pub(super) const FORMAT: &str = "alter-vault-export";
/// Version of the format.
pub(super) const VERSION: u32 = 1;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) format: String,
    pub(super) version: u32,
    /// Of this export.
    pub(super) id: String,
    /// When, UTC.
    pub(super) at: String,
    /// Where the vault was.
    pub(super) from: String,
    /// Number of migrations that made its schema.
    pub(super) schema: u32,
    pub(super) tables: Vec<HeaderTable>,
}

/// What the lines of a table hold.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HeaderTable {
    pub(super) name: String,
    /// Name and kind of each.
    pub(super) columns: Vec<(String, String)>,
}

/// The last line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Footer {
    pub(super) footer: FooterBody,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FooterBody {
    pub(super) tables: Vec<TableReport>,
    /// Key-encryption keys that it needs.
    pub(super) keys: Vec<String>,
    /// SHA-256 of every byte before this line, and of the two fields above: see [`sealed_digest`].
    pub(super) sha256: String,
    /// The same 32 bytes sealed with the vault's key ring (AES-256-GCM): only who has the keys can have written the file.
    pub(super) sealed: String,
}

/// What is sealed in the footer.
pub(super) fn sealed_digest(
    lines: digest::Context,
    tables: &[TableReport],
    keys: &[String],
) -> Result<digest::Digest, serde_json::Error> {
    let mut context = lines;
    context.update(b"alter-vault-footer\n");
    context.update(&serde_json::to_vec(&(facts(tables), keys))?);
    Ok(context.finish())
}

fn facts(tables: &[TableReport]) -> Vec<(&str, u64, &str)> {
    tables.iter().map(|table| (table.name.as_str(), table.rows, table.sha256.as_str())).collect()
}

/// Where the digest belongs.
pub(super) fn digest_context() -> SealContext {
    SealContext {
        app_id: AppId::VAULT,
        field: Field::ExportDigest,
        row: FORMAT.as_bytes().to_vec(),
        generation: VERSION.into(),
    }
}

/// The tables as this program knows them.
pub(super) fn described() -> Vec<HeaderTable> {
    let columns = |table: &Table| {
        table.columns.iter().map(|c| (c.name.to_owned(), c.kind.as_str().to_owned())).collect()
    };
    TABLES.iter().map(|table| HeaderTable { name: table.name.to_owned(), columns: columns(table) }).collect()
}

/// Writes everything that the vault at `from` has into a new file (mode 0600), as of one moment, while the vault may be served. What is
/// sealed stays sealed; names of users, accounts and the audit trail are as readable as in the database. The key-encryption
/// keys are not in it. The file is there complete or not at all.
///
/// # Errors
///
/// [`TransferError`]. `keys` must hold the keys of the vault.
pub async fn export(
    from: &Place,
    file: &Path,
    keys: &Envelope,
    by: &Operator,
) -> Result<ExportReport, TransferError> {
    side::require_vault(from)?;
    let started = Instant::now();
    let source = Side::open(from, false).await.at(SOURCE)?;
    if let Some(marker) = source.marker().await.at(SOURCE)? {
        return Err(TransferError::Refused(marker.refusal()));
    }
    let mut draft = Draft::create(file)?;
    let id = uuid::Uuid::new_v4().to_string();
    // The row comes first, so that it is in the file, too.
    let detail = format!("everything, into {} (id {id})", file.display());
    source.append(Chained::of_operator(by, Action::VaultExported, by.at, detail)).await.at(SOURCE)?;
    source.begin_snapshot().await.at(SOURCE)?;
    let header = Header {
        format: FORMAT.to_owned(),
        version: VERSION,
        id,
        at: by.at.to_string(),
        from: source.describe(),
        schema: crate::store::sqlite::SCHEMA,
        tables: described(),
    };
    draft.line(&header)?;
    let mut names = KeyNames::default();
    let mut tables = Vec::with_capacity(TABLES.len());
    for table in TABLES {
        let mut digest = TableDigest::new(table);
        let mut page = source.page(table, None).await.at(SOURCE)?;
        while let Some(last) = page.last() {
            let after = key_of(table, last);
            for row in &page {
                names.add(table, row, keys)?;
                digest.add(row);
                draft.row(table, row)?;
            }
            page = source.page(table, Some(after)).await.at(SOURCE)?;
        }
        let (name, rows) = (table.name.to_owned(), digest.rows);
        tables.push(TableReport { name, rows, copied: rows, sha256: digest.finish() });
    }
    source.end_snapshot().await.at(SOURCE)?;
    let keys_needed = names.names();
    let bytes = draft.finish(&tables, &keys_needed, keys)?;
    Ok(ExportReport {
        file: file.to_owned(),
        bytes,
        tables,
        keys: keys_needed,
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// A file that is not complete yet. It goes away unless it is finished.
struct Draft {
    path: PathBuf,
    draft: PathBuf,
    out: BufWriter<fs::File>,
    digest: digest::Context,
    bytes: u64,
    line: Vec<u8>,
}

impl Draft {
    fn create(path: &Path) -> Result<Self, TransferError> {
        let failed = |what| move |source| TransferError::File { path: path.to_owned(), what, source };
        if path.exists() {
            return Err(TransferError::Refused(format!(
                "{} is there already: name a new file",
                path.display()
            )));
        }
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".partial-{}", uuid::Uuid::new_v4().simple()));
        let draft = PathBuf::from(name);
        let opened = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft);
        let out = opened.map_err(failed("it cannot be made: name a file in a writable folder"))?;
        let (out, digest) = (BufWriter::with_capacity(1 << 18, out), digest::Context::new(&digest::SHA256));
        Ok(Self { path: path.to_owned(), draft, out, digest, bytes: 0, line: Vec::new() })
    }

    fn failed(&self, what: &'static str) -> impl Fn(io::Error) -> TransferError + use<> {
        let path = self.path.clone();
        move |source| TransferError::File { path: path.clone(), what, source }
    }

    fn line(&mut self, value: &impl Serialize) -> Result<(), TransferError> {
        self.line.clear();
        let written = serde_json::to_writer(&mut self.line, value).map_err(io::Error::from);
        written.map_err(self.failed("a line cannot be written"))?;
        self.line.push(b'\n');
        self.bytes += self.line.len() as u64;
        self.digest.update(&self.line);
        self.out.write_all(&self.line).map_err(self.failed("it cannot be written"))
    }

    fn row(&mut self, table: &Table, row: &Row) -> Result<(), TransferError> {
        let mut line = Vec::with_capacity(row.len() + 1);
        line.push(serde_json::Value::from(table.name));
        line.extend(row.iter().map(super::value::Value::to_json));
        self.line(&line)
    }

    fn finish(
        mut self,
        tables: &[TableReport],
        keys: &[String],
        envelope: &Envelope,
    ) -> Result<u64, TransferError> {
        let digest = sealed_digest(self.digest.clone(), tables, keys)
            .map_err(|error| self.failed("the footer cannot be written")(error.into()))?;
        let sealed = envelope.seal(&digest_context(), &SecretSlice::from(digest.as_ref().to_vec()))?;
        let footer = Footer {
            footer: FooterBody {
                tables: tables.to_vec(),
                keys: keys.to_vec(),
                sha256: hex::encode(digest),
                sealed: BASE64.encode(sealed.as_bytes()),
            },
        };
        self.line(&footer)?;
        let failed = self.failed("it cannot be completed");
        self.out.flush().map_err(&failed)?;
        self.out.get_ref().sync_all().map_err(&failed)?;
        // A link fails where a file is already; a rename would replace it.
        fs::hard_link(&self.draft, &self.path).map_err(&failed)?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        fs::File::open(folder.unwrap_or(Path::new(".")))
            .and_then(|folder| folder.sync_all())
            .map_err(&failed)?;
        Ok(self.bytes)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.draft);
    }
}

//! Files that rows are exported to before retention removes them: a line that names the format, then one JSON object per row.
//!
//! A file is written under a name that ends in `.partial`, reaches the disk, is named by the signed cuts that the store keeps
//! (by its SHA-256), and only then gets its final name. So after an interruption a partial file is either named by a cut, and
//! gets its name, or it is not, and all its rows are still in the store.

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::{self, BufRead, BufReader, BufWriter, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use aws_lc_rs::digest;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{AuditRow, ChainHead, Checkpoint, PublicKey, checkpoint::sha256};
use crate::{
    domain::{AppId, RunId},
    seal::Sealed,
};

const FORMAT: &str = "alter-audit-export-v1";
const PARTIAL: &str = ".partial";
/// Longest line that is read, bytes: a row's texts and four sealed bodies have less.
const MAX_LINE: u64 = 1 << 20;

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    format: String,
    app_id: AppId,
    before: Timestamp,
}

/// One row in an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportLine {
    /// The row.
    pub row: AuditRow,
    /// [`AuditRow::bodies_digest`], which the row's own JSON form leaves out.
    #[serde(with = "super::text::maybe_hash")]
    pub bodies_digest: Option<[u8; 32]>,
    /// The sealed bodies of a report; the vault that exported them can open them. Base64.
    pub bodies: Option<String>,
}

impl ExportLine {
    /// The line of a row.
    #[must_use]
    pub fn new(row: AuditRow, bodies: Option<&Sealed>) -> Self {
        use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

        let bodies = bodies.map(|sealed| BASE64.encode(sealed.as_bytes()));
        Self { bodies_digest: row.bodies_digest, row, bodies }
    }

    /// The row as it was hashed, if the bodies belong to it.
    fn into_row(self) -> Result<AuditRow, &'static str> {
        use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

        let mut row = self.row;
        row.bodies_digest = self.bodies_digest;
        let Some(bodies) = self.bodies else { return Ok(row) };
        let sealed =
            BASE64.decode(bodies).map(Sealed::from_bytes).map_err(|_| "bodies that are not base64")?;
        let content = sealed.content().map_err(|_| "bodies that are damaged")?;
        if Some(sha256(content)) != row.bodies_digest {
            return Err("bodies that belong to another row");
        }
        Ok(row)
    }
}

/// A folder that takes exports, held by one process at a time.
#[derive(Debug)]
pub struct ExportFolder {
    path: PathBuf,
    _lock: fs::File,
}

impl ExportFolder {
    /// Makes the folder (mode 0700) if it is not there, and holds it.
    ///
    /// # Errors
    ///
    /// Those of the file system; `WouldBlock` while another process exports to it.
    pub fn hold(path: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let file = path.join(".lock");
        let lock = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(file)?;
        lock.try_lock()?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Files of exports that were interrupted before they got their name.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn leftovers(&self) -> io::Result<Vec<Exported>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if !name.starts_with("audit-") || !name.ends_with(PARTIAL) {
                continue;
            }
            let mut context = digest::Context::new(&digest::SHA256);
            let mut file = fs::File::open(&path)?;
            let mut buffer = vec![0; 1 << 16];
            loop {
                let length = file.read(&mut buffer)?;
                if length == 0 {
                    break;
                }
                context.update(&buffer[..length]);
            }
            found.push(Exported { partial: path, rows: 0, sha256: finished(context) });
        }
        Ok(found)
    }

    /// Begins a file for the rows of `app_id` that were written before `before`.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn begin(&self, app_id: AppId, before: Timestamp) -> io::Result<ExportWriter> {
        let stamp: String = before.to_string().chars().filter(|c| !matches!(c, '-' | ':')).collect();
        let partial = self.path.join(format!("audit-{app_id}-{stamp}{PARTIAL}"));
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
        let file = BufWriter::with_capacity(1 << 16, file);
        let mut writer =
            ExportWriter { file, context: digest::Context::new(&digest::SHA256), partial, rows: 0 };
        writer.line(&Head { format: FORMAT.to_owned(), app_id, before })?;
        Ok(writer)
    }
}

fn finished(context: digest::Context) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// A file that is being written.
pub struct ExportWriter {
    file: BufWriter<fs::File>,
    context: digest::Context,
    partial: PathBuf,
    rows: u64,
}

impl fmt::Debug for ExportWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExportWriter")
            .field("partial", &self.partial)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

impl ExportWriter {
    fn line(&mut self, value: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(value).map_err(io::Error::other)?;
        line.push(b'\n');
        self.context.update(&line);
        self.file.write_all(&line)
    }

    /// Adds a row.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn push(&mut self, line: &ExportLine) -> io::Result<()> {
        self.rows += 1;
        self.line(line)
    }

    /// Brings everything to the disk.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn finish(mut self) -> io::Result<Exported> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        sync_folder_of(&self.partial)?;
        Ok(Exported { partial: self.partial, rows: self.rows, sha256: finished(self.context) })
    }
}

/// A file that is complete and on the disk, and has no name yet.
#[derive(Debug)]
pub struct Exported {
    partial: PathBuf,
    /// Rows in it.
    pub rows: u64,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
}

impl Exported {
    /// Gives the file its name, which ends in the first digits of its digest.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn publish(self) -> io::Result<PathBuf> {
        let partial = self.partial.to_string_lossy();
        let stem = partial.strip_suffix(PARTIAL).unwrap_or(&partial);
        let path = PathBuf::from(format!("{stem}-{}.ndjson", hex::encode(&self.sha256[..4])));
        fs::rename(&self.partial, &path)?;
        sync_folder_of(&path)?;
        Ok(path)
    }

    /// Takes the file away: no cut names it, so its rows are still in the store.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn discard(self) -> io::Result<()> {
        fs::remove_file(self.partial)
    }
}

/// A cut that names a file, and the cut of the same chain before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedCut {
    /// The cut.
    pub cut: Checkpoint,
    /// The one before.
    pub before: Option<Checkpoint>,
}

/// What is wrong with an exported file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExportFault {
    /// The line, from 1; 0 for the whole file.
    pub line: u64,
    /// What is wrong.
    pub what: String,
}

/// What reading an exported file found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExportReport {
    /// The file.
    pub file: PathBuf,
    /// Rows in it.
    pub rows: u64,
    /// Chains in it that a cut of the store vouches for.
    pub chains: u64,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// The first thing that is wrong.
    pub fault: Option<ExportFault>,
}

/// The part of a chain that is in a file.
#[derive(Debug)]
struct Part {
    /// What the first row builds on.
    from: ChainHead,
    end: ChainHead,
}

/// A file that was read: every row was checked against the one before it.
#[derive(Debug)]
pub struct ExportReader {
    file: PathBuf,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
    rows: u64,
    parts: BTreeMap<(AppId, RunId), Part>,
    fault: Option<ExportFault>,
}

impl ExportReader {
    /// Reads a file, a line at a time.
    ///
    /// # Errors
    ///
    /// Those of the file system. What is wrong with the content is in the report.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut file = BufReader::with_capacity(1 << 16, fs::File::open(path)?);
        let mut context = digest::Context::new(&digest::SHA256);
        let mut read =
            Self { file: path.to_owned(), sha256: [0; 32], rows: 0, parts: BTreeMap::new(), fault: None };
        let (mut line, mut number, mut scratch) = (Vec::new(), 0, Vec::new());
        loop {
            line.clear();
            if file.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            number += 1;
            context.update(&line);
            if read.fault.is_none()
                && let Err(what) = read.line(number, &line, &mut scratch)
            {
                read.fault = Some(ExportFault { line: number, what });
            }
        }
        if number == 0 {
            read.fault = Some(ExportFault { line: 1, what: "the file is empty".to_owned() });
        }
        read.sha256 = finished(context);
        Ok(read)
    }

    fn line(&mut self, number: u64, line: &[u8], scratch: &mut Vec<u8>) -> Result<(), String> {
        if number == 1 {
            let head = serde_json::from_slice::<Head>(line).ok().filter(|head| head.format == FORMAT);
            return head.map(|_| ()).ok_or_else(|| format!("this is not an export ({FORMAT})"));
        }
        let line: ExportLine =
            serde_json::from_slice(line).map_err(|error| format!("an unreadable row: {error}"))?;
        let row = line.into_row()?;
        self.rows += 1;
        if row.computed_hash(scratch) != row.hash {
            return Err("the row was changed".to_owned());
        }
        let from = ChainHead { seq: row.seq.saturating_sub(1), hash: row.prev_hash };
        let part = self.parts.entry((row.app_id, row.chain)).or_insert_with(|| Part { from, end: from });
        if part.end != from {
            return Err("the row does not follow the one before it".to_owned());
        }
        part.end = ChainHead { seq: row.seq, hash: row.hash };
        Ok(())
    }

    /// Holds the file against the cuts that name it; `trusted` are the keys whose signatures count.
    ///
    /// Parts of chains that no cut names are allowed: an interruption between two cuts of one export leaves them, and their
    /// rows are still in the store.
    #[must_use]
    pub fn check(self, cuts: &[NamedCut], trusted: &[PublicKey]) -> ExportReport {
        let fault = self.fault.clone().or_else(|| {
            let what = self.against(cuts, trusted).err()?;
            Some(ExportFault { line: 0, what })
        });
        ExportReport {
            file: self.file,
            rows: self.rows,
            chains: cuts.len() as u64,
            sha256: hex::encode(self.sha256),
            fault,
        }
    }

    fn against(&self, cuts: &[NamedCut], trusted: &[PublicKey]) -> Result<(), String> {
        if cuts.is_empty() {
            return Err("no cut names this file: it was changed, or belongs to another vault".to_owned());
        }
        for NamedCut { cut, before } in cuts {
            let chain = cut.chain;
            for checkpoint in [Some(cut), before.as_ref()].into_iter().flatten() {
                if !trusted.contains(&checkpoint.key) || !checkpoint.signature_holds() {
                    return Err(format!("the cut of chain {chain} is not signed by a trusted key"));
                }
            }
            let linked = cut.previous == before.as_ref().map(Checkpoint::digest);
            let from =
                before.as_ref().map_or_else(|| ChainHead::genesis(cut.app_id, chain), Checkpoint::head);
            let part = self.parts.get(&(cut.app_id, chain));
            if !linked || part.is_none_or(|part| part.from != from || part.end != cut.head()) {
                return Err(format!("the rows of chain {chain} do not lead from its cut before to this one"));
            }
        }
        Ok(())
    }
}

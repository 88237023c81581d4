//! `audit verify` and `audit prune`.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use alter_core::clock::{Clock, SystemClock};
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{CliError, Session, input, output::Output};
use crate::{
    admin::{AdminError, Pruned},
    audit::{Checkpoint, Evidence, ExportReport, PublicKey, VerifyReport},
    store::AuditVerifyScope,
    vault::Vault,
};

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// Only the chains of the app; by default everything
    #[arg(long)]
    only_app: bool,
    /// A public key that was kept outside the database, or a file with such keys, as `audit key` prints them. Only what they
    /// signed counts then. May be repeated
    #[arg(long, value_name = "KEY_OR_FILE")]
    trust: Vec<String>,
    /// A file of checkpoints that was kept outside the database, as `audit checkpoint` prints them: what they show must still be
    /// there
    #[arg(long, value_name = "FILE")]
    anchors: Option<PathBuf>,
    /// Check exported files instead: each row follows the one before, and a signed cut in the database names the file
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["only_app", "anchors"])]
    export: Vec<PathBuf>,
}

impl Verify {
    pub(super) async fn run(self, session: &Session) -> Result<Output, CliError> {
        let trusted = self.trust.iter().map(|text| keys(text)).collect::<Result<Vec<_>, _>>()?.concat();
        let trusted = (!self.trust.is_empty()).then_some(trusted);
        if !self.export.is_empty() {
            let reports = session.admin.verify_exports(self.export, trusted.clone()).await?;
            return Ok(exports(&reports, trusted.is_some()));
        }
        let anchors = self.anchors.as_deref().map(anchors).transpose()?;
        let scope = if self.only_app {
            AuditVerifyScope::App(session.app().await?.id)
        } else {
            AuditVerifyScope::Everything
        };
        let anchored = anchors.as_ref().map(Vec::len);
        let evidence = Evidence { trusted: trusted.clone(), anchors: anchors.unwrap_or_default() };
        let report = session.admin.verify_audit_with(scope, evidence).await?;
        Ok(walked(&report, trusted.is_some(), anchored))
    }
}

fn trust_line(outside: bool) -> &'static str {
    if outside {
        "signatures were checked with the keys that were named"
    } else {
        "signatures were checked with the keys in the database that this vault's key ring opens: --trust takes keys from elsewhere"
    }
}

fn walked(report: &VerifyReport, outside: bool, anchors: Option<usize>) -> Output {
    // Every run of a process leaves a chain per app: only what is wrong is worth a line.
    let broken = report.chains.iter().filter_map(|chain| {
        let fault = chain.fault.as_ref()?;
        let (app, id) = (chain.app_id, chain.chain);
        Some(format!("app {app} chain {id}: BROKEN at row {}: {}", fault.seq, fault.what))
    });
    let mut lines: Vec<_> = broken.collect();
    let (rows, checkpoints, unsigned) = (report.rows(), report.checkpoints(), report.unsigned_rows());
    let cut: u64 = report.chains.iter().map(|chain| chain.cut).sum();
    let verdict = if report.ok() { "complete and unchanged" } else { "NOT complete or changed" };
    lines.push(format!("{} chains, {rows} rows: {verdict}", report.chains.len()));
    if cut > 0 {
        lines.push(format!(
            "{cut} rows before them were removed by retention: `audit verify --export` checks their files"
        ));
    }
    lines.push(format!(
        "{checkpoints} checkpoints; {unsigned} rows are newer than the last checkpoint of their chain"
    ));
    lines.push(trust_line(outside).to_owned());
    lines.push(match anchors {
        Some(count) => format!("{count} anchors were checked"),
        None => "no anchors were given: newest rows that vanished together with their checkpoints would not be noticed".to_owned(),
    });
    let value = json!({
        "ok": report.ok(),
        "rows": rows,
        "rows_removed_by_retention": cut,
        "checkpoints": checkpoints,
        "unsigned_rows": unsigned,
        "keys_from_outside": outside,
        "anchors": anchors,
        "chains": report.chains,
    });
    let output = Output::one(&value, lines.join("\n"));
    if report.ok() { output } else { output.bad() }
}

fn exports(reports: &[ExportReport], outside: bool) -> Output {
    let ok = reports.iter().all(|report| report.fault.is_none());
    let mut lines: Vec<_> = reports
        .iter()
        .map(|report| {
            let file = report.file.display();
            match &report.fault {
                Some(fault) => format!("{file}: BROKEN at line {}: {}", fault.line, fault.what),
                None => {
                    format!("{file}: {} rows, {} chains: complete and unchanged", report.rows, report.chains)
                }
            }
        })
        .collect();
    lines.push(trust_line(outside).to_owned());
    let value = json!({ "ok": ok, "keys_from_outside": outside, "files": reports });
    let output = Output::one(&value, lines.join("\n"));
    if ok { output } else { output.bad() }
}

/// A key, or the keys of a file in either form of `audit key`.
fn keys(text: &str) -> Result<Vec<PublicKey>, CliError> {
    if let Ok(key) = text.parse() {
        return Ok(vec![key]);
    }
    let content = input::text(Path::new(text))?;
    let words = content.split(|c: char| c.is_whitespace() || matches!(c, '"' | ',' | '[' | ']' | '{' | '}'));
    let keys: Vec<PublicKey> = words.filter_map(|word| word.parse().ok()).collect();
    if keys.is_empty() {
        return Err(
            AdminError::Invalid(format!("{text} is no public key, and no file that holds one")).into()
        );
    }
    Ok(keys)
}

/// Checkpoints, one JSON object per line, or one JSON array.
fn anchors(path: &Path) -> Result<Vec<Checkpoint>, CliError> {
    let text = input::text(path)?;
    let read = if text.trim_start().starts_with('[') {
        serde_json::from_str(&text)
    } else {
        text.lines().filter(|line| !line.trim().is_empty()).map(serde_json::from_str).collect()
    };
    read.map_err(|error| {
        let text = format!("{} is no file of checkpoints: {error}", path.display());
        AdminError::Invalid(text).into()
    })
}

#[derive(Debug, Args)]
pub(super) struct Prune {
    /// Rows from before this instant go: such as 2027-01-01T00:00:00Z, or an age such as 90d or 36h
    #[arg(long, value_name = "INSTANT_OR_AGE", value_parser = instant)]
    before: Timestamp,
    /// The folder that takes the files with the rows
    #[arg(long, value_name = "DIR")]
    export: PathBuf,
}

impl Prune {
    pub(super) async fn run(self, session: &Session) -> Result<Output, CliError> {
        let pruned = session.admin.prune_audit(self.before, &self.export).await?;
        let mut lines: Vec<_> = pruned
            .unpruned
            .iter()
            .map(|left| {
                let (app, chain) = (left.app_id, left.chain);
                format!("app {app} chain {chain}: left alone, {} at row {}", left.what, left.seq)
            })
            .collect();
        let Pruned { before, rows, files, swept, .. } = &pruned;
        lines.extend(files.iter().map(|file| format!("{}: {} rows", file.file.display(), file.rows)));
        lines.push(format!("{rows} rows before {before} are exported and no longer part of the trail"));
        if swept.partitions > 0 {
            lines.push(format!(
                "{} partitions were dropped, {} rows removed one by one",
                swept.partitions, swept.rows
            ));
        }
        let output = Output::one(&pruned, lines.join("\n"));
        Ok(if pruned.unpruned.is_empty() { output } else { output.bad() })
    }
}

/// Reads an instant, or an age.
fn instant(text: &str) -> Result<Timestamp, String> {
    let wrong =
        || format!("{text:?} is no instant such as 2027-01-01T00:00:00Z and no age such as 90d or 36h");
    match age(text) {
        Ok(age) => SystemClock.now().checked_sub(age).map_err(|_| wrong()),
        Err(_) => text.parse().map_err(|_| wrong()),
    }
}

/// Reads an age in days or hours.
fn age(text: &str) -> Result<SignedDuration, String> {
    let hours = match text.char_indices().last() {
        Some((end, 'd')) => text[..end].parse::<u32>().ok().map(|days| i64::from(days) * 24),
        Some((end, 'h')) => text[..end].parse::<u32>().ok().map(i64::from),
        _ => None,
    };
    let hours = hours.ok_or_else(|| format!("{text:?} is no age such as 90d or 36h"))?;
    Ok(SignedDuration::from_hours(hours))
}

/// What `serve` does with old rows.
#[derive(Debug, Args)]
pub(super) struct Retention {
    /// Every day remove audit rows of this age, such as 400d. One replica is enough: the one with the folder for the files
    #[arg(long, env = "ALTER_AUDIT_RETENTION", value_name = "AGE", value_parser = age, requires = "audit_export")]
    audit_retention: Option<SignedDuration>,
    /// The folder that takes the files with the removed rows
    #[arg(long, env = "ALTER_AUDIT_EXPORT", value_name = "DIR", requires = "audit_retention")]
    audit_export: Option<PathBuf>,
}

/// Pause before the first time, so that a process that is started again and again does other things first.
const FIRST: Duration = Duration::from_secs(60);
/// Pause between two times.
const EVERY: Duration = Duration::from_secs(86_400);

impl Retention {
    /// Removes old rows every day for as long as the process runs. It may end in the middle; the next time finishes it.
    pub(super) async fn run(self, vault: Vault) {
        let (Some(age), Some(folder)) = (self.audit_retention, self.audit_export) else { return };
        let admin = vault.admin("serve:retention");
        drop(vault);
        tokio::time::sleep(FIRST).await;
        loop {
            let before = SystemClock.now().checked_sub(age).unwrap_or(Timestamp::MIN);
            match admin.prune_audit(before, &folder).await {
                Ok(Pruned { rows, unpruned, .. }) => {
                    tracing::info!(rows, "old audit rows were exported and removed");
                    for chain in unpruned {
                        let (app, chain, seq, what) = (chain.app_id, chain.chain, chain.seq, chain.what);
                        tracing::error!(%app, %chain, seq, what, "an audit chain is broken and was left alone");
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "old audit rows could not be removed; it is tried again tomorrow");
                }
            }
            tokio::time::sleep(EVERY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_or_an_age_is_read() {
        assert_eq!(instant("2027-01-01T00:00:00Z").unwrap().as_second(), 1_798_761_600);
        let age = SystemClock.now().as_second() - instant("90d").unwrap().as_second();
        assert!((90 * 86_400..90 * 86_400 + 60).contains(&age), "{age}");
        for wrong in ["", "d", "-1d", "90", "yesterday", "90 d", "99999999999d"] {
            assert!(instant(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn keys_are_read_in_every_form_in_which_they_are_printed() {
        let key = PublicKey::from_bytes([251; 32]);
        assert_eq!(keys(&key.to_string()).unwrap(), [key]);
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        for text in [
            format!("PUBLIC KEY  ID  CREATED\n{key}  0011  2026-01-01T00:00:00Z\n"),
            json!([{ "id": "0011", "public": key }]).to_string(),
        ] {
            std::fs::write(path, text).unwrap();
            assert_eq!(keys(path).unwrap(), [key]);
        }
        std::fs::write(path, "nothing").unwrap();
        assert!(keys(path).is_err());
    }
}

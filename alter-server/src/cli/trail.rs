//! `audit` and `rotate`.

use clap::{Args, Subcommand};

use super::{
    CliError, Session,
    output::{Output, dash},
};
use crate::{audit::AuditFilter, store::AuditVerifyScope};

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// List rows, newest first
    List {
        /// At most so many, 1 to 10000
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
        /// Oldest first
        #[arg(long)]
        oldest_first: bool,
        /// Continue after this position, as printed by the command before
        #[arg(long)]
        after: Option<u64>,
        /// The rows of every app and of the vault itself
        #[arg(long)]
        all: bool,
    },
    /// Walk the hash chains; exit code 1 if a row is missing or was changed
    Verify {
        /// Only the chains of the app; by default everything
        #[arg(long)]
        only_app: bool,
    },
}

impl AuditCommand {
    pub(super) async fn run(self, session: &Session) -> Result<Output, CliError> {
        match self {
            Self::List { limit, oldest_first, after, all } => {
                let app_id = if all { None } else { Some(session.app().await?.id) };
                let filter = AuditFilter { app_id, after, newest_first: !oldest_first, limit };
                let page = session.admin.audit(filter).await?;
                let head = ["AT", "ACTION", "OUTCOME", "CODE", "CALLER", "PROVIDER", "GRANT", "URL"];
                let mut output = Output::list(&page.rows, head, |row| {
                    let outcome = serde_json::to_value(row.outcome).unwrap_or_default();
                    [
                        row.at.to_string(),
                        row.action.as_str().to_owned(),
                        dash(outcome.as_str()),
                        dash(row.code.as_ref()),
                        dash(row.caller.as_ref().or(row.key_prefix.as_ref())),
                        dash(row.provider.as_ref()),
                        dash(row.grant_id),
                        dash(row.url.as_ref()),
                    ]
                });
                if let Some(next) = page.next {
                    output.say(&format!("more: --after {next}"));
                }
                Ok(output)
            }
            Self::Verify { only_app } => {
                let scope = if only_app {
                    AuditVerifyScope::App(session.app().await?.id)
                } else {
                    AuditVerifyScope::Everything
                };
                let report = session.admin.verify_audit(scope).await?;
                // Every run of a process leaves a chain per app: only what is wrong is worth a line.
                let broken = report.chains.iter().filter_map(|chain| {
                    let fault = chain.fault.as_ref()?;
                    let (app, id) = (chain.app_id, chain.chain);
                    Some(format!("app {app} chain {id}: BROKEN at row {}: {}", fault.seq, fault.what))
                });
                let mut lines: Vec<_> = broken.collect();
                let rows: u64 = report.chains.iter().map(|chain| chain.rows).sum();
                let verdict = if report.ok() { "complete and unchanged" } else { "NOT complete or changed" };
                lines.push(format!("{} chains, {rows} rows: {verdict}", report.chains.len()));
                let value = serde_json::json!({ "ok": report.ok(), "rows": rows, "chains": report.chains });
                let output = Output::one(&value, lines.join("\n"));
                Ok(if report.ok() { output } else { output.bad() })
            }
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct Rotate {
    /// Add no key: wrap everything with the first key of the ring that is there
    #[arg(long)]
    reseal_only: bool,
}

impl Rotate {
    pub(super) async fn run(self, session: &Session) -> Result<Output, CliError> {
        let rotated = if self.reseal_only {
            session.admin.reseal().await?
        } else {
            session.admin.rotate_keys().await?
        };
        let text = format!(
            "key {} writes now; {} of {} sealed values were wrapped anew\nthe old keys stay in the key file: take them out once no backup needs them",
            rotated.writing_key, rotated.changed, rotated.seen
        );
        Ok(Output::one(&rotated, text))
    }
}

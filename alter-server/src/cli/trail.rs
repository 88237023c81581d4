//! `audit` and `rotate`.

use clap::{Args, Subcommand};

use super::{
    CliError, Session,
    output::{Output, dash},
    proof::{Prune, Verify},
};
use crate::{
    audit::{AuditFilter, CheckpointKey, PublicKey},
    store::AuditVerifyScope,
};

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
    /// Walk the hash chains and check their signed checkpoints; exit code 1 if a row is missing or was changed
    Verify(Verify),
    /// Print the public halves of the keys that sign checkpoints: keep them somewhere else than the database
    Key {
        /// Make another key, which signs from now on
        #[arg(long)]
        new: bool,
    },
    /// Walk the chains, sign where they stand now, and print the newest checkpoint of each as a line of JSON: keep them somewhere
    /// else than the database, for `verify --anchors`
    Checkpoint {
        /// The chains of every app and of the vault itself
        #[arg(long)]
        all: bool,
    },
    /// Export old rows to files, sign where the chains are cut, and remove the rows
    Prune(Prune),
}

impl AuditCommand {
    pub(super) async fn run(self, session: &Session) -> Result<Output, CliError> {
        match self {
            Self::List { limit, oldest_first, after, all } => {
                let app_id = if all { None } else { Some(session.app().await?.id) };
                let filter =
                    AuditFilter { app_id, after, newest_first: !oldest_first, limit, grants: Vec::new() };
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
            Self::Verify(verify) => verify.run(session).await,
            Self::Key { new } => {
                if new {
                    session.admin.add_checkpoint_key().await?;
                }
                let keys = session.admin.checkpoint_keys().await?;
                if keys.is_empty() {
                    let none: [KeyLine; 0] = [];
                    return Ok(Output::one(&none, "none yet: the first is made with the first checkpoint"));
                }
                let keys: Vec<KeyLine> = keys.iter().map(KeyLine::of).collect();
                Ok(Output::list(&keys, ["PUBLIC KEY", "ID", "CREATED"], |key| {
                    [key.public.to_string(), key.id.clone(), key.created_at.to_string()]
                }))
            }
            Self::Checkpoint { all } => {
                let scope = if all {
                    AuditVerifyScope::Everything
                } else {
                    AuditVerifyScope::App(session.app().await?.id)
                };
                let (report, checkpoints) = session.admin.checkpoint_audit(scope).await?;
                let lines: Result<Vec<_>, _> = checkpoints.iter().map(serde_json::to_string).collect();
                let output = Output::one(&checkpoints, lines.unwrap_or_default().join("\n"));
                if !report.ok() {
                    eprintln!("chains with a fault were not signed: see `audit verify`");
                    return Ok(output.bad());
                }
                Ok(output)
            }
            Self::Prune(prune) => prune.run(session).await,
        }
    }
}

/// A key that signs checkpoints, as it is printed.
#[derive(Debug, serde::Serialize)]
struct KeyLine {
    id: String,
    public: PublicKey,
    created_at: jiff::Timestamp,
}

impl KeyLine {
    fn of(key: &CheckpointKey) -> Self {
        Self { id: key.public.id(), public: key.public, created_at: key.created_at }
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

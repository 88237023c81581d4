//! `migrate`, `reopen`, `export` and `import`: the whole vault.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use clap::Args;
use jiff::Timestamp;
#[cfg(feature = "postgres")]
use secrecy::SecretString;

use super::{CliError, output::Output};
use crate::{
    admin::AdminError,
    domain::Operator,
    seal::Envelope,
    transfer::{self, Depth, Place, Report, TableReport},
};

/// Where from or to, as far as the options for all commands say.
pub(super) struct Here {
    pub(super) place: Place,
    pub(super) kek_file: Option<PathBuf>,
    pub(super) operator: String,
}

impl Here {
    fn keys(&self, other: Option<&Place>) -> Result<Envelope, CliError> {
        let places: Vec<&Place> = [Some(&self.place), other].into_iter().flatten().collect();
        Ok(Envelope::new(transfer::ring_for(self.kek_file.as_deref(), &places)?))
    }

    fn by(&self) -> Operator {
        Operator { name: self.operator.clone(), at: Timestamp::now() }
    }
}

/// Move the whole vault to another place: from SQLite to PostgreSQL or back
///
/// Nothing else may use the vault meanwhile: stop what serves it. The source is closed for good, the target opens only when
/// everything arrived and was verified. Interrupted, run the same command again.
#[derive(Debug, Args)]
pub(super) struct Migrate {
    /// Move into this folder
    #[arg(long, value_name = "DIR")]
    to_data_dir: Option<PathBuf>,
    /// Move into this PostgreSQL database: name it in the environment if it holds a password
    #[cfg(feature = "postgres")]
    #[arg(
        long,
        env = "ALTER_TO_DATABASE_URL",
        hide_env_values = true,
        value_name = "URL",
        conflicts_with = "to_data_dir"
    )]
    to_database_url: Option<SecretString>,
    /// How many sealed values are opened on both sides and compared; all rows are compared as they are in any case
    #[arg(long, value_enum, default_value = "sample")]
    verify: Depth,
}

impl Migrate {
    pub(super) async fn run(self, here: &Here) -> Result<Output, CliError> {
        let to = self.to_data_dir.map(Place::Folder);
        #[cfg(feature = "postgres")]
        let to = to.or(self.to_database_url.map(|url| Place::Postgres(url.into())));
        let to = to.ok_or_else(|| {
            let database = if cfg!(feature = "postgres") { " or --to-database-url URL" } else { "" };
            AdminError::Invalid(format!("say where the vault shall be: --to-data-dir DIR{database}"))
        })?;
        let keys = here.keys(Some(&to))?;
        let report = transfer::migrate(&here.place, &to, &keys, &here.by(), self.verify).await?;
        Ok(Output::one(&report, text_of(&report)))
    }
}

/// Open a vault again that was moved away, or give up an unfinished move. Only right if the copy will not be used
#[derive(Debug, Args)]
pub(super) struct Reopen {
    /// The copy will not be used any more: two vaults with the same grants spend each other's refresh tokens
    #[arg(long, required = true)]
    copy_is_not_used: bool,
}

impl Reopen {
    pub(super) async fn run(self, here: &Here) -> Result<Output, CliError> {
        let peer = transfer::reopen(&here.place, &here.by()).await?;
        let text = format!("the vault can be used again; what is at {peer} must not be");
        Ok(Output::one(&serde_json::json!({ "reopened": true, "was_moved_to": peer }), text))
    }
}

/// Write everything into one file, sealed as it is, while the vault may be served
///
/// The key-encryption keys are not in it: keep a copy of them elsewhere.
#[derive(Debug, Args)]
pub(super) struct Export {
    /// A file that does not exist yet
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Export {
    pub(super) async fn run(self, here: &Here) -> Result<Output, CliError> {
        let keys = here.keys(None)?;
        let report = transfer::export(&here.place, &self.file, &keys, &here.by()).await?;
        let mut text = table(&report.tables);
        let _ = write!(
            text,
            "\n{} bytes in {} after {:.1} s; whoever imports it needs the keys {}",
            report.bytes,
            report.file.display(),
            report.seconds,
            report.keys.join(", ")
        );
        Ok(Output::one(&report, text))
    }
}

/// Fill an empty place with a vault from a file that `export` wrote
#[derive(Debug, Args)]
pub(super) struct Import {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// How many sealed values are opened; all rows are compared as they are in any case
    #[arg(long, value_enum, default_value = "sample")]
    verify: Depth,
}

impl Import {
    pub(super) async fn run(self, here: &Here) -> Result<Output, CliError> {
        let keys = here.keys(None)?;
        let report =
            transfer::import(Path::new(&self.file), &here.place, &keys, &here.by(), self.verify).await?;
        Ok(Output::one(&report, text_of(&report)))
    }
}

fn text_of(report: &Report) -> String {
    let mut text = table(&report.tables);
    let Report { from, to, chains, audit_rows, opened, copy_seconds, verify_seconds, .. } = report;
    let again = if report.resumed { " (went on after an interruption)" } else { "" };
    let _ = write!(
        text,
        "\nfrom {from}\nto {to}{again}\nevery row is the same; {opened} sealed values opened; {chains} audit chains with {audit_rows} rows \
         complete and unchanged\ncopied in {copy_seconds:.1} s, verified in {verify_seconds:.1} s\nserve it with the keys {}",
        report.keys.join(", ")
    );
    text
}

fn table(tables: &[TableReport]) -> String {
    let list = Output::list(tables, ["TABLE", "ROWS", "COPIED", "SHA-256"], |table| {
        [
            table.name.clone(),
            table.rows.to_string(),
            table.copied.to_string(),
            table.sha256.get(..16).unwrap_or_default().to_owned(),
        ]
    });
    list.text().to_owned()
}

//! What a command reads.

use std::{
    io::{IsTerminal, Read},
    path::Path,
};

use alter_core::clock::{Clock, SystemClock};
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::CliError;
use crate::admin::AdminError;

/// Reads a secret from a file, or from standard input for `-`. Line ends at the end are not part of it.
pub(super) fn secret(path: &Path) -> Result<SecretString, CliError> {
    let text = text(path)?;
    Ok(SecretString::from(text.trim_end_matches(['\r', '\n'])))
}

/// Reads a text that holds secrets from a file, or from standard input for `-`.
pub(super) fn text(path: &Path) -> Result<Zeroizing<String>, CliError> {
    let mut text = Zeroizing::new(String::new());
    let read = if path == Path::new("-") {
        if std::io::stdin().is_terminal() {
            eprintln!("reading from standard input; end with Ctrl-D");
        }
        std::io::stdin().lock().read_to_string(&mut text)
    } else {
        std::fs::read_to_string(path).map(|read| {
            text = Zeroizing::new(read);
            text.len()
        })
    };
    read.map_err(|source| CliError::Io { what: format!("cannot read {}", path.display()), source })?;
    Ok(text)
}

/// The end of something's life.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(super) struct End {
    /// It ends at this instant, such as 2027-01-01T00:00:00Z
    #[arg(long, value_name = "INSTANT")]
    expires_at: Option<Timestamp>,
    /// It ends after so many days
    #[arg(long, value_name = "DAYS")]
    expires_in_days: Option<u32>,
}

impl End {
    pub(super) fn instant(&self) -> Result<Option<Timestamp>, CliError> {
        let Some(days) = self.expires_in_days else { return Ok(self.expires_at) };
        let length = SignedDuration::from_hours(i64::from(days) * 24);
        let end = SystemClock.now().checked_add(length);
        Ok(Some(end.map_err(|_| AdminError::Invalid("that is too far in the future".to_owned()))?))
    }
}

//! The reference on PostgreSQL: `pgbench` with the statements of a release.
//!
//! They are not written here: the server logs what a vault sends for one release, and that is made into a script. So both sides
//! always do the same reads and writes, whatever the vault's statements come to be.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
};

use alter_test_postgres::program;

use crate::Outcome;

/// A statement as the server logged it, with its parameters as text.
#[derive(Debug, Clone)]
struct Statement {
    text: String,
    parameters: Vec<Option<String>>,
    /// Sent as a text that may hold several.
    simple: bool,
}

/// A script and the values of its variables.
#[derive(Debug)]
pub(crate) struct Script {
    file: PathBuf,
    variables: Vec<(String, String)>,
}

/// How the statements travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Each waits for the answer to the one before.
    OneByOne,
    /// The reads together, then the writes and the commit together.
    TwoFlights,
}

/// One run.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) transactions: usize,
    pub(crate) per_second: f64,
    /// Mean, in microseconds.
    pub(crate) latency: f64,
}

/// The last transaction in the log that uses up a nonce, statement by statement.
fn last_release(log: &Path) -> Outcome<Vec<Statement>> {
    let text = fs::read_to_string(log)?;
    let mut open: Vec<(String, Vec<Statement>)> = Vec::new();
    let mut last = None;
    for line in text.lines() {
        let Some((pid, said)) = line.split_once('[').and_then(|(_, rest)| rest.split_once("] ")) else {
            continue;
        };
        let place = match open.iter().position(|(known, _)| known == pid) {
            Some(place) => place,
            None => {
                open.push((pid.to_owned(), Vec::new()));
                open.len() - 1
            }
        };
        let transaction = &mut open[place].1;
        if let Some(text) = said.strip_prefix("LOG:  statement: ") {
            if text.starts_with("BEGIN") {
                transaction.clear();
            }
            let text = text.to_owned();
            transaction.push(Statement { text, parameters: Vec::new(), simple: true });
            if transaction.last().is_some_and(|last| last.text == "COMMIT")
                && transaction.iter().any(|statement| statement.text.contains("INTO nonces"))
            {
                last = Some(transaction.clone());
            }
        } else if let Some(text) = said.strip_prefix("LOG:  execute <unnamed>: ") {
            let text = text.to_owned();
            transaction.push(Statement { text, parameters: Vec::new(), simple: false });
        } else if let Some((_, parameters)) =
            said.strip_prefix("DETAIL:  ").and_then(|detail| detail.split_once("arameters: "))
            && let Some(statement) = transaction.last_mut()
        {
            statement.parameters = parse(parameters);
        }
    }
    last.ok_or_else(|| "the server's log holds no release".into())
}

/// Reads `$1 = 'it''s', $2 = NULL`.
fn parse(mut text: &str) -> Vec<Option<String>> {
    let mut values = Vec::new();
    while let Some((_, rest)) = text.split_once(" = ") {
        let Some(quoted) = rest.strip_prefix('\'') else {
            values.push(None);
            text = rest;
            continue;
        };
        let mut value = String::new();
        let mut rest = quoted;
        while let Some((part, after)) = rest.split_once('\'') {
            value.push_str(part);
            rest = after;
            match rest.strip_prefix('\'') {
                Some(more) => {
                    value.push('\'');
                    rest = more;
                }
                None => break,
            }
        }
        values.push(Some(value));
        text = rest;
    }
    values
}

impl Script {
    /// Makes it of the last release in `log`.
    pub(crate) fn of_last_release(log: &Path, folder: &Path, way: Way) -> Outcome<Self> {
        let statements = last_release(log)?;
        let reads =
            statements.iter().rposition(|statement| statement.text.starts_with("SELECT")).unwrap_or(0);
        let mut script = "\\set seq :seq + 1\n".to_owned();
        let mut variables = Vec::new();
        let flight = |script: &mut String, word: &str| {
            if way == Way::TwoFlights {
                let _ = writeln!(script, "\\{word}pipeline");
            }
        };
        flight(&mut script, "start");
        for (number, statement) in statements.iter().enumerate() {
            for text in split(statement) {
                let text = with_variables(text, number, &statement.parameters, &mut variables);
                let _ = writeln!(script, "{text};");
            }
            if number == reads {
                flight(&mut script, "end");
                flight(&mut script, "start");
            }
        }
        flight(&mut script, "end");
        let file = folder.join(format!("{way:?}.sql"));
        fs::write(&file, script)?;
        Ok(Self { file, variables })
    }

    /// Keeps `clients` clients busy for this many seconds.
    pub(crate) fn run(&self, url: &str, clients: usize, seconds: u64) -> Outcome<Ran> {
        // Rows of one run do not meet those of another.
        static RUNS: AtomicU64 = AtomicU64::new(1);
        let first = RUNS.fetch_add(1, Ordering::Relaxed) * 100_000_000;
        let mut command = Command::new(program("pgbench"));
        command.args(["--no-vacuum", "--protocol=extended", "--jobs=1"]);
        command.args([format!("--client={clients}"), format!("--time={seconds}")]);
        command.arg("--file").arg(&self.file).arg(format!("--define=seq={first}"));
        for (name, value) in &self.variables {
            command.arg(format!("--define={name}={value}"));
        }
        let output = command.arg(url).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let number = |name: &str| -> Option<f64> {
            let line = said.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().split([' ', '/']).next()?.parse().ok()
        };
        let complained =
            !output.stderr.is_empty() && String::from_utf8_lossy(&output.stderr).contains("error");
        match (
            number("number of transactions actually processed:"),
            number("tps ="),
            number("latency average ="),
        ) {
            (Some(transactions), Some(per_second), Some(latency))
                if output.status.success() && !complained =>
            {
                Ok(Ran { transactions: transactions as usize, per_second, latency: latency * 1000.0 })
            }
            _ => {
                let complaint: String = String::from_utf8_lossy(&output.stderr).chars().take(600).collect();
                Err(format!("pgbench: {complaint}").into())
            }
        }
    }
}

/// pgbench sends one statement at a time.
fn split(statement: &Statement) -> Vec<&str> {
    if statement.simple { statement.text.split("; ").collect() } else { vec![&statement.text] }
}

/// Puts a variable where a parameter was, and something new each time where there must be something new.
fn with_variables(
    text: &str,
    number: usize,
    parameters: &[Option<String>],
    variables: &mut Vec<(String, String)>,
) -> String {
    let mut out = text.to_owned();
    // From the last, so that $1 does not find $12.
    for (place, value) in parameters.iter().enumerate().rev() {
        let place = place + 1;
        let new = match value {
            _ if text.contains("INTO nonces") && place == 4 => "uuid_send(gen_random_uuid())".to_owned(),
            _ if text.contains("INTO audit_rows") && place == 2 => {
                // A chain per client, as each lane has its own.
                "('00000000-0000-4000-8000-' || lpad(:client_id::text, 12, '0'))::uuid".to_owned()
            }
            _ if text.contains("INTO audit_rows") && place == 4 => "gen_random_uuid()".to_owned(),
            _ if text.contains("INTO audit_rows") && (place == 3 || place == 34) => ":seq".to_owned(),
            None => "NULL".to_owned(),
            Some(value) => {
                let name = format!("s{number}p{place}");
                variables.push((name.clone(), value.clone()));
                format!(":{name}")
            }
        };
        out = out.replace(&format!("${place}"), &new);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logged_parameters_are_read_as_they_were() {
        let read = parse("$1 = 'a', $2 = NULL, $3 = 'it''s, $9 = ', $4 = ''");
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(read, [text("a"), None, text("it's, $9 = "), text("")]);
    }
}

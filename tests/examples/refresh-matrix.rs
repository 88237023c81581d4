//! Makes the tables of `docs/refresh.md`: storms of callers at the moment when a token has expired, and crashes at each step of
//! a refresh, against real processes, a private PostgreSQL and a provider that ends a grant when a refresh token comes twice.
//!
//! ```text
//! cargo run -p alter-tests --release --example refresh-matrix -- storm|crash|all [--out docs/refresh.md]
//! ```
//!
//! Every cell is compared with what must come of it. What differs is printed, stands in the table, and makes the command end
//! with 1. Needs PostgreSQL's programs (Debian: `postgresql`) and some 12,000 file descriptors; about ten minutes.

#[path = "../src/refresh/mod.rs"]
mod refresh;

use std::{fs, path::Path, process::ExitCode, time::Duration};

use futures_util::{StreamExt as _, stream};

use self::refresh::{
    Program, Store,
    crash::{self, Moment},
    storm::{self, Cell, Fleet},
};

const CALLERS: [usize; 4] = [1, 8, 64, 1000];
const DELAYS_MS: [u64; 5] = [0, 300, 11_500, 31_000, 65_000];
/// How long grants are asked for after a crash: a loop would show.
const WATCH: Duration = Duration::from_secs(60);
/// Crashes played at the same time; they mostly wait.
const AT_ONCE: usize = 6;

#[tokio::main]
async fn main() -> ExitCode {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let (which, out) = match given.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [which @ ("storm" | "crash" | "all")] => (which, "docs/refresh.md"),
        [which @ ("storm" | "crash" | "all"), "--out", out] => (which, out),
        _ => {
            eprintln!("refresh-matrix storm|crash|all [--out docs/refresh.md]");
            return ExitCode::from(2);
        }
    };
    let mut wrong = 0;
    if which != "crash" {
        wrong += report(Path::new(out), "storm", storms().await);
    }
    if which != "storm" {
        wrong += report(Path::new(out), "crash", crashes().await);
    }
    if wrong > 0 {
        eprintln!("{wrong} cells are not as they must be");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Tables, and how many of their cells are wrong.
type Tables = (String, usize);

async fn storms() -> Tables {
    let fleet = |store, processes, program| Fleet { store, processes, program };
    let fleets = [
        fleet(Store::Sqlite, 1, Program::Replica),
        fleet(Store::Postgres, 1, Program::Replica),
        fleet(Store::Postgres, 2, Program::Replica),
        fleet(Store::Postgres, 4, Program::Replica),
        fleet(Store::Sqlite, 1, Program::Server),
        fleet(Store::Postgres, 2, Program::Server),
    ];
    let cells: Vec<_> = DELAYS_MS
        .into_iter()
        .flat_map(|delay_ms| CALLERS.map(|callers| Cell { callers, delay_ms }))
        .collect();
    let (mut text, mut wrong, mut played) = (String::new(), 0, 0);
    for fleet in fleets {
        let mut table = format!("\n### {fleet}\n\n{}", storm::HEAD);
        for (cell, outcome) in cells.iter().zip(storm::play(fleet, &cells).await) {
            table.push_str(&storm::line(*cell, &outcome));
            let faults = outcome.faults(*cell);
            played += 1;
            if !faults.is_empty() {
                wrong += 1;
                eprintln!("WRONG: {fleet}, {cell:?}: {faults:?}");
            }
        }
        print!("{table}");
        text.push_str(&table);
    }
    (format!("{played} cells, {} as expected.\n{text}", played - wrong), wrong)
}

async fn crashes() -> Tables {
    let (mut text, mut wrong, mut count) = (String::new(), 0, 0);
    for store in [Store::Sqlite, Store::Postgres] {
        let moments =
            Moment::ALL.into_iter().filter(|moment| store == Store::Postgres || !moment.needs_postgres());
        let played = moments
            .map(|moment| async move { (moment, tokio::spawn(crash::play(moment, store, WATCH)).await) });
        let mut played: Vec<_> = stream::iter(played).buffer_unordered(AT_ONCE).collect().await;
        played.sort_by_key(|(moment, _)| *moment);
        let mut table = format!("\n### {store}\n\n{}", crash::HEAD);
        for (moment, outcomes) in played {
            let Ok(outcomes) = outcomes else {
                wrong += 1;
                table.push_str(&format!("| {moment} | **could not be played** |\n"));
                continue;
            };
            for (provider, outcome) in outcomes {
                table.push_str(&crash::line(moment, provider, &outcome));
                let faults = outcome.faults(crash::expected(moment, provider));
                count += 1;
                if !faults.is_empty() {
                    wrong += 1;
                    eprintln!("WRONG: {store}, {moment}, provider {provider}: {faults:?}");
                }
            }
        }
        print!("{table}");
        text.push_str(&table);
    }
    (format!("{count} cells, {} as expected.\n{text}", count - wrong.min(count)), wrong)
}

/// Puts the tables between their markers; how many cells are wrong.
fn report(out: &Path, name: &str, (tables, wrong): Tables) -> usize {
    let (begin, end) = (format!("<!-- {name}: begin -->\n"), format!("<!-- {name}: end -->"));
    let text = fs::read_to_string(out).unwrap_or_default();
    let parts = text.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
    let written = match parts {
        Some((before, after)) => fs::write(out, format!("{before}{begin}\n{tables}\n{end}{after}")),
        None => Err(std::io::Error::other(format!("no markers {begin:?} and {end:?}"))),
    };
    if let Err(error) = written {
        eprintln!("{} was not written: {error}", out.display());
        return wrong + 1;
    }
    wrong
}

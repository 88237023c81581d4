//! The storm and the crashes, cut down to what a test run can wait for. The whole: `docs/refresh.md`.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};

use super::{
    Program, Store,
    crash::{self, Moment},
    storm::{self, Cell, Fleet},
};

const fn cell(callers: usize, delay_ms: u64) -> Cell {
    Cell { callers, delay_ms }
}

/// Callers and delays that every store and number of processes gets.
const QUICK: [Cell; 6] = [cell(1, 0), cell(8, 0), cell(64, 0), cell(1, 300), cell(8, 300), cell(64, 300)];

async fn storm(store: Store, processes: usize, cells: &[Cell]) {
    let fleet = Fleet { store, processes, program: Program::Replica };
    let outcomes = storm::play(fleet, cells).await;
    let mut faults = String::new();
    for (cell, outcome) in cells.iter().zip(&outcomes) {
        let wrong = outcome.faults(*cell);
        if !wrong.is_empty() {
            faults.push_str(&format!("{}{wrong:?}\n", storm::line(*cell, outcome)));
        }
    }
    assert!(faults.is_empty(), "{fleet}\n{}{faults}", storm::HEAD);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_many_want_it_the_provider_is_called_once_over_sqlite() {
    storm(Store::Sqlite, 1, &QUICK).await;
}

/// With the cell in which a lock that is not renewed fails: two processes, and a provider that takes 11.5 seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_many_want_it_at_two_processes_the_provider_is_called_once_over_postgres() {
    let mut cells = QUICK.to_vec();
    cells.push(cell(2, 11_500));
    storm(Store::Postgres, 2, &cells).await;
}

/// Several at the same time: most of them only wait for leases to run out.
async fn crashes(store: Store) {
    let moments =
        Moment::ALL.into_iter().filter(|moment| store == Store::Postgres || !moment.needs_postgres());
    let played = moments.map(|moment| async move {
        let watch = Duration::from_secs(1);
        (moment, tokio::spawn(crash::play(moment, store, watch)).await.unwrap())
    });
    let played: Vec<_> = stream::iter(played).buffer_unordered(6).collect().await;
    let mut faults = String::new();
    for (moment, outcomes) in played {
        for (provider, outcome) in outcomes {
            let wrong = outcome.faults(crash::expected(moment, provider));
            if !wrong.is_empty() {
                faults.push_str(&format!("{}{wrong:?}\n", crash::line(moment, provider, &outcome)));
            }
        }
    }
    assert!(faults.is_empty(), "{store}\n{}{faults}", crash::HEAD);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_kills_a_refresh_over_sqlite_the_grant_works_or_a_person_is_asked() {
    crashes(Store::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_kills_a_refresh_over_postgres_the_grant_works_or_a_person_is_asked() {
    crashes(Store::Postgres).await;
}

//! The storm: many callers want one grant at the moment when its token has expired.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use alter_sandbox::Faults;
use alter_server::domain::{GrantId, RefreshSettings, Rotation};
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::{
    caller::{Answer, Caller},
    place::{Place, Store},
    process::{Options, Process, Program},
    stage::{Stage, Wanted},
};

/// Where the callers spread over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fleet {
    pub(crate) store: Store,
    pub(crate) processes: usize,
    pub(crate) program: Program,
}

impl fmt::Display for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { store, processes, program } = self;
        let real = if *program == Program::Server { format!(", {}", program.name()) } else { String::new() };
        write!(f, "{store}, {processes} process{}{real}", if *processes == 1 { "" } else { "es" })
    }
}

/// One grant, and who wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) callers: usize,
    /// How late the provider answers; it has rotated at once.
    pub(crate) delay_ms: u64,
}

/// What came of one cell.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    /// Requests that the provider saw.
    pub(crate) calls: u64,
    /// Those that it refused.
    pub(crate) refused: u64,
    /// Callers who got a token in the end.
    pub(crate) served: usize,
    /// Callers who were told 409 `token_refresh_in_progress` at least once before.
    pub(crate) told_to_wait: usize,
    /// Callers who were told 503 at least once before, or lost their connection: more at once than the machine can do.
    pub(crate) told_busy: usize,
    /// Any other answer, and how many callers got it.
    pub(crate) other: BTreeMap<String, usize>,
    /// Different access tokens that were handed out.
    pub(crate) tokens: usize,
    /// The provider's API takes the token.
    pub(crate) works: bool,
    /// The grant does not need a person.
    pub(crate) healthy: bool,
    /// By how much the generation moved.
    pub(crate) moved: u64,
    /// When the last caller was served.
    pub(crate) took: Duration,
}

impl Outcome {
    /// What differs from what must be; empty if nothing does.
    pub(crate) fn faults(&self, cell: Cell) -> Vec<String> {
        let mut faults = Vec::new();
        let mut must = |holds: bool, what: String| {
            if !holds {
                faults.push(what);
            }
        };
        must(self.calls == 1, format!("{} provider calls instead of 1", self.calls));
        must(self.refused == 0, format!("{} refused refreshes", self.refused));
        must(self.served == cell.callers, format!("{} of {} callers served", self.served, cell.callers));
        must(self.other.is_empty(), format!("other answers: {:?}", self.other));
        must(self.tokens == 1, format!("{} different tokens", self.tokens));
        must(self.works, "the token does not work".to_owned());
        must(self.healthy, "the grant needs a person".to_owned());
        must(self.moved == 1, format!("the generation moved by {}", self.moved));
        // Callers wait for 25 seconds; well below, nobody may be sent away, unless the store itself could not keep up.
        let quick = cell.delay_ms < 20_000 && self.told_busy == 0;
        must(!quick || self.told_to_wait == 0, format!("{} callers told 409", self.told_to_wait));
        faults
    }
}

/// Between the beginnings of two cells of this many callers or more, so that the storms do not become one.
const MANY: usize = 500;
const APART: Duration = Duration::from_secs(4);

/// Plays all cells at the same time, each with a grant of its own.
pub(crate) async fn play(fleet: Fleet, cells: &[Cell]) -> Vec<Outcome> {
    let settings = RefreshSettings { rotation: Rotation::Always, ..RefreshSettings::default() };
    let stage = Stage::make(Place::make(fleet.store, false).await, &[("strict", settings)]).await;
    let wanted: Vec<_> = cells.iter().enumerate().map(|(number, cell)| wanted(number, *cell)).collect();
    let grants = stage.expired(&wanted).await;
    let options = Options::default();
    let fleet = join_all((0..fleet.processes).map(|_| Process::start(fleet.program, &stage.place, &options)));
    let fleet = fleet.await;
    let addresses: Vec<_> = fleet.iter().map(|process| process.base_url.clone()).collect();
    let mut many = 0;
    let played = cells.iter().zip(&grants).map(|(cell, grant)| {
        many += u32::from(cell.callers >= MANY);
        let (begin, caller, addresses) =
            (APART * many * u32::from(cell.callers >= MANY), &stage.caller, &addresses);
        async move {
            sleep(begin).await;
            storm(caller, addresses, *cell, *grant).await
        }
    });
    let mut outcomes = join_all(played.collect::<Vec<_>>()).await;
    for process in fleet {
        process.kill().await;
    }
    let kept = stage.kept().await;
    for ((outcome, grant), Wanted { user, .. }) in outcomes.iter_mut().zip(&grants).zip(&wanted) {
        let (seen, grant) = (stage.sandbox.account_counts(user, user), &kept[grant]);
        let outcome: &mut (Outcome, Option<String>) = outcome;
        outcome.0.calls = seen.token_calls;
        outcome.0.refused = seen.refused_refreshes;
        outcome.0.healthy = !grant.facts.needs_reconnect;
        outcome.0.moved = grant.generation - 1;
        if let Some(token) = &outcome.1 {
            outcome.0.works = stage.accepts(token).await;
        }
    }
    stage.sandbox.stop().await;
    outcomes.into_iter().map(|(outcome, _)| outcome).collect()
}

fn wanted(number: usize, cell: Cell) -> Wanted {
    let faults = Faults::default().rotate(true).reuse_detection(true).delay_ms(cell.delay_ms);
    Wanted { provider: "strict", user: format!("user-{number}"), faults }
}

/// All callers of one cell at once; also one of the tokens.
async fn storm(
    caller: &Caller,
    addresses: &[String],
    cell: Cell,
    grant: GrantId,
) -> (Outcome, Option<String>) {
    let began = Instant::now();
    let callers = (0..cell.callers).map(|number| {
        let (caller, address) = (caller.clone(), addresses[number % addresses.len()].clone());
        tokio::spawn(async move { insist(&caller, &address, grant).await })
    });
    let callers: Vec<_> = callers.collect();
    let (mut outcome, mut tokens) = (Outcome::default(), BTreeSet::new());
    for caller in callers {
        let (before, answer) = caller.await.unwrap();
        outcome.told_to_wait += usize::from(before.contains(&409));
        outcome.told_busy += usize::from(before.contains(&503) || before.contains(&0));
        match answer.token() {
            Some(token) if answer.is_served() => {
                outcome.served += 1;
                tokens.insert(token.to_owned());
            }
            _ => *outcome.other.entry(answer.to_string()).or_default() += 1,
        }
    }
    outcome.tokens = tokens.len();
    outcome.took = began.elapsed();
    (outcome, tokens.pop_first())
}

/// Asks again for as long as the vault says that this makes sense: what it said before, and the last answer.
async fn insist(caller: &Caller, address: &str, grant: GrantId) -> (BTreeSet<u16>, Answer) {
    let mut before = BTreeSet::new();
    for _ in 0..20 {
        let answer = caller.ask(address, grant).await;
        let Some(pause) = answer.retry_after() else { return (before, answer) };
        before.insert(answer.status);
        sleep(pause.max(Duration::from_millis(100))).await;
    }
    (before, caller.ask(address, grant).await)
}

/// The head of the table.
pub(crate) const HEAD: &str = "\
| Provider answers after | Callers | Provider calls | Refused | Served | Told 409 first | Told 503 or cut off first | Generation | Grant | Last served after |
|---:|---:|---:|---:|---:|---:|---:|---|---|---:|
";

/// One line of the table.
pub(crate) fn line(cell: Cell, outcome: &Outcome) -> String {
    let Cell { callers, delay_ms } = cell;
    let Outcome { calls, refused, served, told_to_wait, told_busy, moved, took, .. } = outcome;
    let state = if outcome.healthy { "healthy" } else { "**dead**" };
    let other = if outcome.other.is_empty() { String::new() } else { format!(" **{:?}**", outcome.other) };
    let (delay, took) = (seconds(delay_ms), took.as_secs_f64());
    format!(
        "| {delay} s | {callers} | {calls} | {refused} | {served}{other} | {told_to_wait} | {told_busy} | +{moved} | {state} | {took:.1} s |\n"
    )
}

/// One decimal place at most, and none where there is none.
fn seconds(milliseconds: u64) -> String {
    match (milliseconds / 1000, milliseconds % 1000 / 100) {
        (whole, 0) => whole.to_string(),
        (whole, tenths) => format!("{whole}.{tenths}"),
    }
}

//! Crashes: a process is killed, or stopped past its lease, or loses its database, at each step of a refresh; then somebody
//! else asks for the same grant. What must come of it is written down here, before anything runs.

use std::{collections::BTreeSet, fmt, time::Duration};

use alter_sandbox::{Faults, TokenFault};
use alter_server::domain::{Grant, GrantId, RefreshSettings, Rotation};
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::{
    caller::{Answer, Caller},
    place::{Place, Store},
    process::{Options, Process, Program},
    stage::{Stage, Wanted},
};

/// Lease of a refresh in these cells, in milliseconds: a tenth of the vault's own, so that nobody waits long for the dead.
const LEASE_MS: u64 = 1_500;
/// How late the provider answers where something is to happen meanwhile. It has rotated at once.
const CALL_MS: u64 = 3_000;
/// Longest time until the next caller is served or told that a person must connect again.
const NEXT: Duration = Duration::from_secs(60);
/// Seconds for which the provider with a reuse window takes a spent refresh token again.
const WINDOW: u32 = 120;

/// What happens to the process that refreshes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Moment {
    KilledBeforeNote,
    KilledAfterNote,
    KilledDuringCall,
    KilledBeforeCommit,
    KilledAfterCommit,
    KilledRenewing,
    FrozenAfterNote,
    FrozenDuringCall,
    FrozenBeforeCommit,
    AnswerDropped,
    DatabaseDuringCall,
    DatabaseBeforeCommit,
}

impl Moment {
    pub(crate) const ALL: [Self; 12] = [
        Self::KilledBeforeNote,
        Self::KilledAfterNote,
        Self::KilledDuringCall,
        Self::KilledBeforeCommit,
        Self::KilledAfterCommit,
        Self::KilledRenewing,
        Self::FrozenAfterNote,
        Self::FrozenDuringCall,
        Self::FrozenBeforeCommit,
        Self::AnswerDropped,
        Self::DatabaseDuringCall,
        Self::DatabaseBeforeCommit,
    ];

    pub(crate) fn needs_postgres(self) -> bool {
        matches!(self, Self::DatabaseDuringCall | Self::DatabaseBeforeCommit)
    }

    fn is_frozen(self) -> bool {
        matches!(self, Self::FrozenAfterNote | Self::FrozenDuringCall | Self::FrozenBeforeCommit)
    }

    /// The step at which the process is made to stand still first.
    fn stop_at(self) -> Option<&'static str> {
        match self {
            Self::KilledBeforeNote => Some("note"),
            Self::KilledAfterNote | Self::FrozenAfterNote => Some("noted"),
            Self::KilledBeforeCommit | Self::FrozenBeforeCommit | Self::DatabaseBeforeCommit => {
                Some("answered")
            }
            Self::KilledAfterCommit => Some("saved"),
            Self::KilledRenewing => Some("renewing"),
            Self::KilledDuringCall
            | Self::FrozenDuringCall
            | Self::AnswerDropped
            | Self::DatabaseDuringCall => None,
        }
    }

    /// Whether the provider is to answer late.
    fn is_slow(self) -> bool {
        matches!(
            self,
            Self::KilledDuringCall | Self::KilledRenewing | Self::FrozenDuringCall | Self::DatabaseDuringCall
        )
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KilledBeforeNote => "`kill -9` before the note",
            Self::KilledAfterNote => "`kill -9` after the note, before the call",
            Self::KilledDuringCall => "`kill -9` during the call",
            Self::KilledBeforeCommit => "`kill -9` after the answer, before the commit",
            Self::KilledAfterCommit => "`kill -9` after the commit",
            Self::KilledRenewing => "`kill -9` during a renewal of the lease",
            Self::FrozenAfterNote => "SIGSTOP after the note, past the lease; another takes over; SIGCONT",
            Self::FrozenDuringCall => "SIGSTOP during the call, past the lease; another takes over; SIGCONT",
            Self::FrozenBeforeCommit => {
                "SIGSTOP before the commit, past the lease; another takes over; SIGCONT"
            }
            Self::AnswerDropped => "the provider rotates and drops its answer",
            Self::DatabaseDuringCall => "PostgreSQL crashes and restarts during the call",
            Self::DatabaseBeforeCommit => "PostgreSQL crashes before the commit and restarts",
        })
    }
}

/// What the provider does with refresh tokens, and what the vault was told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Provider {
    /// Refresh tokens stay.
    Never,
    /// Each is good for one use, and for a while longer.
    Window,
    /// Each is good for one use, and a second one ends everything. The vault was told.
    Strict,
    /// The same, and the vault knows nothing of it: it was told nothing, and this is the first refresh.
    Unknown,
}

impl Provider {
    pub(crate) const ALL: [Self; 4] = [Self::Never, Self::Window, Self::Strict, Self::Unknown];

    fn id(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Window => "window",
            Self::Strict => "strict",
            Self::Unknown => "unknown",
        }
    }

    fn settings(self) -> RefreshSettings {
        let (rotation, reuse_window_seconds) = match self {
            Self::Never => (Rotation::Never, None),
            Self::Window => (Rotation::Always, Some(WINDOW)),
            Self::Strict => (Rotation::Always, None),
            Self::Unknown => (Rotation::Observed, None),
        };
        RefreshSettings { rotation, reuse_window_seconds, ..RefreshSettings::default() }
    }

    fn faults(self) -> Faults {
        let rotating = Faults::default().rotate(true).reuse_detection(true);
        match self {
            Self::Never => Faults::default(),
            Self::Window => rotating.reuse_window(WINDOW.into()),
            Self::Strict | Self::Unknown => rotating,
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Never => "does not rotate",
            Self::Window => "rotates, reuse window",
            Self::Strict => "rotates, reuse is fatal",
            Self::Unknown => "the same, and the vault was not told",
        })
    }
}

/// What must come of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) calls: u64,
    pub(crate) refused: u64,
    /// The next caller gets a working token; else the grant is latched as "rotation outcome unknown".
    pub(crate) served: bool,
}

/// What must come of it: the contract, in one place.
pub(crate) fn expected(moment: Moment, provider: Provider) -> Expected {
    use Moment as M;
    let served = |calls| Expected { calls, refused: 0, served: true };
    let lost = |calls, refused| Expected { calls, refused, served: false };
    match (moment, provider) {
        // Nothing had begun, or everything was kept; and who keeps its lease through a restart of the database goes on.
        (M::KilledBeforeNote | M::KilledAfterCommit | M::DatabaseDuringCall | M::DatabaseBeforeCommit, _) => {
            served(1)
        }
        // The note says that the token may be spent. It is not, but only the dead knew that.
        (M::KilledAfterNote | M::FrozenAfterNote, Provider::Strict) => lost(0, 0),
        (M::KilledAfterNote | M::FrozenAfterNote, _) => served(1),
        // Spent, and the answer is gone, or with somebody whose lease is over. To present it again is harmless with some …
        (_, Provider::Never | Provider::Window) => served(2),
        // … not done with a provider of which it is known that it is not …
        (_, Provider::Strict) => lost(1, 0),
        // … and the only way to find out with one of which nothing is known: its refusal proves that nothing was left to lose.
        (_, Provider::Unknown) => lost(2, 1),
    }
}

/// What came of a cell.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) calls: u64,
    pub(crate) refused: u64,
    /// What the next caller was told before, each text once.
    pub(crate) before: BTreeSet<String>,
    /// What the next caller got in the end.
    pub(crate) next: Answer,
    /// The provider's API takes what it got.
    pub(crate) works: bool,
    /// From its first question to that.
    pub(crate) after: Duration,
    /// The grant as it is kept at the end.
    pub(crate) kept: Box<Grant>,
    /// Everybody asked afterwards got the same as the next caller: an older token never came back.
    pub(crate) stayed: bool,
    /// How often it was asked for afterwards.
    pub(crate) asked: usize,
    /// Provider calls that this caused: a loop, if there is one.
    pub(crate) further_calls: u64,
    /// The frozen process came back, and the database refused what it wanted to write.
    pub(crate) late_refused: Option<bool>,
}

impl Outcome {
    /// What differs from what must be; empty if nothing does.
    pub(crate) fn faults(&self, expected: Expected) -> Vec<String> {
        let mut faults = Vec::new();
        let mut must = |holds: bool, what: String| {
            if !holds {
                faults.push(what);
            }
        };
        let Expected { calls, refused, served } = expected;
        must(self.calls == calls, format!("{} provider calls instead of {calls}", self.calls));
        must(self.refused == refused, format!("{} refused refreshes instead of {refused}", self.refused));
        must(self.stayed, "what was served changed afterwards".to_owned());
        must(self.further_calls == 0, format!("{} further provider calls", self.further_calls));
        must(self.late_refused != Some(false), "nothing says that the late writer was refused".to_owned());
        let moved = u64::from(served);
        must(self.kept.generation == 1 + moved, format!("generation {}", self.kept.generation));
        must(self.kept.facts.needs_reconnect != served, format!("dead: {}", self.kept.facts.needs_reconnect));
        let next = if served { "200" } else { "403 `credential_revoked`" };
        must(self.next.to_string() == next, format!("the next caller got {}: {}", self.next, self.next.body));
        must(self.works == served, format!("the token works: {}", self.works));
        if !served {
            let why = self.next.body.to_string();
            must(why.contains("rotation_outcome_unknown"), format!("the next caller was told {why}"));
        }
        faults
    }
}

/// Plays one moment with all four kinds of provider at once, each with a grant of its own; then asks for each grant for
/// `watch` and looks whether anything changes.
pub(crate) async fn play(moment: Moment, store: Store, watch: Duration) -> Vec<(Provider, Outcome)> {
    let providers = Provider::ALL.map(|provider| (provider.id(), provider.settings()));
    let stage = Stage::make(Place::make(store, moment.needs_postgres()).await, &providers).await;
    let wanted = Provider::ALL.map(|provider| Wanted {
        provider: provider.id(),
        user: provider.id().to_owned(),
        faults: at_first(moment, provider),
    });
    let grants = stage.expired(&wanted).await;
    let lease_ms = (!moment.needs_postgres()).then_some(LEASE_MS);
    let start = |stop_at| {
        let (options, place) = (Options { lease_ms, stop_at }, &stage.place);
        async move { Process::start(Program::Replica, place, &options).await }
    };
    let mut owner = start(moment.stop_at()).await;
    // A replica is there already; a process over SQLite is started when it is needed.
    let mut other = if store == Store::Postgres { Some(start(None).await) } else { None };
    let first: Vec<_> = grants
        .iter()
        .map(|grant| {
            let (caller, address, grant) = (stage.caller.clone(), owner.base_url.clone(), *grant);
            tokio::spawn(async move { caller.ask(&address, grant).await })
        })
        .collect();
    reach(moment, &stage, &mut owner).await;
    happen(moment, &stage, &mut owner).await;
    for provider in Provider::ALL {
        if moment != Moment::AnswerDropped && !moment.needs_postgres() {
            stage.sandbox.set_account_faults(provider.id(), provider.id(), provider.faults());
        }
    }
    let mut owner = Some(owner);
    if !moment.needs_postgres() && !moment.is_frozen() && moment != Moment::AnswerDropped {
        // `kill -9`
        owner.take().unwrap().kill().await;
    }
    if owner.is_none() || moment.is_frozen() {
        other = Some(match other {
            Some(replica) => replica,
            None => start(None).await,
        });
    }
    let address = other.as_ref().or(owner.as_ref()).unwrap().base_url.clone();
    let next = join_all(grants.iter().map(|grant| next(&stage.caller, &address, *grant))).await;
    let mut late_refused = None;
    if moment.is_frozen() {
        let owner = owner.as_mut().unwrap();
        owner.thaw().await;
        owner.go_on().await;
        // One that was stopped before it asked has nothing to write when it is back, and must not ask any more.
        if moment != Moment::FrozenAfterNote {
            late_refused = Some(is_refused(owner, &grants).await);
        }
    }
    for caller in first {
        // Those of a killed process have lost their connection; the others are served or told.
        caller.await.unwrap();
    }
    let addresses: Vec<_> =
        [&owner, &other].into_iter().flatten().map(|process| process.base_url.clone()).collect();
    let calls_before = Provider::ALL.map(|p| stage.sandbox.account_counts(p.id(), p.id()).token_calls);
    let watched = grants.iter().zip(&next).map(|(grant, (_, next, _))| {
        let (caller, addresses) = (&stage.caller, &addresses);
        async move { watch_grant(caller, addresses, *grant, next, watch).await }
    });
    let watched = join_all(watched).await;
    for process in [owner, other].into_iter().flatten() {
        process.kill().await;
    }
    let kept = stage.kept().await;
    let mut outcomes = Vec::new();
    for (place, provider) in Provider::ALL.into_iter().enumerate() {
        let seen = stage.sandbox.account_counts(provider.id(), provider.id());
        let (before, next, after) = next[place].clone();
        let works = match next.token() {
            Some(token) => stage.accepts(token).await,
            None => false,
        };
        outcomes.push((
            provider,
            Outcome {
                calls: calls_before[place],
                refused: seen.refused_refreshes,
                before,
                next,
                works,
                after,
                kept: Box::new(kept[&grants[place]].clone()),
                stayed: watched[place].1,
                asked: watched[place].0,
                further_calls: seen.token_calls - calls_before[place],
                late_refused: late_refused.as_ref().map(|refused: &Vec<bool>| refused[place]),
            },
        ));
    }
    stage.sandbox.stop().await;
    outcomes
}

fn at_first(moment: Moment, provider: Provider) -> Faults {
    let faults = provider.faults();
    match moment {
        Moment::AnswerDropped => faults.token_fault(TokenFault::Drop).fault_times(1),
        _ if moment.is_slow() => faults.delay_ms(CALL_MS),
        _ => faults,
    }
}

/// Waits until all refreshes are where it is to happen.
async fn reach(moment: Moment, stage: &Stage, owner: &mut Process) {
    if let Some(step) = moment.stop_at() {
        owner.stands_still(step, Provider::ALL.len()).await;
    } else if moment.is_slow() {
        let until = Instant::now() + Duration::from_secs(30);
        let waiting = |provider: &Provider| {
            stage.sandbox.account_counts(provider.id(), provider.id()).token_calls_in_flight == 0
        };
        while Provider::ALL.iter().any(waiting) {
            assert!(Instant::now() < until, "{moment}: the provider was not called: {}", owner.log());
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Lets it happen; killing is up to the caller.
async fn happen(moment: Moment, stage: &Stage, owner: &mut Process) {
    if moment.is_frozen() {
        owner.freeze().await;
    }
    let Some(database) = stage.place.database.as_ref().filter(|_| moment.needs_postgres()) else { return };
    let cluster = std::sync::Arc::clone(&database.cluster);
    let crash = tokio::task::spawn_blocking(move || {
        cluster.crash();
        cluster
    });
    let cluster = crash.await.unwrap();
    if moment == Moment::DatabaseBeforeCommit {
        // It tries to keep the tokens, and cannot.
        owner.go_on().await;
    }
    sleep(Duration::from_millis(700)).await;
    tokio::task::spawn_blocking(move || cluster.launch()).await.unwrap();
}

async fn next(caller: &Caller, address: &str, grant: GrantId) -> (BTreeSet<String>, Answer, Duration) {
    let began = Instant::now();
    let (before, answer) = caller.insist(address, grant, NEXT).await;
    (before.iter().map(ToString::to_string).collect(), answer, began.elapsed())
}

/// Whether the log of the process that came back says, for each grant, that the store did not take what it wrote.
async fn is_refused(owner: &Process, grants: &[GrantId]) -> Vec<bool> {
    let said = |grant: &GrantId| {
        owner.log().lines().any(|line| {
            line.contains(&grant.to_string())
                && (line.contains("fresh tokens came too late") || line.contains("was lost"))
        })
    };
    for _ in 0..100 {
        if grants.iter().all(said) {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    grants.iter().map(said).collect()
}

/// Asks all processes in turn: how often, and whether it was always the same.
async fn watch_grant(
    caller: &Caller,
    addresses: &[String],
    grant: GrantId,
    next: &Answer,
    watch: Duration,
) -> (usize, bool) {
    let (until, mut asked, mut stayed) = (Instant::now() + watch, 0, true);
    while Instant::now() < until || asked < 2 * addresses.len() {
        let answer = caller.ask(&addresses[asked % addresses.len()], grant).await;
        asked += 1;
        stayed &= answer.to_string() == next.to_string() && answer.token() == next.token();
        sleep(Duration::from_millis(200)).await;
    }
    (asked, stayed)
}

/// The head of the table.
pub(crate) const HEAD: &str = "\
| What happens | Provider | Provider calls | Refused | The next caller | after | Grant in the end | Asked again | Further calls | Older over newer |
|---|---|---:|---:|---|---:|---|---:|---:|---|
";

/// One line of the table.
pub(crate) fn line(moment: Moment, provider: Provider, outcome: &Outcome) -> String {
    let Outcome { calls, refused, next, asked, further_calls, kept, .. } = outcome;
    let after = outcome.after.as_secs_f64();
    let before: String = outcome.before.iter().map(|text| format!("{text}, then ")).collect();
    let state = if kept.facts.needs_reconnect { "reconnect: outcome unknown" } else { "healthy" };
    let generation = kept.generation;
    let older = match (outcome.stayed, outcome.late_refused) {
        (true, Some(true)) => "no: the late writer was refused",
        (true, Some(false)) => "no, **but nothing says that the late writer was refused**",
        (true, None) => "no",
        (false, _) => "**what was served changed**",
    };
    format!(
        "| {moment} | {provider} | {calls} | {refused} | {before}{next} | {after:.1} s | {state}, generation {generation} | {asked} | {further_calls} | {older} |\n"
    )
}

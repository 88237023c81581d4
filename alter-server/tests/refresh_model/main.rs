//! The refresh of one grant by three replicas, searched exhaustively; with each rule taken out in turn; and what is lost all
//! the same. The states and the promises are in `tests/model`; whether a token that may be spent is presented again is
//! decided by the vault's own [`alter_server::resolve::recovery`].
//!
//! `docs/refresh-model.md` holds what is found here, and is compared with it. `ALTER_UPDATE_DOCS=1` writes it anew.

#![expect(clippy::unwrap_used, reason = "a test")]

mod page;
mod settings;

use std::{collections::BTreeSet, fmt::Write as _, thread};

use alter_refresh_model::{
    Action, Broken, Config, Step, World, explore,
    promise::Promise,
    row::Death,
    search::{Explored, shortest_way},
    world::At,
};

fn steps(trace: &[Step]) -> String {
    let mut text = String::new();
    for (number, step) in trace.iter().enumerate() {
        let _ = writeln!(text, "{:>2}  {}", number + 1, step.action);
    }
    text
}

#[test]
fn every_promise_holds_in_every_state() {
    let (first, second): (Vec<_>, Vec<_>) = settings::ALL.iter().enumerate().partition(|(at, _)| at % 2 == 0);
    let search = |part: Vec<(usize, &'static Config)>| {
        move || part.into_iter().map(|(at, config)| (at, config, explore(config))).collect::<Vec<_>>()
    };
    let mut found: Vec<(usize, &Config, Explored)> = thread::scope(|scope| {
        let running = [scope.spawn(search(first)), scope.spawn(search(second))];
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    found.sort_by_key(|(at, ..)| *at);
    let mut table = String::from(
        "| Setting | Things that go wrong, at most | States | Steps | Longest way | Latched as dead in |\n|---|--:|--:|--:|--:|--:|\n",
    );
    for (_, config, explored) in &found {
        if let Some((promise, trace)) = &explored.broken {
            let last = trace.last().map(|step| step.after);
            panic!("{}: broken: {promise}\n{}{last:#?}", config.name, steps(trace));
        }
        let Explored { states, steps, depth, dead, .. } = explored;
        let _ = writeln!(
            table,
            "| {} | {} | {states} | {steps} | {depth} | {dead} |",
            config.name, config.faults
        );
    }
    page::compare("states", &table);
}

/// Each rule, the setting in which it is missed, and the promise that breaks without it.
const RULES: [(Broken, &str, Promise); 19] = [
    (Broken::NoFence, "never rotates", Promise::NoLateWriter),
    (Broken::NoGeneration, "the user connects again, a client reports a 401", Promise::NeverOlder),
    (Broken::DeathUnchecked, "the user connects again, a client reports a 401", Promise::HonestDeath),
    (Broken::NoNote, "rotates and detects reuse", Promise::OnePresentation),
    (Broken::NoteBeginsAgain, "takes the old token for a while", Promise::OnePresentation),
    (Broken::NoteStandsStill, "takes the old token for a while", Promise::OnePresentation),
    (Broken::NoRenewal, "never rotates", Promise::OneFlight),
    (Broken::AlwaysAgain, "rotates", Promise::OnePresentation),
    (
        Broken::NeverAgain,
        "takes the old token for a while, and everything happens within it",
        Promise::NeedlessDeath,
    ),
    (
        Broken::RefusalNotFinal,
        "rotates and detects reuse, and the vault was told the contrary",
        Promise::NoLoop,
    ),
    (Broken::DoubtForgotten, "takes the old token for a while", Promise::OnePresentation),
    (Broken::DoubtNotWeighed, "takes the old token for a while", Promise::OnePresentation),
    (Broken::DeadNotLatched, "rotates", Promise::DeadIsLatched),
    (Broken::RevocationUnchecked, "the user revokes", Promise::Revocation),
    (Broken::UnsavedUnchecked, "the user revokes", Promise::Revocation),
    (Broken::UnsavedUnchecked, "the user connects again, a client reports a 401", Promise::UnsavedReplaces),
    (Broken::ExpiryUnchecked, "nothing goes wrong", Promise::NeverExpired),
    (
        Broken::ReportUnchecked,
        "the user connects again, a client reports a 401",
        Promise::ReportMeansItsGeneration,
    ),
    (Broken::LeaseWithoutEnd, "never rotates", Promise::Progress),
];

#[test]
fn a_rule_that_is_taken_out_is_missed() {
    let mut text = String::new();
    for (broken, name, expected) in RULES {
        let explored = explore(&Config { broken: Some(broken), ..settings::named(name) });
        let Some((promise, trace)) = explored.broken else {
            panic!("{broken:?} breaks nothing in {name:?}");
        };
        assert_eq!(promise, expected, "{broken:?} in {name:?}:\n{}", steps(&trace));
        let _ = write!(
            text,
            "### {}\n\nBreaks “{promise}”, setting “{name}”:\n\n```text\n{}```\n\n",
            broken.title(),
            steps(&trace)
        );
    }
    let named: BTreeSet<_> = RULES.iter().map(|(broken, ..)| broken.title()).collect();
    assert_eq!(named.len(), Broken::ALL.len(), "a rule is never taken out");
    page::compare("rules", &text);
}

/// What is lost, the setting, what may go wrong on the way, and how it is recognised.
type Loss = (&'static str, &'static str, fn(Action) -> bool, fn(&World) -> bool);

const LOSSES: [Loss; 4] = [
    (
        "Killed between the note and the request",
        "rotates",
        |action| !action.is_fault() || matches!(action, Action::Crash(_)),
        |world| world.row.dead.is_some() && world.asked == 0,
    ),
    (
        "The store is out of reach of the holder for longer than the lease, and in reach of another",
        "rotates",
        |action| !action.is_fault() || matches!(action, Action::Cut(_)),
        |world| {
            let holds_newest = |at| matches!(at, At::Saving { pair, .. } if pair == world.provider.newest);
            world.row.dead.is_some() && world.replicas.iter().any(|replica| holds_newest(replica.at))
        },
    ),
    (
        "The provider says that it did nothing, and that cannot be written down",
        "rotates",
        |action| !action.is_fault() || matches!(action, Action::Cut(_) | Action::ProviderBusy(_)),
        |world| {
            let kept_is_good = world.provider.newest == world.row.refresh_token;
            let heard = world.open == 0 && world.asked > 0;
            world.row.dead.is_some() && kept_is_good && heard
        },
    ),
    (
        "Stopped between the note and the request, and too late with it",
        "takes the old token for a while",
        |action| !action.is_fault() || matches!(action, Action::Freeze(_)),
        |world| world.row.dead == Some(Death::Refused),
    ),
];

#[test]
fn what_is_lost_all_the_same_is_known() {
    let mut text = String::new();
    for (title, name, allowed, wanted) in LOSSES {
        let Some(trace) = shortest_way(&settings::named(name), allowed, wanted) else {
            panic!("{title:?} does not happen any more: take it out of the page");
        };
        let _ = write!(text, "### {title}\n\nSetting “{name}”:\n\n```text\n{}```\n\n", steps(&trace));
    }
    page::compare("losses", &text);
}

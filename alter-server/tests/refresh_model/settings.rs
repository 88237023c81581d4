//! The settings that are searched.

use std::time::Duration;

use alter_refresh_model::{Config, provider::Manners};
use alter_server::{
    domain::{RefreshSettings, Rotation},
    resolve::{Recovery, recovery},
};

/// The vault's decision with these settings; the model's clock knows "within the window" and "after it".
fn decide(rotation: Rotation, window: Option<u32>, seen_rotating: bool, window_over: bool) -> bool {
    let settings = RefreshSettings { rotation, reuse_window_seconds: window, ..RefreshSettings::default() };
    let since = Duration::from_secs(if window_over { 30 } else { 29 });
    recovery(&settings, seen_rotating, since) == Recovery::Again
}

fn never(seen: bool, over: bool) -> bool {
    decide(Rotation::Never, None, seen, over)
}

fn observed(seen: bool, over: bool) -> bool {
    decide(Rotation::Observed, None, seen, over)
}

fn always(seen: bool, over: bool) -> bool {
    decide(Rotation::Always, None, seen, over)
}

fn within_window(seen: bool, over: bool) -> bool {
    decide(Rotation::Always, Some(30), seen, over)
}

const STAYS: Manners = Manners { rotates: false, window: false, detects: false };
const ROTATES: Manners = Manners { rotates: true, window: false, detects: false };
const DETECTS: Manners = Manners { rotates: true, window: false, detects: true };
const WINDOW: Manners = Manners { rotates: true, window: true, detects: true };

const BASE: Config = Config {
    name: "",
    provider: STAYS,
    recovery: never,
    faults: 2,
    generations: 3,
    revoke: false,
    import: false,
    report: false,
    never_dead: false,
    broken: None,
};

const DETECTED: Config =
    Config { name: "rotates and detects reuse", provider: DETECTS, recovery: always, ..BASE };

/// Every setting.
pub(crate) const ALL: [Config; 11] = [
    Config { name: "nothing goes wrong", faults: 0, generations: 5, never_dead: true, ..DETECTED },
    Config { name: "never rotates", never_dead: true, ..BASE },
    Config {
        name: "never rotates, and the vault was not told",
        recovery: observed,
        never_dead: true,
        ..BASE
    },
    Config { name: "rotates", provider: ROTATES, recovery: always, faults: 3, ..BASE },
    Config { faults: 3, ..DETECTED },
    Config { name: "rotates and detects reuse, and the vault was not told", recovery: observed, ..DETECTED },
    Config {
        name: "rotates and detects reuse, and the vault was told the contrary",
        recovery: never,
        ..DETECTED
    },
    Config {
        name: "takes the old token for a while, and everything happens within it",
        never_dead: true,
        ..TOLERANT
    },
    TOLERANT,
    Config { name: "the user revokes", revoke: true, generations: 2, ..DETECTED },
    Config {
        name: "the user connects again, a client reports a 401",
        import: true,
        report: true,
        generations: 2,
        ..DETECTED
    },
];

const TOLERANT: Config =
    Config { name: "takes the old token for a while", provider: WINDOW, recovery: within_window, ..BASE };

/// The setting with this name.
pub(crate) fn named(name: &str) -> Config {
    *ALL.iter().find(|config| config.name == name).unwrap()
}

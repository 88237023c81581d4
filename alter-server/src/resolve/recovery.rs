//! What to do about a refresh whose outcome is not known: its owner was killed, or the provider's answer was lost.

use std::time::Duration;

use crate::domain::{RefreshSettings, Rotation};

/// How to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// Present the same refresh token again.
    Again,
    /// Do not: it may be spent, and presenting a spent token makes many providers end the whole family. A person must
    /// connect again.
    Reconnect,
}

/// Decides whether a refresh token that may have been spent is presented again.
///
/// Harmless with a provider that does not rotate, and within the window in which it takes the old token still. A provider
/// that is not known to rotate (it did not at this grant's last refresh, or there was none) is asked again as well: only
/// its refusal shows that the token was spent, and then nothing was left to lose.
#[must_use]
pub fn recovery(settings: &RefreshSettings, seen_rotating: bool, since_spent: Duration) -> Recovery {
    let rotates = match settings.rotation {
        Rotation::Never => false,
        Rotation::Always => true,
        Rotation::Observed => seen_rotating,
    };
    let window = settings.reuse_window_seconds.map(|seconds| Duration::from_secs(seconds.into()));
    if !rotates || window.is_some_and(|window| since_spent < window) {
        Recovery::Again
    } else {
        Recovery::Reconnect
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_may_be_spent_is_presented_again_only_where_that_is_harmless() {
        let judge = |rotation, window, seen, since| {
            let settings =
                RefreshSettings { rotation, reuse_window_seconds: window, ..RefreshSettings::default() };
            recovery(&settings, seen, Duration::from_secs(since))
        };
        assert_eq!(judge(Rotation::Never, None, true, 100), Recovery::Again);
        assert_eq!(judge(Rotation::Observed, None, false, 100), Recovery::Again);
        assert_eq!(judge(Rotation::Observed, None, true, 0), Recovery::Reconnect);
        assert_eq!(judge(Rotation::Always, None, false, 0), Recovery::Reconnect);
        assert_eq!(judge(Rotation::Always, Some(30), true, 29), Recovery::Again);
        assert_eq!(judge(Rotation::Always, Some(30), true, 30), Recovery::Reconnect);
    }
}

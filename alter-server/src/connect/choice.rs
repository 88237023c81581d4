//! What a person can choose in a session: providers, lifetimes, accounts that are connected already.

use jiff::{SignedDuration, Timestamp};

use crate::domain::{
    Asked, ConnectSession, Grant, GrantStatus, OAuthSettings, Provider, ProviderId, ProviderKind,
};

const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;
/// Lifetimes that are offered, in seconds.
const LIFETIMES: [u64; 6] = [HOUR, DAY, 7 * DAY, 30 * DAY, 90 * DAY, 365 * DAY];

/// The providers that a dance can be begun with.
pub(crate) fn connectable(providers: &[Provider]) -> Vec<&Provider> {
    let whole = |oauth: &OAuthSettings| {
        oauth.authorize_url.is_some() && oauth.token_url.is_some() && oauth.client_id.is_some()
    };
    let fits = |provider: &&Provider| {
        provider.kind == ProviderKind::OAuth && provider.oauth.as_ref().is_some_and(whole)
    };
    providers.iter().filter(fits).collect()
}

/// The providers of a session, in the order in which the app named them, else by name.
pub(crate) fn offered<'a>(asked: &Asked, providers: &'a [Provider]) -> Vec<&'a Provider> {
    let mut all = connectable(providers);
    if asked.providers.is_empty() {
        all.sort_by_key(|provider| provider.name.to_lowercase());
        return all;
    }
    let find = |id: &ProviderId| all.iter().find(|provider| provider.id == *id).copied();
    asked.providers.iter().filter_map(find).collect()
}

/// The scopes that a session asks a provider for.
pub(crate) fn scopes(asked: &Asked, provider: &Provider) -> Vec<String> {
    let of_session = asked.required_scopes.get(&provider.id).map(Vec::as_slice).unwrap_or_default();
    provider.oauth.as_ref().map(|oauth| oauth.asked_scopes(of_session)).unwrap_or_default()
}

/// A lifetime to choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lifetime {
    /// In seconds; `None` is until it is taken back.
    pub(crate) seconds: Option<u64>,
    /// In words.
    pub(crate) words: String,
    /// The proposed one.
    pub(crate) proposed: bool,
}

/// The lifetime that is proposed: the app's default, else its longest, else none.
pub(crate) fn proposed(asked: &Asked) -> Option<u64> {
    asked.default_ttl_seconds.or(asked.max_ttl_seconds)
}

/// The lifetimes to choose from, the shortest first.
pub(crate) fn lifetimes(asked: &Asked) -> Vec<Lifetime> {
    let max = asked.max_ttl_seconds.unwrap_or(u64::MAX);
    let proposed = proposed(asked);
    let mut seconds: Vec<u64> = LIFETIMES.into_iter().filter(|ttl| *ttl <= max).collect();
    seconds.extend(asked.max_ttl_seconds);
    seconds.extend(asked.default_ttl_seconds);
    seconds.sort_unstable();
    seconds.dedup();
    let lifetime = |seconds: Option<u64>| Lifetime {
        seconds,
        words: seconds
            .map_or_else(|| "until you take it back".to_owned(), |seconds| format!("for {}", words(seconds))),
        proposed: seconds == proposed,
    };
    let mut all: Vec<Lifetime> = seconds.into_iter().map(|seconds| lifetime(Some(seconds))).collect();
    if asked.max_ttl_seconds.is_none() {
        all.push(lifetime(None));
    }
    all
}

/// Reads a lifetime that was chosen. `None` if it is none that may be.
#[expect(clippy::option_option, reason = "no lifetime at all is one of those that may be chosen")]
pub(crate) fn chosen(asked: &Asked, text: &str) -> Option<Option<u64>> {
    if text.is_empty() {
        return asked.max_ttl_seconds.is_none().then_some(None);
    }
    let seconds: u64 = text.parse().ok()?;
    lifetimes(asked).iter().any(|offered| offered.seconds == Some(seconds)).then_some(Some(seconds))
}

/// A time in words: in the largest unit that says it exactly.
pub(crate) fn words(seconds: u64) -> String {
    let units = [(365 * DAY, "year"), (DAY, "day"), (HOUR, "hour"), (60, "minute"), (1, "second")];
    let exact = |(unit, _): &&(u64, &str)| seconds >= *unit && seconds.is_multiple_of(*unit);
    let (unit, name) = units.iter().find(exact).copied().unwrap_or((1, "second"));
    let count = seconds / unit;
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {name}{plural}")
}

/// When a lifetime that begins `now` ends.
pub(crate) fn ends(now: Timestamp, seconds: Option<u64>) -> Option<Timestamp> {
    let seconds = i64::try_from(seconds?).ok()?;
    now.checked_add(SignedDuration::from_secs(seconds)).ok()
}

/// An account that is connected already.
#[derive(Debug)]
pub(crate) struct Connected<'a> {
    pub(crate) grant: &'a Grant,
    /// What the session asks for and the grant has not.
    pub(crate) missing: Vec<String>,
    /// It has everything that the session asks for: it can be used without a dance.
    pub(crate) usable: bool,
}

/// The grants of `grants` that work, and whether they are enough for the session.
pub(crate) fn connected<'a>(
    session: &ConnectSession,
    provider: &Provider,
    grants: &'a [Grant],
    now: Timestamp,
) -> Vec<Connected<'a>> {
    let asked = &session.asked;
    let wanted = scopes(asked, provider);
    let lives = |grant: &&Grant| {
        grant.facts.provider == provider.id
            && grant.facts.status == GrantStatus::Active
            && grant.facts.grant_expires_at.is_none_or(|end| end > now)
            // With a label a grant of its own is meant, beside those that are there.
            && asked.label.as_ref().is_none_or(|label| grant.facts.label.as_ref() == Some(label))
    };
    let longest = asked.max_ttl_seconds.map(|seconds| ends(now, Some(seconds)));
    grants
        .iter()
        .filter(lives)
        .map(|grant| {
            let missing: Vec<String> = provider
                .oauth
                .iter()
                .flat_map(|oauth| oauth.missing_scopes(&wanted, &grant.scopes))
                .map(str::to_owned)
                .collect();
            let short_enough = longest.is_none_or(|longest| {
                grant.facts.grant_expires_at.is_some_and(|end| longest.is_none_or(|longest| end <= longest))
            });
            let usable = missing.is_empty()
                && short_enough
                && !grant.facts.needs_reconnect
                && !grant.scope_mismatch
                && !asked.switch_account
                && asked.repair.is_none();
            Connected { grant, missing, usable }
        })
        .collect()
}

/// What a page calls an account.
pub(crate) fn account_name(grant: &Grant) -> String {
    let facts = &grant.facts;
    let name =
        facts.account_identifier.as_ref().or(facts.account_display_name.as_ref()).or(facts.label.as_ref());
    name.map_or_else(|| "an account without a name".to_owned(), |name| crate::web::shown(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(max: Option<u64>, default: Option<u64>) -> Asked {
        Asked { max_ttl_seconds: max, default_ttl_seconds: default, ..Asked::default() }
    }

    #[test]
    fn no_lifetime_beyond_the_apps_longest_can_be_chosen() {
        let asked = policy(Some(7_200), Some(600));
        let offered: Vec<_> =
            lifetimes(&asked).into_iter().map(|one| (one.seconds.unwrap(), one.words)).collect();
        let expected = [(600, "for 10 minutes"), (3_600, "for 1 hour"), (7_200, "for 2 hours")];
        assert_eq!(offered, expected.map(|(seconds, words)| (seconds, words.to_owned())));
        assert_eq!(chosen(&asked, "600"), Some(Some(600)));
        for refused in ["", "7201", "601", "-1", "x", "99999999999999999999"] {
            assert_eq!(chosen(&asked, refused), None, "{refused}");
        }
    }

    #[test]
    fn without_a_limit_a_grant_may_last_until_it_is_taken_back() {
        let all = lifetimes(&policy(None, None));
        let last = all.last().unwrap();
        assert!(last.seconds.is_none() && last.proposed);
        assert_eq!(chosen(&policy(None, None), ""), Some(None));
        assert!(
            lifetimes(&policy(None, Some(DAY))).iter().any(|one| one.seconds == Some(DAY) && one.proposed)
        );
        assert_eq!(
            (words(90), words(60), words(2 * 365 * DAY)),
            ("90 seconds".into(), "1 minute".into(), "2 years".into())
        );
    }
}

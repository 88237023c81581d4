//! Rate-limit headers and `Retry-After` (spec/01 §8.2, §8.3).

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header::RETRY_AFTER};
use jiff::Timestamp;
use serde_json::Value;

use super::header;

/// Longest wait that a throttle may ask for: one hour.
pub const THROTTLE_CEILING: Duration = Duration::from_secs(3_600);
/// Longest wait that a used-up quota may ask for: 31 days.
pub const QUOTA_CEILING: Duration = Duration::from_secs(31 * 24 * 3_600);

/// Latest instant that a reset may name: the end of the year 9999, in Unix seconds.
const LATEST_RESET: i64 = 253_402_300_799;

/// The binding rate limit as the vault last stated it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Calls per window.
    pub limit: u64,
    /// Calls left in this window.
    pub remaining: u64,
    /// When the window starts anew, UTC.
    pub reset_at: Timestamp,
}

impl RateLimit {
    /// Reads the snapshot of an answer: the `X-RateLimit-*` triple if it is complete, else the pair `RateLimit` and
    /// `RateLimit-Policy`. Anything partial or malformed gives `None`, which means unknown, not unlimited.
    #[must_use]
    pub fn read(headers: &HeaderMap, now: Timestamp) -> Option<Self> {
        Self::read_triple(headers).or_else(|| Self::read_standard(headers, now))
    }

    /// Writes the `X-RateLimit-*` triple.
    pub fn write(&self, headers: &mut HeaderMap) {
        headers.insert(header::RATE_LIMIT, HeaderValue::from(self.limit));
        headers.insert(header::RATE_REMAINING, HeaderValue::from(self.remaining));
        headers.insert(header::RATE_RESET, HeaderValue::from(self.reset_at.as_second()));
    }

    fn read_triple(headers: &HeaderMap) -> Option<Self> {
        let number = |name| headers.get(name)?.to_str().ok().and_then(|text| digits(text.trim()));
        let reset = i64::try_from(number(header::RATE_RESET)?).ok().filter(|at| *at <= LATEST_RESET)?;
        Some(Self {
            limit: number(header::RATE_LIMIT)?,
            remaining: number(header::RATE_REMAINING)?,
            reset_at: Timestamp::from_second(reset).ok()?,
        })
    }

    fn read_standard(headers: &HeaderMap, now: Timestamp) -> Option<Self> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let policies: Vec<_> = text("ratelimit-policy")?.split(',').filter_map(item).collect();
        text("ratelimit")?.split(',').filter_map(item).find_map(|(name, parameters)| {
            let of = |parameters: &[(&str, u64)], wanted| {
                parameters.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value)
            };
            let remaining = of(&parameters, "r")?;
            let wait = i64::try_from(of(&parameters, "t")?).ok()?;
            let (_, policy) = policies.iter().find(|(policy, _)| *policy == name)?;
            let reset = now.as_second().checked_add(wait).filter(|at| *at <= LATEST_RESET)?;
            Some(Self { limit: of(policy, "q")?, remaining, reset_at: Timestamp::from_second(reset).ok()? })
        })
    }
}

/// One item `"name";a=1;b=2`; `None` when any part is of another form.
fn item(text: &str) -> Option<(&str, Vec<(&str, u64)>)> {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next()?.strip_prefix('"')?.strip_suffix('"')?;
    let fits = (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte));
    if !fits {
        return None;
    }
    let parameters =
        parts.map(|part| part.split_once('=').and_then(|(name, value)| Some((name, digits(value)?))));
    Some((name, parameters.collect::<Option<_>>()?))
}

/// ASCII digits only, at most twelve that count.
fn digits(text: &str) -> Option<u64> {
    let significant = text.trim_start_matches('0');
    let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && significant.len() <= 12;
    if !fits {
        return None;
    }
    if significant.is_empty() { Some(0) } else { significant.parse().ok() }
}

/// How long to wait: the `Retry-After` header in seconds, else the body's number; never more than `ceiling`. A date,
/// a sign, a fraction or anything else is no answer.
#[must_use]
pub fn retry_after(headers: &HeaderMap, body: Option<&Value>, ceiling: Duration) -> Option<Duration> {
    let from_header = || {
        let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        // Digits too many for a number are a wait beyond any ceiling.
        Some(text.parse().unwrap_or(u64::MAX))
    };
    let seconds = from_header().or_else(|| body.and_then(whole_number))?;
    Some(Duration::from_secs(seconds).min(ceiling))
}

/// A non-negative whole number; `60.0` counts as 60, `true` and `"60"` do not count (spec/02 §2.4).
pub(crate) fn whole_number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        let float = value.as_f64()?;
        // Exactly representable whole numbers below 2^53 only, so the cast loses nothing.
        (float >= 0.0 && float.fract() == 0.0 && float < 9_007_199_254_740_992.0).then_some(float as u64)
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderName;
    use serde_json::json;

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap())
            })
            .collect()
    }

    #[test]
    fn the_triple_is_read_whole_or_not_at_all() {
        let now = Timestamp::from_second(1_000).unwrap();
        let read = |limit, remaining, reset| {
            let map = headers(&[
                ("x-ratelimit-limit", limit),
                ("x-ratelimit-remaining", remaining),
                ("x-ratelimit-reset", reset),
            ]);
            RateLimit::read(&map, now).map(|rate| (rate.limit, rate.remaining, rate.reset_at.as_second()))
        };
        assert_eq!(read("0120", "3", "2000"), Some((120, 3, 2_000)));
        assert_eq!(read("120", "-1", "2000"), None);
        assert_eq!(read("120", "3", "253402300800"), None);
        assert_eq!(read("1234567890123", "3", "2000"), None);
        assert_eq!(RateLimit::read(&headers(&[("x-ratelimit-limit", "1")]), now), None);
    }

    #[test]
    fn the_standard_pair_is_joined_by_name() {
        let map = headers(&[
            ("ratelimit-policy", "\"per-key\";q=120;w=60, \"org\";q=500;w=60"),
            ("ratelimit", "\"org\";r=3;t=7"),
        ]);
        let rate = RateLimit::read(&map, Timestamp::from_second(1_000).unwrap()).unwrap();
        assert_eq!((rate.limit, rate.remaining, rate.reset_at.as_second()), (500, 3, 1_007));
        let qualified =
            headers(&[("ratelimit-policy", "\"a\";q=1;qu=\"r\""), ("ratelimit", "\"a\";r=1;t=1")]);
        assert_eq!(RateLimit::read(&qualified, Timestamp::from_second(0).unwrap()), None);
    }

    #[test]
    fn a_snapshot_that_is_written_reads_back() {
        let rate = RateLimit { limit: 60, remaining: 59, reset_at: Timestamp::from_second(77).unwrap() };
        let mut map = HeaderMap::new();
        rate.write(&mut map);
        assert_eq!(RateLimit::read(&map, Timestamp::UNIX_EPOCH), Some(rate));
    }

    #[test]
    fn retry_after_takes_digits_and_whole_numbers_only() {
        let long = "9".repeat(5_000);
        for (header, body, wait) in [
            ("00060", json!(null), Some(60)),
            ("99999", json!(null), Some(3_600)),
            (long.as_str(), json!(null), Some(3_600)),
            ("0", json!(9), Some(0)),
            ("+30", json!(9), Some(9)),
            ("Wed, 21 Oct 2026 07:28:00 GMT", json!(60.0), Some(60)),
            ("x", json!(60.5), None),
            ("x", json!(true), None),
            ("x", json!("60"), None),
            ("x", json!(-1), None),
        ] {
            let read = retry_after(&headers(&[("retry-after", header)]), Some(&body), THROTTLE_CEILING);
            assert_eq!(read, wait.map(Duration::from_secs), "{header} {body}");
        }
    }
}

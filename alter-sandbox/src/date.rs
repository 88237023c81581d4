//! The `Date` header, and the dates reckoned from it.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use jiff::{Timestamp, fmt::rfc2822::DateTimePrinter};

use crate::{faults::Faults, state::World};

/// Sets `Date` to the sandbox's clock and [`Faults::date_skew`]. hyper sets it only where nobody has.
pub(crate) async fn stamp(State(world): State<Arc<World>>, mut response: Response) -> Response {
    let skew = world.lock().faults.date_skew;
    let date = http_date(world.clock.now().saturating_add(skew));
    response.headers_mut().extend(date.map(|date| (header::DATE, date)));
    response
}

/// What a 429 or a 503 says about when to come back.
pub(crate) fn retry_after(faults: &Faults, status: StatusCode, now_ms: i64) -> Option<HeaderValue> {
    let seconds = faults.retry_after?;
    if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    if !faults.retry_after_as_date {
        return Some(HeaderValue::from(seconds));
    }
    let now = now_ms.div_euclid(1000).saturating_add(faults.date_skew);
    http_date(now.saturating_add(i64::try_from(seconds).unwrap_or(i64::MAX)))
}

/// RFC 9110 §5.6.7. None for a year that cannot be written so.
fn http_date(seconds: i64) -> Option<HeaderValue> {
    let at = Timestamp::from_second(seconds).ok()?;
    let text = DateTimePrinter::new().timestamp_to_rfc9110_string(&at).ok()?;
    HeaderValue::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::http_date;

    #[test]
    fn dates_are_written_as_rfc_9110_wants_them() {
        assert_eq!(http_date(784_111_777).unwrap(), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(http_date(i64::MAX), None);
    }
}

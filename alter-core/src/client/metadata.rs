//! Who calls and in what context, as headers of a call to the vault (spec/01 §3).

use std::collections::BTreeMap;

use http::HeaderValue;

use crate::{
    error::{Error, InvalidInput},
    wire::json::to_ascii_vec,
};

/// What one call says about its actor beside what the client says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Actor {
    /// In the place of the client's own caller.
    pub(crate) caller: Option<HeaderValue>,
    /// The audit context.
    pub(crate) context: Option<HeaderValue>,
}

/// Checks a caller: 1 to 255 printable ASCII characters, no space at either end, which HTTP would lose.
pub(crate) fn caller_header(caller: &str) -> Result<HeaderValue, Error> {
    let fits = (1..=255).contains(&caller.len())
        && caller.bytes().all(|byte| (0x20..=0x7e).contains(&byte))
        && caller.trim() == caller;
    HeaderValue::from_str(caller).ok().filter(|_| fits).ok_or_else(|| {
        Error::invalid(
            InvalidInput::Caller,
            "a caller is 1 to 255 printable ASCII characters, without a space at either end",
        )
    })
}

/// Checks an audit context and spells it as a header (spec/01 §3.3); `None` when it is empty.
pub(crate) fn context_header(context: &BTreeMap<String, String>) -> Result<Option<HeaderValue>, Error> {
    let refuse = |message| Err(Error::invalid(InvalidInput::Context, message));
    if context.is_empty() {
        return Ok(None);
    }
    if context.len() > 20 {
        return refuse("an audit context has at most 20 keys");
    }
    if context.keys().any(|key| key.chars().count() > 64) {
        return refuse("a key of an audit context has at most 64 characters");
    }
    if context.values().any(|value| value.chars().count() > 512) {
        return refuse("a value of an audit context has at most 512 characters");
    }
    let spelled = to_ascii_vec(context).ok().filter(|spelled| spelled.len() <= 4_096);
    match spelled.and_then(|spelled| HeaderValue::from_bytes(&spelled).ok()) {
        Some(header) => Ok(Some(header)),
        None => refuse("an audit context has at most 4,096 bytes as escaped JSON"),
    }
}

/// The trace context of the current OpenTelemetry span (spec/01 §3.5).
#[cfg(feature = "otel")]
pub(crate) fn traceparent() -> Option<HeaderValue> {
    use opentelemetry::trace::TraceContextExt as _;

    let context = opentelemetry::Context::current();
    let span = context.span();
    let span = span.span_context();
    if !span.is_valid() {
        return None;
    }
    let text = format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags().to_u8());
    HeaderValue::from_str(&text).ok()
}

#[cfg(not(feature = "otel"))]
pub(crate) fn traceparent() -> Option<HeaderValue> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_has_its_limits() {
        for fits in ["a", "email assistant", &"x".repeat(255)] {
            assert!(caller_header(fits).is_ok());
        }
        for refused in ["", " a", "a ", "é", "a\nb", "a\u{7f}", &"x".repeat(256)] {
            assert!(caller_header(refused).is_err(), "{refused:?}");
        }
    }

    #[test]
    fn a_context_has_its_limits_and_is_spelled_in_ascii() {
        let of = |pairs: &[(&str, &str)]| {
            context_header(&pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect())
        };
        assert_eq!(of(&[]).unwrap(), None);
        assert_eq!(
            of(&[("run_id", "r-1"), ("tool", "café\n")]).unwrap().unwrap(),
            r#"{"run_id":"r-1","tool":"caf\u00e9\n"}"#
        );
        let long = "é".repeat(512);
        assert!(of(&[("k", &long)]).is_ok());
        assert!(of(&[("k", &"x".repeat(513))]).is_err());
        assert!(of(&[(&"k".repeat(65), "v")]).is_err());
        assert!(of(&[("a", &long), ("b", &long)]).is_err());
        let many: BTreeMap<_, _> = (0..21).map(|n| (n.to_string(), String::new())).collect();
        assert!(context_header(&many).is_err());
    }
}

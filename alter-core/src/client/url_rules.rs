//! Which URLs are called (spec/01 §4.1, §6.1 to §6.3, and the traps of §11).
//!
//! Two parsers that read one text differently are how a credential ends up at a stranger's host. So whatever could
//! be read in two ways is refused rather than interpreted, before anything is sent.

use std::fmt::Write as _;

use http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use crate::{
    error::{Error, InvalidInput},
    wire::url::{has_dot_segment, is_loopback},
};

/// Longest URL, in characters of its encoded form, queries included.
pub(crate) const MAX_URL: usize = 65_536;
/// What is left as it is in a value that goes into a path or query (RFC 3986 §2.3).
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'.').remove(b'-').remove(b'~');

/// A URL that may be called, with its placeholders filled and its queries merged, without what is injected.
#[derive(Debug, Clone)]
pub(crate) struct Target(Url);

fn refuse(message: impl AsRef<str>) -> Error {
    Error::invalid(InvalidInput::Url, message)
}

impl Target {
    /// Checks a URL, fills its `{placeholders}` from `params` and adds `query` to its own query.
    pub(crate) fn parse(
        raw: &str,
        params: &[(String, String)],
        query: &[(String, String)],
    ) -> Result<Self, Error> {
        if raw.chars().count() > MAX_URL {
            return Err(refuse("the URL is longer than 65,536 characters"));
        }
        if raw.contains('\\') {
            return Err(refuse("the URL holds a backslash, which parsers read differently; write %5C"));
        }
        if raw.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(refuse("the URL holds white space or a control character; percent-encode it"));
        }
        let absolute = || refuse("the URL must be absolute: https://host/path");
        let (scheme, rest) = raw.split_once("://").ok_or_else(absolute)?;
        let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if authority.is_empty() {
            return Err(absolute());
        }
        if authority.contains('@') {
            return Err(refuse("the URL holds a user name or password; credentials come from the vault"));
        }
        if scheme.contains(['{', '}']) || authority.contains(['{', '}']) {
            return Err(Error::invalid(
                InvalidInput::PathParam,
                "placeholders may stand in the path and the query only, not in the host",
            ));
        }
        // A fragment is never sent.
        let rest = rest.split('#').next().unwrap_or_default();
        let rest = fill(rest, params)?;
        if has_dot_segment(rest.split('?').next().unwrap_or_default()) {
            return Err(refuse("the URL holds a dot segment (\".\" or \"..\", also encoded)"));
        }
        let mut url = Url::parse(&format!("{scheme}://{authority}{rest}"))
            .map_err(|error| refuse(format!("the URL cannot be read: {error}")))?;
        check_scheme(&url)?;
        append_query(&mut url, query);
        let target = Self(url);
        target.uri()?;
        Ok(target)
    }

    /// The URL as it will be called, without injections: what the vault is told.
    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Scheme and host: all of a URL that a log line may hold.
    pub(crate) fn origin(&self) -> String {
        format!("{}://{}", self.0.scheme(), self.0.host_str().unwrap_or_default())
    }

    fn uri(&self) -> Result<Uri, Error> {
        if self.0.as_str().len() > MAX_URL {
            return Err(refuse("the URL is longer than 65,536 characters with its parameters"));
        }
        self.0.as_str().parse().map_err(|_| refuse("the URL cannot be sent over HTTP"))
    }

    /// The URL with injected parameters, each in the place of all of the same name.
    pub(crate) fn with_injected(&self, injected: &[(&str, &str)]) -> Result<Uri, Error> {
        if injected.is_empty() {
            return self.uri();
        }
        let mut url = self.0.clone();
        let is_injected = |piece: &str| {
            form_urlencoded::parse(piece.as_bytes())
                .any(|(name, _)| injected.iter().any(|(injected, _)| *injected == name))
        };
        let kept: Vec<_> =
            url.query().unwrap_or_default().split('&').filter(|piece| !is_injected(piece)).collect();
        let kept = kept.join("&");
        url.set_query(Some(&kept).filter(|kept| !kept.is_empty()).map(String::as_str));
        append_query(&mut url, injected);
        Self(url).uri()
    }

    /// Whether a credential that is bound to `hosts` may be sent there (spec/01 §6.2): `api.example.com` is itself,
    /// `*.example.com` is every host below it; a pattern with a port allows that port only, one without the scheme's
    /// own port, and on loopback any. The vault decides by the same rule.
    pub(crate) fn is_within(&self, hosts: &[String]) -> bool {
        let host = self.0.host_str().unwrap_or_default().trim_end_matches('.');
        hosts.iter().any(|pattern| {
            let pattern = pattern.to_ascii_lowercase();
            let (name, port) = match pattern.rsplit_once(':') {
                // `[::1]` and `[::1]:8443`, not `::1`.
                Some((name, port)) if !port.ends_with(']') => (name.to_owned(), Some(port.to_owned())),
                _ => (pattern, None),
            };
            let same_port = match port {
                Some(port) => {
                    port.parse().is_ok_and(|port: u16| Some(port) == self.0.port_or_known_default())
                }
                None => self.0.port().is_none() || is_loopback(&self.0),
            };
            let same_host = match name.strip_prefix("*.") {
                Some(parent) => {
                    host.strip_suffix(parent).is_some_and(|below| below.len() > 1 && below.ends_with('.'))
                }
                None => host == name.trim_end_matches('.'),
            };
            same_port && same_host
        })
    }
}

fn check_scheme(url: &Url) -> Result<(), Error> {
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_loopback(url) => Ok(()),
        "http" => Err(refuse("the URL must be https; plain http is for localhost, 127.0.0.1 and ::1 only")),
        _ => Err(refuse("the URL must be https")),
    }
}

/// Fills `{name}` in a path and query.
fn fill(text: &str, params: &[(String, String)]) -> Result<String, Error> {
    let bad = |message: String| Error::invalid(InvalidInput::PathParam, message);
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, after) = rest.split_at(at);
        filled.push_str(before);
        let name = after.strip_prefix('{').and_then(|after| after.split_once('}')).map(|(name, _)| name);
        let Some(name) = name.filter(|name| is_name(name)) else {
            return Err(bad("the URL holds a brace that is no {placeholder}; percent-encode it".to_owned()));
        };
        let Some((_, value)) = params.iter().rev().find(|(known, _)| known == name) else {
            return Err(bad(format!(
                "no value for the placeholder {{{name}}}: call .path_param(\"{name}\", …)"
            )));
        };
        let in_path = !filled.contains('?');
        if in_path && matches!(value.as_str(), "" | "." | "..") {
            return Err(bad(format!(
                "the value for {{{name}}} is empty or a dot segment, which would change the path"
            )));
        }
        filled.extend(utf8_percent_encode(value, COMPONENT));
        rest = &after[name.len() + 2..];
    }
    filled.push_str(rest);
    Ok(filled)
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Adds parameters to what is there. A space becomes `%20`, which every server and signature reads the same.
fn append_query<N: AsRef<str>, V: AsRef<str>>(url: &mut Url, pairs: &[(N, V)]) {
    if pairs.is_empty() {
        return;
    }
    let mut query = url.query().unwrap_or_default().to_owned();
    for (name, value) in pairs {
        if !query.is_empty() {
            query.push('&');
        }
        let name = utf8_percent_encode(name.as_ref(), COMPONENT);
        // Writing to a String cannot fail.
        let _ = write!(query, "{name}={}", utf8_percent_encode(value.as_ref(), COMPONENT));
    }
    url.set_query(Some(&query));
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;

    use super::*;

    fn parse(raw: &str) -> Result<Target, Error> {
        Target::parse(raw, &[], &[])
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn urls_that_could_be_read_in_two_ways_are_refused() {
        for raw in [
            "https://user:pw@h.example/",
            "https://user@h.example/",
            "https://good.example\\@evil.example/x",
            "https://good.example%2F@evil.example/",
            "https://good.example%40evil.example/",
            "https://h.example/a\\b",
            "https://h.example/a b",
            " https://h.example/",
            "https://h.example/a\tb",
            "https://h.example/\u{85}",
            "https://h.example/../x",
            "https://h.example/a/./b",
            "https://h.example/%2e%2E/x",
            "https://h.example/.%2e/x",
            "https://h.example/a%2f..%2fb",
            "https://h.example/a/..;x/b",
            "https://h.example/a%5c..%5cb",
            "https:/h.example/",
            "https:h.example/",
            "https:///h.example/",
            "//h.example/x",
            "/x",
            "",
            "http://h.example/",
            "http://127.0.0.2/",
            "http://0.0.0.0/",
            "http://localhost.evil.example/",
            "ftp://h.example/",
            "file:///etc/passwd",
            "https://h.example:99999/",
            "https://{host}/x",
            "https://h.example/{id}",
            "https://h.example/{id",
            "https://h.example/}",
            "https://h.example/?q={}",
        ] {
            let refused = parse(raw).map(|target| target.as_str().to_owned());
            assert!(refused.is_err(), "{raw:?} became {refused:?}");
        }
    }

    #[test]
    fn ordinary_urls_are_called_as_they_are() {
        for (raw, called) in [
            ("https://h.example/a/b?x=1&y=2", "https://h.example/a/b?x=1&y=2"),
            ("https://H.example", "https://h.example/"),
            ("https://h.example/a%2Fb/~c...d/.well-known", "https://h.example/a%2Fb/~c...d/.well-known"),
            ("https://h.example/x#fragment", "https://h.example/x"),
            ("http://localhost:8080/x", "http://localhost:8080/x"),
            ("http://127.0.0.1:1/x", "http://127.0.0.1:1/x"),
            ("http://[::1]:1/x", "http://[::1]:1/x"),
            ("https://münchen.example/ü", "https://xn--mnchen-3ya.example/%C3%BC"),
        ] {
            assert_eq!(parse(raw).unwrap().as_str(), called);
        }
    }

    #[test]
    fn queries_are_merged_with_those_of_the_url() {
        let target =
            Target::parse("https://h.example/v1?a=1&b=2", &[], &[pair("c", "x y&z"), pair("a", "3")]);
        assert_eq!(target.unwrap().as_str(), "https://h.example/v1?a=1&b=2&c=x%20y%26z&a=3");
        let target = Target::parse("https://h.example/v1?a=1", &[], &[]).unwrap();
        assert_eq!(target.as_str(), "https://h.example/v1?a=1");
    }

    #[test]
    fn an_injected_parameter_keeps_the_urls_own_query_and_wins_over_its_name() {
        let target = parse("https://h.example/v1?a=1&api%5Fkey=mine&b=2").unwrap();
        let uri = target.with_injected(&[("api_key", "tok 1")]).unwrap();
        assert_eq!(uri, "https://h.example/v1?a=1&b=2&api_key=tok%201");
        let only = parse("https://h.example/v1?key=mine").unwrap().with_injected(&[("key", "t")]).unwrap();
        assert_eq!(only, "https://h.example/v1?key=t");
    }

    #[test]
    fn placeholders_are_filled_encoded_and_never_change_the_path() {
        let fill = |raw: &str, value: &str| Target::parse(raw, &[pair("id", value)], &[]);
        let target = fill("https://h.example/{id}/x?q={id}", "a/b c%é?#").unwrap();
        assert_eq!(
            target.as_str(),
            "https://h.example/a%2Fb%20c%25%C3%A9%3F%23/x?q=a%2Fb%20c%25%C3%A9%3F%23"
        );
        for value in ["", ".", ".."] {
            let refused = fill("https://h.example/{id}/x", value).unwrap_err();
            assert_eq!(*refused.kind(), crate::Kind::InvalidInput(InvalidInput::PathParam));
        }
        assert!(fill("https://h.example/{id}{id}/x", "../x").is_err());
        assert!(fill("https://h.example/?q={id}", "..").is_ok());
    }

    #[test]
    fn urls_beyond_the_limit_are_refused() {
        let long = format!("https://h.example/{}", "x".repeat(MAX_URL));
        assert!(parse(&long).is_err());
        let query = [pair("q", &"é".repeat(20_000))];
        assert!(Target::parse("https://h.example/", &[], &query).is_err());
        let nearly = parse(&format!("https://h.example/{}", "x".repeat(65_000))).unwrap();
        assert!(nearly.with_injected(&[("key", &"t".repeat(1_000))]).is_err());
    }

    #[test]
    fn a_bound_credential_reaches_its_hosts_only() {
        let within = |raw: &str, pattern: &str| parse(raw).unwrap().is_within(&[pattern.to_owned()]);
        assert!(within("https://api.example.com/x", "api.example.com"));
        assert!(within("https://API.example.com./x", "Api.Example.com"));
        assert!(within("https://a.b.example.com/x", "*.example.com"));
        assert!(within("https://h.example:8443/", "h.example:8443"));
        assert!(within("https://h.example/", "h.example:443"));
        assert!(within("http://[::1]:9/", "[::1]"));
        assert!(within("http://[::1]:9/", "[::1]:9"));
        assert!(!within("https://example.com/x", "*.example.com"));
        assert!(!within("https://evilexample.com/x", "*.example.com"));
        assert!(!within("https://example.com.evil.example/x", "example.com"));
        assert!(!within("https://h.example:8443/", "h.example:443"));
        assert!(!within("https://h.example:8443/", "h.example"));
        assert!(within("http://127.0.0.1:9/", "127.0.0.1"));
        assert!(!parse("https://h.example/").unwrap().is_within(&[]));
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_has_one_reading(raw in r"https?://[a-z0-9.@:%/\\?#{}\[\] _-]{0,40}") {
            if let Ok(target) = parse(&raw) {
                let again = Url::parse(target.as_str()).unwrap();
                prop_assert_eq!(again.as_str(), target.as_str());
                prop_assert!(again.username().is_empty() && again.password().is_none());
                let uri = target.uri().unwrap();
                prop_assert_eq!(uri.host().unwrap_or_default(), again.host_str().unwrap());
                prop_assert_eq!(uri.path(), again.path());
            }
        }

        #[test]
        fn a_value_stays_one_segment(value in "\\PC{1,30}") {
            if let Ok(target) = Target::parse("https://h.example/a/{id}/z", &[pair("id", &value)], &[]) {
                let segments: Vec<_> = target.0.path_segments().unwrap().collect();
                prop_assert_eq!(segments.len(), 3);
                prop_assert_eq!(percent_decode_str(segments[1]).decode_utf8().unwrap(), value);
            }
        }
    }
}

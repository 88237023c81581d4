//! URLs as they may be kept.

use std::borrow::Cow;

const REDACTED: &str = "[redacted]";

/// Names of query parameters whose values are secrets, compared in lower case with `-` and `.` as `_`.
const SECRET_NAMES: [&str; 24] = [
    "apikey",
    "assertion",
    "auth",
    "authorization",
    "client_assertion",
    "code",
    "code_verifier",
    "credential",
    "jwt",
    "key",
    "passwd",
    "password",
    "pwd",
    "secret",
    "session",
    "session_id",
    "sessionid",
    "sid",
    "sig",
    "signature",
    "sign",
    "token",
    "x_amz_credential",
    "passphrase",
];

/// Endings of such names.
const SECRET_ENDINGS: [&str; 6] = ["_token", "_secret", "_key", "_password", "_signature", "accesstoken"];

/// A URL without user information and fragment, with the values of well-known secret query parameters replaced, without control
/// characters, and cut to 2,048 bytes (at a character boundary).
///
/// It works on the text and not on a parsed URL, since what clients report is raw (spec/01 §5) and must be kept whatever it is.
///
/// ```
/// use alter_server::audit::clean_url;
///
/// assert_eq!(clean_url("https://u:p@h.example/a?page=2&access_token=abc#x"), "https://h.example/a?page=2&access_token=[redacted]");
/// ```
#[must_use]
pub fn clean_url(raw: &str) -> String {
    const MAX: usize = 2048;
    let mut out = String::with_capacity(raw.len().min(MAX) + 16);
    let raw = raw.split('#').next().unwrap_or("");
    let (address, query) = raw.split_once('?').map_or((raw, None), |(address, query)| (address, Some(query)));
    let (scheme, rest) = address.find("://").map_or(("", address), |place| address.split_at(place + 3));
    // Some parsers end the authority at a backslash and some do not: drop whatever any of them takes for user information.
    let authority_end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    let host = authority.rsplit('@').next().unwrap_or("");
    let mut push = |text: &str| out.extend(text.chars().filter(|c| !c.is_control()));
    push(scheme);
    push(host);
    push(path);
    if let Some(query) = query {
        push("?");
        for (index, pair) in query.split('&').enumerate() {
            if index > 0 {
                push("&");
            }
            match pair.split_once('=') {
                Some((name, value)) if !value.is_empty() && is_secret(name) => {
                    push(name);
                    push("=");
                    push(REDACTED);
                }
                _ => push(pair),
            }
        }
    }
    if out.len() > MAX {
        let mut end = MAX;
        while !out.is_char_boundary(end) {
            end -= 1;
        }
        out.truncate(end);
    }
    out
}

fn is_secret(name: &str) -> bool {
    let name: Cow<'_, str> = if name.contains(['%', '+']) {
        form_urlencoded::parse(name.as_bytes()).next().map_or(Cow::Borrowed(name), |(name, _)| name)
    } else {
        Cow::Borrowed(name)
    };
    let name = name.trim().to_ascii_lowercase().replace(['-', '.'], "_");
    SECRET_NAMES.contains(&name.as_str()) || SECRET_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::clean_url;

    #[test]
    fn secrets_in_a_url_are_not_kept() {
        for (raw, clean) in [
            ("https://h/x", "https://h/x"),
            ("https://u:p@h/x?a=1&b=2", "https://h/x?a=1&b=2"),
            ("https://h/x?API-Key=abc&x=1", "https://h/x?API-Key=[redacted]&x=1"),
            ("https://h/x?access%5Ftoken=abc", "https://h/x?access%5Ftoken=[redacted]"),
            ("https://h/x?X-Amz-Signature=abc&sort_key=", "https://h/x?X-Amz-Signature=[redacted]&sort_key="),
            (r"https://good\u:p@evil/x", "https://evil/x"),
            ("https://h/a@b?x=y@z", "https://h/a@b?x=y@z"),
            ("u:p@h", "h"),
            ("https://h/x#access_token=abc", "https://h/x"),
            ("https://h/\u{1b}[31mx", "https://h/[31mx"),
        ] {
            assert_eq!(clean_url(raw), clean, "{raw:?}");
        }
    }

    #[test]
    fn a_long_url_is_cut_between_characters() {
        let clean = clean_url(&format!("https://h/{}", "é".repeat(2000)));
        assert_eq!(clean.len(), 2048);
    }
}

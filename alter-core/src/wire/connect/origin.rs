//! Where a result may go: the origin of a window, the URL of a page (spec/03 §1.6).

use url::Url;

use super::{ConnectRequestError, MAX_URL};
use crate::wire::{code::Code, url::is_loopback};

/// Reads an origin: `scheme://host[:port]`, https, or http on `localhost`, `127.0.0.1` and `::1`. Gives it as a browser
/// spells it: lower case, without the scheme's own port, without a slash at the end. Whether the operator registered
/// it is the vault's to say.
///
/// ```
/// use alter_core::wire::connect::check_origin;
///
/// assert_eq!(check_origin("https://Shop.example:443/")?, "https://shop.example");
/// assert!(check_origin("https://shop.example/cart").is_err());
/// assert!(check_origin("*").is_err());
/// # Ok::<(), alter_core::wire::connect::ConnectRequestError>(())
/// ```
///
/// # Errors
///
/// `invalid_origin`: empty, `*`, a host with `*`, another scheme, or with path, query, fragment or user name.
pub fn check_origin(text: &str) -> Result<String, ConnectRequestError> {
    let refuse = |rule| ConnectRequestError::new("allowed_origin", rule, Code::InvalidOrigin);
    let bare = "must be a bare origin such as https://shop.example";
    let url = read(text).ok_or_else(|| refuse(bare))?;
    // The parser adds the slash of an empty path, and drops an empty user name, query or fragment without a word.
    let written = text.strip_suffix('/').unwrap_or(text);
    let rest = written.split_once("://").map(|(_, rest)| rest).unwrap_or_default();
    if rest.contains(['/', '?', '#', '@', '*', '%']) || url.path() != "/" {
        return Err(refuse(bare));
    }
    if !is_safe(&url) {
        return Err(refuse("must be https; plain http is for localhost, 127.0.0.1 and ::1 only"));
    }
    Ok(url.origin().ascii_serialization())
}

/// Reads the URL of the page that the browser returns to: absolute, https or loopback http, at most 2,048 bytes, no
/// user name. Whether its origin belongs to the app is the vault's to say.
///
/// # Errors
///
/// `invalid_return_url`, which is ours.
pub fn check_return_url(text: &str) -> Result<Url, ConnectRequestError> {
    let refuse = |rule| ConnectRequestError::new("return_url", rule, Code::InvalidReturnUrl);
    if text.len() > MAX_URL {
        return Err(refuse("must be at most 2048 bytes"));
    }
    let url =
        read(text).ok_or_else(|| refuse("must be an absolute URL such as https://shop.example/done"))?;
    let authority = text.split_once("://").and_then(|(_, rest)| rest.split(['/', '?', '#']).next());
    if authority.is_none_or(|authority| authority.contains(['@', '*', '%'])) {
        return Err(refuse("must name a plain host, without user name or password"));
    }
    if !is_safe(&url) {
        return Err(refuse("must be https; plain http is for localhost, 127.0.0.1 and ::1 only"));
    }
    Ok(url)
}

/// What browsers and this parser read alike: no backslash, no white space, nothing that is dropped in silence.
fn read(text: &str) -> Option<Url> {
    if text.chars().any(|c| c == '\\' || c.is_whitespace() || c.is_control()) {
        return None;
    }
    let (_, rest) = text.split_once("://")?;
    if rest.starts_with('/') {
        return None;
    }
    Url::parse(text).ok().filter(Url::has_host)
}

fn is_safe(url: &Url) -> bool {
    match url.scheme() {
        "https" => true,
        "http" => is_loopback(url),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_bare_and_spelled_as_browsers_spell_it() {
        for (given, kept) in [
            ("https://shop.example", "https://shop.example"),
            ("HTTPS://Shop.Example/", "https://shop.example"),
            ("https://shop.example:8443", "https://shop.example:8443"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://[::1]:3000/", "http://[::1]:3000"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
        ] {
            assert_eq!(check_origin(given).unwrap(), kept);
        }
        for refused in [
            "",
            "*",
            "null",
            "shop.example",
            "https://",
            "https:///shop.example",
            "https:/shop.example",
            "https://*",
            "https://*.shop.example",
            "https://shop.example/a",
            "https://shop.example//",
            "https://shop.example/.",
            "https://shop.example?",
            "https://shop.example#",
            "https://shop.example?a",
            "https://@shop.example",
            "https://u:p@shop.example",
            "https://shop.example\\",
            " https://shop.example",
            "http://shop.example",
            "http://127.0.0.2",
            "ftp://localhost",
            "javascript://shop.example",
            "https://shop%2eexample",
        ] {
            let error = check_origin(refused).unwrap_err();
            assert_eq!(error.code(), &Code::InvalidOrigin, "{refused}");
        }
    }

    #[test]
    fn a_return_url_is_absolute_and_safe() {
        for fine in
            ["https://shop.example", "https://shop.example/done?order=1#top", "http://127.0.0.1:3000/done"]
        {
            check_return_url(fine).unwrap();
        }
        let long = format!("https://shop.example/{}", "a".repeat(MAX_URL));
        for refused in [
            "",
            "/done",
            "//shop.example/done",
            "https:shop.example",
            "javascript:alert(1)",
            "data:text/html,x",
            "http://shop.example/done",
            "https://u@shop.example/done",
            "https://shop.example\\@evil.example/",
            "https://shop.example/\tdone",
            &long,
        ] {
            assert_eq!(check_return_url(refused).unwrap_err().code(), &Code::InvalidReturnUrl, "{refused}");
        }
    }
}

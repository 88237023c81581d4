//! What makes a URL unsafe, judged alike by the client that calls it and by the vault that releases a credential for it
//! (spec/01 §1.2, §6.2; design promise 8).

use percent_encoding::percent_decode_str;
use url::{Host, Url};

/// The three hosts to which plain http may go: `localhost`, `127.0.0.1` and `::1` (spec/01 §1.2).
///
/// ```
/// use alter_core::wire::url::is_loopback;
///
/// assert!(is_loopback(&"http://localhost:8080/".parse().unwrap()));
/// assert!(!is_loopback(&"http://127.0.0.2/".parse().unwrap()));
/// ```
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address == std::net::Ipv4Addr::LOCALHOST,
        Some(Host::Ipv6(address)) => address == std::net::Ipv6Addr::LOCALHOST,
        None => false,
    }
}

/// Whether a path holds a dot segment, however it is written: some servers collapse `%2e%2e`, `..%2f` and `..;` too.
#[must_use]
pub fn has_dot_segment(path: &str) -> bool {
    path.split('/').any(|segment| {
        let decoded = percent_decode_str(segment).decode_utf8_lossy();
        let is_dots = |part: &str| matches!(part.split(';').next(), Some("." | ".."));
        decoded.split(['/', '\\']).any(is_dots)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_segment_is_seen_in_every_spelling() {
        for path in ["/..", "/a/./b", "/%2e%2E/x", "/.%2e/x", "/a%2f..%2fb", "/a/..;x/b", "/a%5c..%5cb"] {
            assert!(has_dot_segment(path), "{path}");
        }
        for path in ["", "/", "/~c...d/.well-known", "/a..b", "/a%2Fb"] {
            assert!(!has_dot_segment(path), "{path}");
        }
    }
}

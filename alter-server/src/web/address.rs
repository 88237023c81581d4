//! The address under which browsers reach the vault.

use std::{fmt, str::FromStr, sync::Arc};

use alter_core::wire::url::{has_dot_segment, is_loopback};
use url::Url;

/// Where browsers reach the vault: `https`, or `http` on loopback, with a path if it is mounted under one. Pages, cookies and
/// redirect addresses are made from this and never from what a request says (its `Host` is the sender's choice).
///
/// ```
/// use alter_server::PublicUrl;
///
/// let public: PublicUrl = "https://shop.example/vault/".parse().unwrap();
/// assert_eq!(public.to_string(), "https://shop.example/vault");
/// assert_eq!(public.origin(), "https://shop.example");
/// assert_eq!(public.join("/sdk/oauth/callback").as_str(), "https://shop.example/vault/sdk/oauth/callback");
/// assert!("http://shop.example".parse::<PublicUrl>().is_err());
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct PublicUrl(Arc<Parts>);

#[derive(PartialEq, Eq)]
struct Parts {
    url: Url,
    origin: String,
    /// Without the slash at its end.
    prefix: String,
}

/// Why an address cannot be the public one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the public address must be https://HOST, or http:// on loopback, with a path at most: no user, query, fragment or dot segment"
)]
pub struct InvalidPublicUrl;

impl FromStr for PublicUrl {
    type Err = InvalidPublicUrl;

    fn from_str(text: &str) -> Result<Self, InvalidPublicUrl> {
        let url = Url::parse(text).map_err(|_| InvalidPublicUrl)?;
        let scheme = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url));
        let plain = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
            && url.host_str().is_some_and(|host| !host.is_empty());
        // The parser has resolved dot segments already: the text says whether there were any.
        if !scheme || !plain || has_dot_segment(text) || text.contains('\\') {
            return Err(InvalidPublicUrl);
        }
        let prefix = url.path().trim_end_matches('/').to_owned();
        // It stands in a `Set-Cookie`-free context, but in many pages: what is not plain is not worth the trouble.
        if prefix.contains("//")
            || !prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-._~".contains(&b))
        {
            return Err(InvalidPublicUrl);
        }
        Ok(Self(Arc::new(Parts { origin: url.origin().ascii_serialization(), url, prefix })))
    }
}

impl PublicUrl {
    /// The whole address of a path of the vault, which begins with `/`.
    #[must_use]
    pub fn join(&self, path: &str) -> Url {
        let mut url = self.0.url.clone();
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        url.set_path(&format!("{}{path}", self.0.prefix));
        url.set_query(query);
        url
    }

    /// A path of the vault as links in its pages name it: with the prefix that it is mounted under.
    #[must_use]
    pub fn path(&self, path: &str) -> String {
        format!("{}{path}", self.0.prefix)
    }

    /// Scheme, host and port, as browsers write them into `Origin`.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.0.origin
    }

    /// Whether it is `https`; else it is on loopback.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.0.url.scheme() == "https"
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.0.origin, self.0.prefix)
    }
}

impl fmt::Debug for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_or_loopback_without_anything_odd_is_a_public_address() {
        for good in [
            "https://a.example",
            "https://a.example:8443/x/y/",
            "http://localhost:1",
            "http://127.0.0.1:80/v",
            "http://[::1]:8720",
        ] {
            assert!(good.parse::<PublicUrl>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "a.example",
            "http://a.example",
            "ftp://a.example",
            "https://u@a.example",
            "https://u:p@a.example",
            "https://a.example/?q",
            "https://a.example/#f",
            "https://a.example/a/../b",
            "https://a.example/%2e%2e",
            "https://a.example/a//b",
            "https://a.example/\"",
            "https://a.example\\b",
            "http://127.0.0.2:1",
            "javascript:alert(1)",
        ] {
            assert!(bad.parse::<PublicUrl>().is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_and_addresses_carry_the_prefix() {
        let public: PublicUrl = "http://localhost:8720/vault".parse().unwrap();
        assert_eq!(public.path("/wallet"), "/vault/wallet");
        assert_eq!(public.join("/wallet?app=a").as_str(), "http://localhost:8720/vault/wallet?app=a");
        assert_eq!(public.origin(), "http://localhost:8720");
        let bare: PublicUrl = "https://a.example:443/".parse().unwrap();
        assert_eq!(
            (bare.origin(), bare.path("/x").as_str(), bare.to_string().as_str()),
            ("https://a.example", "/x", "https://a.example")
        );
    }
}

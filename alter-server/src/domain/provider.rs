//! Providers: how a credential is obtained, where it may go and how it is put into a request.

use std::{fmt, str::FromStr};

use alter_core::wire::{
    token,
    url::{has_dot_segment, is_loopback},
};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::{AppId, ClientAuth, OAuthSettings, RefreshSettings};

/// A definition that must not be stored; the text says what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidProvider(pub(crate) String);

/// Name of a provider within an app, such as `google` or `internal-billing`: 1 to 64 of `a-z 0-9 . _ -`, starting with a
/// letter or digit. For a managed secret it is the wire's `managed_secret_slug`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProviderId(String);

impl ProviderId {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProviderId {
    type Err = InvalidProvider;

    fn from_str(text: &str) -> Result<Self, InvalidProvider> {
        let first_ok = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let rest_ok =
            text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b));
        if first_ok && rest_ok && text.len() <= 64 {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidProvider(
            "a provider id is 1 to 64 characters of a-z, 0-9, '.', '_' and '-', starting with a letter or digit"
                .to_owned(),
        ))
    }
}

impl TryFrom<String> for ProviderId {
    type Error = InvalidProvider;

    fn try_from(text: String) -> Result<Self, InvalidProvider> {
        text.parse()
    }
}

impl From<ProviderId> for String {
    fn from(id: ProviderId) -> Self {
        id.0
    }
}

impl fmt::Display for ProviderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a provider's credentials come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderKind {
    /// Tokens of users, granted by OAuth or imported.
    #[serde(rename = "oauth")]
    OAuth,
    /// A secret that an operator keeps.
    ManagedSecret,
}

/// How the credential is written into a request (spec/01 §5.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Injection {
    /// Header name: at most 60 of `[A-Za-z][A-Za-z0-9-]*`, none of the forbidden ones.
    pub header: String,
    /// Value with `{token}` in it, at most 200 characters; or starting with `AWS4-HMAC-SHA256`.
    pub format: String,
}

impl Default for Injection {
    fn default() -> Self {
        Self { header: "Authorization".to_owned(), format: "Bearer {token}".to_owned() }
    }
}

/// Where a further value goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InjectionTarget {
    /// A request header.
    Header,
    /// A query parameter.
    QueryParam,
}

/// Which value goes there: `token`, or `additional_credentials.<name>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ValueSource {
    /// The main value.
    Token,
    /// A named further value of the managed secret.
    Additional(String),
}

impl TryFrom<String> for ValueSource {
    type Error = InvalidProvider;

    fn try_from(text: String) -> Result<Self, InvalidProvider> {
        if text == "token" {
            return Ok(Self::Token);
        }
        match text.strip_prefix("additional_credentials.") {
            Some(name) if is_credential_name(name) => Ok(Self::Additional(name.to_owned())),
            _ => Err(InvalidProvider(
                "value_source must be `token` or `additional_credentials.<name>` with a name of a-z, 0-9 and _"
                    .to_owned(),
            )),
        }
    }
}

impl From<ValueSource> for String {
    fn from(source: ValueSource) -> Self {
        match source {
            ValueSource::Token => "token".to_owned(),
            ValueSource::Additional(name) => format!("additional_credentials.{name}"),
        }
    }
}

pub(crate) fn is_credential_name(name: &str) -> bool {
    name.len() <= 50
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// A further value to inject (spec/01 §5.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdditionalInjection {
    /// Header or query parameter.
    pub target: InjectionTarget,
    /// Its name: at most 100 of `[A-Za-z][A-Za-z0-9_-]*`.
    pub key: String,
    /// Its value.
    pub value_source: ValueSource,
}

impl From<&AdditionalInjection> for token::Injection {
    fn from(item: &AdditionalInjection) -> Self {
        Self {
            target: match item.target {
                InjectionTarget::Header => token::InjectionTarget::Header,
                InjectionTarget::QueryParam => token::InjectionTarget::QueryParam,
            },
            key: item.key.clone(),
            value_source: item.value_source.clone().into(),
        }
    }
}

/// A host that a provider's credential may be sent to: `api.example.com`, `*.example.com` (any depth below, not the name
/// itself), each optionally with `:port`. Without a port only the scheme's own port matches; on loopback, any port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPattern {
    host: String,
    subdomains: bool,
    port: Option<u16>,
}

impl FromStr for HostPattern {
    type Err = InvalidProvider;

    fn from_str(text: &str) -> Result<Self, InvalidProvider> {
        let invalid = || {
            InvalidProvider(format!(
                "host pattern {text:?} must be a host name, *.name (a name of at least two labels) or an address, with an optional :port and nothing else"
            ))
        };
        let (name, subdomains) = match text.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        if name.is_empty() || name.contains(['/', '\\', '?', '#', '@', '*', ' ']) {
            return Err(invalid());
        }
        let url = Url::parse(&format!("https://{name}/")).map_err(|_| invalid())?;
        let host = normal_host(&url).ok_or_else(invalid)?;
        if subdomains && (!matches!(url.host(), Some(Host::Domain(_))) || !host.contains('.')) {
            return Err(invalid());
        }
        // `Url` hides a written `:443`; for us it is the same as none.
        Ok(Self { host, subdomains, port: url.port() })
    }
}

impl TryFrom<String> for HostPattern {
    type Error = InvalidProvider;

    fn try_from(text: String) -> Result<Self, InvalidProvider> {
        text.parse()
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.subdomains { "*." } else { "" };
        write!(f, "{star}{}", self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

fn normal_host(url: &Url) -> Option<String> {
    let host = url.host_str()?.trim_end_matches('.').to_ascii_lowercase();
    (!host.is_empty()).then_some(host)
}

/// The part of a request URL that decides where a credential would go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    host: String,
    port: u16,
    default_port: bool,
    loopback: bool,
}

impl Destination {
    /// Reads a destination; refuses what different parsers read differently (design promise 8, spec/01 §6.2): userinfo,
    /// backslash, white space, control characters, an empty or percent-encoded host, an address in a short spelling, dot
    /// segments, and any scheme but https (http on loopback only).
    ///
    /// # Errors
    ///
    /// Says which of these it was. The text contains nothing of the URL.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.contains(|c: char| c.is_control() || c.is_whitespace() || c == '\\') {
            return Err("the URL contains white space, a control character or a backslash");
        }
        let (scheme, after_scheme) = text.split_once("://").ok_or("the URL is not absolute")?;
        if !["https", "http"].iter().any(|known| known.eq_ignore_ascii_case(scheme)) {
            // `https:user@host/?://` is a URL with user information to a browser, and no `://` of its scheme.
            return Err("the URL does not begin with https://");
        }
        let end = after_scheme.find(['/', '?', '#']).unwrap_or(after_scheme.len());
        let (authority, tail) = after_scheme.split_at(end);
        if authority.is_empty() {
            // A browser takes what follows the third slash for the host, others take it for the path.
            return Err("the URL has no host");
        }
        if authority.contains('@') {
            return Err("the URL contains user information");
        }
        if authority.contains('%') {
            return Err("the URL's host is percent-encoded");
        }
        let path = tail.split(['?', '#']).next().unwrap_or("");
        if has_dot_segment(path) {
            return Err("the URL's path contains a dot segment");
        }
        let url = Url::parse(text).map_err(|_| "the URL does not parse")?;
        let host = normal_host(&url).ok_or("the URL has no host")?;
        if matches!(url.host(), Some(Host::Ipv4(_))) && !authority.starts_with(&host) {
            // `2`, `0x7f.1`, `127.1`: an address to a browser, a name to others.
            return Err("the URL's address is not written as four decimal numbers");
        }
        let loopback = is_loopback(&url);
        match url.scheme() {
            "https" => {}
            "http" if loopback => {}
            _ => return Err("the URL's scheme must be https (http is accepted for loopback hosts only)"),
        }
        let port = url.port_or_known_default().ok_or("the URL has no port")?;
        Ok(Self { host, port, default_port: url.port().is_none(), loopback })
    }

    /// Whether `pattern` covers this destination.
    #[must_use]
    pub fn matches(&self, pattern: &HostPattern) -> bool {
        let host = if pattern.subdomains {
            self.host
                .strip_suffix(pattern.host.as_str())
                .is_some_and(|head| head.len() > 1 && head.ends_with('.'))
        } else {
            self.host == pattern.host
        };
        let port = match pattern.port {
            Some(port) => self.port == port,
            None => self.default_port || self.loopback,
        };
        host && port
    }
}

/// An endpoint of a provider: read as [`Destination`] reads a URL, and without a fragment.
pub(crate) fn endpoint_url(text: &str) -> Result<Url, InvalidProvider> {
    Destination::parse(text).map_err(|rule| InvalidProvider(rule.to_owned()))?;
    let url = Url::parse(text).map_err(|_| InvalidProvider("the URL does not parse".to_owned()))?;
    if url.fragment().is_some() {
        return Err(InvalidProvider("the URL has a fragment".to_owned()));
    }
    Ok(url)
}

/// A provider as it is kept and read. No secret is in it: the client secret is sealed in a column of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provider {
    /// Name within the app.
    pub id: ProviderId,
    /// Where its credentials come from.
    pub kind: ProviderKind,
    /// Name for people.
    pub name: String,
    /// Hosts that its credentials may be sent to; at least one.
    pub hosts: Vec<HostPattern>,
    /// How the credential is injected.
    #[serde(default)]
    pub injection: Injection,
    /// What else is injected; at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub additional: Vec<AdditionalInjection>,
    /// The OAuth registration; only for [`ProviderKind::OAuth`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth: Option<OAuthSettings>,
}

impl Provider {
    /// Checks the limits of spec/01 §5.1, which clients enforce when they receive a credential: a definition beyond them
    /// would make each call fail at the client.
    ///
    /// # Errors
    ///
    /// The first rule that does not hold.
    pub fn check(&self) -> Result<(), InvalidProvider> {
        let fail = |text: &str| Err(InvalidProvider(text.to_owned()));
        if self.name.is_empty() || self.name.chars().count() > 100 {
            return fail("a provider needs a name of 1 to 100 characters");
        }
        if self.hosts.is_empty() || self.hosts.len() > 100 {
            return fail("a provider needs 1 to 100 hosts that its credential may be sent to");
        }
        // The rules by which clients judge an answer, so that what is stored here can be used there.
        token::check_header(&self.injection.header, 60)
            .map_err(|rule| InvalidProvider(format!("injection header: {rule}")))?;
        token::check_format(&self.injection.format).map_err(|rule| InvalidProvider(rule.to_owned()))?;
        if self.additional.len() > 10 {
            return fail("at most 10 additional injections are possible");
        }
        for item in &self.additional {
            token::Injection::from(item)
                .check()
                .map_err(|rule| InvalidProvider(format!("additional injection: {rule}")))?;
        }
        if self.kind == ProviderKind::ManagedSecret && self.oauth.is_some() {
            return fail("a managed-secret provider has no OAuth settings");
        }
        if let Some(oauth) = &self.oauth {
            oauth.check()?;
        }
        Ok(())
    }

    /// Whether the provider's credential may be sent to `destination`.
    #[must_use]
    pub fn allows(&self, destination: &Destination) -> bool {
        self.hosts.iter().any(|pattern| destination.matches(pattern))
    }

    /// Where and as whom its tokens are refreshed; `None` if the settings do not say.
    #[must_use]
    pub fn refreshing(&self) -> Option<Refreshing<'_>> {
        let oauth = self.oauth.as_ref()?;
        Some(Refreshing {
            token_url: oauth.refresh.url.as_deref().or(oauth.token_url.as_deref())?,
            client_id: oauth.client_id.as_deref()?,
            client_auth: oauth.client_auth,
            settings: &oauth.refresh,
        })
    }
}

/// What a refresh needs to know of its provider.
#[derive(Debug, Clone, Copy)]
pub struct Refreshing<'a> {
    /// Where tokens are refreshed: the token endpoint, unless the settings name another address.
    pub token_url: &'a str,
    /// Client id at the provider.
    pub client_id: &'a str,
    /// How the app proves itself there.
    pub client_auth: ClientAuth,
    /// The rest.
    pub settings: &'a RefreshSettings,
}

/// A provider to be created or replaced.
#[derive(Debug)]
pub struct PutProvider {
    /// The app.
    pub app_id: AppId,
    /// The definition; its kind cannot change once grants exist.
    pub provider: Provider,
    /// The OAuth client secret; `None` keeps the stored one. The store seals it.
    pub client_secret: Option<SecretString>,
}

//! An app's registration at an OAuth provider: what the dance of a connection, refreshing and revocation need to know.
//!
//! Every member has a default, and the defaults are a provider that keeps to the standards (RFC 6749, 7009, 7636, OpenID
//! Connect). What real ones do otherwise is data here, so that no code knows a provider by name.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{AccountSource, ClientAuth, InvalidProvider, RefreshSettings, provider::endpoint_url};

/// Parameters of an authorization request that are ours to set; a provider's further ones never replace them.
pub(crate) const RESERVED_PARAMETERS: [&str; 12] = [
    "client_id",
    "client_secret",
    "redirect_uri",
    "response_type",
    "response_mode",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
    "request",
    "request_uri",
];

/// An app's registration at an OAuth provider. All endpoints are optional: an imported token without a refresh token needs
/// none, refreshing needs `token_url` and `client_id`, connecting needs `authorize_url` as well.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OAuthSettings {
    /// Authorization endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorize_url: Option<String>,
    /// Token endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_url: Option<String>,
    /// Revocation endpoint; [`Self::revocation`] says how it is asked. `None`: the provider cannot be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoke_url: Option<String>,
    /// Where the connected account is named; asked as [`AccountSource::userinfo`] says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub userinfo_url: Option<String>,
    /// Client id at the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Scopes that are asked for when a session does not say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Scopes that are always asked for, whatever a session says: what naming the account or refreshing depends on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required_scopes: Vec<String>,
    /// What scopes allow, in plain words for the person who consents: `See and edit events on your calendars`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scope_texts: BTreeMap<String, String>,
    /// What the provider's answers call a scope, where that is not the name that was asked for. Empty: answers never name it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub granted_as: BTreeMap<String, String>,
    /// What stands between scopes in the request. Answers are split at both.
    #[serde(default, skip_serializing_if = "is_default")]
    pub scope_separator: ScopeSeparator,
    /// Proof key for the code (RFC 7636).
    #[serde(default, skip_serializing_if = "is_default")]
    pub pkce: Pkce,
    /// The provider's issuer identifier, compared byte by byte: an authorization response with another `iss` is refused
    /// (RFC 9207 §2.4), and so is an ID token (OpenID Connect Core §3.1.3.7). `None`: neither is compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The provider announces `authorization_response_iss_parameter_supported`: a response without `iss` is refused too.
    #[serde(default, skip_serializing_if = "is_default")]
    pub iss_required: bool,
    /// Further parameters of every authorization request, such as `access_type=offline`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub authorize_params: BTreeMap<String, String>,
    /// Parameters that make the provider ask which account is meant. They win over [`Self::authorize_params`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub select_account_params: BTreeMap<String, String>,
    /// Set if the provider adds newly granted scopes to what the same person granted the app before, so that only the
    /// difference needs to be asked for; holds the parameters that tell it to. `None`: a new token has what this request
    /// asked for and nothing else, so everything is asked for again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incremental: Option<BTreeMap<String, String>>,
    /// Further form members of the code exchange. What refreshing wants is in [`RefreshSettings::extra`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub token_params: BTreeMap<String, String>,
    /// The provider's pages set `Cross-Origin-Opener-Policy`: a window that visits them loses its opener, so the provider is
    /// opened in a window of its own.
    #[serde(default, skip_serializing_if = "is_default")]
    pub opener_isolated: bool,
    /// How the app proves itself at the token endpoint.
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// Where the connected account's id and names come from.
    #[serde(default, skip_serializing_if = "is_default")]
    pub account: AccountSource,
    /// How [`Self::revoke_url`] is asked.
    #[serde(default, skip_serializing_if = "is_default")]
    pub revocation: Revocation,
    /// How tokens are refreshed.
    #[serde(default)]
    pub refresh: RefreshSettings,
}

/// What stands between scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScopeSeparator {
    /// A space (RFC 6749 §3.3).
    #[default]
    Space,
    /// A comma.
    Comma,
}

impl ScopeSeparator {
    /// The value of the parameter `scope`.
    #[must_use]
    pub fn join(self, scopes: &[impl AsRef<str>]) -> String {
        let scopes: Vec<&str> = scopes.iter().map(AsRef::as_ref).collect();
        scopes.join(match self {
            Self::Space => " ",
            Self::Comma => ",",
        })
    }
}

/// Whether a proof key goes along (RFC 7636).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pkce {
    /// `S256`. Right also for a provider that ignores it.
    #[default]
    #[serde(rename = "S256")]
    S256,
    /// None: the provider refuses requests that have one.
    None,
}

/// How a provider is told that a grant has ended. The default is RFC 7009.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Revocation {
    /// Which token it is told.
    pub token: RevokedToken,
    /// How the token and the app are named.
    pub form: RevocationForm,
    /// `DELETE` instead of `POST`.
    pub delete: bool,
    /// Name of the member that carries the token.
    pub member: String,
    /// Whether `token_type_hint` goes along.
    pub hint: bool,
    /// How the app proves itself here; `None`: as at the token endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_auth: Option<ClientAuth>,
    /// Further members.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, String>,
}

impl Default for Revocation {
    fn default() -> Self {
        Self {
            token: RevokedToken::default(),
            form: RevocationForm::default(),
            delete: false,
            member: "token".to_owned(),
            hint: true,
            client_auth: None,
            params: BTreeMap::new(),
        }
    }
}

/// Which of a grant's tokens a revocation names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevokedToken {
    /// The refresh token, with which everything ends; the access token where there is none.
    #[default]
    Refresh,
    /// The access token.
    Access,
}

/// How a revocation is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevocationForm {
    /// A form (RFC 7009 §2.1).
    #[default]
    Form,
    /// The same members as one JSON object.
    Json,
    /// No body: the token is the request's own credential, injected as in every call of the provider's API.
    Bearer,
}

impl OAuthSettings {
    /// The scopes to ask for: what a session asked for (the default scopes if it said nothing) and the required ones, each
    /// once, in this order.
    #[must_use]
    pub fn asked_scopes(&self, session: &[String]) -> Vec<String> {
        let wanted = if session.is_empty() { &self.scopes } else { session };
        let mut seen = BTreeSet::new();
        wanted.iter().chain(&self.required_scopes).filter(|scope| seen.insert(*scope)).cloned().collect()
    }

    /// Whether the settings say all that connecting an account needs: where people are sent, where a code is redeemed, as
    /// whom.
    #[must_use]
    pub fn connectable(&self) -> bool {
        self.authorize_url.is_some() && self.token_url.is_some() && self.client_id.is_some()
    }

    /// Those of `asked` that are not in `granted`, the scopes that the provider's answer named. What its answers never name
    /// is not missing.
    #[must_use]
    pub fn missing_scopes<'a>(&self, asked: &'a [String], granted: &[String]) -> Vec<&'a str> {
        let answered = |scope: &String| match self.granted_as.get(scope) {
            Some(name) => name.is_empty() || granted.contains(name) || granted.contains(scope),
            None => granted.contains(scope),
        };
        asked.iter().filter(|scope| !answered(scope)).map(String::as_str).collect()
    }

    pub(super) fn check(&self) -> Result<(), InvalidProvider> {
        let fail = |text: &str| Err(InvalidProvider(text.to_owned()));
        let endpoints = [
            ("authorize_url", &self.authorize_url),
            ("token_url", &self.token_url),
            ("revoke_url", &self.revoke_url),
            ("userinfo_url", &self.userinfo_url),
            ("issuer", &self.issuer),
        ];
        for (name, url) in endpoints {
            if let Some(url) = url {
                endpoint_url(url)
                    .map_err(|InvalidProvider(rule)| InvalidProvider(format!("{name}: {rule}")))?;
            }
        }
        if self.iss_required && self.issuer.is_none() {
            return fail("iss_required needs an issuer to compare with");
        }
        if let Some(id) = &self.client_id
            && (!(1..=1_000).contains(&id.len()) || id.contains(char::is_control))
        {
            return fail("client_id is 1 to 1000 bytes without control characters");
        }
        let mut scopes =
            [&self.scopes, &self.required_scopes].into_iter().flatten().chain(self.granted_as.keys());
        let bad = |scope: &String| {
            scope.is_empty() || scope.contains(|c: char| c.is_whitespace() || c.is_control())
        };
        if self.scopes.len() > 1_000 || self.required_scopes.len() > 1_000 || scopes.any(bad) {
            return fail("at most 1000 scopes are possible, none of them empty or with white space in it");
        }
        let plain = |text: &str, most: usize| {
            (1..=most).contains(&text.chars().count()) && !text.contains(char::is_control)
        };
        if self.scope_texts.len() > 1_000
            || self.scope_texts.iter().any(|(scope, text)| bad(scope) || !plain(text, 300))
        {
            return fail(
                "at most 1000 scopes can be described, each by 1 to 300 characters without control characters",
            );
        }
        let none = BTreeMap::new();
        let requests = [
            ("authorize_params", &self.authorize_params),
            ("select_account_params", &self.select_account_params),
            ("incremental", self.incremental.as_ref().unwrap_or(&none)),
        ];
        for (what, params) in requests {
            check_params(what, params, &RESERVED_PARAMETERS)?;
        }
        check_params("token_params", &self.token_params, &super::RESERVED_MEMBERS)?;
        self.revocation.check()?;
        self.account.check()?;
        self.refresh.check()
    }
}

impl Revocation {
    fn check(&self) -> Result<(), InvalidProvider> {
        let members = ["client_id", "client_secret", "token_type_hint", self.member.as_str()];
        check_params("revocation.params", &self.params, &members)?;
        let member = self.member.as_str();
        if !(1..=100).contains(&member.len())
            || !member.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
            || members[..3].contains(&member)
        {
            return Err(InvalidProvider(
                "revocation.member is 1 to 100 letters, digits, '_' and '-', and none of the vault's own"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}

/// Checks further parameters: at most 20, with names and values of a sane size, none of `reserved`.
fn check_params(
    what: &str,
    params: &BTreeMap<String, String>,
    reserved: &[&str],
) -> Result<(), InvalidProvider> {
    if params.len() > 20 {
        return Err(InvalidProvider(format!("{what}: at most 20 are possible")));
    }
    for (name, value) in params {
        if reserved.contains(&name.as_str()) {
            return Err(InvalidProvider(format!("{what}: {name} is set by the vault")));
        }
        let plain = |text: &str| !text.contains(char::is_control);
        if !(1..=100).contains(&name.len()) || value.len() > 1_000 || !plain(name) || !plain(value) {
            return Err(InvalidProvider(format!(
                "{what}: a name has 1 to 100 bytes and a value at most 1000, without control characters"
            )));
        }
    }
    Ok(())
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(value: serde_json::Value) -> OAuthSettings {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_older_vaults_stored_is_read_and_written_as_it_was() {
        let stored = json!({
            "token_url": "https://id.example.test/token",
            "client_id": "c",
            "scopes": ["a"],
            "client_auth": "basic",
            "refresh": {"rotation": "always"},
        });
        let read = settings(stored.clone());
        assert_eq!(read.pkce, Pkce::S256);
        assert_eq!(read.revocation.member, "token");
        assert_eq!(serde_json::to_value(&read).unwrap(), stored);
        read.check().unwrap();
    }

    #[test]
    fn everything_that_is_set_is_found_again() {
        let all = settings(json!({
            "authorize_url": "https://id.example.test/authorize",
            "token_url": "https://id.example.test/token",
            "revoke_url": "https://api.example.test/applications/c/grant",
            "userinfo_url": "https://api.example.test/me",
            "issuer": "https://id.example.test",
            "iss_required": true,
            "client_id": "c",
            "scopes": ["a"],
            "required_scopes": ["openid"],
            "scope_texts": {"a": "See a"},
            "granted_as": {"offline": ""},
            "scope_separator": "comma",
            "pkce": "none",
            "authorize_params": {"access_type": "offline"},
            "select_account_params": {"prompt": "select_account"},
            "incremental": {"include_granted_scopes": "true"},
            "token_params": {"client_key": "c"},
            "opener_isolated": true,
            "account": {
                "id": ["/token/team/id /token/user/id"],
                "userinfo": {"post": true, "headers": {"Notion-Version": "2022-06-28"}, "body": "{}"},
            },
            "revocation": {
                "token": "access", "form": "json", "delete": true, "member": "access_token", "hint": false,
                "client_auth": "basic",
            },
        }));
        all.check().unwrap();
        let again: OAuthSettings = serde_json::from_value(serde_json::to_value(&all).unwrap()).unwrap();
        assert_eq!(again, all);
    }

    #[test]
    fn what_the_vault_sets_itself_cannot_be_set_by_a_definition() {
        for name in RESERVED_PARAMETERS {
            for member in ["authorize_params", "select_account_params", "incremental"] {
                let bad = settings(json!({ member: { name: "x" } })).check().unwrap_err();
                assert_eq!(bad.to_string(), format!("{member}: {name} is set by the vault"));
            }
        }
        for name in ["code", "redirect_uri", "code_verifier", "client_secret", "grant_type"] {
            settings(json!({ "token_params": { name: "x" } })).check().unwrap_err();
        }
        settings(json!({ "revocation": { "params": { "token": "x" } } })).check().unwrap_err();
        settings(json!({ "revocation": { "member": "client_secret" } })).check().unwrap_err();
        settings(json!({ "iss_required": true })).check().unwrap_err();
        settings(json!({ "issuer": "http://id.example.test" })).check().unwrap_err();
    }

    #[test]
    fn required_scopes_are_always_asked_for_and_nothing_twice() {
        let google = settings(json!({
            "scopes": ["openid", "email"],
            "required_scopes": ["openid"],
            "granted_as": {"email": "https://scopes.example.test/email", "offline": ""},
        }));
        let asked = |scopes: &[&str]| {
            google.asked_scopes(&scopes.iter().map(|&scope| scope.to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(asked(&[]), ["openid", "email"]);
        assert_eq!(asked(&["calendar", "calendar"]), ["calendar", "openid"]);
        let granted = ["openid".to_owned(), "https://scopes.example.test/email".to_owned()];
        assert_eq!(google.missing_scopes(&asked(&["email", "offline", "calendar"]), &granted), ["calendar"]);
        assert_eq!(ScopeSeparator::Comma.join(&asked(&["a"])), "a,openid");
    }
}

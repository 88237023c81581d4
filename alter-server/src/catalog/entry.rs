//! One entry, and the provider that it becomes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{CatalogError, fill::Fill, shown};
use crate::domain::{
    AdditionalInjection, ClientAuth, HostPattern, Injection, OAuthSettings, Provider, ProviderId,
    ProviderKind,
};

/// What is known of a provider, before an app is registered there. A file with one of these is what `--from-file` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The id that requests address it by.
    pub id: ProviderId,
    /// Its name for people.
    pub name: String,
    /// What kind of thing it is, such as `crm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// What it is, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The provider's own documentation of all this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Whether somebody compared its endpoints and client authentication with that, or with `compared`.
    #[serde(default)]
    pub checked: Checked,
    /// What it was compared with, where that was not `source`: addresses, or names that the catalogue's head explains.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub compared: Vec<String>,
    /// How long its tokens live, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<String>,
    /// What an operator has to know: oddities, what cannot be said as data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What `{name}` stands for in the members below, by name. `{client_id}` needs no entry.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, Variable>,
    /// Hosts that its credentials may be sent to.
    pub hosts: Vec<String>,
    /// How the credential is injected.
    #[serde(default)]
    pub injection: Injection,
    /// What else is injected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub additional: Vec<AdditionalInjection>,
    /// Everything else.
    pub oauth: OAuthSettings,
}

/// Whether an entry was compared with the provider's documentation or with other clients.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Checked {
    /// Nobody says so.
    #[default]
    Unverified,
    /// In this month, written `2026-11`.
    Month(String),
}

impl TryFrom<String> for Checked {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let month = |text: &str| {
            let (year, month) = text.split_once('-')?;
            let digits = |part: &str, count| part.len() == count && part.bytes().all(|b| b.is_ascii_digit());
            (digits(year, 4) && digits(month, 2) && ("01"..="12").contains(&month)).then_some(())
        };
        match text.as_str() {
            "unverified" => Ok(Self::Unverified),
            text if month(text).is_some() => Ok(Self::Month(text.to_owned())),
            _ => Err("checked is a month such as 2026-11, or unverified".to_owned()),
        }
    }
}

impl From<Checked> for String {
    fn from(checked: Checked) -> Self {
        match checked {
            Checked::Unverified => "unverified".to_owned(),
            Checked::Month(month) => month,
        }
    }
}

/// A value that each customer of a provider has their own of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// What it is and where an operator finds it.
    pub about: String,
    /// What one looks like.
    pub example: String,
    /// What is taken when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// The only values there are. Without them, one DNS label.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
}

/// What an app brings along: its registration at the provider, and its wishes.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Registration {
    /// Client id at the provider.
    pub client_id: String,
    /// The id that requests address the provider by; the entry's by default. With it, an app can have two of a kind.
    pub id: Option<ProviderId>,
    /// Its name for people; the entry's by default.
    pub name: Option<String>,
    /// Scopes to ask for instead of the entry's default ones.
    pub scopes: Vec<String>,
    /// Further hosts.
    pub hosts: Vec<HostPattern>,
    /// How the app proves itself, where its registration differs from the usual one: `None` for a public client.
    pub client_auth: Option<ClientAuth>,
    /// Values of the entry's variables.
    pub values: BTreeMap<String, String>,
}

impl Registration {
    /// A registration with this client id.
    #[must_use]
    pub fn new(client_id: impl Into<String>) -> Self {
        Self { client_id: client_id.into(), ..Self::default() }
    }
}

impl Entry {
    /// Reads an operator's own definition: one entry as TOML.
    ///
    /// # Errors
    ///
    /// [`CatalogError::Form`], with line and column, or the name of a member that does not exist.
    pub fn parse(text: &str) -> Result<Self, CatalogError> {
        strict(text)
    }

    /// The provider for an app. It has passed [`Provider::check`].
    ///
    /// # Errors
    ///
    /// [`CatalogError::Missing`], [`CatalogError::Value`], [`CatalogError::Provider`].
    pub fn provider(&self, registration: Registration) -> Result<Provider, CatalogError> {
        let failed = |rule: String| CatalogError::Provider { provider: self.id.to_string(), rule };
        let fill = self.fill(&registration)?;
        let mut oauth = fill.settings(&self.oauth).map_err(failed)?;
        oauth.client_id = Some(registration.client_id);
        if !registration.scopes.is_empty() {
            oauth.scopes = registration.scopes;
        }
        if let Some(auth) = registration.client_auth {
            oauth.client_auth = auth;
        }
        let own = self
            .hosts
            .iter()
            .map(|host| fill.host(host).parse::<HostPattern>().map_err(|error| failed(error.to_string())));
        let mut hosts = own.collect::<Result<Vec<_>, _>>()?;
        for host in registration.hosts {
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        let provider = Provider {
            id: registration.id.unwrap_or_else(|| self.id.clone()),
            kind: ProviderKind::OAuth,
            name: registration.name.unwrap_or_else(|| self.name.clone()),
            hosts,
            injection: self.injection.clone(),
            additional: self.additional.clone(),
            oauth: Some(oauth),
        };
        provider.check().map_err(|error| failed(error.to_string()))?;
        Ok(provider)
    }

    /// The provider with an example for every variable, to be looked at.
    ///
    /// # Errors
    ///
    /// As [`Self::provider`].
    pub fn example(&self) -> Result<Provider, CatalogError> {
        let mut registration = Registration::new("ID");
        for (name, variable) in &self.variables {
            let value = variable.default.as_ref().unwrap_or(&variable.example);
            registration.values.insert(name.clone(), value.clone());
        }
        self.provider(registration)
    }

    /// Scopes among `scopes` that this entry has no plain words for, so that people will see their names.
    #[must_use]
    pub fn undescribed<'a>(&self, scopes: &'a [String]) -> Vec<&'a str> {
        let bare = |scope: &&String| !self.oauth.scope_texts.contains_key(*scope);
        scopes.iter().filter(bare).map(String::as_str).collect()
    }

    fn fill(&self, registration: &Registration) -> Result<Fill, CatalogError> {
        for name in registration.values.keys() {
            if !self.variables.contains_key(name) {
                let known: Vec<&str> = self.variables.keys().map(String::as_str).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(CatalogError::Value {
                    name: shown(name),
                    rule: format!("{} has no such variable (it has: {known})", self.id),
                });
            }
        }
        let mut values = BTreeMap::new();
        for (name, variable) in &self.variables {
            let value = registration.values.get(name).or(variable.default.as_ref());
            let Some(value) = value else {
                return Err(CatalogError::Missing {
                    provider: self.id.to_string(),
                    name: name.clone(),
                    about: variable.about.clone(),
                    example: variable.example.clone(),
                });
            };
            variable.check(value).map_err(|rule| CatalogError::Value { name: name.clone(), rule })?;
            values.insert(name.clone(), value.clone());
        }
        Ok(Fill::new(values, &registration.client_id))
    }
}

impl Variable {
    /// Whether a value may stand in a host name: one of the choices, else one DNS label, so that nothing that is typed can
    /// move a credential to another host.
    fn check(&self, value: &str) -> Result<(), String> {
        if !self.choices.is_empty() {
            let known = self.choices.iter().any(|choice| choice == value);
            return if known { Ok(()) } else { Err(format!("must be one of {}", self.choices.join(", "))) };
        }
        let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = value.as_bytes();
        let label = bytes.len() <= 63
            && edge(bytes.first())
            && edge(bytes.last())
            && bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-');
        if label {
            return Ok(());
        }
        Err(format!(
            "must be one label of a host name, such as {}: 1 to 63 of a-z, 0-9 and '-', no dots, {}",
            self.example, self.about
        ))
    }
}

/// Reads TOML; a member that nobody reads is an error, since it is a misspelt one.
pub(super) fn strict<T: DeserializeOwned>(text: &str) -> Result<T, CatalogError> {
    let form = |error: toml::de::Error| CatalogError::Form(error.to_string().trim_end().to_owned());
    let reader = toml::Deserializer::parse(text).map_err(form)?;
    let mut ignored = BTreeSet::new();
    let read = serde_ignored::deserialize(reader, |path| {
        ignored.insert(shown(&path.to_string()));
    });
    let read = read.map_err(form)?;
    if ignored.is_empty() {
        return Ok(read);
    }
    let names: Vec<String> = ignored.into_iter().collect();
    Err(CatalogError::Form(format!("there is no such member: {}", names.join(", "))))
}

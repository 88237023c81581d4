//! Moving existing tokens in: one JSON object per line, all of them checked before the first is stored.

use std::{collections::BTreeSet, fmt};

use alter_core::wire::secret::SecretText;
use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{Admin, AdminError, invalid};
use crate::domain::{AppId, GrantId, Identity, ImportGrant, ImportOwner, Provider, ProviderId, ProviderKind};

/// Longest token, in bytes (spec/01 §5.1).
const MAX_TOKEN: usize = 8_192;
/// Most lines of one import.
const MAX_LINES: usize = 100_000;

/// One line, as people write it from a table of their own.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    /// Subject of the user's JWT.
    sub: String,
    provider: String,
    #[serde(default)]
    account: Option<String>,
    #[serde(default)]
    account_name: Option<String>,
    #[serde(default)]
    label: Option<String>,
    access_token: SecretText,
    #[serde(default)]
    refresh_token: Option<SecretText>,
    /// RFC 3339, or Unix seconds.
    #[serde(default)]
    expires_at: Option<When>,
    #[serde(default)]
    scopes: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum When {
    Seconds(i64),
    Text(String),
}

impl When {
    fn read(&self) -> Option<Timestamp> {
        match self {
            Self::Seconds(seconds) => Timestamp::from_second(*seconds).ok(),
            Self::Text(text) => text.parse().ok(),
        }
    }
}

/// What is wrong with one line. Contains nothing of its tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImportFault {
    /// Counted from 1.
    pub line: usize,
    /// What to change.
    pub message: String,
}

impl fmt::Display for ImportFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

/// What became of one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImportedLine {
    /// Counted from 1.
    pub line: usize,
    /// The grant that holds the tokens now.
    pub grant_id: GrantId,
    /// It is new; otherwise the tokens of the same account were replaced.
    pub created: bool,
}

/// An import whose every line is good. Nothing is stored yet.
#[derive(Debug)]
#[must_use = "nothing is stored before `Admin::run_import`"]
pub struct ImportPlan {
    grants: Vec<(usize, ImportGrant)>,
}

impl ImportPlan {
    /// How many lines there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.grants.len()
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.grants.is_empty()
    }
}

impl Admin {
    /// Reads an import: one object per line with `sub`, `provider`, `access_token` and, if known, `account`,
    /// `account_name`, `label`, `refresh_token`, `expires_at` (RFC 3339 or Unix seconds) and `scopes`. Empty lines are
    /// skipped. The users are those of the app's identity provider.
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`] if the app has no identity provider or the text is too long. The inner `Err` lists every
    /// line that is wrong.
    pub async fn plan_import(
        &self,
        app: AppId,
        text: &SecretString,
    ) -> Result<Result<ImportPlan, Vec<ImportFault>>, AdminError> {
        use secrecy::ExposeSecret;

        let Some(idp) = self.app_config(app).await?.idp else {
            return Err(invalid(
                "the app has no identity provider, so nobody's `sub` means anything: use `idp set` first",
            ));
        };
        let providers = self.providers(app).await?;
        let lines = text.expose_secret().lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let (mut grants, mut faults, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
        for (index, line) in lines {
            if grants.len() + faults.len() >= MAX_LINES {
                return Err(invalid("an import has at most 100000 lines: split it"));
            }
            match read(line, app, &idp.issuer, &providers, &mut seen) {
                Ok(grant) => grants.push((index + 1, grant)),
                Err(message) => faults.push(ImportFault { line: index + 1, message }),
            }
        }
        Ok(if faults.is_empty() { Ok(ImportPlan { grants }) } else { Err(faults) })
    }

    /// Stores what was planned, line by line. Running an import again is safe: the same account of the same user keeps
    /// its grant.
    ///
    /// # Errors
    ///
    /// The lines that are stored, and why the next one is not.
    pub async fn run_import(
        &self,
        plan: ImportPlan,
    ) -> Result<Vec<ImportedLine>, (Vec<ImportedLine>, usize, AdminError)> {
        let mut done = Vec::with_capacity(plan.grants.len());
        for (line, grant) in plan.grants {
            match self.import_grant(grant).await {
                Ok(imported) => done.push(ImportedLine {
                    line,
                    grant_id: imported.grant.facts.id,
                    created: imported.created,
                }),
                Err(error) => return Err((done, line, error)),
            }
        }
        Ok(done)
    }
}

fn read(
    line: &str,
    app: AppId,
    issuer: &str,
    providers: &[Provider],
    seen: &mut BTreeSet<(String, ProviderId, Option<String>)>,
) -> Result<ImportGrant, String> {
    let line: Line = serde_json::from_str(line).map_err(|error| unreadable(line, &error))?;
    let provider = providers.iter().find(|known| known.id.as_str() == line.provider);
    let provider = provider.ok_or_else(|| "names a provider that the app does not have".to_owned())?;
    if provider.kind != ProviderKind::OAuth {
        return Err("names a provider of managed secrets: those are made with `secret create`".to_owned());
    }
    let label_fits = |text: &Option<String>| {
        text.as_deref().is_none_or(|text| {
            (1..=255).contains(&text.chars().count())
                && text.trim() == text
                && !text.chars().any(char::is_control)
        })
    };
    if line.sub.trim().is_empty() || line.sub.chars().count() > 255 {
        return Err("has a sub that is blank or longer than 255 characters".to_owned());
    }
    if !label_fits(&line.account) || !label_fits(&line.account_name) || !label_fits(&line.label) {
        return Err(
            "has an account, account_name or label that is blank or longer than 255 characters".to_owned()
        );
    }
    let printable = |token: &SecretText| {
        (1..=MAX_TOKEN).contains(&token.expose().len())
            && token.expose().bytes().all(|byte| (0x21..0x7f).contains(&byte))
    };
    if !printable(&line.access_token) || line.refresh_token.as_ref().is_some_and(|token| !printable(token)) {
        return Err("has a token that is not 1 to 8192 printable ASCII characters".to_owned());
    }
    let expires_at = match &line.expires_at {
        None => None,
        Some(when) => Some(
            when.read()
                .ok_or_else(|| "has an expires_at that is neither RFC 3339 nor Unix seconds".to_owned())?,
        ),
    };
    if line
        .scopes
        .iter()
        .any(|scope| scope.is_empty() || scope.contains(|c: char| c.is_whitespace() || c.is_control()))
    {
        return Err("has a scope that is empty or contains white space".to_owned());
    }
    if !seen.insert((line.sub.clone(), provider.id.clone(), line.account.clone())) {
        return Err("repeats an account of an earlier line (same sub, provider and account)".to_owned());
    }
    Ok(ImportGrant {
        app_id: app,
        provider: provider.id.clone(),
        owner: ImportOwner::Identity(Identity {
            issuer: issuer.to_owned(),
            subject: line.sub,
            email: None,
            name: None,
            groups: Vec::new(),
        }),
        account_identifier: line.account,
        account_display_name: line.account_name,
        label: line.label,
        access_token: SecretString::from(line.access_token.expose()),
        refresh_token: line.refresh_token.map(|token| SecretString::from(token.expose())),
        token_expires_at: expires_at,
        scopes: line.scopes,
        grant_expires_at: None,
    })
}

/// Why a line could not be read. serde's own text may quote a token, so only names that we know are named.
fn unreadable(line: &str, error: &serde_json::Error) -> String {
    const NEEDED: [&str; 3] = ["sub", "provider", "access_token"];
    const MORE: [&str; 6] = ["account", "account_name", "label", "refresh_token", "expires_at", "scopes"];

    /// The names of an object, and nothing of their values.
    type Names = std::collections::BTreeMap<String, serde::de::IgnoredAny>;

    let Ok(names) = serde_json::from_str::<Names>(line) else {
        return format!("is not a JSON object (column {})", error.column());
    };
    if let Some(lacks) = NEEDED.into_iter().find(|name| !names.contains_key(*name)) {
        return format!("lacks {lacks}");
    }
    let (needed, more) = (NEEDED.join(", "), MORE.join(", "));
    if names.keys().any(|name| !NEEDED.contains(&name.as_str()) && !MORE.contains(&name.as_str())) {
        return format!("has a name that is none of {needed}, {more} (column {})", error.column());
    }
    format!("has a value of the wrong type, or a name twice (column {})", error.column())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str) -> Result<ImportGrant, String> {
        let provider = Provider {
            id: "google".parse().unwrap(),
            kind: ProviderKind::OAuth,
            name: "Google".into(),
            hosts: vec!["www.googleapis.com".parse().unwrap()],
            injection: crate::domain::Injection::default(),
            additional: Vec::new(),
            oauth: None,
        };
        read(line, AppId::random(), "https://id.example.test", &[provider], &mut BTreeSet::new())
    }

    #[test]
    fn a_row_of_a_home_made_table_becomes_a_grant() {
        let grant = check(
            r#"{"sub":"u-1","provider":"google","account":"a@b.c","access_token":"ya29.x","refresh_token":"1//y","expires_at":1767225600,"scopes":["read"]}"#,
        )
        .unwrap();
        assert_eq!(grant.token_expires_at.unwrap().to_string(), "2026-01-01T00:00:00Z");
        assert_eq!(grant.account_identifier.as_deref(), Some("a@b.c"));
    }

    #[test]
    fn what_is_wrong_is_said_without_a_token() {
        for line in [
            "not json",
            r#"{"sub":"u","provider":"google","access_token":"s3cret token"}"#,
            r#"{"sub":"u","provider":"slack","access_token":"s3cret"}"#,
            r#"{"sub":" ","provider":"google","access_token":"s3cret"}"#,
            r#"{"sub":"u","provider":"google","access_token":"s3cret","expires_at":"soon"}"#,
            r#"{"sub":"u","provider":"google","access_token":"s3cret","acount":"typo"}"#,
            r#"{"sub":"u","provider":"google","access_token":["s3cret"]}"#,
            r#"{"sub":"u","provider":"google","access_token":"s3cret","s3cret":1}"#,
        ] {
            let fault = check(line).unwrap_err();
            assert!(!fault.contains("s3cret"), "{fault}");
        }
        let lacking = check(r#"{"sub":"u","provider":"google"}"#).unwrap_err();
        assert_eq!(lacking, "lacks access_token");
        let unknown =
            check(r#"{"sub":"u","provider":"google","access_token":"s3cret","acount":"x"}"#).unwrap_err();
        assert!(unknown.starts_with("has a name that is none of sub, provider"), "{unknown}");
    }
}

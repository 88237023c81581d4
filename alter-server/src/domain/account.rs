//! Which account at the provider a token is for.

use std::collections::BTreeMap;

use alter_core::wire::token;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::InvalidProvider;

/// Longest id, in bytes; what is longer is no id.
const LONGEST_ID: usize = 255;
/// Longest name that is kept, in characters.
const LONGEST_NAME: usize = 255;

/// Where the connected account's id and names are found.
///
/// Everything that a dance brought is one JSON document, `{"token": …, "id_token": …, "userinfo": …, "callback": …}`: the
/// token response, the claims of the ID token in it, the answer of the userinfo endpoint, the query of the redirect. Each
/// list below holds candidates, and the first that is found counts. A candidate is a JSON pointer (RFC 6901) into the
/// document, or several separated by spaces, which must all be found and are joined by `:`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AccountSource {
    /// The account's stable id: one that stays when the person changes e-mail address or name, and that is never given to
    /// somebody else. By default OpenID Connect's `sub`.
    pub id: Vec<String>,
    /// What the person knows the account by: an e-mail address or login.
    pub identifier: Vec<String>,
    /// A name to show.
    pub name: Vec<String>,
    /// How the userinfo endpoint is asked.
    #[serde(skip_serializing_if = "UserinfoRequest::is_default")]
    pub userinfo: UserinfoRequest,
}

impl Default for AccountSource {
    fn default() -> Self {
        let list = |pointers: &[&str]| pointers.iter().map(|&pointer| pointer.to_owned()).collect();
        Self {
            id: list(&["/userinfo/sub", "/id_token/sub"]),
            identifier: list(&[
                "/userinfo/email",
                "/id_token/email",
                "/userinfo/preferred_username",
                "/id_token/preferred_username",
            ]),
            name: list(&["/userinfo/name", "/id_token/name"]),
            userinfo: UserinfoRequest::default(),
        }
    }
}

/// How the userinfo endpoint is asked: with the access token as in every call of the provider's API.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct UserinfoRequest {
    /// `POST` instead of `GET`.
    pub post: bool,
    /// Further headers, such as `Notion-Version`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// A JSON text to post, such as a GraphQL query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

impl UserinfoRequest {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The account that a provider's answers name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccountFacts {
    /// Stable id at the provider; `None` if its answers have none.
    pub id: Option<String>,
    /// E-mail address or login.
    pub identifier: Option<String>,
    /// Name to show.
    pub name: Option<String>,
}

impl AccountSource {
    /// Whether any candidate needs the userinfo endpoint.
    #[must_use]
    pub fn needs_userinfo(&self) -> bool {
        self.pointers().any(|pointer| root(pointer) == Some("userinfo"))
    }

    /// Finds the account in what a dance brought. Text is cleaned of control characters and cut to 255 characters; an id is
    /// never changed: one that is longer or not clean is not taken.
    #[must_use]
    pub fn read(&self, document: &Value) -> AccountFacts {
        AccountFacts {
            id: found(&self.id, document)
                .filter(|id| id.len() <= LONGEST_ID && !id.contains(char::is_control)),
            identifier: found(&self.identifier, document).and_then(|text| shown(&text)),
            name: found(&self.name, document).and_then(|text| shown(&text)),
        }
    }

    /// Whether the id may come out of the callback's address, which is not the provider's word alone: the browser writes it.
    pub(crate) fn id_from_callback(&self) -> bool {
        self.id
            .iter()
            .flat_map(|candidate| candidate.split(' '))
            .any(|pointer| root(pointer) == Some("callback"))
    }

    fn pointers(&self) -> impl Iterator<Item = &str> {
        let candidates = self.id.iter().chain(&self.identifier).chain(&self.name);
        candidates.flat_map(|candidate| candidate.split(' '))
    }

    pub(super) fn check(&self) -> Result<(), InvalidProvider> {
        let fail = |text: String| Err(InvalidProvider(text));
        if [&self.id, &self.identifier, &self.name].iter().any(|list| list.len() > 10) {
            return fail("account: at most 10 candidates are possible".to_owned());
        }
        for pointer in self.pointers() {
            if !matches!(root(pointer), Some("token" | "id_token" | "userinfo" | "callback")) {
                return fail(format!(
                    "account: {pointer:?} must be a JSON pointer that begins with /token/, /id_token/, /userinfo/ or /callback/"
                ));
            }
            let last = pointer.rsplit('/').next().unwrap_or("");
            if pointer.len() > 200 || last.ends_with("_token") || matches!(last, "token" | "code" | "state") {
                return fail(format!("account: {pointer:?} points at a secret or is too long"));
            }
        }
        for (name, value) in &self.userinfo.headers {
            token::check_header(name, 60)
                .map_err(|rule| InvalidProvider(format!("account.userinfo.headers: {name:?}: {rule}")))?;
            if name.eq_ignore_ascii_case("authorization") {
                return fail("account.userinfo.headers: Authorization is set by the vault".to_owned());
            }
            if value.len() > 1_000 || value.bytes().any(|byte| !(0x20..0x7f).contains(&byte)) {
                return fail(format!(
                    "account.userinfo.headers: {name} is at most 1000 printable ASCII characters"
                ));
            }
        }
        if let Some(body) = &self.userinfo.body {
            if !self.userinfo.post {
                return fail("account.userinfo: a body is only possible with post".to_owned());
            }
            if body.len() > 10_000 || serde_json::from_str::<Value>(body).is_err() {
                return fail("account.userinfo.body is a JSON text of at most 10000 bytes".to_owned());
            }
        }
        Ok(())
    }
}

fn root(pointer: &str) -> Option<&str> {
    let (root, rest) = pointer.strip_prefix('/')?.split_once('/')?;
    (!rest.is_empty()).then_some(root)
}

fn found(candidates: &[String], document: &Value) -> Option<String> {
    candidates.iter().find_map(|candidate| {
        let parts: Option<Vec<String>> =
            candidate.split(' ').map(|pointer| text(document.pointer(pointer)?)).collect();
        Some(parts?.join(":"))
    })
}

/// Providers write ids as text and as numbers.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
    .filter(|text| !text.trim().is_empty())
}

fn shown(text: &str) -> Option<String> {
    let text: String = text.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn source(id: &str) -> AccountSource {
        AccountSource { id: vec![id.to_owned()], ..AccountSource::default() }
    }

    #[test]
    fn by_default_the_account_is_read_as_openid_connect_names_it() {
        let facts = AccountSource::default().read(&json!({
            "token": {"access_token": "t"},
            "id_token": {"sub": "other", "email": "ann@example.test"},
            "userinfo": {"sub": "7", "name": " Ann\u{7} "},
        }));
        assert_eq!(facts.id.as_deref(), Some("7"));
        assert_eq!(facts.identifier.as_deref(), Some("ann@example.test"));
        assert_eq!(facts.name.as_deref(), Some("Ann"));
        assert!(AccountSource::default().needs_userinfo());
    }

    #[test]
    fn the_first_candidate_that_is_there_counts_and_a_joined_one_only_as_a_whole() {
        let team = AccountSource {
            id: vec!["/token/team/id /token/user/id".into(), "/callback/realmId".into()],
            ..AccountSource::default()
        };
        let both = json!({"token": {"team": {"id": "T1"}, "user": {"id": 5}}, "callback": {"realmId": "9"}});
        assert_eq!(team.read(&both).id.as_deref(), Some("T1:5"));
        let half = json!({"token": {"team": {"id": "T1"}}, "callback": {"realmId": "9"}});
        assert_eq!(team.read(&half).id.as_deref(), Some("9"));
        assert_eq!(team.read(&json!({})), AccountFacts::default());
    }

    #[test]
    fn an_id_is_taken_as_it_is_or_not_at_all() {
        for (value, read) in [
            (json!("a b"), Some("a b")),
            (json!(12), Some("12")),
            (json!(true), None),
            (json!(null), None),
            (json!({"x": 1}), None),
            (json!(""), None),
            (json!("a\nb"), None),
            (json!("x".repeat(256)), None),
        ] {
            let id = source("/userinfo/id").read(&json!({ "userinfo": { "id": value } })).id;
            assert_eq!(id.as_deref(), read, "{value}");
        }
    }

    #[test]
    fn pointers_that_lead_nowhere_or_to_a_secret_are_refused() {
        for bad in [
            "",
            "/",
            "/userinfo",
            "/userinfo/",
            "userinfo/id",
            "/elsewhere/id",
            "/token/access_token",
            "/callback/code",
        ] {
            assert!(source(bad).check().is_err(), "{bad}");
        }
        source("/token/team/id /userinfo/0/id").check().unwrap();
        let with = |name: &str, value: &str| AccountSource {
            userinfo: UserinfoRequest {
                headers: [(name.to_owned(), value.to_owned())].into(),
                ..UserinfoRequest::default()
            },
            ..AccountSource::default()
        };
        with("Notion-Version", "2022-06-28").check().unwrap();
        for (name, value) in [("Authorization", "x"), ("Host", "x"), ("A", "a\r\nb: c")] {
            assert!(with(name, value).check().is_err(), "{name}");
        }
    }
}

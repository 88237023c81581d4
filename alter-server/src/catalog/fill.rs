//! Placeholders: `{subdomain}` in an entry, and what takes its place.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::domain::OAuthSettings;

/// Members of the settings that are URLs: there, the client id is percent-encoded.
const URLS: [&str; 5] = ["authorize_url", "token_url", "revoke_url", "userinfo_url", "issuer"];

/// Values for placeholders. Those of variables have passed their check; the client id is anything.
pub(super) struct Fill {
    values: BTreeMap<String, String>,
    client_id: String,
}

impl Fill {
    pub(super) fn new(values: BTreeMap<String, String>, client_id: &str) -> Self {
        Self { values, client_id: client_id.to_owned() }
    }

    /// A host. The client id has no place there.
    pub(super) fn host(&self, text: &str) -> String {
        self.variables(text)
    }

    /// The settings with every placeholder filled in, in keys and values alike.
    pub(super) fn settings(&self, settings: &OAuthSettings) -> Result<OAuthSettings, String> {
        let mut value = serde_json::to_value(settings).map_err(|error| error.to_string())?;
        if let Value::Object(members) = &mut value {
            for (name, member) in members {
                self.walk(member, URLS.contains(&name.as_str()));
            }
        }
        let filled: OAuthSettings = serde_json::from_value(value).map_err(|error| error.to_string())?;
        let urls = [&filled.authorize_url, &filled.token_url, &filled.revoke_url, &filled.userinfo_url];
        for url in urls.into_iter().chain([&filled.issuer]).flatten() {
            if url.contains(['{', '}']) {
                return Err(format!(
                    "nothing is known of a placeholder in {url}: it needs an entry in variables"
                ));
            }
        }
        Ok(filled)
    }

    fn walk(&self, value: &mut Value, url: bool) {
        match value {
            Value::String(text) => *text = self.text(text, url),
            Value::Array(items) => items.iter_mut().for_each(|item| self.walk(item, url)),
            Value::Object(members) => {
                let old = std::mem::take(members);
                for (name, mut member) in old {
                    self.walk(&mut member, url);
                    members.insert(self.text(&name, url), member);
                }
            }
            _ => {}
        }
    }

    fn text(&self, text: &str, url: bool) -> String {
        // Last, so that nothing in a client id is taken for a placeholder.
        let text = self.variables(text);
        if !text.contains("{client_id}") {
            return text;
        }
        if url {
            let escaped: String = form_urlencoded::byte_serialize(self.client_id.as_bytes()).collect();
            // In a path a plus sign is a plus sign.
            text.replace("{client_id}", &escaped.replace('+', "%20"))
        } else {
            text.replace("{client_id}", &self.client_id)
        }
    }

    fn variables(&self, text: &str) -> String {
        self.values
            .iter()
            .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
    }
}

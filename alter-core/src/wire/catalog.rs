//! `GET /sdk/oauth/provider-catalog` (spec/04 §5.3): which providers an app's users can connect.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Path of the catalogue. Key scope `providers:read`; the request has no body.
pub const PATH: &str = "/sdk/oauth/provider-catalog";

/// The answer: providers by id.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProviderCatalog {
    /// The providers that can be connected, by id.
    pub providers: BTreeMap<String, CatalogProvider>,
}

/// One provider. Published clients require every member but the three optional ones, the lists as well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogProvider {
    /// The id that requests and sessions name it by.
    pub id: String,
    /// The same; published clients require both.
    pub name: String,
    /// Its name for people.
    pub display_name: String,
    /// What kind of thing it is, such as `crm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// What it is, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Address of its logo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logo_url: Option<String>,
    /// Whether its tokens can be refreshed.
    pub supports_refresh: bool,
    /// Whether a proof key goes along (RFC 7636).
    pub supports_pkce: bool,
    /// The scopes that are known, by name. Others can be asked for as well.
    pub available_scopes: BTreeMap<String, CatalogScope>,
    /// Scopes that are asked for when a session does not say.
    pub default_scopes: Vec<String>,
    /// Scopes that are always asked for.
    pub required_scopes: Vec<String>,
    /// `active`: only those are listed. Clients accept any text.
    pub status: String,
}

/// One scope of a provider. All members are required.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogScope {
    /// What it allows, in plain words.
    pub description: String,
    /// It is always asked for.
    pub required: bool,
    /// It is asked for when a session does not say.
    pub is_default: bool,
    /// Scopes without which it is of no use.
    pub requires: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_has_every_member_that_published_clients_require() {
        let catalog = ProviderCatalog {
            providers: BTreeMap::from([(
                "github".to_owned(),
                CatalogProvider {
                    id: "github".into(),
                    name: "github".into(),
                    display_name: "GitHub".into(),
                    category: None,
                    description: None,
                    logo_url: None,
                    supports_refresh: true,
                    supports_pkce: false,
                    available_scopes: BTreeMap::from([(
                        "repo".to_owned(),
                        CatalogScope {
                            description: "See your repositories".into(),
                            required: false,
                            is_default: true,
                            requires: Vec::new(),
                        },
                    )]),
                    default_scopes: vec!["repo".into()],
                    required_scopes: Vec::new(),
                    status: "active".into(),
                },
            )]),
        };
        let text = r#"{"providers":{"github":{"id":"github","name":"github","display_name":"GitHub","supports_refresh":true,"supports_pkce":false,"available_scopes":{"repo":{"description":"See your repositories","required":false,"is_default":true,"requires":[]}},"default_scopes":["repo"],"required_scopes":[],"status":"active"}}}"#;
        assert_eq!(serde_json::to_string(&catalog).unwrap(), text);
        assert_eq!(serde_json::from_str::<ProviderCatalog>(text).unwrap(), catalog);
    }
}

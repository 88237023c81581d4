//! What pages say about scopes, providers and failures.

use crate::{
    domain::{Provider, SessionEnd},
    web::shown,
};

/// One thing that an app may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ability {
    /// In plain words; the scope itself if nobody has described it.
    pub(super) text: String,
    /// It is the scope itself.
    pub(super) literal: bool,
}

/// What these scopes allow.
pub(super) fn abilities(provider: &Provider, scopes: &[String]) -> Vec<Ability> {
    let texts = provider.oauth.as_ref().map(|oauth| &oauth.scope_texts);
    let one = |scope: &String| match texts.and_then(|texts| texts.get(scope)) {
        Some(text) => Ability { text: shown(text), literal: false },
        None => Ability { text: shown(scope), literal: true },
    };
    let mut all: Vec<Ability> = Vec::new();
    for ability in scopes.iter().map(one) {
        // Several scopes may mean the same to people.
        if !all.contains(&ability) {
            all.push(ability);
        }
    }
    all
}

/// What an end means for the person, and what to do.
pub(super) struct Ending {
    pub(super) title: String,
    pub(super) what: String,
    pub(super) next: &'static str,
}

/// An end without a grant.
pub(super) fn ending(end: &SessionEnd, app: &str) -> Ending {
    let SessionEnd::Error { code, message } = end else {
        return Ending {
            title: "Done".to_owned(),
            what: format!("{app} has been told."),
            next: "You can close this window.",
        };
    };
    match code.as_str() {
        "connect_denied" => Ending {
            title: "Nothing was connected".to_owned(),
            what: format!("You did not allow it, so {app} gets no access."),
            next: "If you change your mind, start again in the application. You can close this window.",
        },
        _ => Ending {
            title: "This did not work".to_owned(),
            what: shown(message),
            next: "Go back to the application and try again there. If it happens again, tell its support. You can close this window.",
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::{Injection, OAuthSettings, ProviderKind};

    #[test]
    fn scopes_are_told_in_words_and_unknown_ones_as_they_are() {
        let oauth: OAuthSettings = serde_json::from_value(
            json!({"scope_texts": {"read": "See your files", "list": "See your files"}}),
        )
        .unwrap();
        let provider = Provider {
            id: "x".parse().unwrap(),
            kind: ProviderKind::OAuth,
            name: "X".to_owned(),
            hosts: Vec::new(),
            injection: Injection::default(),
            additional: Vec::new(),
            oauth: Some(oauth),
        };
        let told = abilities(&provider, &["read".to_owned(), "list".to_owned(), "x:\u{202e}y".to_owned()]);
        assert_eq!(
            told,
            [
                Ability { text: "See your files".to_owned(), literal: false },
                Ability { text: "x:y".to_owned(), literal: true },
            ]
        );
    }
}

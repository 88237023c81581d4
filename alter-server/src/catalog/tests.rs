//! The whole file is read and checked here.

use std::collections::BTreeSet;

use super::*;
use crate::domain::{ClientAuth, OAuthSettings, ProviderKind, RevocationForm};

/// The provider ids of spec/01 §9.
const SPECIFIED: &str = "acuity-scheduling adobe aircall airtable apollo asana atlassian attio autodesk basecamp \
    bitbucket bitly box brex calendly cal-com canva clickup close constant-contact contentful deel dialpad digitalocean \
    discord docusign dropbox ebay eventbrite facebook figma github gitlab google hubspot instagram klaviyo linear linkedin \
    mailchimp mercury microsoft miro monday notion outreach pagerduty paypal pinterest pipedrive quickbooks ramp reddit \
    ringcentral rippling salesforce sentry slack snapchat spotify square squarespace stripe tiktok todoist twitter \
    typeform webex webflow xero zoom";

/// What is wrong with an entry.
fn faults(entry: &Entry) -> Vec<String> {
    let mut faults = Vec::new();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            faults.push(what.to_owned());
        }
    };
    let provider = match entry.example() {
        Ok(provider) => provider,
        Err(error) => return vec![error.to_string()],
    };
    let oauth = provider.oauth.clone().unwrap();
    must(provider.kind == ProviderKind::OAuth, "is no OAuth provider");
    must(oauth.client_id.as_deref() == Some("ID"), "has a client id of its own");
    for text in [&entry.category, &entry.description, &entry.tokens, &entry.source] {
        must(
            text.as_ref().is_some_and(|text| !text.trim().is_empty()),
            "lacks category, description, tokens or source",
        );
    }
    must(
        entry.source.as_deref().is_some_and(|url| url.starts_with("https://")),
        "has a source that is no address",
    );
    let named = |what: &String| {
        ["arctic", "n8n", "nango", "code"].contains(&what.as_str()) || what.starts_with("https://")
    };
    must(
        entry.compared.iter().all(named),
        "was compared with something that the file's head does not explain",
    );
    must(
        entry.compared.is_empty() || entry.checked != Checked::Unverified,
        "was compared with something and is unverified",
    );
    let urls = [
        &oauth.authorize_url,
        &oauth.token_url,
        &oauth.revoke_url,
        &oauth.userinfo_url,
        &oauth.issuer,
        &oauth.refresh.url,
    ];
    must(
        urls.into_iter().flatten().all(|url| url.starts_with("https://")),
        "has an address that is not https",
    );
    must(oauth.token_url.is_some(), "has no token endpoint");
    must(!provider.hosts.iter().any(|host| host.to_string().contains(':')), "has a host with a port");
    for scope in oauth.scopes.iter().chain(&oauth.required_scopes) {
        must(oauth.scope_texts.contains_key(scope), "has a scope without plain words");
    }
    let required_twice = oauth.required_scopes.iter().all(|scope| oauth.scopes.contains(scope));
    must(required_twice, "requires a scope that is not among the default ones");
    for text in oauth.scope_texts.values() {
        let plain = text.starts_with(|c: char| c.is_uppercase()) && !text.ends_with('.') && text.len() <= 100;
        must(plain, "has scope words that do not read like the others");
    }
    // Where people cannot connect, an operator is told.
    let told = entry.notes.iter().any(|note| note.starts_with("Connecting is not possible"));
    must(
        oauth.authorize_url.is_some() != told,
        "has neither an authorization endpoint nor a reason, or both",
    );
    let named = !oauth.account.id.is_empty();
    let unnamed = entry.notes.iter().any(|note| note.starts_with("Which account"));
    must(told || named != unnamed, "does not say where the account's id comes from");
    must(
        !oauth.account.needs_userinfo() || oauth.userinfo_url.is_some(),
        "names the account by a userinfo endpoint that it does not have",
    );
    let openid = named && oauth.account.id.iter().all(|id| id.starts_with("/id_token/"));
    must(
        !openid || oauth.required_scopes.iter().any(|scope| scope == "openid"),
        "needs the scope openid always",
    );
    let secretless =
        oauth.revocation.client_auth == Some(ClientAuth::Basic) && oauth.client_auth == ClientAuth::None;
    must(!secretless, "revokes with a secret that it does not have");
    let bearer = oauth.revocation.form == RevocationForm::Bearer;
    must(
        !bearer || oauth.revocation.token == crate::domain::RevokedToken::Access,
        "revokes with another token than the access token",
    );
    let whole = serde_json::to_string(entry).unwrap();
    for (name, variable) in &entry.variables {
        must(whole.contains(&format!("{{{name}}}")), "has a variable that stands nowhere");
        must(!variable.about.is_empty(), "has a variable that nobody explains");
        for value in variable.choices.iter().chain(&variable.default).chain([&variable.example]) {
            let mut registration = Registration::new("ID");
            registration.values =
                entry.variables.iter().map(|(k, v)| (k.clone(), v.example.clone())).collect();
            registration.values.insert(name.clone(), value.clone());
            must(entry.provider(registration).is_ok(), "has a variable with a value that does not work");
        }
    }
    let kept: crate::domain::Provider =
        serde_json::from_str(&serde_json::to_string(&provider).unwrap()).unwrap();
    must(kept == provider, "is not what the vault would keep");
    faults
}

#[test]
fn every_entry_of_the_catalogue_makes_a_provider_that_is_fit_to_be_kept() {
    let all: Vec<&Entry> = entries().collect();
    assert!(all.len() >= 60, "{} entries", all.len());
    let found: Vec<String> = all
        .iter()
        .flat_map(|entry| faults(entry).into_iter().map(|fault| format!("{} {fault}", entry.id)))
        .collect();
    assert!(found.is_empty(), "{found:#?}");
    let written: File = entry::strict(FILE).unwrap();
    let ids: Vec<&str> = written.provider.iter().map(|entry| entry.id.as_str()).collect();
    assert!(ids.is_sorted(), "the file is sorted by id");
}

#[test]
fn every_provider_of_the_published_client_is_there() {
    let missing: Vec<&str> = SPECIFIED.split_whitespace().filter(|id| find(id).is_err()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_documentation_lists_what_there_is() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/providers.md");
    let docs = std::fs::read_to_string(path).unwrap();
    let (_, after) = docs.split_once("<!-- catalogue -->").unwrap();
    let (listed, _) = after.split_once("<!-- end -->").unwrap();
    let listed: BTreeSet<&str> = listed.split('`').skip(1).step_by(2).collect();
    let there: BTreeSet<&str> = entries().map(|entry| entry.id.as_str()).collect();
    let ids: Vec<String> = there.iter().map(|id| format!("`{id}`")).collect();
    assert_eq!(listed, there, "docs/providers.md should list: {}", ids.join(", "));
    assert!(docs.contains(&format!("{} providers", there.len())), "docs/providers.md says another number");
}

#[test]
fn a_wrong_id_is_answered_with_the_ones_that_are_near() {
    let nearest = |id: &str| match find(id) {
        Err(CatalogError::Unknown { nearest, .. }) => nearest,
        other => panic!("{other:?}"),
    };
    assert_eq!(nearest("gogle")[0], "google");
    assert_eq!(nearest("Google")[0], "google");
    assert_eq!(nearest("google-calendar")[0], "google");
    assert_eq!(nearest("salesforc")[0], "salesforce");
    assert!(nearest("qqqqqqq").is_empty());
    assert!(!find("\u{1b}[2J").unwrap_err().to_string().contains('\u{1b}'));
}

#[test]
fn a_value_that_is_typed_cannot_move_a_credential_to_another_host() {
    let zendesk = find("zendesk").unwrap();
    let with = |value: &str| {
        let mut registration = Registration::new("ID");
        registration.values.insert("subdomain".into(), value.into());
        zendesk.provider(registration)
    };
    let acme = with("acme-2").unwrap();
    assert_eq!(acme.hosts[0].to_string(), "acme-2.zendesk.com");
    assert_eq!(acme.oauth.unwrap().token_url.unwrap(), "https://acme-2.zendesk.com/oauth/tokens");
    let long = "a".repeat(64);
    for bad in [
        "",
        "evil.example/",
        "evil.example",
        "evil.example#",
        "a.b",
        "-a",
        "a-",
        "A",
        "a b",
        "a@b",
        "a:1",
        "a\\b",
        "ä",
        "a\n",
        "{subdomain}",
        "%61",
        "a?",
        "*",
        &long,
    ] {
        assert!(matches!(with(bad), Err(CatalogError::Value { .. })), "{bad:?}");
    }
    let error = zendesk.provider(Registration::new("ID")).unwrap_err().to_string();
    assert!(error.contains("--set subdomain=acme"), "{error}");
    let mut other = Registration::new("ID");
    other.values.insert("region".into(), "eu".into());
    let error = zendesk.provider(other).unwrap_err().to_string();
    assert!(error.contains("it has: subdomain"), "{error}");
    let mut elsewhere = Registration::new("ID");
    elsewhere.values.insert("region".into(), "example".into());
    assert!(matches!(find("zoho").unwrap().provider(elsewhere), Err(CatalogError::Value { .. })));
}

#[test]
fn a_client_id_stays_what_it_is_wherever_it_stands() {
    let revoke = |client_id: &str| {
        let provider = find("github").unwrap().provider(Registration::new(client_id)).unwrap();
        provider.oauth.unwrap().revoke_url.unwrap()
    };
    assert_eq!(revoke("Iv1.abc"), "https://api.github.com/applications/Iv1.abc/grant");
    assert_eq!(
        revoke("x/y?y#z w+{}"),
        "https://api.github.com/applications/x%2Fy%3Fy%23z%20w%2B%7B%7D/grant"
    );
    let steps = find("github").unwrap().provider(Registration::new("../x"));
    assert!(matches!(steps, Err(CatalogError::Provider { .. })), "{steps:?}");
    let tiktok =
        find("tiktok").unwrap().provider(Registration::new("aw {client_id}")).unwrap().oauth.unwrap();
    assert_eq!(tiktok.refresh.extra["client_key"], "aw {client_id}");
    assert_eq!(tiktok.client_id.unwrap(), "aw {client_id}");
}

#[test]
fn what_an_app_wishes_replaces_scopes_and_adds_hosts() {
    let mut registration = Registration::new("ID");
    registration.id = Some("google-ads".parse().unwrap());
    registration.name = Some("Google Ads".into());
    registration.scopes = vec!["https://www.googleapis.com/auth/adwords".into()];
    registration.hosts = vec!["ads.example.test".parse().unwrap(), "*.googleapis.com".parse().unwrap()];
    registration.client_auth = Some(ClientAuth::Basic);
    let provider = find("google").unwrap().provider(registration).unwrap();
    assert_eq!(provider.id.as_str(), "google-ads");
    assert_eq!(provider.name, "Google Ads");
    assert_eq!(provider.hosts.len(), 2);
    let oauth = provider.oauth.unwrap();
    assert_eq!(oauth.scopes, ["https://www.googleapis.com/auth/adwords"]);
    assert_eq!(oauth.asked_scopes(&[])[1..], ["openid", "email"]);
    assert_eq!(oauth.client_auth, ClientAuth::Basic);
    let asked = ["email".to_owned(), "x".to_owned()];
    assert_eq!(find("google").unwrap().undescribed(&asked), ["x"]);
}

const OWN: &str = r#"
id = "intranet"
name = "Intranet"
hosts = ["api.intranet.example"]
[oauth]
authorize_url = "https://id.intranet.example/authorize"
token_url = "https://id.intranet.example/token"
scopes = ["read"]
refresh = { rotation = "never" }
"#;

#[test]
fn a_file_of_an_operator_has_the_form_of_an_entry() {
    let own = Entry::parse(OWN).unwrap().provider(Registration::new("ID")).unwrap();
    assert_eq!(own.id.as_str(), "intranet");
    assert_eq!(own.oauth.unwrap().authorize_url.unwrap(), "https://id.intranet.example/authorize");
}

#[test]
fn a_misspelt_member_is_named_and_nothing_is_guessed() {
    for (wrong, right, named) in [
        ("revoke-url = \"https://x.example\"\n", "", "oauth.revoke-url"),
        ("", "rotation", "oauth.refresh.rotatoin"),
    ] {
        let text =
            if right.is_empty() { format!("{OWN}{wrong}") } else { OWN.replace("rotation", "rotatoin") };
        let error = Entry::parse(&text).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
    for bad in [
        OWN.replace("id = \"intranet\"", "id = \"In Tranet\""),
        OWN.replace("name =", "nmae ="),
        OWN.replace("\"never\"", "\"sometimes\""),
        "id = ".to_owned(),
        String::new(),
    ] {
        assert!(matches!(Entry::parse(&bad), Err(CatalogError::Form(_))), "{bad}");
    }
    // Read, and refused by the provider's own rules.
    for bad in [
        OWN.replace("https://id.intranet.example/token", "http://id.intranet.example/token"),
        OWN.replace("https://id.intranet.example/token", "https://{tenant}.intranet.example/token"),
        OWN.replace("hosts = [\"api.intranet.example\"]", "hosts = []"),
        OWN.replace("scopes = [\"read\"]", "authorize_params = { state = \"x\" }"),
    ] {
        let entry = Entry::parse(&bad).unwrap();
        assert!(
            matches!(entry.provider(Registration::new("ID")), Err(CatalogError::Provider { .. })),
            "{bad}"
        );
    }
}

#[test]
fn an_id_is_used_once() {
    let one = OWN.replace("[oauth]", "[provider.oauth]");
    let twice = format!("[[provider]]{one}[[provider]]{one}");
    assert_eq!(read(&twice).unwrap_err(), CatalogError::Form("the id intranet is used twice".into()));
}

#[test]
fn a_figma_token_is_refreshed_where_figma_wants_it() {
    let figma = find("figma").unwrap().example().unwrap();
    assert_eq!(figma.refreshing().unwrap().token_url, "https://api.figma.com/v1/oauth/refresh");
    let bare = OAuthSettings { token_url: Some("https://x.example/t".into()), ..OAuthSettings::default() };
    assert!(bare.refresh.url.is_none());
}

//! What an app may ask for: the request of a session, checked against what the operator set (spec/03 §1.1, §1.6).

use std::collections::BTreeMap;

use alter_core::wire::{
    code::Code,
    connect::{ConnectRequestError, ConnectSessionRequest, check_origin, check_return_url},
    url::is_loopback,
};
use url::Url;

use super::choice;
use crate::domain::{AppConfig, Asked, GrantId, Provider, ProviderId, TokenDigest};

/// A request that is refused: the code of the answer, and what to do about it.
pub(crate) type Refused = (Code, String);

fn refused(code: Code, message: impl Into<String>) -> Refused {
    (code, message.into())
}

/// Reads a request. Who it is for, and whether the grant to repair is there, is the store's to say.
pub(crate) fn read(
    request: &ConnectSessionRequest,
    app: &AppConfig,
    providers: &[Provider],
) -> Result<Asked, Refused> {
    request.check().map_err(|error: ConnectRequestError| (error.code().clone(), error.to_string()))?;
    unbuilt(request)?;
    let known = choice::connectable(providers);
    let chosen = chosen(request, providers, &known)?;
    if known.is_empty() {
        return Err(refused(
            Code::InvalidRequest,
            "this app has no OAuth provider that can be connected: an operator adds one with `alter-server provider add`, \
             with its authorize_url, token_url and client_id",
        ));
    }
    let origins = &app.page.origins;
    let allowed_origin = match &request.allowed_origin {
        Some(origin) => Some(allowed_origin(origin, origins)?),
        None => only_origin(origins),
    };
    let return_url = request.return_url.as_deref().map(|url| return_url(url, origins)).transpose()?;
    let repair = request.repair_grant_id.map(GrantId::from_uuid);
    can_prove(request, app)?;
    let policy = request.grant_policy.clone().unwrap_or_default();
    let metadata = request.metadata.clone().unwrap_or_default().cut();
    Ok(Asked {
        // The store knows who made the call and for whom.
        key_id: None,
        user: None,
        required_scopes: required_scopes(request, &known)?,
        providers: chosen,
        return_url,
        allowed_origin,
        // A repair has nothing to choose (spec/03 §1.1).
        direct: request.direct || repair.is_some(),
        switch_account: request.switch_account,
        label: request.requested_grant.as_ref().map(|grant| grant.label.clone()),
        max_ttl_seconds: policy.max_ttl_seconds,
        default_ttl_seconds: policy.default_ttl_seconds,
        repair,
        browser_binding: request.binding_digest().map(TokenDigest::from_bytes),
        client_ip: metadata.ip_address,
        client_user_agent: metadata.user_agent,
    })
}

/// What the protocol has and this vault does not do while connecting. A limit that is not kept must not be accepted.
fn unbuilt(request: &ConnectSessionRequest) -> Result<(), Refused> {
    let delegation = [
        ("agent", request.agent.is_some()),
        ("delegable", request.delegable.is_some()),
        ("scope_constraint", request.scope_constraint.is_some()),
    ];
    if let Some((member, _)) = delegation.iter().find(|(_, given)| *given) {
        return Err(refused(
            Code::InvalidRequest,
            format!(
                "{member}: this vault does not delegate to an agent while connecting; nothing was created"
            ),
        ));
    }
    if request.requested_grant.as_ref().is_some_and(|grant| grant.restrictions.is_some()) {
        return Err(refused(
            Code::InvalidRequest,
            "requested_grant.restrictions: this vault cannot restrict a grant to calls yet; nothing was created",
        ));
    }
    Ok(())
}

fn chosen(
    request: &ConnectSessionRequest,
    all: &[Provider],
    known: &[&Provider],
) -> Result<Vec<ProviderId>, Refused> {
    let find = |name: String| {
        let id = name.parse::<ProviderId>().ok().filter(|id| all.iter().any(|provider| provider.id == *id));
        let id = id.ok_or_else(|| {
            refused(Code::InvalidRequest, "allowed_providers: one of them is no provider of this app")
        })?;
        if known.iter().any(|provider| provider.id == id) {
            return Ok(id);
        }
        Err(refused(
            Code::InvalidRequest,
            format!(
                "allowed_providers: {id} cannot be connected: it is no OAuth provider, or its authorize_url, token_url or \
                 client_id is not set"
            ),
        ))
    };
    request.providers().unwrap_or_default().into_iter().map(find).collect()
}

fn required_scopes(
    request: &ConnectSessionRequest,
    known: &[&Provider],
) -> Result<BTreeMap<ProviderId, Vec<String>>, Refused> {
    let named = request.providers();
    let mut required = BTreeMap::new();
    for name in request.required_scopes.iter().flatten().map(|(name, _)| name) {
        let id = alter_core::wire::connect::normalize_provider(name);
        let provider = known.iter().find(|provider| provider.id.as_str() == id);
        let oauth = provider.and_then(|provider| provider.oauth.as_ref());
        let (Some(provider), Some(oauth)) = (provider, oauth) else {
            return Err(refused(
                Code::InvalidRequest,
                "required_scopes: one of them is no provider of this app that can be connected",
            ));
        };
        if named.as_ref().is_some_and(|named| !named.contains(&id)) {
            return Err(refused(
                Code::InvalidRequest,
                format!("required_scopes: {id} is not among allowed_providers"),
            ));
        }
        let scopes = request.scopes_of(&id);
        let allowed = |scope: &&String| oauth.scopes.contains(scope) || oauth.required_scopes.contains(scope);
        if scopes.iter().any(|scope| !allowed(&scope)) {
            return Err(refused(
                Code::ScopeNotAllowed,
                format!(
                    "required_scopes: one of them is not among the scopes that an operator allowed for {id}"
                ),
            ));
        }
        required.insert(provider.id.clone(), scopes.to_vec());
    }
    Ok(required)
}

/// A session for a user ends only in a browser that is proved to be the user's; there must be a way to prove it.
fn can_prove(request: &ConnectSessionRequest, app: &AppConfig) -> Result<(), Refused> {
    if request.user_token.is_none() || request.browser_binding.is_some() || app.sign_in.is_some() {
        return Ok(());
    }
    Err(refused(
        Code::IdpSigninNotConfigured,
        "a session for a user needs proof that the browser is that user's: send browser_binding, or let an operator set \
         up sign-in with `alter-server idp sign-in`",
    ))
}

fn allowed_origin(text: &str, registered: &[String]) -> Result<String, Refused> {
    let origin = check_origin(text).map_err(|error| (error.code().clone(), error.to_string()))?;
    if is_registered(&origin, registered) {
        return Ok(origin);
    }
    Err(refused(
        Code::InvalidOrigin,
        "allowed_origin is not registered for this app: an operator adds it with `alter-server app page --origin`",
    ))
}

fn return_url(text: &str, registered: &[String]) -> Result<String, Refused> {
    let url = check_return_url(text).map_err(|error| (error.code().clone(), error.to_string()))?;
    if is_registered(&url.origin().ascii_serialization(), registered) {
        return Ok(url.into());
    }
    Err(refused(
        Code::InvalidReturnUrl,
        "return_url's origin is not registered for this app: an operator adds it with `alter-server app page --origin`",
    ))
}

/// The one origin that a result can be meant for when the request names none (spec/03 §1.6). A pattern names many.
fn only_origin(registered: &[String]) -> Option<String> {
    match registered {
        [one] if !one.ends_with(":*") => Some(one.clone()),
        _ => None,
    }
}

/// Whether an origin, as browsers spell it, is one of the app's. An entry for loopback may leave the port open with `:*`.
pub(crate) fn is_registered(origin: &str, registered: &[String]) -> bool {
    registered.iter().any(|entry| {
        let Some(base) = entry.strip_suffix(":*") else { return entry == origin };
        let (Ok(entry), Ok(origin)) = (Url::parse(base), Url::parse(origin)) else { return false };
        is_loopback(&entry) && entry.scheme() == origin.scheme() && entry.host() == origin.host()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::{AppId, OAuthSettings, PageSettings, ProviderKind, SignInSettings};

    fn app() -> AppConfig {
        let sign_in: SignInSettings = serde_json::from_value(json!({"client_id": "c"})).unwrap();
        AppConfig {
            app_id: AppId::random(),
            generation: 1,
            idp: None,
            rate_limit_per_minute: None,
            name: "shop".to_owned(),
            page: PageSettings {
                origins: vec!["https://shop.example".to_owned(), "http://localhost:*".to_owned()],
                ..PageSettings::default()
            },
            sign_in: Some(sign_in),
        }
    }

    fn provider(id: &str, oauth: Value) -> Provider {
        Provider {
            id: id.parse().unwrap(),
            kind: ProviderKind::OAuth,
            name: id.to_owned(),
            hosts: vec!["api.example.test".parse().unwrap()],
            injection: crate::domain::Injection::default(),
            additional: Vec::new(),
            oauth: Some(serde_json::from_value::<OAuthSettings>(oauth).unwrap()),
        }
    }

    fn providers() -> Vec<Provider> {
        let whole = json!({
            "authorize_url": "https://id.example.test/a", "token_url": "https://id.example.test/t",
            "client_id": "c", "scopes": ["read", "write"],
        });
        vec![
            provider("google", whole.clone()),
            provider("slack", whole),
            provider("half", json!({"token_url": "https://id.example.test/t"})),
        ]
    }

    fn asked(more: Value) -> Result<Asked, Refused> {
        read(&serde_json::from_value(more).unwrap(), &app(), &providers())
    }

    #[test]
    fn four_nulls_are_a_whole_request() {
        let nulls =
            json!({"allowed_providers": null, "return_url": null, "allowed_origin": null, "metadata": null});
        assert_eq!(asked(nulls).unwrap(), Asked::default());
    }

    #[test]
    fn everything_that_was_asked_for_is_kept() {
        let asked = asked(json!({
            "allowed_providers": [" Google ", "google"],
            "return_url": "https://shop.example/done?x=1",
            "allowed_origin": "http://localhost:3000/",
            "metadata": {"ip_address": "203.0.113.9", "user_agent": "a\u{7}b"},
            "grant_policy": {"max_ttl_seconds": 60, "default_ttl_seconds": 30},
            "required_scopes": {" GOOGLE": ["read"]},
            "requested_grant": {"label": "work"},
            "switch_account": true,
            "user_token": "t",
            "browser_binding": "ab".repeat(32),
        }))
        .unwrap();
        assert_eq!(asked.providers, ["google".parse().unwrap()]);
        assert_eq!(asked.allowed_origin.as_deref(), Some("http://localhost:3000"));
        assert_eq!(asked.return_url.as_deref(), Some("https://shop.example/done?x=1"));
        assert_eq!(asked.client_user_agent.as_deref(), Some("ab"));
        assert_eq!((asked.max_ttl_seconds, asked.default_ttl_seconds), (Some(60), Some(30)));
        assert_eq!(asked.required_scopes[&"google".parse().unwrap()], ["read"]);
        assert_eq!(asked.label.as_deref(), Some("work"));
        assert!(asked.switch_account && !asked.direct && asked.browser_binding.is_some());
    }

    #[test]
    fn what_is_not_built_is_refused_and_not_ignored() {
        for more in [
            json!({"agent": "helper", "user_token": "t"}),
            json!({"delegable": false}),
            json!({"scope_constraint": ["read"]}),
            json!({"requested_grant": {"label": "x", "restrictions": {}}}),
        ] {
            let (code, message) = asked(more.clone()).unwrap_err();
            assert_eq!(code, Code::InvalidRequest, "{more}");
            assert!(message.contains("this vault"), "{message}");
        }
        assert_eq!(asked(json!({"agent": "helper"})).unwrap_err().0, Code::AgentRequiresUserToken);
    }

    #[test]
    fn results_go_to_registered_origins_only() {
        for (member, value, code) in [
            ("allowed_origin", "https://evil.example", Code::InvalidOrigin),
            ("allowed_origin", "https://shop.example.evil.example", Code::InvalidOrigin),
            ("allowed_origin", "https://shop.example:8443", Code::InvalidOrigin),
            ("allowed_origin", "http://127.0.0.1:3000", Code::InvalidOrigin),
            ("allowed_origin", "*", Code::InvalidOrigin),
            ("return_url", "https://evil.example/done", Code::InvalidReturnUrl),
            ("return_url", "https://shop.example@evil.example/", Code::InvalidReturnUrl),
            ("return_url", "https://shop.example\\@evil.example/", Code::InvalidReturnUrl),
            ("return_url", "//evil.example/", Code::InvalidReturnUrl),
            ("return_url", "javascript:alert(1)//shop.example", Code::InvalidReturnUrl),
        ] {
            assert_eq!(asked(json!({ member: value })).unwrap_err().0, code, "{value}");
        }
        let one = ["https://shop.example".to_owned()];
        assert_eq!(only_origin(&one).as_deref(), Some("https://shop.example"));
        assert_eq!(only_origin(&["http://localhost:*".to_owned()]), None);
        assert!(!is_registered("https://a.example:1", &["https://a.example:*".to_owned()]), "loopback only");
    }

    #[test]
    fn providers_and_scopes_are_those_that_the_operator_set_up() {
        for (more, code) in [
            (json!({"allowed_providers": ["nobody"]}), Code::InvalidRequest),
            (json!({"allowed_providers": ["half"]}), Code::InvalidRequest),
            (json!({"required_scopes": {"google": ["admin"]}}), Code::ScopeNotAllowed),
            (json!({"required_scopes": {"nobody": ["read"]}}), Code::InvalidRequest),
            (
                json!({"allowed_providers": ["slack"], "required_scopes": {"google": ["read"]}}),
                Code::InvalidRequest,
            ),
        ] {
            assert_eq!(asked(more.clone()).unwrap_err().0, code, "{more}");
        }
    }

    #[test]
    fn a_session_for_a_user_needs_a_way_to_prove_who_it_is() {
        let app = AppConfig { sign_in: None, ..app() };
        let request = |more: Value| serde_json::from_value::<ConnectSessionRequest>(more).unwrap();
        let refused = read(&request(json!({"user_token": "t"})), &app, &providers()).unwrap_err();
        assert_eq!(refused.0, Code::IdpSigninNotConfigured);
        let bound = request(json!({"user_token": "t", "browser_binding": "ab".repeat(32)}));
        assert!(read(&bound, &app, &providers()).is_ok());
        assert!(read(&request(json!({})), &app, &providers()).is_ok());
    }
}

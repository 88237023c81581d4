use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::domain::{
    AdditionalInjection, Destination, GrantId, GrantKind, HostPattern, Injection, InjectionTarget,
    ProviderKind,
};

fn now() -> Timestamp {
    Timestamp::from_second(1000).unwrap()
}

fn user(number: u8) -> UserId {
    UserId::from_uuid(Uuid::from_bytes([number; 16]))
}

fn agent(number: u8) -> AgentId {
    AgentId::from_uuid(Uuid::from_bytes([number; 16]))
}

fn group(number: u8) -> String {
    format!("group-{number}")
}

fn any_principal() -> impl Strategy<Value = Principal> {
    prop_oneof![
        (0_u8..3).prop_map(|number| Principal::User(user(number))),
        (0_u8..3).prop_map(|number| Principal::Group(group(number))),
        Just(Principal::System),
        (0_u8..3).prop_map(|number| Principal::Agent(agent(number))),
    ]
}

prop_compose! {
    fn any_grant()(
        principal in any_principal(),
        id in any::<u128>(),
        provider in prop_oneof![4 => Just("google"), 1 => Just("slack")],
        account in prop::option::of(prop_oneof![Just("a"), Just("b")]),
        label in prop::option::of(prop_oneof![Just("work"), Just("home")]),
        status in prop_oneof![
            4 => Just(GrantStatus::Active), 2 => Just(GrantStatus::Revoked), 1 => Just(GrantStatus::Deleted)
        ],
        ends in prop::option::of(999_i64..1002),
    ) -> GrantFacts {
        GrantFacts {
            id: GrantId::from_uuid(Uuid::from_u128(id)),
            provider: provider.parse().unwrap(),
            kind: GrantKind::OAuth,
            principal,
            account_identifier: account.map(str::to_owned),
            account_display_name: None,
            label: label.map(str::to_owned),
            status,
            grant_expires_at: ends.map(|second| Timestamp::from_second(second).unwrap()),
            token_expires_at: None,
            needs_reconnect: false,
        }
    }
}

#[derive(Debug, Clone)]
struct Asked {
    caller: Caller,
    user: Option<(UserId, Vec<String>)>,
    account: Option<&'static str>,
    label: Option<&'static str>,
    app_user_id: Option<String>,
}

impl Asked {
    fn subject(&self) -> Option<Subject<'_>> {
        self.user.as_ref().map(|(id, groups)| Subject { id: *id, groups })
    }

    fn search(&self) -> Result<Search, Box<Refusal>> {
        search(&self.caller, "google", self.account, self.label, self.app_user_id.as_deref(), self.subject())
    }

    /// Whose grants this call may ever reach, said in another way than the code says it.
    fn may_reach(&self, principal: &Principal, by_id: bool) -> bool {
        if let KeyKind::Agent(own) = self.caller.kind {
            return *principal == Principal::Agent(own);
        }
        match (&self.user, principal) {
            (Some((id, _)), Principal::User(owner)) => id == owner,
            (Some((_, groups)), Principal::Group(name)) => groups.contains(name),
            (None, _) if by_id => true,
            (None, Principal::User(owner)) => self.app_user_id == Some(owner.to_string()),
            (None, Principal::System) => self.app_user_id.is_none(),
            _ => false,
        }
    }
}

prop_compose! {
    fn any_asked()(
        kind in prop_oneof![Just(KeyKind::App), (0_u8..3).prop_map(|number| KeyKind::Agent(agent(number)))],
        asserted in prop::option::of((0_u8..3).prop_map(agent)),
        user in prop::option::of((0_u8..3, prop::collection::vec((0_u8..3).prop_map(group), 0..3))),
        account in prop::option::of(prop_oneof![Just("a"), Just("b")]),
        label in prop::option::of(Just("work")),
        app_user_id in prop::option::of(prop_oneof![
            (0_u8..3).prop_map(user_text), Just(String::new()), Just("nobody".to_owned())
        ]),
    ) -> Asked {
        let asserted = if kind == KeyKind::App { asserted } else { None };
        let caller = Caller { kind, asserted, key_deprecated: false };
        let user = user.map(|(number, groups)| (super::tests::user(number), groups));
        Asked { caller, user, account, label, app_user_id }
    }
}

fn user_text(number: u8) -> String {
    user(number).to_string()
}

fn live(grant: &GrantFacts) -> bool {
    grant.status == GrantStatus::Active && grant.grant_expires_at.is_none_or(|end| end > now())
}

proptest! {
    #[test]
    fn by_provider_only_the_one_reachable_live_grant_is_picked(
        asked in any_asked(),
        grants in prop::collection::vec(any_grant(), 0..12),
    ) {
        let fits = |grant: &&GrantFacts| {
            grant.provider.as_str() == "google"
                && asked.may_reach(&grant.principal, false)
                && asked.account.is_none_or(|account| grant.account_identifier.as_deref() == Some(account))
                && asked.label.is_none_or(|label| grant.label.as_deref() == Some(label))
        };
        let live_ones: Vec<_> = grants.iter().filter(fits).filter(|grant| live(grant)).collect();
        let decision = asked.search().and_then(|search| decide(&search, &grants, now()));
        match decision {
            Ok(place) => {
                prop_assert_eq!(live_ones.len(), 1);
                prop_assert_eq!(&grants[place], live_ones[0]);
            }
            Err(refusal) => {
                // A user of the token and another one named besides reach nothing at all.
                let contradiction = asked.app_user_id.is_some()
                    && (asked.caller.kind != KeyKind::App
                        || asked.user.as_ref().is_some_and(|(id, _)| asked.app_user_id != Some(id.to_string())));
                match refusal.code {
                    Code::AmbiguousGrant => {
                        prop_assert!(live_ones.len() > 1);
                        prop_assert_eq!(refusal.candidates.len(), live_ones.len());
                        prop_assert_eq!(refusal.account_was_provided, asked.account.is_some());
                    }
                    Code::GrantExpired | Code::GrantRevoked => {
                        prop_assert!(live_ones.is_empty());
                        let named = grants.iter().find(|grant| Some(grant.id) == refusal.grant_id).unwrap();
                        prop_assert!(fits(&named) && !live(named));
                    }
                    Code::NoDelegatedGrant => {
                        prop_assert!(asked.caller.kind != KeyKind::App);
                        prop_assert!(contradiction || live_ones.is_empty());
                    }
                    code => {
                        prop_assert_eq!(code, Code::GrantNotFound);
                        prop_assert!(asked.caller.kind == KeyKind::App);
                        prop_assert!(contradiction || live_ones.is_empty());
                    }
                }
            }
        }
    }

    #[test]
    fn active_grants_alone_decide_whether_there_is_a_match(
        asked in any_asked(),
        grants in prop::collection::vec(any_grant(), 0..12),
    ) {
        if let Ok(search) = asked.search() {
            let (active, ended): (Vec<_>, Vec<_>) =
                grants.into_iter().partition(|grant| grant.status == GrantStatus::Active);
            let first = decide(&search, &active, now());
            let all = decide(&search, &[active, ended].concat(), now());
            match first {
                Ok(place) => prop_assert_eq!(all, Ok(place)),
                Err(refusal) if refusal.code == Code::AmbiguousGrant => prop_assert_eq!(all, Err(refusal)),
                Err(_) => prop_assert!(all.is_err_and(|refusal| refusal.code != Code::AmbiguousGrant)),
            }
        }
    }

    #[test]
    fn by_id_nothing_unreachable_is_used_revoked_or_hinted_at(asked in any_asked(), grant in any_grant()) {
        let reachable = asked.may_reach(&grant.principal, true);
        let used = decide_by_id(&asked.caller, asked.subject(), Some(&grant), now());
        let revoked = decide_revoke(&asked.caller, asked.subject(), Some(&grant));
        prop_assert_eq!(used.is_ok(), reachable && live(&grant));
        prop_assert_eq!(revoked.is_ok(), reachable && grant.status == GrantStatus::Active);
        if !reachable {
            let unknown = decide_by_id(&asked.caller, asked.subject(), None, now());
            prop_assert_eq!(&used, &unknown);
            prop_assert_eq!(&revoked, &unknown);
        }
    }

    #[test]
    fn no_destination_parses_to_another_host_than_a_browser_sees(text in r"https?://[a-z@\\/.:%2e?#]{0,20}(api\.example\.com)?[a-z@\\/.:%2e?#]{0,10}") {
        if Destination::parse(&text).is_ok() {
            let url = url::Url::parse(&text).unwrap();
            prop_assert!(url.username().is_empty() && url.password().is_none());
            // The host as written is the host as parsed.
            let written = text.split_once("://").unwrap().1.split(['/', '?', '#']).next().unwrap();
            let written = written.rsplit_once(':').map_or(written, |(host, _)| host);
            prop_assert!(url.host_str().unwrap().eq_ignore_ascii_case(written));
        }
    }
}

#[test]
fn host_patterns_cover_what_they_say() {
    for (pattern, url, covered) in [
        ("api.example.com", "https://api.example.com/x", true),
        ("api.example.com", "https://API.Example.com./x", true),
        ("api.example.com", "https://api.example.com:443/x", true),
        ("api.example.com", "https://api.example.com:444/x", false),
        ("api.example.com:444", "https://api.example.com:444/x", true),
        ("api.example.com:444", "https://api.example.com/x", false),
        ("api.example.com", "https://xapi.example.com/", false),
        ("api.example.com", "https://api.example.com.evil.example/", false),
        ("*.example.com", "https://a.b.example.com/", true),
        ("*.example.com", "https://example.com/", false),
        ("*.example.com", "https://evilexample.com/", false),
        ("*.example.com", "https://.example.com/", false),
        ("127.0.0.1", "http://127.0.0.1:8080/", true),
        ("127.0.0.1:9", "http://127.0.0.1:8080/", false),
        ("[::1]", "http://[::1]:8080/", true),
        ("localhost", "http://localhost:1234/", true),
        ("münchen.example", "https://xn--mnchen-3ya.example/", true),
    ] {
        let pattern: HostPattern = pattern.parse().unwrap();
        let result = Destination::parse(url).is_ok_and(|destination| destination.matches(&pattern));
        assert_eq!(result, covered, "{pattern} {url}");
        assert_eq!(pattern.to_string().parse::<HostPattern>().unwrap(), pattern);
    }
    for bad in [
        "",
        "*",
        "*.",
        "*.com",
        "a/b",
        "https://a",
        "u@h",
        "a b",
        "a:99999",
        "*.127.0.0.1",
        "a.*.b",
        "h?x",
        "h#x",
    ] {
        assert!(bad.parse::<HostPattern>().is_err(), "{bad}");
    }
}

#[test]
fn unsafe_destinations_are_refused() {
    for url in [
        "http://api.example.com/",
        "ftp://api.example.com/",
        "https://",
        "https:////u@api.example.com/",
        "//api.example.com/",
        "api.example.com",
        "https://u@api.example.com/",
        "https://:p@api.example.com/",
        r"https://api.example.com\@evil/",
        "https://api.example.com%2F@evil/",
        "https://api.example.com/a/../b",
        "https://api.example.com/a/%2E%2e/b",
        "https://api.example.com/.",
        "https://api.example.com/a%2f..%2fb",
        "https://api.example.com/a/..;x/b",
        "http://127.0.0.2:1/",
        "https://api.example.com/a b",
        "https://api.example.com/a\tb",
        " https://api.example.com/",
        "http://127.0.0.1.evil.example/",
        "http://localhost@evil.example/",
        "https:///api.example.com/",
        "https://api%2eexample.com/",
        "https://2/",
        "http://127.1/",
        "http://0x7f.0.0.1/",
    ] {
        assert!(Destination::parse(url).is_err(), "{url}");
    }
    for url in [
        "https://api.example.com",
        "https://h/a..b/...?x=../y#/../",
        "http://127.0.0.1:1/",
        "http://LOCALHOST/",
    ] {
        assert!(Destination::parse(url).is_ok(), "{url}");
    }
}

#[test]
fn definitions_that_clients_would_refuse_are_not_taken() {
    let good = Provider {
        id: "p".parse().unwrap(),
        kind: ProviderKind::ManagedSecret,
        name: "P".to_owned(),
        hosts: vec!["h.example".parse().unwrap()],
        injection: Injection::default(),
        additional: Vec::new(),
        oauth: None,
    };
    assert!(good.check().is_ok());
    let header = |header: &str| Provider {
        injection: Injection { header: header.to_owned(), ..Injection::default() },
        ..good.clone()
    };
    for name in ["", "Host", "cookie", "X-Forwarded-For", "1x", "a b", "a:b", &"x".repeat(61)] {
        assert!(header(name).check().is_err(), "{name}");
    }
    let format = |format: &str| Provider {
        injection: Injection { format: format.to_owned(), ..Injection::default() },
        ..good.clone()
    };
    for text in ["", "Bearer", "{token}\r\nX: y", "{token}\u{e9}", "{token}\u{1b}"] {
        assert!(format(text).check().is_err(), "{text}");
    }
    assert!(format("AWS4-HMAC-SHA256").check().is_ok());
    let further = |target, key: &str| Provider {
        additional: vec![AdditionalInjection {
            target,
            key: key.to_owned(),
            value_source: "token".to_owned().try_into().unwrap(),
        }],
        ..good.clone()
    };
    assert!(further(InjectionTarget::Header, "X-Key").check().is_ok());
    assert!(further(InjectionTarget::QueryParam, "api_key").check().is_ok());
    for name in ["X_Key", "Cookie", "", "1x"] {
        assert!(further(InjectionTarget::Header, name).check().is_err(), "{name}");
    }
    assert!(Provider { hosts: Vec::new(), ..good }.check().is_err());
    for id in ["", "Google", "a/b", "-a", "a b", &"x".repeat(65)] {
        assert!(id.parse::<ProviderId>().is_err(), "{id}");
    }
}

#[test]
fn a_group_that_a_token_names_twice_counts_once() {
    let groups = [group(1), group(2), group(1)];
    let subject = Subject { id: user(1), groups: &groups };
    let once = [Principal::User(user(1)), Principal::Group(group(1)), Principal::Group(group(2))];
    let caller = Caller { kind: KeyKind::App, asserted: None, key_deprecated: false };
    assert_eq!(search(&caller, "google", None, None, None, Some(subject)).unwrap().principals, once);
    assert_eq!(listable(&caller, Some(subject)).unwrap(), once);
}

//! Refreshing: what is handed out when, whose turn it is, and how a refresh ends.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use uuid::Uuid;

use super::*;
use crate::{
    audit::CallReport,
    domain::{
        CredentialVersion, FailureCode, OAuthSettings, RefreshFailure, RefreshSettings, TokenGeneration,
    },
    seal::SealedField,
    store::{
        ReportCommand, StoreError,
        refresh::{
            BeginRefresh, Begun, FinishRefresh, Finished, FreshTokens, IdleQuery, LeaseRef, NotFresh,
            RefreshEnd, RefreshLease, Unsaved,
        },
    },
};

const LEASE: Duration = Duration::from_secs(30);
/// Short enough to wait for.
const SHORT: Duration = Duration::from_millis(50);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(START + seconds).unwrap()
}

fn failure(code: FailureCode) -> RefreshFailure {
    RefreshFailure::new(code, "said the provider")
}

impl World {
    pub(crate) async fn put_refreshing(&self, app_id: AppId, id: &str) {
        let oauth = OAuthSettings {
            token_url: Some("https://api.example.com/token".to_owned()),
            client_id: Some("client".to_owned()),
            refresh: RefreshSettings::default(),
            ..OAuthSettings::default()
        };
        let provider =
            Provider { oauth: Some(oauth), ..provider(id, ProviderKind::OAuth, "api.example.com") };
        let put = PutProvider { app_id, provider, client_secret: Some("client-secret".into()) };
        self.store.put_provider(self.operator(), put).await.unwrap();
    }

    /// A grant of `u1` at `google` whose token ends `ends` seconds after the start, and its first version.
    pub(crate) async fn refreshable(&self, name: &str, ends: i64) -> (Key, CredentialVersion) {
        let key = self.app_with_google(name).await;
        self.put_refreshing(key.app_id, "google").await;
        (key, self.import_ending(key.app_id, "u1", ends).await)
    }

    pub(crate) async fn import_ending(&self, app_id: AppId, subject: &str, ends: i64) -> CredentialVersion {
        let owner = ImportOwner::Identity(identity(subject));
        let mut import = self.import_of(app_id, owner, "a@x", "t1");
        import.token_expires_at = Some(at(ends));
        let grant = self.store.import_grant(self.operator(), import).await.unwrap().grant;
        CredentialVersion { app_id, grant_id: grant.facts.id, generation: grant.generation }
    }

    pub(crate) async fn begin_as(&self, version: CredentialVersion, owner: Uuid, lease: Duration) -> Begun {
        let begin = BeginRefresh { version, owner, lease, despite_backoff: false };
        self.store.begin_refresh(begin).await.unwrap()
    }

    pub(crate) async fn begin(&self, version: CredentialVersion) -> Begun {
        self.begin_as(version, Uuid::new_v4(), LEASE).await
    }

    pub(crate) async fn take(&self, version: CredentialVersion) -> Box<RefreshLease> {
        taken(self.begin(version).await)
    }

    pub(crate) fn fresh(&self, access: &str, refresh: Option<&str>, lasts: i64) -> FreshTokens {
        let now = self.clock.now();
        FreshTokens {
            access_token: access.into(),
            refresh_token: refresh.map(Into::into),
            expires_at: Some(Timestamp::from_second(now.as_second() + lasts).unwrap()),
            obtained_at: now,
            scopes: None,
            token_generation: TokenGeneration::random(),
            rotated: refresh.is_some(),
        }
    }

    pub(crate) async fn end(&self, lease: LeaseRef, end: RefreshEnd) -> Finished {
        let finish = FinishRefresh { lease, at: self.clock.now(), end };
        self.store.finish_refresh(finish).await.unwrap()
    }

    pub(crate) async fn fail(&self, lease: LeaseRef, code: FailureCode, asked: Option<u64>) -> Finished {
        let retry_after = asked.map(Duration::from_secs);
        let failure = failure(code);
        self.end(lease, RefreshEnd::Failed { failure, retry_after, unresolved: false }).await
    }

    pub(crate) async fn renew_tokens(&self, version: CredentialVersion, access: &str) -> CredentialVersion {
        let lease = self.take(version).await;
        let end = RefreshEnd::Renewed(Box::new(self.fresh(access, Some("next"), 3600)));
        let Finished::Written { generation } = self.end(lease.name(), end).await else { panic!() };
        CredentialVersion { generation, ..version }
    }

    async fn report(&self, key: Key, grant_id: GrantId, status: u16, token: Option<TokenGeneration>) {
        let report = CallReport {
            method: "GET".to_owned(),
            url: "https://api.example.com/".to_owned(),
            status,
            token_generation: token,
            ..CallReport::default()
        };
        let admission = self.admission(key, Scope::AuditEmit).await;
        let command = ReportCommand { admission, grant_id, report };
        decided(self.store.record_report(command).await.unwrap()).unwrap();
    }

    async fn released(&self, command: &ReleaseCommand) -> Released {
        decided(self.store.release(command.clone()).await.unwrap()).unwrap()
    }

    fn opened(&self, field: &SealedField) -> String {
        let bytes = self.envelope.open(field).unwrap();
        String::from_utf8(bytes.expose_secret().to_vec()).unwrap()
    }
}

fn taken(begun: Begun) -> Box<RefreshLease> {
    match begun {
        Begun::Taken(lease) => lease,
        other => panic!("not taken: {other:?}"),
    }
}

fn credential(released: Released) -> Box<Release> {
    match released {
        Released::Credential(release) => release,
        Released::NotFresh(spent) => panic!("not fresh: {spent:?}"),
    }
}

fn not_fresh(released: Released) -> Box<NotFresh> {
    match released {
        Released::NotFresh(spent) => spent,
        Released::Credential(_) => panic!("released"),
    }
}

pub(crate) async fn a_token_is_served_until_its_end_and_then_replaced_first(world: &World) {
    let (key, version) = world.refreshable("one", 3600).await;
    let ask = async || world.ask(key, by_provider("google"), Some(identity("u1"))).await;
    assert_eq!(credential(world.released(&ask().await).await).refresh_due, None);
    world.clock.advance(3600 - 299);
    let due = credential(world.released(&ask().await).await);
    assert_eq!((due.refresh_due, world.open(&due).as_str()), (Some(version), "t1"));
    // The last seconds.
    world.clock.advance(289);
    let mut command = ask().await;
    let spent = not_fresh(world.released(&command).await);
    assert_eq!((spent.version, spent.usable_until), (version, Some(at(3600))));
    command.last_resort = true;
    assert_eq!(world.open(&credential(world.released(&command).await)), "t1");
    world.clock.advance(10);
    let mut command = ask().await;
    for last_resort in [false, true] {
        command.last_resort = last_resort;
        let expired = not_fresh(world.released(&command).await);
        assert_eq!((expired.version, expired.usable_until), (version, None));
    }
    // A grant that cannot be refreshed is refused then.
    let owner = ImportOwner::Identity(identity("u2"));
    let mut import = world.import_of(key.app_id, owner, "b@x", "t");
    (import.refresh_token, import.token_expires_at) = (None, Some(at(3600)));
    world.store.import_grant(world.operator(), import).await.unwrap();
    assert_eq!(code(world.token_of(key, "u2").await), Code::CredentialRevoked);
}

pub(crate) async fn what_is_not_fresh_leaves_no_trace(world: &World) {
    let (key, version) = world.refreshable("one", 3600).await;
    world.clock.advance(3600);
    let rows = world.rows(key.app_id).await.len();
    // Somebody who was never seen, on a grant that is named.
    let group = Identity { groups: vec!["g".to_owned()], ..identity("new") };
    let mut import = world.import_of(
        key.app_id,
        ImportOwner::Principal(Principal::Group("g".to_owned())),
        "g@x",
        "t-group",
    );
    import.token_expires_at = Some(at(3600));
    let grant = world.store.import_grant(world.operator(), import).await.unwrap().grant;
    let command = world.ask(key, Address::Grant(grant.facts.id), Some(group)).await;
    for _ in 0..2 {
        not_fresh(world.released(&command).await);
    }
    assert_eq!(world.rows(key.app_id).await.len(), rows + 1, "only the import");
    assert!(!world.store.list_users(key.app_id, 10, 0).await.unwrap().iter().any(|u| u.subject == "new"));
    let version = CredentialVersion { grant_id: grant.facts.id, ..version };
    world.renew_tokens(version, "t2").await;
    assert_eq!(world.open(&credential(world.released(&command).await)), "t2");
    assert_eq!(code(world.release(command).await), Code::NonceReplayed);
}

pub(crate) async fn new_tokens_replace_the_old_ones(world: &World) {
    let (key, version) = world.refreshable("one", 100).await;
    let lease = world.take(version).await;
    assert_eq!(world.opened(&lease.refresh_token), "refresh-t1");
    assert_eq!(world.opened(lease.client_secret.as_ref().unwrap()), "client-secret");
    assert_eq!(lease.scopes, ["read", "write"]);
    assert_eq!((lease.fence, lease.seen_rotating, lease.unresolved_since), (1, false, None));
    world.clock.advance(5);
    let mut tokens = world.fresh("t2", Some("refresh-t2"), 3600);
    tokens.scopes = Some(vec!["read".to_owned()]);
    let generation = tokens.token_generation;
    let finished = world.end(lease.name(), RefreshEnd::Renewed(Box::new(tokens.clone()))).await;
    assert_eq!(finished, Finished::Written { generation: 2 });
    let command = world.ask(key, by_provider("google"), Some(identity("u1"))).await;
    let release = world.release(command).await.unwrap();
    assert_eq!(world.open(&release), "t2");
    let ReleasedCredential::OAuth { access_token, expires_at, scopes, token_generation } =
        &release.credential
    else {
        panic!()
    };
    assert_eq!((*expires_at, *token_generation), (tokens.expires_at, generation));
    assert_eq!(scopes, &["read"]);
    // What is sealed for one generation opens for no other.
    for other in [1, 3] {
        let mut moved = access_token.clone();
        moved.context.generation = other;
        assert!(world.envelope.open(&moved).is_err());
    }
    let row = world.last_row(key.app_id, Action::TokenRefreshed).await;
    assert_eq!((row.grant_id, row.token_generation), (Some(version.grant_id), Some(generation)));
    assert_eq!((row.caller.as_deref(), row.provider.as_deref()), (Some("vault"), Some("google")));
    // The next one is told what this one did; a refresh token that was not replaced stays, and opens.
    let second = CredentialVersion { generation: 2, ..version };
    let lease = world.take(second).await;
    assert_eq!(world.opened(&lease.refresh_token), "refresh-t2");
    assert_eq!((lease.fence, lease.seen_rotating), (2, true));
    assert_eq!(lease.scopes, ["read"]);
    world.end(lease.name(), RefreshEnd::Renewed(Box::new(world.fresh("t3", None, 3600)))).await;
    let third = CredentialVersion { generation: 3, ..version };
    let lease = world.take(third).await;
    assert_eq!(world.opened(&lease.refresh_token), "refresh-t2");
    assert!(!lease.seen_rotating);
    assert!(matches!(world.begin(second).await, Begun::Moved));
}

/// Of many who begin at the same moment, on whichever stores of the same database, one takes the lease.
pub(crate) async fn one_takes(world: &World, version: CredentialVersion, stores: &[Arc<dyn Store>]) {
    let begins = (0..24).map(|number| {
        let store = Arc::clone(&stores[number % stores.len()]);
        let begin = BeginRefresh { version, owner: Uuid::new_v4(), lease: LEASE, despite_backoff: false };
        tokio::spawn(async move { store.begin_refresh(begin).await.unwrap() })
    });
    let begins: Vec<_> = begins.collect();
    let mut leases = Vec::new();
    for begun in begins {
        match begun.await.unwrap() {
            Begun::Taken(lease) => leases.push(lease),
            Begun::Held { remaining } => assert!(remaining <= LEASE && remaining > LEASE / 2),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(leases.len(), 1);
    world.fail(leases[0].name(), FailureCode::Misconfigured, None).await;
}

pub(crate) async fn one_at_a_time_refreshes_a_grant(world: &World) {
    let (_, version) = world.refreshable("one", 100).await;
    one_takes(world, version, &[Arc::clone(&world.store)]).await;
}

pub(crate) async fn a_lease_that_ran_out_is_taken_over(world: &World) {
    let (key, version) = world.refreshable("one", 3600).await;
    let first = world.take(version).await;
    assert!(matches!(world.begin(version).await, Begun::Held { .. }));
    // Renewed for a moment, so that nobody has to wait for long.
    assert!(world.store.renew_refresh(first.name(), SHORT).await.unwrap());
    tokio::time::sleep(SHORT + Duration::from_millis(50)).await;
    // PostgreSQL gives holders one lease's time from the server's start, so this one asks for a short one as well.
    let second = taken(world.begin_as(version, Uuid::new_v4(), SHORT).await);
    assert_eq!(second.fence, 2);
    assert!(second.unresolved_since.unwrap() > SHORT, "{:?}", second.unresolved_since);
    // The first one comes back late.
    assert!(!world.store.renew_refresh(first.name(), LEASE).await.unwrap());
    let rows = world.rows(key.app_id).await.len();
    for end in [
        RefreshEnd::Renewed(Box::new(world.fresh("late", Some("late"), 3600))),
        RefreshEnd::Failed { failure: failure(FailureCode::NoAnswer), retry_after: None, unresolved: true },
        RefreshEnd::Dead { failure: failure(FailureCode::InvalidGrant) },
    ] {
        assert_eq!(world.end(first.name(), end).await, Finished::Overtaken);
    }
    assert_eq!(world.rows(key.app_id).await.len(), rows);
    assert_eq!(world.token_of(key, "u1").await.unwrap(), "t1");
    let tokens = world.fresh("t2", Some("r2"), 3600);
    assert_eq!(
        world.end(second.name(), RefreshEnd::Renewed(Box::new(tokens))).await,
        Finished::Written { generation: 2 }
    );
    assert_eq!(world.token_of(key, "u1").await.unwrap(), "t2");
    // Neither ends twice.
    let again = RefreshEnd::Renewed(Box::new(world.fresh("t3", None, 3600)));
    assert_eq!(world.end(second.name(), again).await, Finished::Overtaken);
}

pub(crate) async fn asking_again_under_the_same_name_is_no_crash(world: &World) {
    let (_, version) = world.refreshable("one", 3600).await;
    let owner = Uuid::new_v4();
    let first = taken(world.begin_as(version, owner, LEASE).await);
    // As if the answer had been lost.
    let again = taken(world.begin_as(version, owner, LEASE).await);
    assert_eq!((again.fence, again.unresolved_since), (first.fence + 1, None));
    assert!(!world.store.renew_refresh(first.name(), LEASE).await.unwrap());
    assert!(world.store.renew_refresh(again.name(), LEASE).await.unwrap());
    // A note that somebody else had left is not forgotten by that.
    let end = RefreshEnd::Failed {
        failure: failure(FailureCode::StoreFailed),
        retry_after: None,
        unresolved: true,
    };
    world.end(again.name(), end).await;
    let begin = BeginRefresh { version, owner, lease: LEASE, despite_backoff: true };
    for _ in 0..2 {
        let lease = taken(world.store.begin_refresh(begin).await.unwrap());
        assert!(lease.unresolved_since.is_some());
    }
}

pub(crate) async fn what_takes_the_grant_away_overtakes_a_refresh(world: &World) {
    let (key, version) = world.refreshable("one", 3600).await;
    let tokens = || RefreshEnd::Renewed(Box::new(world.fresh("new", Some("new"), 3600)));
    // Imported anew.
    let lease = world.take(version).await;
    let second = world.import_ending(key.app_id, "u1", 3600).await;
    assert_eq!((second.grant_id, second.generation), (version.grant_id, 2));
    assert!(!world.store.renew_refresh(lease.name(), LEASE).await.unwrap());
    assert_eq!(world.end(lease.name(), tokens()).await, Finished::Overtaken);
    assert_eq!(world.token_of(key, "u1").await.unwrap(), "t1");
    // Nobody waits for the void lease, and its note is not taken for one of the new generation.
    let lease = world.take(second).await;
    assert_eq!((lease.fence, lease.unresolved_since), (2, None));
    // Revoked.
    world.revoke(key, version.grant_id, None).await.unwrap();
    assert!(!world.store.renew_refresh(lease.name(), LEASE).await.unwrap());
    assert_eq!(world.end(lease.name(), tokens()).await, Finished::Overtaken);
    assert_eq!(code(world.token_of(key, "u1").await), Code::GrantRevoked);
    assert!(matches!(world.begin(second).await, Begun::Impossible(_)));
}

pub(crate) async fn what_cannot_be_refreshed_says_why(world: &World) {
    let key = world.app_with_google("one").await;
    world.put_refreshing(key.app_id, "google").await;
    let import = async |change: fn(&mut ImportGrant)| {
        let owner = ImportOwner::Identity(identity(&Uuid::new_v4().to_string()));
        let mut import = world.import_of(key.app_id, owner, "a@x", "t");
        change(&mut import);
        let grant = world.store.import_grant(world.operator(), import).await.unwrap().grant;
        CredentialVersion { app_id: key.app_id, grant_id: grant.facts.id, generation: 1 }
    };
    let good = import(|_| {}).await;
    let without = import(|import| import.refresh_token = None).await;
    let ended = import(|import| import.grant_expires_at = Some(at(10))).await;
    world.clock.advance(10);
    let unknown = CredentialVersion { grant_id: GrantId::random(), ..good };
    for (version, why) in [(without, "no refresh token"), (ended, "lifetime"), (unknown, "no such grant")] {
        let Begun::Impossible(failure) = world.begin(version).await else { panic!("{why}") };
        assert_eq!(failure.code, FailureCode::NotRefreshable);
        assert!(failure.detail.contains(why), "{failure}");
    }
    let next_step = async || {
        let health = world.store.grant_health(key.app_id, good.grant_id).await.unwrap();
        (health.provider_refreshes, health.next_step(world.clock.now()))
    };
    assert_eq!(next_step().await, (true, "nothing"));
    world.put_google(key.app_id, "api.example.com").await;
    let Begun::Impossible(failure) = world.begin(good).await else { panic!() };
    assert!(failure.detail.contains("token_url"), "{failure}");
    let (refreshes, step) = next_step().await;
    assert!(!refreshes && step.contains("`provider add`") && step.contains("--token-url"), "{step}");
    assert!(matches!(world.begin(CredentialVersion { generation: 2, ..good }).await, Begun::Moved));
}

pub(crate) async fn dead_is_latched_until_the_user_connects_again(world: &World) {
    let (key, version) = world.refreshable("one", 3600).await;
    let lease = world.take(version).await;
    let end = RefreshEnd::Dead { failure: failure(FailureCode::InvalidGrant) };
    assert_eq!(world.end(lease.name(), end).await, Finished::Written { generation: 1 });
    let refusal = world.token_of(key, "u1").await.unwrap_err();
    assert_eq!((refusal.code, refusal.grant_id), (Code::CredentialRevoked, Some(version.grant_id)));
    let row = world.last_row(key.app_id, Action::ReconnectNeeded).await;
    assert_eq!(row.code.as_deref(), Some("invalid_grant"));
    assert_eq!(row.detail.as_deref(), Some("said the provider"));
    for despite_backoff in [false, true] {
        let begin = BeginRefresh { version, owner: Uuid::new_v4(), lease: LEASE, despite_backoff };
        let Begun::Impossible(why) = world.store.begin_refresh(begin).await.unwrap() else { panic!() };
        assert_eq!(why, failure(FailureCode::InvalidGrant));
    }
    let health = world.store.grant_health(key.app_id, version.grant_id).await.unwrap();
    assert!(health.needs_reconnect && health.reconnect_reason.unwrap().contains("invalid_grant"));
    let second = world.import_ending(key.app_id, "u1", 3600).await;
    assert_eq!(world.token_of(key, "u1").await.unwrap(), "t1");
    let health = world.store.grant_health(key.app_id, version.grant_id).await.unwrap();
    assert_eq!((health.needs_reconnect, health.reconnect_reason), (false, None));
    world.renew_tokens(second, "t2").await;
}

pub(crate) async fn a_failure_of_the_client_pauses_all_of_its_grants(world: &World) {
    let (key, one) = world.refreshable("one", 3600).await;
    let two = world.import_ending(key.app_id, "u2", 3600).await;
    world.put_refreshing(key.app_id, "other").await;
    let owner = ImportOwner::Identity(identity("u1"));
    let mut import = world.import_of(key.app_id, owner, "a@x", "t");
    import.provider = id_of("other");
    let elsewhere = world.store.import_grant(world.operator(), import).await.unwrap().grant.facts.id;
    let elsewhere = CredentialVersion { grant_id: elsewhere, ..one };
    let (_, foreign) = world.refreshable("two", 3600).await;

    let (first, second) = (world.take(one).await, world.take(two).await);
    world.fail(first.name(), FailureCode::RateLimited, Some(120)).await;
    let row = world.last_row(key.app_id, Action::RefreshFailed).await;
    assert_eq!((row.code.as_deref(), row.grant_id), (Some("rate_limited"), Some(one.grant_id)));
    for version in [one, two] {
        match world.begin(version).await {
            Begun::Pause { remaining, failure } => {
                assert!(remaining > Duration::from_secs(100) && remaining <= Duration::from_secs(120));
                assert_eq!(failure.code, FailureCode::RateLimited);
            }
            // The second one is still at it.
            Begun::Held { .. } if version == two => {}
            other => panic!("{other:?}"),
        }
    }
    let health = world.store.grant_health(key.app_id, one.grant_id).await.unwrap();
    assert_eq!((health.failures, health.last_failed_at), (1, Some(world.clock.now())));
    assert!(health.retry_in_seconds.is_some_and(|seconds| (100..=120).contains(&seconds)));
    assert_eq!(health.last_failure.unwrap(), failure(FailureCode::RateLimited));
    // Neither another provider nor another app waits; an operator need not.
    world.take(elsewhere).await;
    world.take(foreign).await;
    let begin = BeginRefresh { version: one, owner: Uuid::new_v4(), lease: LEASE, despite_backoff: true };
    taken(world.store.begin_refresh(begin).await.unwrap());
    // An operator's change of the provider may be the repair.
    let (_, third) = world.refreshable("three", 3600).await;
    let lease = world.take(third).await;
    world.fail(lease.name(), FailureCode::InvalidClient, Some(120)).await;
    assert!(matches!(world.begin(third).await, Begun::Pause { .. }));
    world.put_refreshing(third.app_id, "google").await;
    world.take(third).await;
    // What was on its way already and succeeds ends the pause.
    let tokens = RefreshEnd::Renewed(Box::new(world.fresh("t2", None, 3600)));
    world.end(second.name(), tokens).await;
    let three = world.import_ending(key.app_id, "u3", 3600).await;
    world.take(three).await;
}

pub(crate) async fn a_failure_of_one_grant_pauses_only_that(world: &World) {
    let (key, one) = world.refreshable("one", 3600).await;
    let two = world.import_ending(key.app_id, "u2", 3600).await;
    let lease = world.take(one).await;
    world.fail(lease.name(), FailureCode::Misconfigured, Some(60)).await;
    assert!(matches!(world.begin(one).await, Begun::Pause { .. }));
    world.take(two).await;
    let health = world.store.grant_health(key.app_id, one.grant_id).await.unwrap();
    assert!(health.next_step(world.clock.now()).contains("operator"));
    // Success takes all of it away.
    let begin = BeginRefresh { version: one, owner: Uuid::new_v4(), lease: LEASE, despite_backoff: true };
    let lease = taken(world.store.begin_refresh(begin).await.unwrap());
    let tokens = RefreshEnd::Renewed(Box::new(world.fresh("t2", Some("next"), 3600)));
    assert_eq!(world.end(lease.name(), tokens).await, Finished::Written { generation: 2 });
    let health = world.store.grant_health(key.app_id, one.grant_id).await.unwrap();
    assert_eq!((health.failures, health.last_failure, health.retry_in_seconds), (0, None, None));
    assert_eq!((health.generation, health.last_refreshed_at), (2, Some(world.clock.now())));
}

pub(crate) async fn connecting_again_starts_without_failures(world: &World) {
    let (key, version) = world.refreshable("one", 3600).await;
    let lease = world.take(version).await;
    world.fail(lease.name(), FailureCode::Misconfigured, Some(600)).await;
    assert!(matches!(world.begin(version).await, Begun::Pause { .. }));
    let health = async || world.store.grant_health(key.app_id, version.grant_id).await.unwrap();
    assert_eq!(health().await.failures, 1);
    let second = world.import_ending(key.app_id, "u1", 3600).await;
    let now = health().await;
    assert_eq!((now.failures, now.last_failure.as_ref(), now.retry_in_seconds), (0, None, None));
    assert_eq!((now.next_step(world.clock.now()), now.last_failed_at), ("nothing", Some(world.clock.now())));
    // It may be refreshed at once, under a fence that is newer than any before.
    assert_eq!(world.take(second).await.fence, lease.fence + 1);
}

pub(crate) async fn a_note_that_is_unresolved_stays(world: &World) {
    let (_, version) = world.refreshable("one", 3600).await;
    let take = async || {
        let begin = BeginRefresh { version, owner: Uuid::new_v4(), lease: LEASE, despite_backoff: true };
        taken(world.store.begin_refresh(begin).await.unwrap())
    };
    let first = take().await;
    let unresolved = |unresolved| RefreshEnd::Failed {
        failure: failure(FailureCode::NoAnswer),
        retry_after: None,
        unresolved,
    };
    world.end(first.name(), unresolved(true)).await;
    let second = take().await;
    assert!(second.unresolved_since.is_some());
    world.end(second.name(), unresolved(false)).await;
    assert_eq!(take().await.unresolved_since, None);
}

pub(crate) async fn a_reported_refusal_counts_for_its_generation_and_not_too_often(world: &World) {
    let (key, version) = world.refreshable("one", 3600).await;
    let ask = async || world.ask(key, by_provider("google"), Some(identity("u1"))).await;
    let generation = async || {
        let health = world.store.grant_health(key.app_id, version.grant_id).await.unwrap();
        (health.token_generation, health.refused)
    };
    let (first, _) = generation().await;
    // Another version's, nobody's, and another status.
    world.report(key, version.grant_id, 401, Some(TokenGeneration::random())).await;
    world.report(key, version.grant_id, 401, None).await;
    world.report(key, version.grant_id, 403, first).await;
    assert!(!generation().await.1);
    let health = world.store.grant_health(key.app_id, version.grant_id).await.unwrap();
    assert_eq!(health.last_good_at, None);
    world.report(key, version.grant_id, 401, first).await;
    assert!(generation().await.1);
    let mut command = ask().await;
    let spent = not_fresh(world.released(&command).await);
    assert_eq!(spent.usable_until, Some(at(3600)));
    command.last_resort = true;
    credential(world.released(&command).await);
    // The next version is good, and a second report within the minute does not count.
    let second = world.renew_tokens(version, "t2").await;
    assert_eq!(world.token_of(key, "u1").await.unwrap(), "t2");
    let (token, _) = generation().await;
    world.clock.advance(59);
    world.report(key, version.grant_id, 401, token).await;
    assert_eq!(world.token_of(key, "u1").await.unwrap(), "t2");
    world.report(key, version.grant_id, 401, first).await;
    world.clock.advance(1);
    world.report(key, version.grant_id, 401, token).await;
    assert_eq!(not_fresh(world.released(&ask().await).await).version, second);
    // Connecting again clears it, and counts from the start.
    world.import_ending(key.app_id, "u1", 7200).await;
    assert_eq!(world.token_of(key, "u1").await.unwrap(), "t1");
    let (token, _) = generation().await;
    world.report(key, version.grant_id, 401, token).await;
    assert!(generation().await.1);
}

pub(crate) async fn good_calls_are_noted_to_the_minute(world: &World) {
    let (key, version) = world.refreshable("one", 3600).await;
    let good = async || world.store.grant_health(key.app_id, version.grant_id).await.unwrap().last_good_at;
    world.report(key, version.grant_id, 0, None).await;
    assert_eq!(good().await, None);
    world.report(key, version.grant_id, 200, None).await;
    assert_eq!(good().await, Some(at(0)));
    world.clock.advance(59);
    world.report(key, version.grant_id, 304, None).await;
    assert_eq!(good().await, Some(at(0)));
    world.clock.advance(1);
    world.report(key, version.grant_id, 200, None).await;
    assert_eq!(good().await, Some(at(60)));
}

pub(crate) async fn tokens_that_could_not_be_kept_are_served_as_the_grants(world: &World) {
    let (key, version) = world.refreshable("one", 3600).await;
    world.clock.advance(3600);
    let unsaved = Unsaved {
        replaces: version,
        token_generation: TokenGeneration::random(),
        expires_at: Some(at(7200)),
    };
    let with = async |unsaved| {
        let mut command = world.ask(key, by_provider("google"), Some(identity("u1"))).await;
        command.unsaved = Some(unsaved);
        command
    };
    let release = credential(world.released(&with(unsaved).await).await);
    let ReleasedCredential::Unsaved { scopes } = release.credential else { panic!() };
    assert_eq!(scopes, ["read", "write"]);
    let row = world.last_row(key.app_id, Action::TokenReleased).await;
    assert_eq!(row.token_generation, Some(unsaved.token_generation));
    // Of another grant or generation, or past its end, it counts for nothing.
    let other = CredentialVersion { grant_id: GrantId::random(), ..version };
    let older = CredentialVersion { generation: 0, ..version };
    for wrong in [
        Unsaved { replaces: other, ..unsaved },
        Unsaved { replaces: older, ..unsaved },
        Unsaved { expires_at: Some(at(3600)), ..unsaved },
    ] {
        not_fresh(world.released(&with(wrong).await).await);
    }
    world.import_ending(key.app_id, "u1", 7200).await;
    assert!(matches!(
        credential(world.released(&with(unsaved).await).await).credential,
        ReleasedCredential::OAuth { .. }
    ));
    let second = CredentialVersion { generation: 2, ..version };
    let unsaved = Unsaved { replaces: second, ..unsaved };
    let lease = world.take(second).await;
    world.end(lease.name(), RefreshEnd::Dead { failure: failure(FailureCode::InvalidGrant) }).await;
    assert_eq!(code(world.release(with(unsaved).await).await), Code::CredentialRevoked);
    world.revoke(key, version.grant_id, None).await.unwrap();
    assert_eq!(code(world.release(with(unsaved).await).await), Code::GrantRevoked);
}

pub(crate) async fn whoever_waits_is_told(world: &World) {
    let (_, version) = world.refreshable("one", 3600).await;
    let mut signals = world.store.refresh_signals();
    let lease = world.take(version).await;
    world.fail(lease.name(), FailureCode::Misconfigured, None).await;
    let told = tokio::time::timeout(Duration::from_secs(5), signals.recv()).await.unwrap().unwrap();
    assert_eq!(told.grant_id, version.grant_id);
}

pub(crate) async fn grants_that_idle_are_found_oldest_first(world: &World) {
    let (key, first) = world.refreshable("one", 3600).await;
    assert_eq!(world.store.oldest_tokens().await.unwrap(), [(id_of("google"), at(0))]);
    world.clock.advance(100);
    let second = world.import_ending(key.app_id, "u2", 3600).await;
    let dead = world.import_ending(key.app_id, "u3", 3600).await;
    let lease = world.take(dead).await;
    world.end(lease.name(), RefreshEnd::Dead { failure: failure(FailureCode::InvalidGrant) }).await;
    let gone = world.import_ending(key.app_id, "u4", 3600).await;
    world.revoke(key, gone.grant_id, None).await.unwrap();
    let owner = ImportOwner::Identity(identity("u5"));
    let mut ending = world.import_of(key.app_id, owner, "e@x", "t");
    ending.grant_expires_at = Some(at(101));
    world.store.import_grant(world.operator(), ending).await.unwrap();
    world.clock.advance(1);
    let idle = async |before, limit| {
        let query = IdleQuery { app_id: key.app_id, provider: id_of("google"), before: at(before), limit };
        world.store.idle_grants(query).await.unwrap()
    };
    assert_eq!(idle(1000, 10).await, [first, second]);
    assert_eq!(idle(1000, 1).await, [first]);
    assert_eq!(idle(100, 10).await, [first]);
    assert_eq!(idle(0, 10).await, []);
    let renewed = world.renew_tokens(first, "t2").await;
    assert_eq!(idle(1000, 10).await, [second, renewed]);
    assert_eq!(world.store.oldest_tokens().await.unwrap(), [(id_of("google"), at(100))]);
    // One that fails again and again keeps no other from its turn.
    let lease = world.take(second).await;
    world.fail(lease.name(), FailureCode::Misconfigured, Some(600)).await;
    assert_eq!(idle(1000, 1).await, [renewed]);
    let unknown = world.store.grant_health(key.app_id, GrantId::random()).await;
    assert!(matches!(unknown, Err(StoreError::NotFound("grant"))), "{unknown:?}");
}

pub(crate) async fn refreshes_and_releases_beside_each_other_stay_whole(world: &World) {
    let (key, mut version) = world.refreshable("one", 7200).await;
    let mut seen = BTreeSet::new();
    for round in 2..8 {
        let lease = world.take(version).await;
        let mut commands = Vec::new();
        for _ in 0..8 {
            commands.push(world.ask(key, by_provider("google"), Some(identity("u1"))).await);
        }
        let releases = commands.into_iter().map(|command| world.store.release(command));
        let releases = futures_util::future::join_all(releases);
        let tokens = world.fresh(&format!("t{round}"), Some(&format!("r{round}")), 7200);
        let end = RefreshEnd::Renewed(Box::new(tokens));
        let (releases, finished) = tokio::join!(releases, world.end(lease.name(), end));
        let Finished::Written { generation } = finished else { panic!() };
        version.generation = generation;
        for release in releases {
            let release = credential(decided(release.unwrap()).unwrap());
            let token = world.open(&release);
            assert!(token == format!("t{round}") || token == format!("t{}", round - 1), "{token}");
            seen.insert(token);
        }
    }
    assert!(seen.len() > 2, "{seen:?}");
}

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

mod failing;
mod lease;
mod serving;

pub(crate) use failing::*;
pub(crate) use lease::*;
pub(crate) use serving::*;

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

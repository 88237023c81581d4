//! Sessions, browsers, users.

use futures_util::FutureExt;
use jiff::Timestamp;
use secrecy::SecretString;

use super::SqliteStore;
use crate::{
    domain::{
        AppConfig, AppId, BrowserSession, ConnectSession, GrantFilter, GrantPage, HookSource,
        NewBrowserSession, NewHookSource, Operator, PageSettings, Principal, SessionRef, SignInSettings,
        User, UserRef, UserStatus, WebhookId,
    },
    seal::SealedField,
    store::{
        AdvanceSession, Advanced, Answer, Browser, BrowserNote, ChangedUser, Connections, CreateSession,
        Heard, HookMessage, Outcome, PollSession, RevokeAsUser, Revoked, StoreError,
    },
};

fn unbuilt<T: Send + 'static>() -> Answer<'static, T> {
    std::future::ready(Err(StoreError::Invalid("not built yet".to_owned()))).boxed()
}

impl Connections for SqliteStore {
    fn create_session(&self, _command: CreateSession) -> Answer<'_, Outcome<ConnectSession>> {
        unbuilt()
    }

    fn poll_session(&self, _command: PollSession) -> Answer<'_, Outcome<Option<ConnectSession>>> {
        unbuilt()
    }

    fn session(&self, _session: SessionRef) -> Answer<'_, Option<ConnectSession>> {
        unbuilt()
    }

    fn advance_session(&self, _advance: AdvanceSession) -> Answer<'_, Advanced> {
        unbuilt()
    }

    fn note_browser(&self, _note: BrowserNote) -> Answer<'_, ()> {
        unbuilt()
    }

    fn grants_of(
        &self,
        _app_id: AppId,
        _principal: Principal,
        _filter: GrantFilter,
        _limit: u32,
        _offset: u64,
    ) -> Answer<'_, GrantPage> {
        unbuilt()
    }

    fn sweep_sessions(&self, _before: Timestamp, _limit: u32) -> Answer<'_, u64> {
        unbuilt()
    }

    fn open_browser_session(&self, _browser: Browser, _new: NewBrowserSession) -> Answer<'_, BrowserSession> {
        unbuilt()
    }

    fn browser_session(
        &self,
        _session: SessionRef,
        _now: Timestamp,
        _idle_seconds: u32,
    ) -> Answer<'_, Option<BrowserSession>> {
        unbuilt()
    }

    fn close_browser_session(&self, _browser: Browser, _session: SessionRef) -> Answer<'_, ()> {
        unbuilt()
    }

    fn same_person(&self, _issuer: String, _subject: String) -> Answer<'_, Vec<User>> {
        unbuilt()
    }

    fn revoke_as_user(&self, _revoke: RevokeAsUser) -> Answer<'_, Revoked> {
        unbuilt()
    }

    fn set_user_status(
        &self,
        _by: Operator,
        _app_id: AppId,
        _user: UserRef,
        _status: UserStatus,
        _reason: Option<String>,
    ) -> Answer<'_, ChangedUser> {
        unbuilt()
    }

    fn hear(&self, _message: HookMessage) -> Answer<'_, Heard> {
        unbuilt()
    }

    fn add_hook_source(&self, _by: Operator, _new: NewHookSource) -> Answer<'_, HookSource> {
        unbuilt()
    }

    fn hook_source(&self, _app_id: AppId, _id: WebhookId) -> Answer<'_, Option<(HookSource, SealedField)>> {
        unbuilt()
    }

    fn list_hook_sources(&self, _app_id: AppId) -> Answer<'_, Vec<HookSource>> {
        unbuilt()
    }

    fn remove_hook_source(&self, _by: Operator, _app_id: AppId, _id: WebhookId) -> Answer<'_, ()> {
        unbuilt()
    }

    fn set_page(&self, _by: Operator, _app_id: AppId, _page: PageSettings) -> Answer<'_, AppConfig> {
        unbuilt()
    }

    fn set_sign_in(
        &self,
        _by: Operator,
        _app_id: AppId,
        _sign_in: Option<SignInSettings>,
        _secret: Option<SecretString>,
    ) -> Answer<'_, AppConfig> {
        unbuilt()
    }

    fn sign_in_secret(&self, _app_id: AppId) -> Answer<'_, Option<SealedField>> {
        unbuilt()
    }
}

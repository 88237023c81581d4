//! The grants in the vault: list and revoke (spec/03 §3.1, §3.2).

use std::{collections::VecDeque, fmt};

use http::StatusCode;
use uuid::Uuid;

use super::{Client, identity::Wanted, metadata::Actor};
use crate::{
    UserToken,
    error::{Error, InvalidInput},
    wire::{
        grants::{
            Grant, LIST_PATH, ListRequest, ListResponse, MAX_LIMIT, RevokeRequest, RevokeResponse,
            revoke_path,
        },
        secret::SecretText,
    },
};

/// The grants that the client, or its user, reaches.
#[derive(Debug, Clone)]
pub struct Grants {
    client: Client,
    bound: Option<UserToken>,
}

impl Grants {
    pub(super) fn new(client: Client, bound: Option<UserToken>) -> Self {
        Self { client, bound }
    }

    /// Starts a list. On an [`App`](crate::App) it is the list of a user, unless it says
    /// [`as_app`](ListGrants::as_app).
    pub fn list(&self) -> ListGrants {
        let wanted = Wanted { bound: self.bound.clone(), wide: true, ..Wanted::default() };
        ListGrants { client: self.client.clone(), wanted, filters: ListRequest::default(), refused: None }
    }

    /// Starts the revocation of a grant: a [`Uuid`], or its text. With a user, only that user's grants can be
    /// revoked.
    pub fn revoke<I: TryInto<Uuid>>(&self, id: I) -> RevokeGrant {
        RevokeGrant {
            client: self.client.clone(),
            wanted: Wanted { bound: self.bound.clone(), ..Wanted::default() },
            id: id.try_into().ok(),
            reason: None,
        }
    }
}

/// A list of grants. All filters must match.
#[must_use = "a list does nothing until send()"]
pub struct ListGrants {
    client: Client,
    wanted: Wanted,
    filters: ListRequest,
    refused: Option<Error>,
}

impl ListGrants {
    /// Of that provider, or of the managed secret with that slug.
    pub fn provider(mut self, provider: impl Into<String>) -> Self {
        self.filters.provider_id = Some(self.filter("provider", provider.into()));
        self
    }

    /// In that state: `active`, `expired`, `revoked`.
    pub fn status(mut self, status: impl Into<String>) -> Self {
        self.filters.status = Some(self.filter("status", status.into()));
        self
    }

    /// Of that account at the provider.
    pub fn account(mut self, account: impl Into<String>) -> Self {
        self.filters.account = Some(self.filter("account", account.into()));
        self
    }

    /// With that label.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.filters.label = Some(self.filter("label", label.into()));
        self
    }

    /// Page size, 1 to 1,000; 100 unless told otherwise.
    pub fn limit(mut self, grants: u32) -> Self {
        if !(1..=MAX_LIMIT).contains(&grants) {
            self.refuse("a page holds 1 to 1,000 grants");
        }
        self.filters.limit = grants;
        self
    }

    /// Grants to skip.
    pub fn offset(mut self, grants: u32) -> Self {
        self.filters.offset = grants;
        self
    }

    /// The grants of that user, whatever the client or the scope says.
    pub fn user_token(mut self, token: UserToken) -> Self {
        self.wanted.per_call = Some(token);
        self
    }

    /// All grants of the application, not those of one user.
    pub fn as_app(mut self) -> Self {
        self.wanted.as_app = true;
        self
    }

    fn filter(&mut self, name: &str, value: String) -> String {
        if value.is_empty() {
            self.refuse(&format!("the filter {name} is empty"));
        }
        value
    }

    fn refuse(&mut self, message: &str) {
        self.refused.get_or_insert_with(|| Error::invalid(InvalidInput::Filter, message));
    }

    /// Asks for one page.
    ///
    /// # Errors
    ///
    /// [`Kind::InvalidInput`](crate::Kind::InvalidInput) for a filter, before anything is sent;
    /// [`Auth::NoIdentity`](crate::error::Auth::NoIdentity); what the vault refuses.
    pub async fn send(self) -> Result<ListResponse, Error> {
        let mut pages = self.pages();
        pages.ask().await
    }

    /// Walks through all pages from the offset on.
    ///
    /// ```no_run
    /// # async fn f(app: alter_core::App) -> Result<(), alter_core::Error> {
    /// let mut grants = app.grants().list().status("active").as_app().pages();
    /// while let Some(grant) = grants.next().await? {
    ///     println!("{} {}", grant.provider(), grant.grant_id());
    /// }
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn pages(self) -> Pages {
        Pages { list: self, ready: VecDeque::new(), over: false }
    }
}

impl fmt::Debug for ListGrants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListGrants")
            .field("limit", &self.filters.limit)
            .field("offset", &self.filters.offset)
            .finish_non_exhaustive()
    }
}

/// A walk through all pages of a list. The vault pages by offset: a grant that is made or removed meanwhile can
/// shift another out of sight.
#[derive(Debug)]
pub struct Pages {
    list: ListGrants,
    ready: VecDeque<Grant>,
    over: bool,
}

impl Pages {
    /// The next grant; `None` after the last.
    ///
    /// # Errors
    ///
    /// As for [`ListGrants::send`]. The walk can go on afterwards: it asks for the same page again.
    ///
    /// # Cancel safety
    ///
    /// Nothing is skipped when the future is dropped.
    pub async fn next(&mut self) -> Result<Option<Grant>, Error> {
        while self.ready.is_empty() && !self.over {
            let page = self.ask().await?;
            // A page without a grant would be asked for again and again.
            self.over = !page.has_more || page.grants.is_empty();
            let read = u32::try_from(page.grants.len()).unwrap_or(u32::MAX);
            self.list.filters.offset = self.list.filters.offset.saturating_add(read);
            self.ready = page.grants.into();
        }
        Ok(self.ready.pop_front())
    }

    async fn ask(&mut self) -> Result<ListResponse, Error> {
        let client = &self.list.client;
        let _under_way = client.enter()?;
        if let Some(refused) = self.list.refused.take() {
            self.over = true;
            return Err(refused);
        }
        let user = client.identity(&self.list.wanted).await?;
        let filters = ListRequest {
            user_token: user.map(|token| SecretText::from(token.expose())),
            ..self.list.filters.clone()
        };
        let shared = &client.0;
        let answer = shared.post(LIST_PATH, &filters, &Actor::default(), shared.timeout, false).await?;
        serde_json::from_slice(&answer.expect(StatusCode::OK)?)
            .map_err(|_| Error::malformed("the vault's list of grants is not of the documented form"))
    }
}

/// The revocation of a grant.
#[must_use = "a revocation does nothing until send()"]
#[derive(Debug)]
pub struct RevokeGrant {
    client: Client,
    wanted: Wanted,
    id: Option<Uuid>,
    reason: Option<String>,
}

impl RevokeGrant {
    /// Why, for the audit row.
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// On whose behalf, whatever the client or the scope says.
    pub fn user_token(mut self, token: UserToken) -> Self {
        self.wanted.per_call = Some(token);
        self
    }

    /// Revokes it. `success: false` in the receipt is an answer, not an error.
    ///
    /// # Errors
    ///
    /// [`InvalidInput::Address`] for an id that is no UUID, before anything is sent; what the vault refuses.
    pub async fn send(self) -> Result<RevokeResponse, Error> {
        let client = &self.client;
        let _under_way = client.enter()?;
        let id =
            self.id.ok_or_else(|| Error::invalid(InvalidInput::Address, "the grant id is not a UUID"))?;
        let user = client.identity(&self.wanted).await?;
        let message = RevokeRequest {
            reason: self.reason,
            user_token: user.map(|token| SecretText::from(token.expose())),
        };
        let shared = &client.0;
        let path = revoke_path(&id);
        let answer = shared.post(&path, &message, &Actor::default(), shared.timeout, true).await?;
        serde_json::from_slice(&answer.expect(StatusCode::OK)?)
            .map_err(|_| Error::malformed("the vault's receipt is not of the documented form"))
    }
}

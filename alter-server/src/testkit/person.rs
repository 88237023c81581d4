//! What a person does on the vault's pages.

use serde_json::Value;
use url::{Url, form_urlencoded};

use super::{BrowseError, Browser, Page};

/// Most pages of one session. The longest honest way has a dozen.
const PAGES: usize = 40;

/// Who sits in front of a [`Browser`], and what they want.
#[derive(Debug, Clone)]
pub struct Person {
    pub(super) sub: String,
    pub(super) account: Option<String>,
    providers: Vec<String>,
    agrees: bool,
}

impl Person {
    /// A user of the application: the `sub` of their tokens. Their account at providers has the same name, and they agree to
    /// everything.
    #[must_use]
    pub fn new(sub: impl Into<String>) -> Self {
        Self { sub: sub.into(), account: None, providers: Vec::new(), agrees: true }
    }

    /// The name of their account at providers.
    #[must_use]
    pub fn account(mut self, account: impl Into<String>) -> Self {
        self.account = Some(account.into());
        self
    }

    /// Where there is a choice, this provider is connected; said several times, one after the other. Without it, the first one.
    #[must_use]
    pub fn chooses(mut self, provider: impl Into<String>) -> Self {
        self.providers.push(provider.into());
        self
    }

    /// They do not want to.
    #[must_use]
    pub fn says_no(mut self) -> Self {
        self.agrees = false;
        self
    }
}

/// How a session ended for the person.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Ended {
    /// It ended as the application wished.
    pub connected: bool,
    /// The heading of the last page.
    pub title: String,
    /// What the page says to the person.
    pub text: String,
    /// What the page's script posts to the window that opened it (spec/03 §6.4); null where there is nothing to tell.
    pub message: Value,
    /// The only origin that it is posted to.
    pub origin: Option<String>,
    /// Where the page's script leads a browser whose window nobody opened; with the result as query parameters (spec/03 §6.7).
    pub return_url: Option<Url>,
}

impl Browser {
    /// Opens the page of a connect or sign-in session and does what the person wants until it ends: sign in where the vault
    /// asks for it, choose, consent, the provider, the callback.
    ///
    /// # Errors
    ///
    /// [`BrowseError::Refused`] when a page says that it cannot be done, such as for a link that was made for somebody else;
    /// and as for [`Browser::get`].
    pub async fn finish(&mut self, url: &str) -> Result<Ended, BrowseError> {
        let page = self.get(url).await?;
        self.go_on(page).await
    }

    /// As [`Self::finish`], from a page of the session on.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn go_on(&mut self, mut page: Page) -> Result<Ended, BrowseError> {
        for _ in 0..PAGES {
            page = if page.has("end") {
                return ended(&page);
            } else if page.has("wrong") || page.has("failed") {
                return Err(BrowseError::refused(&page));
            } else if page.has("opening") {
                self.open(&page).await?
            } else if page.has("prove") {
                let button = if self.person.agrees || !page.has("decline") { "sign-in" } else { "decline" };
                self.press(&page, button).await?
            } else if page.has("leaving") {
                self.follow(&page, "provider-link").await?
            } else if page.has("back") {
                self.follow(&page, "go-on-here").await?
            } else if page.has("consent") {
                self.press(&page, if self.person.agrees { "go" } else { "decline" }).await?
            } else if page.has("providers") {
                self.choose(&page).await?
            } else {
                return Err(BrowseError::refused(&page));
            };
        }
        Err(BrowseError::Endless(page.title()))
    }

    /// What the script of the link's page does: the token leaves the fragment for the body of a request.
    async fn open(&mut self, page: &Page) -> Result<Page, BrowseError> {
        let session = page.url().fragment().and_then(|fragment| {
            form_urlencoded::parse(fragment.as_bytes()).find(|(name, _)| name == "session")
        });
        let (_, token) = session.ok_or_else(|| BrowseError::missing(page, "session"))?;
        let to = page.attribute("opening", "data-open").and_then(|path| page.url().join(&path).ok());
        let to = to.ok_or_else(|| BrowseError::missing(page, "opening"))?;
        let body = form_urlencoded::Serializer::new(String::new()).append_pair("session", &token).finish();
        let answer = self.post(page, to, body).await?;
        let told: Value = serde_json::from_str(answer.html()).unwrap_or_default();
        let text = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
        match told["next"].as_str().and_then(|next| page.url().join(next).ok()) {
            Some(next) => self.get(next.as_str()).await,
            None => Err(BrowseError::Refused {
                status: answer.status(),
                title: text("title"),
                text: text("text"),
            }),
        }
    }

    async fn choose(&mut self, page: &Page) -> Result<Page, BrowseError> {
        let of = |id: &str| {
            page.links_in("providers").into_iter().find(|url| url.path().ends_with(&format!("/p/{id}")))
        };
        if !self.person.agrees {
            return self.press(page, "cancel").await;
        }
        if !self.person.providers.is_empty() {
            let wanted = self.person.providers.remove(0);
            let url = of(&wanted).ok_or_else(|| BrowseError::missing(page, &wanted))?;
            return self.get(url.as_str()).await;
        }
        if page.has("finish") {
            return self.press(page, "finish").await;
        }
        let first = page.links_in("providers").into_iter().next();
        let first = first.ok_or_else(|| BrowseError::missing(page, "providers"))?;
        self.get(first.as_str()).await
    }
}

fn ended(page: &Page) -> Result<Ended, BrowseError> {
    let delivery = page.attribute("end", "data-delivery").unwrap_or_default();
    let mut delivery: Value =
        serde_json::from_str(&delivery).map_err(|_| BrowseError::missing(page, "data-delivery"))?;
    Ok(Ended {
        connected: page.attribute("end", "data-good").as_deref() == Some("true"),
        title: page.title(),
        text: page.main(),
        message: delivery["message"].take(),
        origin: delivery["origin"].as_str().map(str::to_owned),
        return_url: delivery["return_url"].as_str().and_then(|url| Url::parse(url).ok()),
    })
}

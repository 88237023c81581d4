//! What a handler answers when a call fails.

use std::fmt;

use actix_web::{HttpResponse, ResponseError, http::StatusCode};
use alter_core::{Error, answer::Answer, wire::secret::SecretText};

/// A failed call, as a handler's error: `?` makes it, and it answers with the status, headers and JSON of the
/// [crate's table](crate#what-a-failure-becomes).
///
/// To answer otherwise, look [inside](Self::inner) before, or wrap it in an error type of your own.
///
/// # With a link to connect again
///
/// Where the grant is missing or broken, two lines give the caller a page that mends it, as `connect_url` in the answer's
/// JSON (see [`ConnectBuilder::link`](alter_core::ConnectBuilder::link)):
///
/// ```
/// use alter_actix::{AlterClient, AlterError, Method};
///
/// async fn events(alter: AlterClient) -> Result<String, AlterError> {
///     let url = "https://www.googleapis.com/calendar/v3/calendars/primary/events";
///     match alter.request(Method::GET, url).provider("google").send().await {
///         Ok(events) => Ok(events.text().await?),
///         Err(error) => {
///             let link = alter.connect_session_for(&error).return_url("https://shop.example/done").link().await;
///             Err(AlterError::from(error).with_link(link))
///         }
///     }
/// }
/// # let _ = actix_web::web::get().to(events);
/// ```
#[derive(Debug)]
pub struct AlterError {
    error: Error,
    link: Option<SecretText>,
}

impl AlterError {
    /// What went wrong.
    #[must_use]
    pub fn inner(&self) -> &Error {
        &self.error
    }

    /// What went wrong, owned.
    #[must_use]
    pub fn into_inner(self) -> Error {
        self.error
    }

    /// The answer that it stands for.
    pub(crate) fn answer(&self) -> Answer {
        Answer::from(&self.error).with_link(self.link.as_ref())
    }

    /// With the link on which the caller mends the connection, as `connect_url` in the answer's JSON: from
    /// [`ConnectBuilder::link`](alter_core::ConnectBuilder::link). `None` leaves the answer as it is.
    #[must_use]
    pub fn with_link(mut self, link: Option<SecretText>) -> Self {
        self.link = link;
        self
    }
}

impl From<Error> for AlterError {
    fn from(error: Error) -> Self {
        Self { error, link: None }
    }
}

impl fmt::Display for AlterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for AlterError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl ResponseError for AlterError {
    fn status_code(&self) -> StatusCode {
        crate::answer::status(&Answer::from(&self.error))
    }

    fn error_response(&self) -> HttpResponse {
        crate::answer::response(&Answer::logged(&self.error).with_link(self.link.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::body::MessageBody;
    use http::HeaderMap;

    use super::*;

    #[test]
    fn a_link_goes_to_the_caller_and_nowhere_else() {
        let body = br#"{"error":"grant_revoked","provider_id":"google"}"#;
        let error =
            || AlterError::from(Error::from_vault(http::StatusCode::FORBIDDEN, &HeaderMap::new(), body));
        let url = "https://vault.example/sdk/oauth/connect#session=canary";
        let linked = error().with_link(Some(url.into()));
        assert!(!format!("{linked} {linked:?}").contains("canary"));
        assert_eq!(linked.answer().body["connect_url"], url, "as map_answer sees it");
        let bytes = linked.error_response().into_body().try_into_bytes().unwrap();
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&bytes).unwrap()["connect_url"], url);
        assert!(!error().answer().body.contains_key("connect_url"));
    }
}

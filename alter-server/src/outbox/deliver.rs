//! One delivery of an event.

use http::StatusCode;
use secrecy::SecretString;

use super::{Failed, Inner, Outcome};
use crate::{
    domain::Job,
    seal::SealedField,
    webhook::{Answered, SigningSecret, Undelivered},
};

impl Inner {
    /// Posts an event to its endpoint. Receivers know it by the job's id, which stays the same however often it is sent.
    pub(super) async fn deliver(&self, job: &Job, url: &str, secret: &SealedField, payload: &str) -> Outcome {
        let opened = self.open_text(secret).map_err(|error| error.to_string());
        let parsed = opened
            .and_then(|text: SecretString| SigningSecret::parse(&text).map_err(|error| error.to_string()));
        let secret = match parsed {
            Ok(secret) => secret,
            Err(error) => return failed(error, true, false),
        };
        let (id, now) = (job.id.to_string(), self.parts.clock.now().as_second());
        match self.parts.sender.send(url, &secret, &id, now, payload).await {
            Ok(answered) => judge(answered),
            Err(error @ (Undelivered::Address | Undelivered::Private)) => {
                failed(error.to_string(), true, false)
            }
            Err(error @ Undelivered::Client) => failed(error.to_string(), false, false),
            Err(error) => failed(error.to_string(), false, true),
        }
    }
}

fn judge(Answered { status, retry_after }: Answered) -> Outcome {
    let number = status.as_u16();
    let down = matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    );
    if status.is_success() {
        return Outcome::Done(format!("HTTP {number}"));
    }
    if status == StatusCode::GONE {
        return Outcome::Dead("the endpoint says that it is gone (HTTP 410): `webhook remove` it".to_owned());
    }
    let error = if status.is_redirection() {
        format!("HTTP {number}: redirections are not followed")
    } else {
        format!("HTTP {number}")
    };
    Outcome::Failed(Failed { error, retry_after, slow: false, down })
}

fn failed(error: String, slow: bool, down: bool) -> Outcome {
    Outcome::Failed(Failed { error, retry_after: None, slow, down })
}

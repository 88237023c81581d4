//! `health`: asks a vault that is served, for a container or a service manager that has no other program at hand.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use url::Url;

use super::{CliError, output::Output};

/// How long the answer may take.
const TIMEOUT: Duration = Duration::from_secs(4);

#[derive(Debug, Args)]
pub(super) struct Health {
    /// What to ask: /readyz says whether calls are served, /healthz only that the process runs
    #[arg(
        long,
        env = "ALTER_HEALTH_URL",
        default_value = "http://127.0.0.1:8720/readyz",
        value_name = "URL"
    )]
    url: Url,
}

impl Health {
    pub(super) async fn run(self) -> Result<Output, CliError> {
        let failed = |source: reqwest::Error| CliError::Io {
            what: format!("{} does not answer", self.url),
            source: std::io::Error::other(source.without_url()),
        };
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none());
        let answer = client.build().map_err(failed)?.get(self.url.clone()).send().await.map_err(failed)?;
        let status = answer.status();
        if status.is_success() {
            let said = json!({ "url": self.url.as_str(), "status": status.as_u16() });
            return Ok(Output::one(&said, format!("{} answers {status}", self.url)));
        }
        Err(CliError::Io {
            what: format!("{} answers {status}", self.url),
            source: std::io::Error::other("calls are not served"),
        })
    }
}

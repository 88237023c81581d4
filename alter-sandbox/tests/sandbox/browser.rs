//! A browser that keeps cookies, follows redirects within the sandbox and sends forms.

use std::collections::BTreeMap;

use alter_sandbox::{Client, OauthEndpoints, Sandbox};
use reqwest::{Response, Url, header};

use super::{
    http,
    oauth::{VERIFIER, challenge},
};

pub(super) const REDIRECT: &str = "http://127.0.0.1:9999/callback";

/// What the browser shows.
pub(super) struct Page {
    pub(super) status: u16,
    pub(super) url: Url,
    pub(super) headers: header::HeaderMap,
    pub(super) html: String,
}

#[derive(Default)]
pub(super) struct Browser {
    cookies: BTreeMap<String, String>,
}

/// The parameters of a good authorization request.
pub(super) fn request(client: &Client) -> Vec<(String, String)> {
    [
        ("response_type", "code"),
        ("client_id", &client.client_id),
        ("redirect_uri", REDIRECT),
        ("scope", "openid read write"),
        ("state", "state-1"),
        ("nonce", "nonce-1"),
        ("code_challenge", &challenge(VERIFIER)),
        ("code_challenge_method", "S256"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

impl Browser {
    /// Opens the authorization endpoint with the good request and these parameters more.
    pub(super) async fn authorize(
        &mut self,
        endpoints: &OauthEndpoints,
        client: &Client,
        more: &[(&str, &str)],
    ) -> Page {
        let mut params = request(client);
        params.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
        params.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self.get(Url::parse_with_params(&endpoints.authorize, params).unwrap()).await
    }

    /// The same at the OAuth provider `sandbox`.
    pub(super) async fn connect(&mut self, sandbox: &Sandbox, more: &[(&str, &str)]) -> Page {
        self.authorize(&sandbox.oauth_endpoints(), &sandbox.client(), more).await
    }

    /// The same at the identity provider.
    pub(super) async fn sign_in_at_idp(&mut self, sandbox: &Sandbox, more: &[(&str, &str)]) -> Page {
        self.authorize(&sandbox.sign_in_endpoints(), &sandbox.sign_in_client(), more).await
    }

    pub(super) async fn get(&mut self, url: Url) -> Page {
        let call = http().get(url.clone()).header(header::COOKIE, self.cookie());
        self.follow(url, call.send().await.unwrap()).await
    }

    /// Sends the page's form with its hidden fields, its ticked boxes and these ones.
    pub(super) async fn submit(&mut self, page: &Page, fields: &[(&str, &str)]) -> Page {
        let mut form = page.fields();
        form.retain(|(name, _)| !fields.iter().any(|(other, _)| other == name));
        form.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        form.retain(|(_, value)| value != "<none>");
        self.post(page, &form).await
    }

    pub(super) async fn post(&mut self, page: &Page, form: &[(String, String)]) -> Page {
        let action = page.html.split("action=\"").nth(1).unwrap().split('"').next().unwrap();
        let url = page.url.join(action).unwrap();
        let call = http().post(url.clone()).header(header::COOKIE, self.cookie()).form(form);
        self.follow(url, call.send().await.unwrap()).await
    }

    /// The user types a name.
    pub(super) async fn sign_in(&mut self, page: &Page, account: &str) -> Page {
        self.submit(page, &[("account", account)]).await
    }

    pub(super) async fn allow(&mut self, page: &Page) -> Page {
        self.submit(page, &[("decision", "allow")]).await
    }

    fn cookie(&self) -> String {
        self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    /// Follows redirects as long as they stay at the sandbox.
    async fn follow(&mut self, mut url: Url, mut response: Response) -> Page {
        loop {
            for cookie in response.headers().get_all(header::SET_COOKIE) {
                let pair = cookie.to_str().unwrap().split(';').next().unwrap();
                let (name, value) = pair.split_once('=').unwrap();
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let Some(location) = headers.get(header::LOCATION) else {
                return Page { status, url, headers, html: response.text().await.unwrap() };
            };
            let next = url.join(location.to_str().unwrap()).unwrap();
            if next.port() != url.port() {
                return Page { status, url: next, headers, html: String::new() };
            }
            url = next;
            response = http().get(url.clone()).header(header::COOKIE, self.cookie()).send().await.unwrap();
        }
    }
}

impl Page {
    /// A parameter with which the browser came back to the client.
    pub(super) fn back(&self, name: &str) -> Option<String> {
        assert!(self.url.as_str().starts_with(REDIRECT), "still at {}: {}", self.url, self.html);
        self.url.query_pairs().find(|(seen, _)| seen == name).map(|(_, value)| value.into_owned())
    }

    pub(super) fn h1(&self) -> &str {
        self.html.split("<h1>").nth(1).unwrap().split("</h1>").next().unwrap()
    }

    pub(super) fn is_at(&self, path: &str) -> bool {
        self.url.path() == path
    }

    fn fields(&self) -> Vec<(String, String)> {
        let inputs = self.html.split("<input ").skip(1).map(|rest| rest.split('>').next().unwrap());
        let value = |input: &str, name: &str| {
            let start = format!("{name}=\"");
            input.split(&start).nth(1).map(|rest| rest.split('"').next().unwrap().to_owned())
        };
        inputs
            .filter(|input| input.contains("hidden") || input.ends_with("checked"))
            .map(|input| (value(input, "name").unwrap(), value(input, "value").unwrap()))
            .collect()
    }
}

//! One user's browser and the app behind it, from the click on Connect to the app's knowing of the grant. Every request
//! that a browser would send is sent, over a socket; scripts are not run, and what they do is done here.

use std::time::{Duration, Instant};

use alter_core::wire::{
    connect::{POLL_PATH, SESSION_PATH},
    header::API_KEY,
    sign::{self, Stamp},
};
use aws_lc_rs::digest::{SHA256, digest};
use http::{HeaderMap, Method, StatusCode, header};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use url::Url;

use super::world::{PROVIDER, World};
use crate::{Failure, Outcome};

/// How the browser shows that it is the user's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// The app set a cookie whose digest it told the vault.
    Cookie,
    /// Signing in at the app's identity provider.
    SignIn,
}

/// How long the vault took for each request of a connect.
pub(super) type Steps = Vec<(&'static str, Duration)>;

struct Answer {
    status: StatusCode,
    location: Option<String>,
    text: String,
}

impl Answer {
    fn led(self, step: &str) -> Outcome<String> {
        let Answer { status, location, text } = self;
        location.ok_or_else(|| unexpected(step, status, &text))
    }

    fn page(&self, step: &str) -> Outcome<&str> {
        if self.status == StatusCode::OK {
            return Ok(&self.text);
        }
        let led = self.location.as_ref().map(|to| format!("on to {to}"));
        Err(unexpected(step, self.status, led.as_ref().unwrap_or(&self.text)))
    }
}

fn unexpected(step: &str, status: StatusCode, text: &str) -> Failure {
    let words = text.split("<main").nth(1).unwrap_or(text);
    format!("{step}: answered {status}: {}", words.chars().take(300).collect::<String>()).into()
}

struct Walker<'a> {
    world: &'a World,
    http: &'a reqwest::Client,
    vault: String,
    user: &'a str,
    cookies: Vec<(String, String)>,
    steps: Steps,
}

/// Connects `user`'s account of the same name. `token` is the user's token, `http` follows no redirects.
pub(super) async fn connect(
    world: &World,
    http: &reqwest::Client,
    user: &str,
    token: &str,
    proof: Proof,
) -> Outcome<Steps> {
    let binding = format!("binding-of-{user}");
    let mut walker =
        Walker { world, http, vault: world.url()?, user, cookies: Vec::new(), steps: Vec::new() };
    let mut asked = json!({
        "allowed_providers": [PROVIDER], "return_url": null, "allowed_origin": null, "metadata": null,
        "user_token": token,
    });
    if proof == Proof::Cookie {
        walker.cookies.push(("alter-binding".to_owned(), binding.clone()));
        let digest = digest(&SHA256, binding.as_bytes());
        asked["browser_binding"] = hex::encode(digest).into();
    }
    let session = walker.signed("create session", SESSION_PATH, &asked).await?;
    let link = session["connect_url"].as_str().ok_or("no connect_url")?;
    let mut consent = walker.open(link).await?;
    if proof == Proof::SignIn {
        let page = walker.get("page: sign in", &consent).await?;
        let csrf = field(page.page("sign-in page")?, "csrf")?;
        let action = format!("{consent}/sign-in");
        let go = walker.post("post: sign in", &action, &[("csrf", &csrf)]).await?.led("sign-in")?;
        let go = walker.get("page: to the sign-in", &go).await?;
        let back = walker.at_provider(go.page("to the sign-in")?).await?;
        consent = walker.get("callback of the sign-in", &back).await?.led("callback of the sign-in")?;
    }
    let mut page = walker.get("page: consent", &consent).await?;
    while let Some(to) = page.location {
        consent = to;
        page = walker.get("page: consent", &consent).await?;
    }
    let csrf = field(page.page("consent")?, "csrf")?;
    let action = attribute(&page.text, "consent", "action")?;
    let go = walker.post("post: consent", &action, &[("csrf", &csrf)]).await?.led("consent")?;
    let go = walker.get("page: to the provider", &go).await?;
    let back = walker.at_provider(go.page("to the provider")?).await?;
    let end = walker.get("callback", &back).await?.led("callback")?;
    let end = walker.get("page: end", &end).await?;
    end.page("end")?;
    let body = json!({"session_token": session["session_token"]});
    let polled = walker.signed("poll", POLL_PATH, &body).await?;
    if polled["status"] != "completed" {
        return Err(format!("the session is {polled}").into());
    }
    Ok(walker.steps)
}

impl Walker<'_> {
    async fn send(&self, request: RequestBuilder) -> Outcome<(Answer, Vec<String>)> {
        let answer = request.send().await?;
        let status = answer.status();
        let text = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let location = text(header::LOCATION);
        let set = answer.headers().get_all(header::SET_COOKIE);
        let set = set.iter().filter_map(|value| value.to_str().ok()).map(str::to_owned).collect();
        Ok((Answer { status, location, text: answer.text().await? }, set))
    }

    /// A request to the vault, timed.
    async fn ask(&mut self, step: &'static str, request: RequestBuilder) -> Outcome<Answer> {
        let began = Instant::now();
        let (answer, set) = self.send(request).await.map_err(|error| format!("{step}: {error}"))?;
        self.steps.push((step, began.elapsed()));
        for cookie in set {
            let pair = cookie.split(';').next().unwrap_or_default();
            let (name, value) = pair.split_once('=').ok_or("a cookie without a value")?;
            self.cookies.retain(|(known, _)| known != name);
            self.cookies.push((name.to_owned(), value.to_owned()));
        }
        Ok(answer)
    }

    fn address(&self, at: &str) -> String {
        if at.starts_with('/') { format!("{}{at}", self.vault) } else { at.to_owned() }
    }

    fn cookies(&self) -> String {
        let pairs: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join("; ")
    }

    async fn get(&mut self, step: &'static str, at: &str) -> Outcome<Answer> {
        let request = self.http.get(self.address(at)).header(header::COOKIE, self.cookies());
        self.ask(step, request).await
    }

    async fn post(&mut self, step: &'static str, at: &str, form: &[(&str, &str)]) -> Outcome<Answer> {
        let request = self.http.post(self.address(at)).form(form);
        let request = request.header(header::COOKIE, self.cookies()).header(header::ORIGIN, &self.vault);
        self.ask(step, request).await
    }

    /// A call of the app.
    async fn signed(&mut self, step: &'static str, path: &str, body: &Value) -> Outcome<Value> {
        let body = serde_json::to_vec(body)?;
        let key = &self.world.key;
        let mut headers = HeaderMap::new();
        headers.insert(API_KEY, key.expose().parse()?);
        headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        let stamp = Stamp::fresh(jiff::Timestamp::now().as_second())?;
        sign::sign(&key.signing_key(), &Method::POST, path, &stamp, &body, &mut headers)?;
        let request = self.http.post(self.address(path)).headers(headers).body(body);
        let answer = self.ask(step, request).await?;
        Ok(serde_json::from_str(answer.page(step)?)?)
    }

    /// Opens the link as its page's script does; gives where that goes.
    async fn open(&mut self, link: &str) -> Outcome<String> {
        let url = Url::parse(link)?;
        let shell = self.get("page: opening", url.path()).await?;
        let open = attribute(shell.page("opening")?, "opening", "data-open")?;
        let token = url.fragment().and_then(|fragment| fragment.strip_prefix("session="));
        let token = token.ok_or("the link has no session")?.to_owned();
        let told = self.post("post: opening", &open, &[("session", &token)]).await?;
        let told: Value = serde_json::from_str(told.page("opening")?)?;
        Ok(told["next"].as_str().ok_or("the page leads nowhere")?.to_owned())
    }

    /// Follows the link of a page to a provider, where the user says yes at once; gives where that sends the browser.
    async fn at_provider(&self, page: &str) -> Outcome<String> {
        let mut url = Url::parse(&attribute(page, "provider-link", "href")?)?;
        url.query_pairs_mut().append_pair("sandbox_sub", self.user);
        let (answer, _) = self.send(self.http.get(url)).await?;
        answer.led("provider")
    }
}

/// An attribute of the element with this id.
fn attribute(html: &str, id: &str, name: &str) -> Outcome<String> {
    let tag = html.split('<').find(|tag| tag.contains(&format!(r#"id="{id}""#)));
    let value = tag.and_then(|tag| tag.split(&format!(r#" {name}=""#)).nth(1)?.split('"').next());
    let value = value.ok_or_else(|| unexpected(&format!("#{id}[{name}]"), StatusCode::OK, html))?;
    Ok(value.replace("&#38;", "&").replace("&amp;", "&"))
}

/// A hidden field of a page's first form.
fn field(html: &str, name: &str) -> Outcome<String> {
    let value =
        html.split(&format!(r#"name="{name}" value=""#)).nth(1).and_then(|rest| rest.split('"').next());
    Ok(value.ok_or_else(|| unexpected(name, StatusCode::OK, html))?.to_owned())
}

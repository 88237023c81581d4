//! The story that both quickstarts tell: the one with axum and the one with actix-web.

use std::{collections::BTreeMap, error::Error, future::Future, net::SocketAddr};

use alter_core::{App, UserToken};
use reqwest::{Client, StatusCode, redirect::Policy};
use serde_json::Value;

use crate::world::World;

/// Tells it around an application. `serve` starts the application on a free port and says which; the application gets
/// its client and the address of the provider's API.
///
/// # Errors
///
/// When a step fails, or when what it should show did not hold.
pub async fn tell<F>(serve: impl FnOnce(App, String) -> F) -> Result<(), Box<dyn Error>>
where
    F: Future<Output = std::io::Result<SocketAddr>>,
{
    println!(
        "1. Starting a vault in this process, and a sandbox: an identity provider and an API called `sandbox`."
    );
    let world = World::start().await?;
    let alter = world.vault.app_client(&world.key).caller("quickstart").build()?;

    println!(
        "\n2. Alice and Bob click Connect. Each signs in on the vault's page, consents, and allows it at the sandbox."
    );
    let mut grants = BTreeMap::new();
    for sub in ["alice", "bob"] {
        let user = alter.for_user(UserToken::parse(world.sign_in(sub))?);
        let session = user.connect_session().provider("sandbox").create().await?;
        let ended = world.browser(sub).finish(session.url()).await?;
        let connected = session.wait().await?;
        let grant = connected.grant();
        println!(
            "   {sub}: {}: {} as grant {}",
            ended.title,
            grant.account_identifier.as_deref().unwrap_or("-"),
            grant.grant_id
        );
        expect(ended.connected, "the page says that it is done")?;
        grants.insert(sub, grant.grant_id.clone());
    }

    println!("\n3. Starting the application. It holds one API key, and no token of anybody.");
    let address = serve(alter.clone(), world.sandbox.api_url()).await?;
    println!("   Listening on http://{address}");

    println!("\n4. Alice and Bob each call GET /me with their own JWT. The handler names only the provider.");
    let browser = Browser { client: client()?, address };
    for sub in ["alice", "bob"] {
        let (status, answer) = browser.me(Some(&world.sign_in(sub))).await?;
        println!("   {sub}: {status} {answer}");
        let own = answer["account"] == format!("{sub}@example.com");
        expect(status == StatusCode::OK && own, "each user gets their own data")?;
    }

    println!("\n5. A caller without a JWT is not served, and nobody else's account is used instead.");
    let (status, answer) = browser.me(None).await?;
    println!("   nobody: {status} {answer}");
    expect(status == StatusCode::UNAUTHORIZED, "no token, no call")?;

    println!("\n6. Alice takes back her grant. Her very next call is refused, with a type; Bob's is not.");
    let receipt = alter.grants().revoke(grants["alice"].as_str()).reason("quickstart").send().await?;
    println!("   revoked at {}", receipt.revoked_at);
    let (status, answer) = browser.me(Some(&world.sign_in("alice"))).await?;
    println!("   alice: {status} {answer}");
    expect(status == StatusCode::FORBIDDEN, "a revoked grant is refused")?;
    expect(answer["error"] == "reauthorization_required", "the refusal says what to do")?;
    let (status, answer) = browser.me(Some(&world.sign_in("bob"))).await?;
    println!("   bob:   {status} {answer}");
    expect(status == StatusCode::OK, "bob keeps his access")?;

    // Reports are posted in the background; closing the client waits for them.
    alter.close().await;

    println!("\n7. What the vault wrote down, each row before its credential left:");
    world.print_audit().await?;
    world.stop().await?;
    Ok(())
}

/// A user's browser, as far as we need one.
struct Browser {
    client: Client,
    address: SocketAddr,
}

impl Browser {
    async fn me(&self, token: Option<&str>) -> Result<(StatusCode, Value), reqwest::Error> {
        let mut request = self.client.get(format!("http://{}/me", self.address));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await?;
        Ok((answer.status(), answer.json().await?))
    }
}

fn client() -> Result<Client, reqwest::Error> {
    Client::builder().redirect(Policy::none()).no_proxy().build()
}

fn expect(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("this did not hold: {what}")) }
}

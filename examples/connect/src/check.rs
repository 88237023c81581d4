//! Presses every button of the shop, as a test of yours would: with the testkit's browser, which walks through the shop's, the
//! vault's and the sandbox's pages over real sockets and has no window.

use std::error::Error;

use alter_sandbox::Sandbox;
use alter_server::testkit::{Browser, Page, Person};

pub(crate) async fn run(sandbox: &Sandbox, origin: &str) -> Result<(), Box<dyn Error>> {
    let person = |account: &str| Person::new("ann").account(account);
    let mut browser = Browser::new(sandbox, person("ann@work"));

    let welcome = browser.get(origin).await?;
    let home = browser.follow(&welcome, "sign-in").await?;
    step("Ann signs in to the shop", home.has("sign-out") && home.has("nothing"), &home)?;

    let asked = browser.follow(&home, "profile-sandbox").await?;
    step("nothing is connected: the typed error leads to a link", asked.has("reconnect"), &asked)?;

    let opened = browser.press(&home, "connect-sandbox").await?;
    let ended = browser.go_on(opened).await?;
    let back = ended.return_url.ok_or("the page leads back to the shop")?;
    let home = browser.get(back.as_str()).await?;
    step(
        "she clicks Connect, consents, and is back, without signing in again",
        says(&home, "accounts", "ann@work"),
        &home,
    )?;
    let told = browser.follow(&home, "profile-sandbox").await?;
    step("the shop calls the provider for her", says(&told, "told", "ann@work"), &told)?;

    browser.hand_to(person("ann@home"));
    let link = browser.press(&home, "connect-sandbox").await?;
    let mut mallory = Browser::new(sandbox, Person::new("mallory"));
    let refused = match mallory.finish(link.url().as_str()).await {
        Err(refused) => refused.to_string(),
        Ok(ended) => return Err(format!("Mallory used Ann's link: {}", ended.title).into()),
    };
    step(&format!("somebody else who gets Ann's link connects nothing ({refused:.42}…)"), true, &link)?;

    let link = browser.press(&home, "connect-sandbox").await?;
    let ended = browser.go_on(link).await?;
    let home = browser.get(ended.return_url.ok_or("the page leads back to the shop")?.as_str()).await?;
    step("she connects another account", says(&home, "accounts", "ann@home"), &home)?;
    let choices = browser.follow(&home, "profile-sandbox").await?;
    step("the shop asks which account is meant", says(&choices, "choices", "ann@home"), &choices)?;
    let told = browser.press_with(&choices, "choose", &[("account", "ann@home")]).await?;
    step("and calls for the one that she chose", says(&told, "told", "ann@home"), &told)?;

    let home = browser.press(&home, "disconnect-1").await?;
    let home = browser.press(&home, "disconnect-1").await?;
    step("she disconnects both", home.has("nothing"), &home)?;
    let gone = browser.follow(&home, "profile-sandbox").await?;
    step("the very next call is refused, and leads to a link", gone.has("reconnect"), &gone)?;
    let opened = browser.follow(&gone, "reconnect").await?;
    browser.go_on(opened).await?;
    let told = browser.follow(&home, "profile-sandbox").await?;
    step("which mends it", says(&told, "told", "ann@home"), &told)?;
    println!("\nDone. The shop is examples/connect/src/shop.rs.");
    Ok(())
}

fn says(page: &Page, id: &str, text: &str) -> bool {
    page.text_of(id).is_some_and(|said| said.contains(text))
}

fn step(what: &str, holds: bool, page: &Page) -> Result<(), String> {
    if holds {
        println!("ok  {what}");
        return Ok(());
    }
    Err(format!("this did not hold: {what}\n{}: {}\n{}", page.status(), page.url().path(), page.html()))
}

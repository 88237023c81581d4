// Script in every field that reaches a page: names of the application, of providers, scopes, accounts, users, reasons, labels,
// and what providers say when they refuse. It is shown as text, and runs nowhere.
import assert from "node:assert/strict";
import { test } from "node:test";
import { agree, allowAs, ended, pick, prove, proveAgain } from "./lib/connect.mjs";
import { connect, hears, visit } from "./lib/shop.mjs";
import { stage } from "./lib/stage.mjs";
import { go } from "./lib/wallet.mjs";

const on = stage();

/** Markup that breaks out of text, attributes, scripts and JSON, each with a mark of its own. */
const script = (where) => `${where}"'></script><img src=x onerror=window.pwned='${where}'>`;

test("is text on every page, and runs nowhere", async (t) => {
  const { host } = on;
  const context = await on.person(t);
  await context.addInitScript(() => {
    window.alert = () => (window.pwned = "alert");
  });
  const user = script("user");
  const account = script("account");
  await host.page({ display_name: script("app") });
  for (const id of ["sandbox", "sandbox-two"]) {
    await host.provider(id, {
      name: script(`name of ${id}`),
      oauth: { scope_texts: { read: script("words"), write: "Write" } },
    });
  }

  /** No element of ours came out of a field, nothing ran, and the text is there as it was written. */
  const clean = async (page, ...texts) => {
    assert.equal(await page.evaluate(() => window.pwned), undefined, page.url());
    assert.equal(await page.locator("img[src=x], img[onerror]").count(), 0, page.url());
    const body = await page.locator("body").innerText();
    for (const text of texts) assert.ok(body.includes(text), `${text} on ${page.url()}:\n${body}`);
  };

  const session = await host.session(
    { allowed_providers: ["sandbox", "sandbox-two"], requested_grant: { label: script("label") } },
    user,
  );
  const shop = await visit(context, session.shop);
  const popup = await connect(shop);
  await popup.locator("#prove").waitFor();
  await clean(popup, script("app"));
  await prove(popup, user);
  await popup.locator("#providers").waitFor();
  await clean(popup, script("name of sandbox"));
  await pick(popup, "sandbox");
  await popup.locator("#consent").waitFor();
  await clean(popup, script("words"), script("app"), script("name of sandbox"));
  await host.faults({ authorize_fault: "server_error", authorize_fault_times: 1 });
  await agree(popup);
  await popup.getByRole("alert").first().waitFor();
  await clean(popup);
  if ((await popup.locator("#consent").count()) === 0) await pick(popup, "sandbox");
  await agree(popup);
  await allowAs(popup, account);
  await popup.locator("#finish").waitFor();
  await clean(popup);
  await popup.locator("#finish").click();
  const [grant] = await hears(shop, "success");
  await clean(shop);
  assert.equal(grant.provider_name, script("name of sandbox"));

  // Alone in a window, the end names the account; and the wallet shows the rest.
  const page = await context.newPage();
  await page.goto((await host.session({ allowed_providers: ["sandbox-two"] }, user)).url);
  await proveAgain(page);
  await agree(page);
  await allowAs(page, account);
  await ended(page);
  await clean(page, script("name of sandbox-two"));
  const called = await host.call(user, "sandbox", script("reason"));
  assert.equal(called.status, 200, JSON.stringify(called));
  await page.goto(`${host.vault}/wallet`);
  await page.getByRole("article").first().waitFor();
  await clean(page, script("app"), script("words"), script("name of sandbox-two"));
  await page.getByRole("link", { name: /^Details/ }).first().click();
  await page.getByRole("link", { name: "See what was done" }).waitFor();
  await clean(page, script("words"));
  await page.getByRole("link", { name: /^Take back access/ }).click();
  await page.getByRole("button", { name: "Take back access" }).waitFor();
  await clean(page, script("app"));
  await go(page, "Activity");
  await page.getByRole("row").first().waitFor();
  await clean(page, script("reason"));

  // In addresses and filters.
  const evil = encodeURIComponent(script("query"));
  for (const path of [
    `/wallet/activity?agent=${evil}&provider=${evil}&connection=${evil}&app=${evil}&from=${evil}&to=${evil}`,
    `/wallet/sign-in?app=${evil}`,
    `/wallet/grants/${evil}`,
    `/sdk/oauth/callback?state=${evil}&error=${evil}&error_description=${evil}`,
    `/sdk/auth/callback?state=${evil}&error=${evil}&error_description=${evil}`,
    `/sdk/oauth/connect/s/${evil}/p/${evil}`,
    `/sdk/oauth/connect?x=${evil}#session=${evil}`,
  ]) {
    await page.goto(host.vault + path);
    await page.getByRole("heading", { level: 1 }).waitFor();
    await clean(page);
  }
});

test("no page can be framed, and each says that scripts need its nonce", async (t) => {
  const context = await on.person(t, { expected: [/frame-ancestors|X-Frame-Options|refused to connect|Framing/i] });
  const page = await context.newPage();
  for (const path of ["/sdk/oauth/connect", "/sdk/auth/sign-in", "/wallet", "/wallet/signed-out", "/sdk/oauth/callback"]) {
    const { headers } = await fetchPage(on.host.vault + path);
    const policy = headers.get("content-security-policy");
    assert.match(policy, /default-src 'none'/, path);
    assert.match(policy, /script-src 'nonce-[\w-]{22}'/, path);
    assert.match(policy, /frame-ancestors 'none'/, path);
    assert.equal(headers.get("x-frame-options"), "DENY", path);
    assert.equal(headers.get("cross-origin-opener-policy"), null, path);
    assert.equal(headers.get("cache-control"), "no-store", path);
    // What a browser makes of it.
    await page.setContent(`<iframe src="${on.host.vault}${path}"></iframe>`);
    await page.waitForLoadState();
    const frame = page.frames().at(-1);
    assert.equal(await frame.locator("#main").count(), 0, path);
  }
});

/** Where there is a page at once; of a redirect, its own headers. */
const fetchPage = (url) => fetch(url, { redirect: "manual" });

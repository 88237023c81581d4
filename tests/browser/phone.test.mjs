// On a phone the widget leaves the page and comes back; its result is in the query.
import assert from "node:assert/strict";
import { test } from "node:test";
import { agree, connectAll, denyAs, prove } from "./lib/connect.mjs";
import { heard, hears, visit } from "./lib/shop.mjs";
import { stage } from "./lib/stage.mjs";

const on = stage();

/** The shop on a phone, with a session that leads back to the page where it began. */
async function open(t, user) {
  const context = await on.phone(t);
  const name = on.host.name("phone");
  const session = await on.host.session(
    { allowed_providers: ["sandbox"], return_url: `${on.host.shop}/shop/${name}?order=7` },
    user,
  );
  await on.host.shopFor(session.token, name);
  const page = await visit(context, `${on.host.shop}/shop/${name}`);
  await page.locator("#connect").click();
  return { context, session, page };
}

test("the result is in the query when the shop's page is back, before the widget wipes it", async (t) => {
  const user = on.host.name();
  const { context, session, page } = await open(t, user);
  await connectAll(page, { user, account: "ada@phone" });
  const told = await hears(page, "returned");
  assert.equal(context.pages().length, 1);
  assert.equal(told.order, "7");
  assert.equal(told.alter_connect_success, "true");
  assert.equal(told.account_identifier, "ada@phone");
  assert.equal(told.scopes, "read,write");
  const [grant] = (await on.host.poll(session.token)).grants;
  assert.equal(told.grant_id, grant.grant_id);
  // The widget took it for its own: the address is the one where it all began.
  assert.ok(!page.url().includes("alter_connect"));
});

test("a denial comes back the same way", async (t) => {
  const { page } = await open(t);
  await agree(page);
  await denyAs(page, "ada@phone-deny");
  const told = await hears(page, "returned");
  assert.equal(told.alter_connect_error, "true");
  assert.equal(told.error_code, "connect_denied");
});

test("going back from there does not tell it twice", async (t) => {
  const user = on.host.name();
  const { page } = await open(t, user);
  await connectAll(page, { user, account: "ada@phone-back" });
  await hears(page, "returned");
  assert.equal((await heard(page)).filter((one) => one.kind === "returned").length, 1);
  assert.equal((await on.host.grants(user)).length, 1);
});

test("no page is wider than the phone", async (t) => {
  const user = on.host.name();
  const { page } = await open(t, user);
  const fits = async () =>
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), page.url());
  await page.locator("#prove").waitFor();
  await fits();
  await prove(page, user);
  await page.locator("#consent").waitFor();
  await fits();
});

test("an address that nobody registered is no address to return to", async () => {
  const session = (return_url) =>
    on.host.signed("/sdk/oauth/connect/session", {
      allowed_providers: ["sandbox"],
      return_url,
      allowed_origin: null,
      metadata: null,
    });
  for (const url of [
    "https://attacker.example/",
    "//attacker.example",
    "javascript:alert(1)",
    `${on.host.shop}@attacker.example/`,
    "http://127.0.0.1.attacker.example/",
    `${on.host.shop}\\@attacker.example`,
  ]) {
    const { status, body } = await session(url);
    assert.deepEqual([status, body.error], [400, "invalid_return_url"], url);
  }
});

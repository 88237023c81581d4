// The unmodified widget opens the vault's pages in a window.
import assert from "node:assert/strict";
import { test } from "node:test";
import { agree, allowAs, connectAll, denyAs, ended, pick, prove, proveAgain } from "./lib/connect.mjs";
import { allow, signIn } from "./lib/sandbox.mjs";
import { connect, heard, hears, visit } from "./lib/shop.mjs";
import { stage } from "./lib/stage.mjs";

const on = stage();

/** A window at the beginning of a session with the provider `sandbox`, for a user or for the application. */
async function open(t, { fields = {}, user, ...options } = {}) {
  const context = await on.person(t, options);
  const session = await on.host.session({ allowed_providers: ["sandbox"], ...fields }, user);
  const shop = await visit(context, session.shop);
  const popup = await connect(shop);
  return { context, session, shop, popup };
}

const kinds = async (page) => (await heard(page)).map((one) => one.kind);

test("a person connects an account, the widget tells the shop, and the window is gone", async (t) => {
  const user = on.host.name();
  const { session, shop, popup } = await open(t, { user });
  const gone = popup.waitForEvent("close");
  await connectAll(popup, { user, account: "ada@work" });
  const [grant] = await hears(shop, "success");
  await gone;
  assert.equal(grant.provider, "sandbox");
  assert.equal(grant.provider_name, "Sandbox");
  assert.equal(grant.account_identifier, "ada@work");
  assert.equal(grant.operation, "creation");
  assert.deepEqual(grant.scopes, ["read", "write"]);
  assert.deepEqual(await kinds(shop), ["event", "message", "on success", "success", "on close"]);

  const polled = await on.host.poll(session.token);
  assert.equal(polled.status, "completed");
  assert.equal(polled.grants[0].grant_id, grant.grant_id);
  assert.deepEqual((await on.host.grants(user)).map((one) => one.grant_id), [grant.grant_id]);
});

test("the token is in no address that was asked for, and is gone from the window's", async (t) => {
  const context = await on.person(t);
  const asked = [];
  context.on("request", (request) => asked.push(request.url()));
  const session = await on.host.session({ allowed_providers: ["sandbox"] });
  const shop = await visit(context, session.shop);
  const popup = await connect(shop);
  await popup.locator("#consent").waitFor();
  const secret = session.token.slice(-40);
  assert.ok(!popup.url().includes(secret));
  // A fragment is not sent; Chromium reports it with the navigation all the same.
  assert.deepEqual(asked.map((url) => url.split("#")[0]).filter((url) => url.includes(secret)), []);
  assert.equal(await popup.evaluate(() => history.length), 1);
});

test("a person who closes the window has connected nothing, and can begin again", async (t) => {
  const { context, session, shop, popup } = await open(t);
  await popup.locator("#consent").waitFor();
  await popup.close();
  await hears(shop, "exit");
  assert.equal((await on.host.poll(session.token)).status, "pending");

  const again = await connect(shop);
  await connectAll(again, { account: "ada@again" });
  const [grant] = await hears(shop, "success");
  assert.equal(grant.account_identifier, "ada@again");
  assert.equal(context.pages().length, 1);
});

test("a person who denies at the provider is told so, and so is the shop", async (t) => {
  const { session, shop, popup } = await open(t);
  await agree(popup);
  await denyAs(popup, "ada@deny");
  assert.equal((await hears(shop, "error")).code, "connect_denied");
  const polled = await on.host.poll(session.token);
  assert.equal(polled.status, "error");
  assert.equal(polled.error.error_code, "connect_denied");
});

test("a person who does not agree never sees the provider", async (t) => {
  const { session, shop, popup } = await open(t);
  const before = (await on.host.counts()).browser;
  await popup.locator("#decline").click();
  assert.equal((await hears(shop, "error")).code, "connect_denied");
  assert.equal((await on.host.poll(session.token)).error.error_code, "connect_denied");
  assert.deepEqual((await on.host.counts()).browser, before);
});

test("a session that has expired says so, before it is opened and in the middle", async (t) => {
  const context = await on.person(t);
  t.after(() => on.host.clock(0));
  const [early, late] = [
    await on.host.session({ allowed_providers: ["sandbox"] }),
    await on.host.session({ allowed_providers: ["sandbox"] }),
  ];
  const shop = await visit(context, early.shop);
  const popup = await connect(shop);
  await popup.locator("#consent").waitFor();
  await on.host.clock(601);
  await agree(popup);
  assert.equal((await hears(shop, "error")).code, "session_expired");
  assert.equal((await on.host.poll(early.token)).status, "expired");

  const other = await visit(context, late.shop);
  await connect(other);
  assert.equal((await hears(other, "error")).code, "session_expired");
  assert.equal((await on.host.poll(late.token)).status, "expired");
});

test("two providers are connected one after the other, and told together", async (t) => {
  const user = on.host.name();
  const { session, shop, popup } = await open(t, {
    user,
    fields: { allowed_providers: ["sandbox", "sandbox-two"] },
  });
  await prove(popup, user);
  await pick(popup, "sandbox");
  await agree(popup);
  await allowAs(popup, "ada@one");
  await pick(popup, "sandbox-two");
  await agree(popup);
  await allowAs(popup, "ada@two");
  const grants = await hears(shop, "success");
  const told = grants.map((grant) => [grant.provider, grant.account_identifier]);
  assert.deepEqual(told, [
    ["sandbox", "ada@one"],
    ["sandbox-two", "ada@two"],
  ]);
  assert.equal((await on.host.poll(session.token)).grants.length, 2);
});

test("of two providers one may be declined and the other one connected", async (t) => {
  const { session, shop, popup } = await open(t, { fields: { allowed_providers: ["sandbox", "sandbox-two"] } });
  await pick(popup, "sandbox-two");
  await agree(popup);
  await denyAs(popup, "ada@no");
  await popup.locator("[data-provider=sandbox-two] .badge.warn").waitFor();
  const polled = await on.host.poll(session.token);
  assert.equal(polled.status, "pending");
  assert.equal(polled.declined_providers[0].provider_id, "sandbox-two");
  await pick(popup, "sandbox");
  await agree(popup);
  await allowAs(popup, "ada@yes");
  await popup.locator("#finish").click();
  const grants = await hears(shop, "success");
  assert.deepEqual(grants.map((grant) => grant.account_identifier), ["ada@yes"]);
});

test("an account that is connected already is used without another dance, or another one is added", async (t) => {
  const user = on.host.name();
  const first = await open(t, { user });
  await connectAll(first.popup, { user, account: "ada@first" });
  const [grant] = await hears(first.shop, "success");

  const second = await on.host.session({ allowed_providers: ["sandbox"] }, user);
  const shop = await visit(first.context, second.shop);
  const popup = await connect(shop);
  await proveAgain(popup);
  await popup.getByRole("button", { name: "Use ada@first" }).click();
  const [used] = await hears(shop, "success");
  assert.equal(used.grant_id, grant.grant_id);
  assert.equal(used.operation, "reauth");

  const third = await on.host.session({ allowed_providers: ["sandbox"] }, user);
  const other = await visit(first.context, third.shop);
  const window = await connect(other);
  await proveAgain(window);
  await agree(window);
  await window.locator("#other-account").click();
  await allowAs(window, "ada@second");
  const [added] = await hears(other, "success");
  assert.notEqual(added.grant_id, grant.grant_id);
  assert.equal((await on.host.grants(user)).length, 2);
});

test("a direct session leads straight to the provider", async (t) => {
  const user = on.host.name();
  const { shop, popup } = await open(t, { user, fields: { direct: true } });
  await prove(popup, user);
  await allowAs(popup, "ada@direct");
  const [grant] = await hears(shop, "success");
  assert.equal(grant.account_identifier, "ada@direct");
});

test("a page of another origin gets nothing, although it holds the token", async (t) => {
  await on.host.page({ origins: [on.host.shop] });
  t.after(() => on.host.page({ origins: ["http://localhost:*", "http://127.0.0.1:*"] }));
  const refused = await on.host.signed("/sdk/oauth/connect/session", {
    allowed_providers: ["sandbox"],
    return_url: null,
    allowed_origin: on.host.stranger,
    metadata: null,
  });
  assert.deepEqual([refused.status, refused.body.error], [400, "invalid_origin"]);

  const context = await on.person(t, { expected: [/target origin provided .* does not match/] });
  const session = await on.host.session({ allowed_providers: ["sandbox"] });
  const page = await visit(context, session.stranger);
  const popup = await connect(page);
  await connectAll(popup, { account: "ada@stranger" });
  assert.equal(await ended(popup), "Connected");
  assert.deepEqual(await kinds(page), ["event"]);
  assert.equal((await on.host.poll(session.token)).status, "completed");
});

test("a page that is opened without a session, or with one that never was, says what to do", async (t) => {
  const context = await on.person(t);
  const page = await context.newPage();
  for (const path of ["/sdk/oauth/connect", "//sdk/oauth/connect", "/sdk/oauth/connect#other=1"]) {
    await page.goto(on.host.vault + path);
    await page.getByRole("heading", { name: "This page needs a link" }).waitFor();
  }
  // Another link in the address of the same page, as somebody pastes it.
  const other = await on.host.session({ allowed_providers: ["sandbox"] });
  for (const token of ["nonsense", other.token.slice(0, -1), `${other.token.slice(0, -6)}AAAAAA`]) {
    await page.goto(`${on.host.vault}/sdk/oauth/connect#session=${token}`);
    await page.getByRole("heading", { name: "This link does not work" }).waitFor();
    assert.ok(!page.url().includes("session="));
    await page.goto(`${on.host.vault}/sdk/oauth/connect#`);
  }
  await page.goto(other.url);
  await page.locator("#consent").waitFor();
});

test("going back from the provider leads to the consent page, and from there on again", async (t) => {
  const { shop, popup } = await open(t);
  await agree(popup);
  await popup.locator("#account").waitFor();
  await popup.goBack();
  await popup.locator("#consent").waitFor();
  await agree(popup);
  await signIn(popup, "ada@back");
  await popup.locator("#allow").waitFor();
  await popup.goBack();
  await popup.goForward();
  await allow(popup);
  const [grant] = await hears(shop, "success");
  assert.equal(grant.account_identifier, "ada@back");
});

test("going back after the end does nothing a second time", async (t) => {
  const user = on.host.name();
  const context = await on.person(t);
  const session = await on.host.session({ allowed_providers: ["sandbox"] }, user);
  const page = await context.newPage();
  await page.goto(session.url);
  await connectAll(page, { user, account: "ada@done" });
  assert.equal(await ended(page), "Connected");
  // The provider sends its first answer again, which is refused.
  await page.goBack();
  await page.getByRole("alert").waitFor();
  await page.getByRole("link", { name: "Go on" }).click();
  assert.equal(await ended(page), "Connected");
  assert.equal((await on.host.grants(user)).length, 1);
  assert.equal((await on.host.poll(session.token)).grants.length, 1);
});

test("whoever clicks twice gets one window and one grant", async (t) => {
  const user = on.host.name();
  const context = await on.person(t);
  const session = await on.host.session({ allowed_providers: ["sandbox"] }, user);
  const shop = await visit(context, session.shop);
  const opened = shop.waitForEvent("popup");
  await shop.locator("#connect").dblclick();
  const popup = await opened;
  await popup.locator("#prove #sign-in").dblclick();
  await signIn(popup, user);
  await popup.locator("#go").dblclick();
  await signIn(popup, "ada@twice");
  await popup.locator("#allow").dblclick();
  await hears(shop, "success");
  assert.equal((await heard(shop)).filter((one) => one.kind === "success").length, 1);
  assert.equal((await on.host.grants(user)).length, 1);
  assert.equal(context.pages().length, 1);
});

test("a reload on any page changes nothing", async (t) => {
  const user = on.host.name();
  const { shop, popup } = await open(t, { user });
  await popup.locator("#prove").waitFor();
  await popup.reload();
  await prove(popup, user);
  await popup.locator("#consent").waitFor();
  await popup.reload();
  await agree(popup);
  await popup.locator("#account").waitFor();
  await popup.reload();
  await signIn(popup, "ada@reload");
  await popup.locator("#allow").waitFor();
  await allow(popup);
  const [grant] = await hears(shop, "success");
  assert.equal(grant.account_identifier, "ada@reload");
  assert.equal((await on.host.grants(user)).length, 1);
});

test("the last page can be loaded again and says the same", async (t) => {
  const context = await on.person(t);
  const session = await on.host.session({ allowed_providers: ["sandbox"] });
  const page = await context.newPage();
  await page.goto(session.url);
  await connectAll(page, { account: "ada@last" });
  assert.equal(await ended(page), "Connected");
  await page.reload();
  assert.equal(await ended(page), "Connected");
  await page.getByText("ada@last").waitFor();
  await page.getByText("You can close this window.").waitFor();
});

test("what the provider refuses is told in words, and can be tried again", async (t) => {
  const { shop, popup } = await open(t);
  t.after(() => on.host.faults({ authorize_fault: "none" }));
  await on.host.faults({ authorize_fault: "server_error", authorize_fault_times: 1 });
  await agree(popup);
  await popup.getByRole("alert").waitFor();
  await agree(popup);
  await allowAs(popup, "ada@retry");
  const [grant] = await hears(shop, "success");
  assert.equal(grant.account_identifier, "ada@retry");
});

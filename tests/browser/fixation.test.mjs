// A session belongs to the person it was made for, and to one browser: links that are sent to somebody else are of no use.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { test } from "node:test";
import { agree, allowAs, connectAll, ended, prove } from "./lib/connect.mjs";
import { signIn } from "./lib/sandbox.mjs";
import { stage } from "./lib/stage.mjs";

const on = stage();

/** Two people with a browser each. */
async function two(t) {
  const [attacker, victim] = [await on.person(t), await on.person(t)];
  const names = { attacker: on.host.name("mallory"), victim: on.host.name("alice") };
  return { attacker: await attacker.newPage(), victim: await victim.newPage(), names };
}

const forUser = (user, fields = {}) => on.host.session({ allowed_providers: ["sandbox"], ...fields }, user);

async function nothingCameOfIt(session, ...users) {
  assert.equal((await on.host.poll(session.token)).status, "pending");
  for (const user of users) assert.deepEqual(await on.host.grants(user), []);
}

/**
 * Keeps the browser from delivering what the sandbox answers: gives the address at the vault that it would have been sent
 * to. Redirects are followed here, since Playwright's routes do not see them.
 */
async function holdBack(page, act) {
  let held;
  const sandbox = new URL(on.host.control).origin;
  await page.route(
    (url) => url.origin === sandbox,
    async (route) => {
      let response = await route.fetch({ maxRedirects: 0 });
      for (;;) {
        const to = response.headers().location;
        if (to === undefined) return route.fulfill({ response });
        const url = new URL(to, response.url());
        if (url.origin !== sandbox) {
          held = url.href;
          return route.fulfill({ body: "held back" });
        }
        response = await page.context().request.get(url.href, { maxRedirects: 0 });
      }
    },
  );
  await act();
  await page.getByText("held back").waitFor();
  return held;
}

test("a victim who follows the attacker's link and signs in is stopped before the provider", async (t) => {
  const { victim, names } = await two(t);
  const session = await forUser(names.attacker);
  const before = (await on.host.counts()).browser.authorizations;
  await victim.goto(session.url);
  await prove(victim, names.victim);
  await victim.locator("#wrong").waitFor();
  assert.match(await victim.locator("#wrong").innerText(), /made for somebody else/);
  assert.equal(await victim.locator("#go").count(), 0);
  // Nor by an address that the page does not offer.
  await victim.goto(`${victim.url().replace(/\/sign-in.*$/, "")}/p/sandbox`);
  assert.equal(await victim.locator("#go").count(), 0);
  await nothingCameOfIt(session, names.attacker, names.victim);
  const rows = await on.host.audit();
  const row = rows.find((row) => row.outcome === "refused" && row.action.includes("proved"));
  assert.ok(row, JSON.stringify(rows.slice(0, 8), null, 1));
  assert.equal((await on.host.counts()).browser.authorizations, before);
});

test("who sits at the victim's link cannot become the victim", async (t) => {
  const { attacker, names } = await two(t);
  const session = await forUser(names.victim);
  await attacker.goto(session.url);
  await prove(attacker, names.attacker);
  await attacker.locator("#wrong").waitFor();
  await nothingCameOfIt(session, names.attacker, names.victim);
});

test("a link that one browser has opened works in no other", async (t) => {
  const { attacker, victim, names } = await two(t);
  const session = await forUser(names.attacker);
  await attacker.goto(session.url);
  await attacker.locator("#prove").waitFor();
  await victim.goto(session.url);
  await victim.getByRole("heading", { name: "This link belongs to another browser" }).waitFor();
  await victim.goto(attacker.url());
  assert.equal(await victim.locator("#prove, #consent").count(), 0);
  // The attacker's own goes on as if nothing had happened.
  await connectAll(attacker, { user: names.attacker, account: "mallory@own" });
  assert.equal(await ended(attacker), "Connected");
});

test("the answer of the attacker's dance is worth nothing in the victim's browser", async (t) => {
  const { attacker, victim, names } = await two(t);
  const session = await forUser(names.attacker);
  await attacker.goto(session.url);
  await prove(attacker, names.attacker);
  await attacker.locator("#consent").waitFor();
  const answer = await holdBack(attacker, async () => {
    await agree(attacker);
    await allowAs(attacker, "mallory@callback");
  });
  assert.match(answer, /\/sdk\/oauth\/callback\?.*code=/);

  // The victim has a session of their own under way, in the same provider.
  const own = await forUser(names.victim);
  await victim.goto(own.url);
  await prove(victim, names.victim);
  await victim.locator("#consent").waitFor();
  await victim.goto(answer);
  await victim.getByRole("alert").waitFor();
  assert.deepEqual(await on.host.grants(names.victim), []);
  assert.deepEqual(await on.host.grants(names.attacker), []);
  assert.equal((await on.host.poll(own.token)).status, "pending");
});

test("a sign-in that the attacker began does not sign the victim in as the attacker", async (t) => {
  const { attacker, victim, names } = await two(t);
  const session = await forUser(names.attacker);
  await attacker.goto(session.url);
  const answer = await holdBack(attacker, async () => {
    await attacker.locator("#prove #sign-in").click();
    await signIn(attacker, names.attacker);
  });
  assert.match(answer, /\/sdk\/auth\/callback\?.*code=/);
  await victim.goto(answer);
  await victim.getByRole("alert").waitFor();
  assert.equal(await victim.locator("#consent").count(), 0);
  await nothingCameOfIt(session, names.attacker, names.victim);
});

test("a browser that the application has bound needs no sign-in, and no other one gets by without", async (t) => {
  const value = randomBytes(24).toString("base64url");
  const browser_binding = createHash("sha256").update(value).digest("hex");
  const user = on.host.name();
  const bound = await (await on.person(t)).newPage();
  await bound.goto(`${on.host.shop_beside_vault}/bind/${value}`);
  const session = await forUser(user, { browser_binding });
  await bound.goto(session.url);
  await bound.locator("#consent").waitFor();
  await agree(bound);
  await allowAs(bound, "ada@bound");
  assert.equal(await ended(bound), "Connected");
  assert.equal((await on.host.grants(user)).length, 1);

  const other = await (await on.person(t)).newPage();
  await other.goto(`${on.host.shop_beside_vault}/bind/${randomBytes(24).toString("base64url")}`);
  const second = await forUser(user, { browser_binding });
  await other.goto(second.url);
  await other.locator("#prove").waitFor();
  assert.equal(await other.locator("#consent").count(), 0);
});

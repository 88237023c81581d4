// `alter-server dev`, and the whole way: Connect, consent, connected, a call works, the wallet shows it with its reason, it is taken back, the next
// call is refused with a typed error and a link that mends it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { agree, allowAs, connectAll, ended, prove } from "./lib/connect.mjs";
import { connect, hears, visit } from "./lib/shop.mjs";
import { startDev } from "./lib/host.mjs";
import { stage } from "./lib/stage.mjs";
import { connection, go, openWallet, takeBack } from "./lib/wallet.mjs";

const on = stage({ start: startDev });
const REASON = "weekly report for Ada";

test("from Connect to taking it back, and connected again by the link of the error", async (t) => {
  const { host } = on;
  const user = host.name();
  const context = await on.person(t);

  // Before: the call is refused, typed, and with a link already.
  const before = await host.call(user, "sandbox", REASON);
  assert.equal(before.error.needs_connection, true);

  // Connect → sign-in → consent → connected.
  const session = await host.session({ allowed_providers: ["sandbox"] }, user);
  const shop = await visit(context, session.shop);
  const popup = await connect(shop);
  await connectAll(popup, { user, account: "ada@example.com" });
  const [grant] = await hears(shop, "success");
  assert.equal((await host.poll(session.token)).grants[0].grant_id, grant.grant_id);

  // The call works, as the account that was chosen.
  const called = await host.call(user, "sandbox", REASON);
  assert.equal(called.status, 200, JSON.stringify(called));
  assert.equal(called.body.account, "ada@example.com");

  // The wallet shows the connection, and the call with its reason.
  const wallet = await context.newPage();
  await openWallet(wallet, host.wallet);
  const card = connection(wallet, "ada@example.com");
  await card.getByText("Read your sandbox account").waitFor();
  assert.match(await card.innerText(), /last used/);
  await go(wallet, "Activity");
  const line = wallet.getByRole("row").filter({ hasText: REASON });
  await line.first().waitFor();
  assert.match(await line.first().innerText(), /GET .*\/me/);
  const file = wallet.waitForEvent("download");
  await wallet.getByRole("link", { name: "Download as CSV" }).click();
  const csv = await (await file).createReadStream().then(text);
  assert.ok(csv.includes(REASON), csv);
  assert.ok(!csv.includes("sbx_at_") && !csv.includes("sbx_rt_"), "no token is in it");

  // Taken back; nothing is left at the provider either.
  await go(wallet, "Connections");
  await takeBack(wallet, "ada@example.com");

  // The next call is refused, typed, with a link.
  const refused = await host.call(user, "sandbox", REASON);
  assert.equal(refused.error?.needs_connection, true, JSON.stringify(refused));
  assert.ok(refused.error.code, JSON.stringify(refused.error));
  assert.ok(refused.reconnect?.url.startsWith(`${host.vault}/sdk/oauth/connect#session=`), JSON.stringify(refused));

  // The link works.
  const again = await context.newPage();
  await again.goto(refused.reconnect.url);
  await again.locator("#prove #sign-in").click();
  await agree(again);
  await again.locator("#allow").click();
  assert.equal(await ended(again), "Connected");
  const mended = await host.call(user, "sandbox", REASON);
  assert.equal(mended.status, 200, JSON.stringify(mended));
});

test("what is taken back ends at the provider, too", async (t) => {
  const { host } = on;
  const user = host.name();
  const context = await on.person(t);
  const page = await context.newPage();
  await page.goto((await host.session({ allowed_providers: ["sandbox"] }, user)).url);
  await connectAll(page, { user, account: "ada@ends" });
  assert.equal(await ended(page), "Connected");
  await openWallet(page, host.wallet);
  await takeBack(page, "ada@ends");
  const left = async () => (await fetch(`${host.control}/tokens?account=ada@ends`)).json();
  for (let tries = 0; !(await left()).dead; tries += 1) {
    assert.ok(tries < 100, JSON.stringify(await left()));
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
});

test("the wallet of one person shows nothing of another one's, and ends with the sign-out", async (t) => {
  const { host } = on;
  const [ada, bob] = [host.name(), host.name("bob")];
  const first = await (await on.person(t)).newPage();
  await first.goto((await host.session({ allowed_providers: ["sandbox"] }, ada)).url);
  await connectAll(first, { user: ada, account: "ada@private" });
  await ended(first);
  await openWallet(first, host.wallet);
  await connection(first, "ada@private").getByRole("link", { name: /^Details/ }).click();
  const details = first.url();

  const second = await (await on.person(t)).newPage();
  await openWallet(second, host.wallet, bob);
  await second.getByText(/Nothing is connected to you|has no connection of yours/).waitFor();
  await second.goto(details);
  assert.equal(await second.getByText("ada@private").count(), 0);

  await first.getByRole("button", { name: "Sign out" }).click();
  await first.getByRole("heading", { level: 1 }).waitFor();
  await first.goBack();
  assert.equal(await first.getByText("ada@private").count(), 0);
  await first.goto(details);
  assert.equal(await first.getByText("ada@private").count(), 0);
});

async function text(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts).toString();
}

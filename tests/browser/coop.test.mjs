// A provider whose pages cut the tie to the window that opened them (Cross-Origin-Opener-Policy).
import assert from "node:assert/strict";
import { test } from "node:test";
import { agree, allowAs, connectAll, denyAs, ended } from "./lib/connect.mjs";
import { connect, heard, hears, visit } from "./lib/shop.mjs";
import { stage } from "./lib/stage.mjs";

const on = stage({ prepare: (host) => host.faults({ coop: true }) });
const isolated = (opener_isolated) => on.host.provider("sandbox", { oauth: { opener_isolated } });

async function open(t, user) {
  const context = await on.person(t);
  const session = await on.host.session({ allowed_providers: ["sandbox"] }, user);
  const shop = await visit(context, session.shop);
  return { context, session, shop, popup: await connect(shop) };
}

test("it is opened in a window of its own, and the result reaches the shop all the same", async (t) => {
  await isolated(true);
  const { context, shop, popup } = await open(t);
  await agree(popup);
  const opened = context.waitForEvent("page");
  await popup.locator("#provider-link").click();
  const second = await opened;
  await allowAs(second, "ada@coop");
  const [grant] = await hears(shop, "success");
  assert.equal(grant.account_identifier, "ada@coop");
  assert.ok(!(await heard(shop)).some((one) => one.kind === "exit"));
  await assert.doesNotReject(async () => {
    while (context.pages().length > 1) await context.pages().at(-1).waitForEvent("close");
  });
});

test("a denial in that window is told, too", async (t) => {
  await isolated(true);
  const { context, shop, popup } = await open(t);
  await agree(popup);
  const opened = context.waitForEvent("page");
  await popup.locator("#provider-link").click();
  await denyAs(await opened, "ada@coop-deny");
  assert.equal((await hears(shop, "error")).code, "connect_denied");
});

test("without a window that waits, it goes on in the same one", async (t) => {
  await isolated(true);
  const context = await on.person(t);
  const session = await on.host.session({ allowed_providers: ["sandbox"] });
  const page = await context.newPage();
  await page.goto(session.url);
  await connectAll(page, { account: "ada@coop-alone" });
  assert.equal(await ended(page), "Connected");
  assert.equal(context.pages().length, 1);
});

test("if nobody has announced it, the widget hears an exit, and the application's backend the truth", async (t) => {
  await isolated(false);
  const { session, shop, popup } = await open(t);
  await agree(popup);
  await popup.locator("#account").waitFor();
  await hears(shop, "exit");
  await allowAs(popup, "ada@coop-surprise");
  assert.equal(await ended(popup), "Connected");
  assert.equal((await on.host.poll(session.token)).status, "completed");
});

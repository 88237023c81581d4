// Every page with the keyboard alone: Tab, Enter, Space and arrows, and always to see where one is.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ended } from "./lib/connect.mjs";
import { hears, visit } from "./lib/shop.mjs";
import { stage } from "./lib/stage.mjs";

const on = stage();
/** More than any page has to step over. */
const STEPS = 60;

/** Steps to an element, and checks that one sees it. */
async function stepTo(page, locator) {
  await locator.first().waitFor();
  const handle = await locator.first().elementHandle();
  for (let step = 0; step < STEPS; step += 1) {
    if (await handle.evaluate((element) => element === document.activeElement)) {
      const seen = await handle.evaluate((element) => {
        const { outlineStyle, outlineWidth } = getComputedStyle(element);
        const box = element.getBoundingClientRect();
        return outlineStyle !== "none" && parseFloat(outlineWidth) >= 1 && box.width > 0 && box.bottom > 0 && box.top < innerHeight;
      });
      assert.ok(seen, `the focus can be seen on ${await handle.innerText().catch(() => handle)} of ${page.url()}`);
      return;
    }
    await page.keyboard.press("Tab");
  }
  assert.fail(`no way to ${locator} by Tab on ${page.url()}`);
}

async function press(page, locator, key = "Enter") {
  await stepTo(page, locator);
  await page.keyboard.press(key);
}

/** At the sandbox: types a name, Enter. */
async function type(page, name) {
  await stepTo(page, page.locator("#account"));
  await page.keyboard.type(name);
  await page.keyboard.press("Enter");
}

const button = (page, name) => page.getByRole("button", { name });
const link = (page, name) => page.getByRole("link", { name });

test("connecting: proof, choice, lifetime, provider, end", async (t) => {
  const { host } = on;
  const user = host.name();
  const context = await on.person(t);
  const session = await host.session({ allowed_providers: ["sandbox", "sandbox-two"] }, user);
  const shop = await visit(context, session.shop);
  const opened = shop.waitForEvent("popup");
  await press(shop, shop.locator("#connect"));
  const popup = await opened;
  await press(popup, button(popup, "Sign in"));
  await type(popup, user);
  await press(popup, link(popup, /^Sandbox$/));

  // A shorter life, and its end can be seen in the vault.
  await stepTo(popup, popup.getByLabel("It may do so"));
  await popup.keyboard.press("Home");
  assert.equal(await popup.getByLabel("It may do so").inputValue(), "3600");
  await press(popup, button(popup, "Continue to Sandbox"), "Space");
  await type(popup, "ada@keys");
  await press(popup, popup.locator("#allow"), "Space");

  // Another one is declined, and that is the end of it.
  await press(popup, link(popup, /^Sandbox Two/));
  await press(popup, button(popup, "Do not allow"));
  await press(popup, button(popup, "Finish"));
  const grants = await hears(shop, "success");
  assert.deepEqual(grants.map((grant) => grant.account_identifier), ["ada@keys"]);
  const [grant] = await host.grants(user);
  const hours = (new Date(grant.grant_expires_at) - Date.now()) / 3_600_000;
  assert.ok(hours > 0.9 && hours <= 1, grant.grant_expires_at);
});

test("connecting: an account that is there already, a window of its own, the way back", async (t) => {
  const { host } = on;
  const user = host.name();
  const context = await on.person(t);
  const page = await context.newPage();
  const open = async (fields = {}) =>
    page.goto((await host.session({ allowed_providers: ["sandbox"], ...fields }, user)).url);
  await open();
  await press(page, button(page, "Sign in"));
  await type(page, user);
  await press(page, button(page, "Continue to Sandbox"));
  await type(page, "ada@again");
  await press(page, page.locator("#allow"));
  assert.equal(await ended(page), "Connected");
  // The end is read out: its heading has the focus.
  assert.equal(await page.evaluate(() => document.activeElement.tagName), "H1");

  await open();
  await press(page, button(page, "Sign in"));
  await press(page, button(page, "Use ada@again"));
  assert.equal(await ended(page), "Connected");

  await host.provider("sandbox", { oauth: { opener_isolated: true } });
  t.after(() => host.provider("sandbox", { oauth: { opener_isolated: false } }));
  const session = await host.session({ allowed_providers: ["sandbox"], switch_account: true }, user);
  const shop = await visit(context, session.shop);
  const opened = shop.waitForEvent("popup");
  await press(shop, shop.locator("#connect"));
  const popup = await opened;
  await press(popup, button(popup, "Sign in"));
  await press(popup, button(popup, "Continue to Sandbox"));
  const second = context.waitForEvent("page");
  await press(popup, link(popup, "Open Sandbox"));
  const window = await second;
  await press(window, window.locator("button[name=account]").first());
  await press(window, window.locator("#allow"));
  await hears(shop, "success");
});

test("errors: the way on is one step away", async (t) => {
  const { host } = on;
  const user = host.name();
  const page = await (await on.person(t)).newPage();
  await page.goto((await host.session({ allowed_providers: ["sandbox"] }, host.name("other"))).url);
  await press(page, button(page, "Sign in"));
  await type(page, user);
  await press(page, button(page, "Sign in as somebody else"));
  await page.locator("#account, button[name=account]").first().waitFor();

  await page.goto((await host.session({ allowed_providers: ["sandbox"] })).url);
  await page.locator("#consent input[name=csrf]").evaluate((field) => (field.value = "x"));
  await press(page, button(page, "Continue to Sandbox"));
  await page.getByRole("alert").waitFor();
  await page.goBack();
  await host.faults({ authorize_fault: "temporarily_unavailable", authorize_fault_times: 1 });
  await press(page, button(page, "Continue to Sandbox"));
  await page.locator("#failed").waitFor();
  // What went wrong is read out first.
  assert.equal(await page.evaluate(() => document.activeElement.id), "failed");
  await press(page, button(page, "Do not allow"));
  assert.equal(await ended(page), "This did not work");
});

test("the wallet: connections, details, activity with filters, CSV, taking back, signing out", async (t) => {
  const { host } = on;
  const user = host.name();
  const context = await on.person(t);
  const page = await context.newPage();
  await page.goto((await host.session({ allowed_providers: ["sandbox"] }, user)).url);
  await press(page, button(page, "Sign in"));
  await type(page, user);
  await press(page, button(page, "Continue to Sandbox"));
  await type(page, "ada@wallet");
  await press(page, page.locator("#allow"));
  await ended(page);
  await host.call(user, "sandbox", "by keys");

  await page.goto(`${host.vault}/wallet`);
  await page.getByRole("article").waitFor();
  // The first step leads past the head of the page.
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to content");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "main");

  await press(page, link(page, "Details of Sandbox, ada@wallet"));
  await press(page, link(page, "See what was done"));
  await page.getByText("by keys").first().waitFor();
  await stepTo(page, page.getByLabel("Done by"));
  await page.keyboard.type("nobody");
  await page.keyboard.press("Enter");
  await page.getByText(/^Nothing was found/).waitFor();
  await press(page, link(page, "Activity").first());
  await page.getByText("by keys").first().waitFor();
  const file = page.waitForEvent("download");
  await press(page, link(page, "Download as CSV"));
  await file;

  await press(page, link(page, "Connections"));
  await press(page, link(page, "Take back access to Sandbox, ada@wallet"));
  await press(page, link(page, "Keep it"));
  await press(page, link(page, "Take back access"));
  await press(page, button(page, "Take back access"), "Space");
  await page.getByRole("status").waitFor();
  assert.equal((await host.call(user, "sandbox", "after")).error.needs_connection, true);
  await press(page, button(page, "Sign out"));
  await press(page, link(page, "Sign in again"));
  await page.locator("#account, button[name=account]").first().waitFor();
});

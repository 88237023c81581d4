// One person, one browser, one page of a connect or sign-in session, from its link to its end:
//
//     node drive.mjs [--deny] URL USER [ACCOUNT]
//
// USER signs in at the application's identity provider where the vault asks for it, ACCOUNT (by default USER) at the provider.
// Prints the heading of the last page. For programs that open a browser themselves, such as the Python package.
import { person, startBrowser } from "./lib/chromium.mjs";
import { agree } from "./lib/connect.mjs";
import { allow, deny, signIn } from "./lib/sandbox.mjs";

const words = process.argv.slice(2);
const denies = words[0] === "--deny" && Boolean(words.shift());
const [url, user, account = user] = words;
if (!user) throw new Error("usage: node drive.mjs [--deny] URL USER [ACCOUNT]");

/** What can be on the screen, and what the person does there. */
const SCREENS = [
  ["#prove:has(#decline)", (page) => page.locator(denies ? "#decline" : "#sign-in").click()],
  ["#prove:not(:has(#wrong))", (page) => page.locator("#sign-in").click()],
  // Sent by the page's own script.
  ["#consent[data-at-once]", () => {}],
  ["#consent", agree],
  ["form:has(#account)", (page) => signIn(page, new URL(page.url()).pathname.startsWith("/idp/") ? user : account)],
  ["#allow", denies ? deny : allow],
];
const LAST = "#end, #wrong, #opening-failed:not([hidden])";
const MOST_STEPS = 20;

const browser = await startBrowser();
try {
  const context = await person(browser);
  const page = await context.newPage();
  await page.goto(url);
  const any = page.locator([...SCREENS.map(([selector]) => selector), LAST].join(", ")).first();
  for (let step = 0; step < MOST_STEPS; step += 1) {
    await any.waitFor();
    if (await page.locator(LAST).count()) break;
    const before = page.url();
    for (const [selector, act] of SCREENS) {
      if (await page.locator(selector).count()) {
        await act(page);
        break;
      }
    }
    await page.waitForURL((now) => now.href !== before);
  }
  console.log(await page.getByRole("heading", { level: 1 }).innerText());
  if (context.complaints.length) throw new Error(context.complaints.join("\n"));
} finally {
  await browser.close();
}

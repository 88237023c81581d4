// Debian's Chromium, driven over its own protocol.
import { chromium } from "playwright-core";

const ARGUMENTS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** How long a page may take, in milliseconds: two cores, and everything is local. */
const PATIENCE = 10_000;

export const DESKTOP = { width: 1280, height: 900 };
export const PHONE = { width: 390, height: 844 };
export const PHONE_AGENT =
  "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1";

/** Starts the browser; a test file ends it with `after(() => browser.close())`. */
export function startBrowser() {
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ARGUMENTS });
}

/**
 * A person's own browser: cookies of their own. What pages complain about on the console (a script that the policy
 * stopped, an exception) is collected in `complaints`.
 */
export async function person(browser, options = {}) {
  const context = await browser.newContext({ viewport: DESKTOP, locale: "en-GB", timezoneId: "UTC", ...options });
  context.setDefaultTimeout(PATIENCE);
  context.complaints = [];
  const watch = (page) => {
    page.on("pageerror", (error) => context.complaints.push(`${page.url()}: ${error}`));
    page.on("console", (message) => {
      // That an answer was a refusal is no complaint of the page.
      if (message.text().startsWith("Failed to load resource")) return;
      if (message.type() === "error" || /content security policy/i.test(message.text())) {
        context.complaints.push(`${page.url()}: ${message.text()}`);
      }
    });
  };
  context.on("page", watch);
  return context;
}

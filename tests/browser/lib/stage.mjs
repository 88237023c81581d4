// What every test file begins with: the program and a browser, ended with it.
import assert from "node:assert/strict";
import { after, before } from "node:test";
import { person, startBrowser, PHONE, PHONE_AGENT } from "./chromium.mjs";
import { startHost } from "./host.mjs";

/** `host` (what `start` gives) and `browser` are there when the first test runs, and `prepare(host)` has ended. */
export function stage({ start = startHost, prepare = async () => {} } = {}) {
  const stage = {
    host: undefined,
    browser: undefined,

    /**
     * A person with a browser of their own, for the time of one test. Whatever pages complain about fails the test, but for
     * what `expected` matches.
     */
    async person(t, { expected = [], ...options } = {}) {
      const context = await person(stage.browser, options);
      t.after(async () => {
        const { complaints } = context;
        await context.close();
        const known = (text) => expected.some((pattern) => pattern.test(text));
        assert.deepEqual(complaints.filter((text) => !known(text)), []);
      });
      return context;
    },

    /** A person with a phone: small, touched, and telling so. */
    phone(t, options = {}) {
      const small = { viewport: PHONE, userAgent: PHONE_AGENT, hasTouch: true, isMobile: true };
      return stage.person(t, { ...small, ...options });
    },
  };
  before(async () => {
    [stage.host, stage.browser] = await Promise.all([start(), startBrowser()]);
    await prepare(stage.host);
  });
  after(async () => {
    await stage.browser?.close();
    await stage.host?.stop();
  });
  return stage;
}

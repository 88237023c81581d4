// Every page that the vault has, in the states in which people meet it. Each stop is looked at where it is reached; what
// looking means (a picture, a check of accessibility) is the caller's.
import { agree, allowAs, ended, pick, prove, proveAgain } from "./connect.mjs";
import { allow, signIn } from "./sandbox.mjs";
import { connect, visit } from "./shop.mjs";
import { connection, go } from "./wallet.mjs";

const LOGO = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="6" fill="#2f7d4f"/><path d="M9 23V9h7a5 5 0 0 1 0 10h-3" fill="none" stroke="#fff" stroke-width="3"/></svg>`;
const REASON = "Weekly reading list for Ada";

/** How the application looks on the tour. */
export const BRAND = {
  display_name: "Acorn Books",
  color: "#2f7d4f",
  logo: `data:image/svg+xml;base64,${Buffer.from(LOGO).toString("base64")}`,
};

/** Stops of the tour in the order in which people meet the pages: `[name, what it shows]`. */
export const STOPS = [
  ["connect-no-link", "The connect page, opened without a link"],
  ["connect-unknown-link", "A link that is incomplete or unknown"],
  ["connect-expired-link", "A link whose ten minutes are over"],
  ["connect-other-browser", "A link that another browser has opened already"],
  ["connect-sign-in", "Show that it is you, before anything else"],
  ["connect-wrong-person", "Signed in as somebody for whom the link was not made"],
  ["connect-sign-in-failed", "The identity provider did not sign anybody in"],
  ["connect-picker", "Choose what to connect"],
  ["connect-consent", "What the application may do, and for how long"],
  ["connect-leaving", "On the way to the provider"],
  ["connect-failed", "The provider failed; nothing was changed"],
  ["connect-picker-again", "One is connected, another one may follow"],
  ["connect-done", "Connected"],
  ["connect-done-return", "Connected, on the way back to the application"],
  ["connect-denied", "The person did not allow it"],
  ["connect-expired", "Time ran out in the middle"],
  ["connect-already", "Accounts that are connected already"],
  ["connect-repair", "A connection that must be made again"],
  ["connect-own-window", "A provider that needs a window of its own"],
  ["connect-back", "The other window, back from the provider"],
  ["connect-answer-refused", "An answer that nobody here has asked for"],
  ["connect-answer-again", "An answer that came a second time"],
  ["connect-stale-form", "A form that does not belong to this browser"],
  ["program-confirm", "A program asks to sign in"],
  ["program-done", "The program is signed in"],
  ["wallet-where", "The wallet: at which application to sign in"],
  ["wallet-sign-in-failed", "The wallet: the sign-in was broken off"],
  ["wallet-nothing", "The wallet of somebody who has connected nothing"],
  ["wallet-connections", "The wallet: connections"],
  ["wallet-connection", "The wallet: one connection"],
  ["wallet-activity", "The wallet: what was done, when, by whom and why"],
  ["wallet-activity-nothing", "The wallet: a filter that finds nothing"],
  ["wallet-take-back", "The wallet: taking access back"],
  ["wallet-taken-back", "The wallet: access was taken back"],
  ["wallet-unknown", "The wallet: a connection that is not there"],
  ["wallet-signed-out", "The wallet: signed out"],
];

/**
 * Walks to every stop and calls `look(page, name)` there. `people()` gives a browser context for one more person.
 */
export async function tour(host, people, look) {
  await host.page(BRAND);
  const ada = await people();
  const page = await ada.newPage();
  const both = ["sandbox", "sandbox-two"];
  const session = (fields = {}, user = "ada") =>
    host.session({ allowed_providers: ["sandbox"], ...fields }, user);
  const open = async (fields, user) => page.goto((await session(fields, user)).url);

  // ---- Links that lead nowhere --------------------------------------------------------------------------------------
  await page.goto(`${host.vault}/sdk/oauth/connect`);
  await heading(page, "This page needs a link");
  await look(page, "connect-no-link");
  await page.goto(`${host.vault}/sdk/oauth/connect#session=nonsense`);
  await heading(page, "This link does not work");
  await look(page, "connect-unknown-link");
  const late = await session();
  await host.clock(601);
  await page.goto(late.url);
  await heading(page, "This link has expired");
  await look(page, "connect-expired-link");
  await host.clock(0);
  const taken = await session();
  const other = await (await people()).newPage();
  await other.goto(taken.url);
  await other.locator("#prove").waitFor();
  await page.goto(taken.url);
  await heading(page, "This link belongs to another browser");
  await look(page, "connect-other-browser");

  // ---- Who it is ----------------------------------------------------------------------------------------------------
  await host.faults({ sign_in_fault: "access_denied", authorize_fault_times: null });
  await proveAgain(other);
  await other.getByRole("alert").waitFor();
  await look(other, "connect-sign-in-failed");
  await host.faults({ sign_in_fault: "none" });
  await other.goto((await session({ allowed_providers: both })).url).catch(() => {});
  await prove(other, "bob");
  await other.locator("#wrong").waitFor();
  await look(other, "connect-wrong-person");
  await open({ allowed_providers: both });
  await page.locator("#prove").waitFor();
  await look(page, "connect-sign-in");

  // ---- From the choice to the end -----------------------------------------------------------------------------------
  await prove(page, "ada");
  await page.locator("#providers").waitFor();
  await look(page, "connect-picker");
  await pick(page, "sandbox");
  await page.locator("#consent").waitFor();
  await look(page, "connect-consent");
  const sandbox = (url) => url.origin === new URL(host.control).origin;
  await page.route(sandbox, (route) => route.abort("aborted"));
  await agree(page);
  await page.locator("#leaving").waitFor();
  await look(page, "connect-leaving");
  await page.unroute(sandbox);
  await host.faults({ authorize_fault: "server_error", authorize_fault_times: 1 });
  await page.locator("#provider-link").click();
  await page.getByRole("alert").first().waitFor();
  if ((await page.locator("#consent").count()) === 0) await pick(page, "sandbox");
  await page.locator("#failed").waitFor();
  await look(page, "connect-failed");
  await host.faults({ authorize_fault: "none" });
  await agree(page);
  await allowAs(page, "ada@example.com");
  await page.locator("#finish").waitFor();
  await look(page, "connect-picker-again");
  await pick(page, "sandbox-two");
  await agree(page);
  await allowAs(page, "ada@example.org");
  await ended(page);
  await look(page, "connect-done");
  await page.goBack();
  await page.getByRole("alert").waitFor();
  await look(page, "connect-answer-again");
  await page.goto(`${host.vault}/sdk/oauth/callback?state=x&code=x`);
  await page.getByRole("alert").waitFor();
  await look(page, "connect-answer-refused");

  // ---- Connected already, to be repaired, denied, too late ----------------------------------------------------------
  await open();
  await proveAgain(page);
  await page.locator("#connected").waitFor();
  await look(page, "connect-already");
  await page.locator("#decline").click();
  await ended(page);
  await look(page, "connect-denied");
  const [grant] = (await host.grants("ada")).filter((grant) => grant.provider_id === "sandbox");
  const shop = (url) => url.origin === new URL(host.shop).origin;
  await page.route(shop, (route) => route.abort("aborted"));
  await open({ repair_grant_id: grant.grant_id, return_url: `${host.shop}/shop/back` });
  await proveAgain(page);
  // A repair goes on at once; whoever comes back from the provider sees what it is about.
  await page.locator("#allow").waitFor();
  await page.goBack();
  await page.locator("#consent").waitFor();
  await look(page, "connect-repair");
  await agree(page);
  await allow(page);
  await ended(page);
  await look(page, "connect-done-return");
  await page.unroute(shop);
  await open();
  await proveAgain(page);
  await page.locator("#consent").waitFor();
  await page.locator("#consent input[name=csrf]").evaluate((field) => (field.value = "somebody-else"));
  await agree(page);
  await page.getByRole("alert").waitFor();
  await look(page, "connect-stale-form");
  await page.goBack();
  await host.clock(601);
  await page.reload();
  await ended(page);
  await look(page, "connect-expired");
  await host.clock(0);

  // ---- A window of its own ------------------------------------------------------------------------------------------
  await host.provider("sandbox", { oauth: { opener_isolated: true } });
  const own = await session({ switch_account: true });
  const front = await visit(ada, own.shop);
  const popup = await connect(front);
  await proveAgain(popup);
  await agree(popup);
  await popup.locator("#leaving").waitFor();
  await look(popup, "connect-own-window");
  const base = popup.url().replace(/\/go\?.*$/, "");
  await popup.close();
  await front.close();
  await page.route(base, (route) => route.abort("aborted"));
  await page.goto(`${base}/back`);
  await page.locator("#back").waitFor();
  await look(page, "connect-back");
  await page.unroute(base);
  await host.provider("sandbox", { oauth: { opener_isolated: false } });

  // ---- Programs -----------------------------------------------------------------------------------------------------
  const program = (await host.signed("/sdk/auth/session", {})).body;
  await page.goto(program.auth_url ?? program.connect_url ?? program.url);
  await page.locator("#prove").waitFor();
  await look(page, "program-confirm");
  await proveAgain(page);
  await ended(page);
  await look(page, "program-done");

  // ---- The wallet ---------------------------------------------------------------------------------------------------
  await host.app("Oak Calendar");
  const { body: called } = await host.call("ada", "sandbox", REASON);
  if (!called) throw new Error("the call did not work");
  await page.goto(`${host.vault}/wallet`);
  await page.getByRole("heading", { level: 1, name: "Where do you want to sign in?" }).waitFor();
  await look(page, "wallet-where");
  await host.faults({ sign_in_fault: "access_denied" });
  await page.getByRole("link", { name: "Acorn Books" }).click();
  await page.getByRole("alert").waitFor();
  await look(page, "wallet-sign-in-failed");
  await host.faults({ sign_in_fault: "none" });
  await openWalletAt(other, host, "bob");
  await look(other, "wallet-nothing");
  await openWalletAt(page, host);
  await look(page, "wallet-connections");
  await connection(page, "ada@example.com").getByRole("link", { name: /^Details/ }).click();
  await heading(page);
  await look(page, "wallet-connection");
  await go(page, "Activity");
  await page.getByText(REASON).first().waitFor();
  await look(page, "wallet-activity");
  await page.getByLabel("Done by").fill("nobody");
  await page.getByRole("button", { name: "Show" }).click();
  await page.getByText(/^Nothing was found/).waitFor();
  await look(page, "wallet-activity-nothing");
  await go(page, "Connections");
  await connection(page, "ada@example.com").getByRole("link", { name: /^Take back access/ }).click();
  await page.getByRole("button", { name: "Take back access" }).waitFor();
  await look(page, "wallet-take-back");
  await page.getByRole("button", { name: "Take back access" }).click();
  await page.getByRole("status").waitFor();
  await look(page, "wallet-taken-back");
  await page.goto(`${host.vault}/wallet/grants/nothing-of-that-name`);
  await page.getByRole("alert").waitFor();
  await look(page, "wallet-unknown");
  await page.goto(`${host.vault}/wallet`);
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("link", { name: "Sign in again" }).waitFor();
  await look(page, "wallet-signed-out");
}

const heading = (page, name) => page.getByRole("heading", { level: 1, name }).waitFor();

async function openWalletAt(page, host, user) {
  await page.goto(`${host.vault}/wallet`);
  await page.getByRole("link", { name: "Acorn Books" }).click();
  // Whoever is signed in at the identity provider is not asked.
  if (user && (await page.locator("#account").count()) > 0) await signIn(page, user);
  await page.getByRole("navigation", { name: "Wallet" }).waitFor();
}

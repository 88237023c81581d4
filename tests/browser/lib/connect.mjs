// What a person does on the vault's connect pages, and on the way through them.
import { allow, deny, signIn } from "./sandbox.mjs";

/** Shows that they are `user`, by signing in at the application's identity provider. */
export async function prove(page, user) {
  await page.locator("#prove #sign-in").click();
  await signIn(page, user);
}

/** The same where they are signed in there already. */
export const proveAgain = (page) => page.locator("#prove #sign-in").click();

/** Chooses a provider on the picker. */
export const pick = (page, provider) => page.locator(`[data-provider="${provider}"] a`).click();

/** Agrees on the consent page. */
export const agree = (page) => page.locator("#go").click();

/** Signs in at the provider as `account` and allows everything. */
export async function allowAs(page, account) {
  await signIn(page, account);
  await allow(page);
}

/** Signs in at the provider as `account` and denies. */
export async function denyAs(page, account) {
  await signIn(page, account);
  await deny(page);
}

/** From the first page to the last, with one provider. `user` is left out where nobody has to prove anything. */
export async function connectAll(page, { user, account }) {
  if (user) await prove(page, user);
  await agree(page);
  await allowAs(page, account);
}

/** Waits for the last page, and gives its heading. */
export async function ended(page) {
  await page.locator("#end").waitFor();
  return page.getByRole("heading", { level: 1 }).innerText();
}

// What a person does in the wallet.
import { signIn } from "./sandbox.mjs";

/** Opens the wallet, and signs in as `user` unless they are signed in at the identity provider already. */
export async function openWallet(page, wallet, user) {
  await page.goto(wallet);
  if (user) await signIn(page, user);
  await page.getByRole("navigation", { name: "Wallet" }).waitFor();
}

/** The card of a connection. */
export const connection = (page, account) => page.getByRole("article").filter({ hasText: account });

export const go = (page, name) =>
  page.getByRole("navigation", { name: "Wallet" }).getByRole("link", { name, exact: true }).click();

/** Takes back the access to an account, from the list of connections. */
export async function takeBack(page, account) {
  await connection(page, account).getByRole("link", { name: /^Take back access/ }).click();
  await page.getByRole("button", { name: "Take back access" }).click();
  await page.getByRole("status").waitFor();
}

// What a person does on the sandbox's pages (alter-sandbox/README.md).

/** Signs in under a name: at the identity provider as a user, at a provider as an account. */
export async function signIn(page, name) {
  await page.locator("#account").fill(name);
  await page.locator("#sign-in").click();
}

export const allow = (page) => page.locator("#allow").click();
export const deny = (page) => page.locator("#deny").click();

// What a person does in the host application, and what the application has heard from the widget.

/** Opens the shop's page of a session. */
export async function visit(context, url) {
  const page = await context.newPage();
  await page.goto(url);
  return page;
}

/** Clicks Connect, and gives the window that opens. */
export async function connect(page) {
  const opened = page.waitForEvent("popup");
  await page.locator("#connect").click();
  return opened;
}

/** Everything that the application has heard so far. */
export const heard = (page) => page.evaluate(() => window.heard);

/** Waits until the application has heard something of this kind, and gives its value. */
export async function hears(page, kind) {
  await page.locator(`#log [data-kind=${JSON.stringify(kind)}]`).first().waitFor();
  return (await heard(page)).find((one) => one.kind === kind).value;
}

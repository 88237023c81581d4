// Every page, in the states in which people meet it, at two sizes, light and dark: nothing that axe-core calls serious or
// critical, nothing wider than the screen. With SCREENSHOTS=1 the pictures of docs/pages are made anew on the way.
import assert from "node:assert/strict";
import { access, mkdir, readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import { withPalette } from "./lib/png.mjs";
import { stage } from "./lib/stage.mjs";
import { STOPS, tour } from "./lib/tour.mjs";

const on = stage();
const AXE = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const FOLDER = fileURLToPath(new URL("../../docs/pages/", import.meta.url));
const SIZES = [
  { width: 1280, height: 720 },
  { width: 390, height: 720 },
];
const SCHEMES = ["light", "dark"];
const picture = (name, { width }, scheme) => `${name}-${width}-${scheme}.png`;

test("every page is usable for everybody, at both sizes, light and dark", { timeout: 180_000 }, async (t) => {
  const draws = process.env.SCREENSHOTS === "1";
  if (draws) await mkdir(FOLDER, { recursive: true });
  const seen = [];
  const bad = [];
  const minor = new Map();
  // A navigation that the tour holds back, and answers that are meant to be refused.
  const expected = [/ERR_ABORTED/];
  await tour(on.host, () => on.person(t, { expected, reducedMotion: "reduce" }), async (page, name) => {
    seen.push(name);
    const before = page.viewportSize();
    for (const size of SIZES) {
      await page.setViewportSize(size);
      for (const colorScheme of SCHEMES) {
        await page.emulateMedia({ colorScheme });
        const at = `${name} ${size.width} ${colorScheme}`;
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
        if (wide > 0) bad.push(`${at}: ${wide} pixels too wide`);
        for (const { id, impact, help, nodes } of await violations(page)) {
          const where = nodes.map((node) => node.target.join(" ")).join("; ");
          if (["serious", "critical"].includes(impact)) bad.push(`${at}: ${id} (${impact}): ${help}: ${where}`);
          else minor.set(`${id} (${impact}): ${help}`, `${at}: ${where}`);
        }
        if (draws) {
          const png = await page.screenshot({ fullPage: true });
          await writeFile(FOLDER + picture(name, size, colorScheme), withPalette(png));
        }
      }
    }
    await page.emulateMedia({ colorScheme: "light" });
    await page.setViewportSize(before);
  });
  for (const [what, where] of minor) t.diagnostic(`${what} (${where})`);
  assert.deepEqual(bad, []);
  assert.deepEqual(seen.toSorted(), STOPS.map(([name]) => name).toSorted());
  if (draws) await writeFile(`${FOLDER}README.md`, readme());
});

test("the check finds what is planted", async (t) => {
  const page = await (await on.person(t)).newPage();
  await page.goto(`${on.host.vault}/wallet/signed-out`);
  await page.evaluate(() => {
    const button = document.createElement("button");
    const faint = document.createElement("p");
    faint.append("faint");
    faint.style.color = "#eee";
    faint.style.background = "#fff";
    document.getElementById("main").append(button, faint);
  });
  const found = (await violations(page)).map(({ id, impact }) => `${id} ${impact}`);
  assert.deepEqual(found.toSorted(), ["button-name critical", "color-contrast serious"]);
});

test("docs/pages shows every page", async () => {
  const shown = await readFile(`${FOLDER}README.md`, "utf8");
  assert.equal(shown, readme());
  for (const [name] of STOPS) {
    for (const size of SIZES) for (const scheme of SCHEMES) await access(FOLDER + picture(name, size, scheme));
  }
});

async function violations(page) {
  if (!(await page.evaluate(() => "axe" in window))) await page.evaluate(AXE);
  return page.evaluate(async () => (await window.axe.run(document, { resultTypes: ["violations"] })).violations);
}

function readme() {
  const cell = (name, size, scheme) => `<img src="${picture(name, size, scheme)}" alt="" width="${size.width > 400 ? 480 : 146}">`;
  const part = ([name, words]) => {
    const cells = SCHEMES.flatMap((scheme) => SIZES.map((size) => cell(name, size, scheme)));
    return `## ${words}\n\n${cells.join("\n")}\n`;
  };
  const intro = `# The vault's pages

Made by the browser test, with \`SCREENSHOTS=1 tests/browser/run pages.test.mjs\`: each page at 1280 and 390 pixels, light and
dark, with an application called Acorn Books. The same test lets axe-core look at each of them.
`;
  return [intro, ...STOPS.map(part)].join("\n");
}

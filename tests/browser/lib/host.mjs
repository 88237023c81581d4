// The program that the tests play on (tests/examples/browser-host): outside world, vault and host application.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import path from "node:path";

const here = (relative) => fileURLToPath(new URL(relative, import.meta.url));
const target = process.env.CARGO_TARGET_DIR ?? here("../../../target");
const PROGRAM = path.join(target, "debug", "examples", "browser-host");
const VAULT = path.join(target, "debug", "alter-server");
const WIDGET = here("../node_modules/@alter-ai/connect/dist/alter-connect.umd.js");

/** Starts one; a test file ends it with `after(() => host.stop())`. */
export const startHost = () => start(PROGRAM, ["--widget", WIDGET]).then(([child, line]) => new Host([child], line));

/** `alter-server dev` as anybody starts it, and the host application beside it. Only time and operator are out of reach. */
export async function startDev() {
  const [vault, ready] = await start(VAULT, ["dev", "--json"]);
  const [shop, line] = await start(PROGRAM, ["--widget", WIDGET, "--beside", JSON.stringify(ready)]);
  return new Host([shop, vault], line);
}

/** Starts a program, and waits for its line of JSON. */
async function start(program, args) {
  const child = spawn(program, args, { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout });
  const line = await new Promise((resolve, reject) => {
    lines.once("line", resolve);
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`${program} ended with ${code}`)));
  });
  return [child, JSON.parse(line)];
}

/** What the tests do as the application's backend and operator, and to the outside world. */
export class Host {
  #programs;
  #names = 0;

  constructor(programs, line) {
    this.#programs = programs;
    Object.assign(this, line);
  }

  async stop() {
    for (const program of this.#programs) {
      const ended = new Promise((resolve) => program.once("exit", resolve));
      program.stdin.end();
      if (program.spawnfile === VAULT) program.kill("SIGTERM");
      await ended;
    }
  }

  /** A name that nobody has had in this run: users, accounts and pages are told apart by it. */
  name(kind = "ada") {
    this.#names += 1;
    return `${kind}-${this.#names}`;
  }

  async post(path, body) {
    return answer(
      await fetch(`${this.shop}${path}`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
      }),
    );
  }

  /** A signed call of the vault: `{status, body}`. */
  signed(path, body, user) {
    return this.post("/control/signed", { path, body, user });
  }

  /**
   * A connect session as spec/03 §1.1 has it, for `user` or for the application, with a page of the shop whose button
   * opens it: `{token, url, shop}`. By default its result goes to the shop.
   */
  async session(fields = {}, user = undefined) {
    const body = {
      allowed_providers: null,
      return_url: null,
      allowed_origin: this.shop,
      metadata: null,
      ...fields,
    };
    const made = await this.signed("/sdk/oauth/connect/session", body, user);
    if (made.status !== 200 && made.status !== 201) throw new Error(`no session: ${JSON.stringify(made)}`);
    const { session_token: token, connect_url: url } = made.body;
    return { token, url, ...(await this.shopFor(token)) };
  }

  /** A page of the shop whose button opens the session with this token, at each of the shop's origins. */
  async shopFor(token, name = this.name("page")) {
    const { path } = await this.post("/control/shop", { name, session: { token, baseURL: this.vault } });
    return { path, shop: this.shop + path, stranger: this.stranger + path };
  }

  /** What the application's backend learns of a session. */
  async poll(token) {
    const { status, body } = await this.signed("/sdk/oauth/connect/session/poll", { session_token: token });
    if (status !== 200) throw new Error(`poll: ${status} ${JSON.stringify(body)}`);
    return body;
  }

  /** The grants of a user. */
  async grants(user) {
    const { status, body } = await this.signed("/sdk/grants/list", {}, user);
    if (status !== 200) throw new Error(`list: ${status} ${JSON.stringify(body)}`);
    return body.grants;
  }

  /** A call of the provider's API for a user: `{status, body}`, or `{error, reconnect}`. */
  call(user, provider, reason, more = {}) {
    return this.post("/control/call", { user, provider, reason, ...more });
  }

  /** How the sandbox misbehaves from now on; `{}` is not at all. */
  async faults(faults) {
    const response = await fetch(this.control, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(faults),
    });
    if (!response.ok) throw new Error(`faults: ${response.status} ${await response.text()}`);
  }

  /** What the sandbox has counted. */
  async counts() {
    return answer(await fetch(this.control));
  }

  /** Moves the vault's clock so many seconds away from the machine's. */
  clock(seconds) {
    return this.post("/control/clock", { seconds });
  }

  /** Changes how the application appears. */
  page(change) {
    return this.post("/control/page", change);
  }

  /** Makes another application with the same identity provider. */
  app(name) {
    return this.post("/control/app", { name });
  }

  /** Changes what the vault knows of a provider. */
  provider(id, { oauth = {}, ...provider }) {
    return this.post("/control/provider", { id, provider, oauth });
  }

  /** The newest rows of the trail, newest first. */
  async audit() {
    return answer(await fetch(`${this.shop}/control/audit`));
  }
}

async function answer(response) {
  const text = await response.text();
  if (!response.ok) throw new Error(`${response.url}: ${response.status} ${text}`);
  return JSON.parse(text);
}

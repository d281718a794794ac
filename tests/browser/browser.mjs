// Chromium, and what every story may expect of every page: no error in the console, nothing asked of anybody else.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { rmSync, writeFileSync } from "node:fs";
import { after, test } from "node:test";
import { chromium } from "playwright-core";

export const portal = process.env.PORTAL;
const site = process.env.SITE;

/** Whether pages may run their script. */
export const scripts = process.env.SCRIPTS !== "off";

/** The longest that anything is waited for. */
export const PATIENCE = 45_000;

const executablePath = execFileSync("sh", ["-c", "command -v chromium"], { encoding: "utf8" }).trim();
// The pages are our own, and root has no sandbox. /dev/shm is small in containers.
const browser = await chromium.launch({ executablePath, chromiumSandbox: false, args: ["--disable-dev-shm-usage"] });
after(() => browser.close());

/** A page that keeps what is wrong in `faults`. `refused` says which addresses may be refused. */
export async function open(look = {}) {
  const settings = { javaScriptEnabled: scripts, locale: "en-GB", timezoneId: "Asia/Shanghai", viewport: { width: 1280, height: 900 } };
  const context = await browser.newContext({ ...settings, ...look });
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  const faults = [];
  let refused = null;
  page.on("console", (said) => {
    if (!["error", "warning"].includes(said.type())) return;
    const text = said.text(), about = said.location().url;
    if (refused && /status of 4\d\d/.test(text) && refused.test(about)) return;
    faults.push(`console: ${text} (${about})`);
  });
  page.on("pageerror", (error) => faults.push(`script: ${error.stack}`));
  page.on("request", (asked) => {
    if (!asked.url().startsWith(`${portal}/`)) faults.push(`asks elsewhere: ${asked.url()}`);
  });
  return { page, faults, mayBeRefused: (addresses) => { refused = addresses; } };
}

/** One story, told by one reader in one browser. */
export function story(name, tell, look) {
  // Only what hangs takes so long; how busy the machine is must not matter.
  test(name, { timeout: 900_000 }, async () => {
    const reader = await open(look);
    try {
      await tell(reader.page, reader);
    } finally {
      await reader.page.context().close();
    }
    assert.deepEqual(reader.faults, []);
  });
}

export const visit = (page, path) => page.goto(portal + path);

/** Waits until a part of the page, as it stands, shows this text. */
export async function see(page, part, text) {
  try {
    await page.locator(part).filter({ hasText: text }).first().waitFor();
  } catch (error) {
    const shown = await page.locator("body").innerText().catch(() => "no page");
    throw new Error(`${page.url()}: not seen in ${part}: ${text}\n${shown}`, { cause: error });
  }
}

/** Waits until it is seen: without a reload where scripts run, by reloading where they do not. */
export async function follow(page, part, text) {
  if (scripts) {
    await page.evaluate(() => { window.notReloaded = true; });
    await see(page, part, text);
    assert.equal(await page.evaluate(() => window.notReloaded), true, "the page was reloaded");
    return;
  }
  const begin = Date.now();
  while (await page.locator(part).filter({ hasText: text }).count() === 0) {
    if (Date.now() - begin > PATIENCE) await see(page, part, text);
    await new Promise((go) => setTimeout(go, 200));
    await page.reload();
  }
}

/** The text of each match, with single spaces. */
export async function texts(page, part) {
  return (await page.locator(part).allInnerTexts()).map((text) => text.replace(/\s+/g, " ").trim());
}

async function api(path, body) {
  const answer = await fetch(`${portal}/api/v1/${path}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  const said = await answer.text();
  assert.ok(answer.ok, `${path}: ${answer.status} ${said}`);
  return said;
}

/** Asks for a run, and yields its number. */
export async function run(roles, hosts) {
  return JSON.parse(await api("runs", { roles, target: { hosts } })).data.id;
}

/** Makes a binding over the API. */
export const bind = (binding) => api("bindings", binding);

/** Tells an alert as Alertmanager does. */
export async function tell(alertname, instance) {
  const fingerprint = createHash("sha256").update(`${alertname} ${instance}`).digest("hex").slice(0, 16);
  const labels = { alertname, instance };
  const alert = { status: "firing", labels, annotations: {}, startsAt: "2026-01-02T03:04:05Z", endsAt: "0001-01-01T00:00:00Z", fingerprint };
  await api("webhook", { version: "4", groupKey: "{}", truncatedAlerts: 0, status: "firing", receiver: "promansible", groupLabels: {}, commonLabels: {}, commonAnnotations: {}, externalURL: "", alerts: [alert] });
}

/** Lets runs that wait go on; or makes those to come wait. */
export const go = () => writeFileSync(`${site}/go`, "");
export const halt = () => rmSync(`${site}/go`, { force: true });

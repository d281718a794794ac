// Every page, in light, dark and on a phone: by axe-core, by its width, by the keyboard.
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { axeFinds, tooWide, walk } from "./checks.mjs";
import { see, story, visit } from "./browser.mjs";

const pictures = process.env.PORTAL_PICTURES;
if (pictures) mkdirSync(pictures, { recursive: true });

const LONG = "a-host-with-a-name-that-is-longer-than-a-telephone-is-wide.example.org";

// Name, address, a part of the page and what must stand in it.
const PAGES = [
  ["now", "/", "#waiting", "ok, flood on web1"],
  ["run-asks", "/runs/7", "#held", "Waiting for approval"],
  ["pause", "/pause", "#confirm", "Pause everything?"],
  ["hold", "/hosts/web1/hold", "#confirm", "Duration"],
  ["host-held", "/hosts/web2", "#held", "a new disk"],
  ["role-open", "/roles/fail", "#circuit", "Circuit open"],
  ["binding-guarded", "/bindings/ask-somebody", "#guards", "required for each run"],
  ["runs", "/runs", "#runs", "tidy"],
  ["runs-none", "/runs?role=none", "#runs-empty", "No run matches"],
  ["runs-wrong", "/runs?since=yesterday", "#filter-error", "since"],
  ["run", "/runs/1", "#hosts", "do it: said fail"],
  ["run-checked", "/runs/3", "#status", "check mode"],
  ["run-open", "/runs/4", "#status", "running"],
  ["run-again", "/run?again=1", "#again-note", "run #1"],
  ["alerts", "/alerts", "#types", "Unbound"],
  ["alert", "/alerts/SiteDown", "#episodes", "resolved"],
  ["bind", "/binding?alert=Unbound", "#binding", "Unbound"],
  ["binding", "/bindings/by-hand", "#binding", "SiteSlow"],
  ["binding-shown", "/bindings/mend", "#provisioned", "configuration"],
  ["schedules", "/schedules", "#schedules", "nightly"],
  ["schedule-new", "/schedule", "#schedule", "Cron expression"],
  ["schedule", "/schedules/nightly", "h1", "nightly"],
  ["roles", "/roles", "#roles", "Mends it"],
  ["role", "/roles/ok", "#readme", "Mends things"],
  ["hosts", "/hosts", "#hosts", LONG],
  ["host", "/hosts/web1", "#facts", "Debian"],
  ["host-new", `/hosts/${LONG}`, "#facts-empty", "No facts about this host"],
  ["audit", "/audit", "#audit", "POST /api/v1/runs"],
  ["audit-none", "/audit?cursor=1", "#audit-empty", "No earlier change requests"],
  ["enrol", "/enrol", "#enrol", "Add the host"],
  ["run-once", "/run", "#start", "Run"],
  ["confirm", "/runs/4/cancel", "#confirm", "Cancel run 4?"],
  ["confirm-host", `/hosts/${LONG}/remove`, "#confirm", LONG],
  ["nothing", "/nothing", "main", "there is no /nothing"],
];

const WIDE = { width: 1280, height: 900 }, PHONE = { width: 360, height: 740 };

// Each page is asked for once, and then looked at in other lights: what differs are the sheet's answers.
story("every page passes, in light, dark and on a phone", async (page, reader) => {
  reader.mayBeRefused(/\/nothing$|since=yesterday$|\/run$|\/hold$/);
  const found = [];
  async function check(name) {
    const look = async (how, scheme, size, faults) => {
      await page.emulateMedia({ colorScheme: scheme });
      await page.setViewportSize(size);
      for (const fault of [...await faults(page), ...await tooWide(page)]) found.push(`${name}, ${how}: ${fault}`);
      if (pictures) await page.screenshot({ path: `${pictures}/${name}-${how}.png`, fullPage: true });
    };
    await look("light", "light", WIDE, axeFinds);
    // Dark differs in its colours alone.
    await look("dark", "dark", WIDE, (page) => axeFinds(page, ["color-contrast", "link-in-text-block"]));
    await look("phone-dark", "dark", PHONE, axeFinds);
    if (pictures) await look("phone", "light", PHONE, async () => []);
  }
  for (const [name, path, part, text] of PAGES) {
    await visit(page, path);
    await see(page, part, text);
    await check(name);
  }
  await visit(page, "/run");
  await page.selectOption("#role-1", "ok");
  await page.fill("#hosts-names", "web1, nobody");
  await page.click("#run");
  await see(page, "#target-error", "nobody");
  await check("run-once-wrong");
  await visit(page, "/hosts/web1/hold");
  await page.fill("#for", "long");
  await page.fill("#why", "a new disk");
  await page.click("#yes");
  await see(page, "#for-error", "number");
  await check("hold-wrong");
  await visit(page, "/pause");
  await page.fill("#why", "The network is being mended: see the ticket, and ask the network people before you resume.");
  await page.click("#yes");
  await see(page, "#paused", "network people");
  await check("now-paused");
  await visit(page, "/runs/7");
  await see(page, "#held", "everything is paused");
  await check("run-paused");
  await page.click("#resume");
  assert.deepEqual(found, []);
});

story("the checks find what is broken", async (page, reader) => {
  await visit(page, "/enrol");
  assert.deepEqual([...await axeFinds(page), ...await tooWide(page)], []);
  await page.evaluate(() => {
    document.querySelector("label[for=name]").remove();
    document.querySelector("h1").style.cssText = "color: #bbb; width: 5000px";
    document.querySelector("#name").style.outline = "none";
    console.error("broken on purpose");
    document.body.append(Object.assign(document.createElement("img"), { alt: "", src: "http://192.0.2.1/x.png" }));
  });
  const rules = (await axeFinds(page)).map((fault) => fault.split(/[ :]+/)[1]);
  assert.ok(rules.includes("label") && rules.includes("color-contrast"), rules.join());
  assert.match((await tooWide(page)).join(), /<h1/);
  assert.deepEqual((await walk(page)).unseen, ["name"]);
  // The page's policy forbade the image before it was asked for.
  const said = reader.faults.splice(0).join("\n");
  assert.match(said, /broken on purpose/);
  assert.match(said, /Content Security Policy/);
});

story("all works by the keyboard, and shows where one is", async (page) => {
  await visit(page, "/enrol");
  await page.keyboard.press("Tab");
  await see(page, ":focus", "Skip to content");
  assert.ok((await page.locator(".skip").boundingBox()).x >= 0, "it appears with the focus");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "main");
  await page.keyboard.press("Tab");
  // The breadcrumb.
  await see(page, ":focus", "Hosts");
  await page.keyboard.press("Tab");
  await page.keyboard.type("typed1");
  await page.keyboard.press("Tab");
  await page.keyboard.type("10.0.0.77");
  await page.keyboard.press("Enter");
  await see(page, "h1", "typed1");
  for (const [path, wanted] of [["/hosts/typed1", ["remove", "run-here"]], ["/run", ["role-1", "target-hosts", "hosts-names", "vars", "run"]], ["/runs", ["state", "apply"]], ["/runs/1", ["again", "output"]], ["/hosts/typed1/remove", ["yes", "no"]]]) {
    await visit(page, path);
    const { reached, unseen } = await walk(page);
    assert.deepEqual(unseen, [], path);
    assert.deepEqual(wanted.filter((id) => !reached.includes(id)), [], `${path}: ${reached}`);
  }
  await page.focus("#yes");
  await page.keyboard.press("Enter");
  await see(page, "#hosts", "web1");
});

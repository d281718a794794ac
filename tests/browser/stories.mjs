// What people do in the portal. SCRIPTS=off tells the same without the page's script: then one reloads.
import assert from "node:assert/strict";
import { follow, go, halt, run, scripts, see, story, tell, texts, visit } from "./browser.mjs";

story("an alert type gets a role, and the alert, told again, its run", async (page) => {
  await tell("SiteDown", "web1");
  await visit(page, "/alerts");
  await see(page, "#types tr", /SiteDown\s+firing 1\s+none/);
  await page.click("#types a >> text=SiteDown");
  await see(page, "h1", "SiteDown");
  await see(page, "#episodes", "No binding");
  await page.click("#bind");
  assert.equal((await page.inputValue("#matchers")).trim(), 'alertname = "SiteDown"');
  await page.fill("#name", "mend-site");
  await page.selectOption("#role-1", "ok");
  await page.click("#save");
  await see(page, "main", "mend-site");
  await visit(page, "/alerts/SiteDown");
  await see(page, "#summary", "mend-site");

  await visit(page, "/");
  await see(page, "#firing", "SiteDown");
  assert.doesNotMatch((await texts(page, "#firing"))[0], /run #/);
  await tell("SiteDown", "web1");
  await follow(page, "#firing li", /mend-site: successful run #\d+/);
  await page.click("#firing a >> text=/run #/");
  await see(page, "#status", "successful");
  await see(page, "#summary", "binding mend-site");
  await see(page, "#alerts-section", /SiteDown firing/);
});

story("a role is run once on a group, and watched", async (page) => {
  halt();
  await visit(page, "/");
  await page.click("nav >> text=Run a role");
  await page.selectOption("#role-1", "ok");
  await page.click("summary >> text=More roles");
  await page.selectOption("#role-2", "wait");
  if (!scripts) await page.check("#target-group");
  await page.selectOption("#group", "web");
  assert.ok(await page.isChecked("#target-group"), "who chooses a group means it");
  await page.click("#run");
  assert.match(page.url(), /\/runs\/\d+$/);
  await follow(page, "#status", "running");
  await follow(page, "#tasks > li", /ok · do it/);
  await follow(page, "#output", "changed: [web2] by ok");
  assert.doesNotMatch((await texts(page, "#tasks"))[0], /wait ·/);
  go();
  await follow(page, "#status", "successful");
  await see(page, "#tasks > li", /wait · do it/);
  await see(page, "#hosts tr", /web2\s+successful/);
  await see(page, "#timeline", "from");
  assert.equal(await page.locator("#cancel").count(), 0);
});

story("a run is canceled, after one question", async (page) => {
  halt();
  const id = await run(["wait"], ["twin1"]);
  await visit(page, `/runs/${id}`);
  await follow(page, "#status", "running");
  await page.click("#cancel");
  await see(page, "h1", `Cancel run ${id}?`);
  await page.click("#no");
  await see(page, "#status", "running");
  await page.click("#cancel");
  await page.click("#yes");
  await follow(page, "#status", "canceled");
  assert.equal(await page.locator("#cancel").count(), 0);
  go();
});

story("an old run is found, and its output read in its colours", async (page) => {
  const good = await run(["ok"], ["web1"]), bad = await run(["ok", "fail"], ["web2"]);
  await visit(page, `/runs/${bad}`);
  await follow(page, "#status", "failed");
  await visit(page, "/runs");
  await see(page, "#runs", `#${good}`);
  await page.selectOption("#state", "failed");
  await page.click("#apply");
  assert.deepEqual(await texts(page, "#runs tbody th"), [`#${bad}`]);
  await page.click("text=Show all");
  await page.fill("#text", "[web2] by fail");
  await page.press("#text", "Enter");
  assert.deepEqual(await texts(page, "#runs tbody th"), [`#${bad}`]);
  assert.equal(await page.inputValue("#text"), "[web2] by fail");
  await page.fill("#text", "nothing writes this");
  await page.click("#apply");
  await see(page, "#runs-empty", "No run matches");
  assert.equal(await page.locator("#runs").count(), 0);
  await page.click("text=Show all runs");
  await page.fill("#role", "fail");
  await page.fill("#host", "web2");
  await page.click("#apply");
  await page.click(`#runs a >> text="#${bad}"`);
  await see(page, "#output", "failed: [web2] by fail");
  const coloured = page.locator("#output span", { hasText: "changed: in colours" });
  const colour = (of) => of.evaluate((element) => getComputedStyle(element).color);
  assert.notEqual(await colour(coloured), await colour(page.locator("#output code")));
  assert.doesNotMatch(await page.locator("#output").innerText(), /\u001b|\[0;33m/);
});

story("a host is added and removed, after one question", async (page, reader) => {
  await visit(page, "/hosts");
  await page.click("#add-host");
  await page.fill("#name", "web9");
  await page.fill("#address", "not an address");
  await page.fill("#groups", "web");
  reader.mayBeRefused(/\/enrol$/);
  await page.click("#add");
  await see(page, "#address-error", "neither an IP address nor a DNS name");
  assert.equal(await page.inputValue("#name"), "web9");
  await page.fill("#address", "10.0.0.9");
  await page.click("#add");
  await see(page, "h1", "web9");
  await visit(page, "/hosts?group=web");
  await see(page, "#hosts tr", /web9\s+10\.0\.0\.9\s+web\s+enrolled/);
  await page.click("#hosts a >> text=web9");
  await page.click("#remove");
  await see(page, "h1", "web9");
  await page.click("#no");
  await see(page, "h1", "web9");
  await page.click("#remove");
  await page.click("#yes");
  await see(page, "#hosts", "web1");
  assert.ok(!(await texts(page, "#hosts tbody th")).includes("web9"));
});

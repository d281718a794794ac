// What people do about guards: pause everything, approve and reject, hold a host. SCRIPTS=off tells the same without scripts.
import assert from "node:assert/strict";
import { bind, follow, run, see, story, tell, texts, visit } from "./browser.mjs";

story("everything is paused, every page says so, and it goes on", async (page) => {
  await visit(page, "/hosts");
  await page.click("#pause");
  await see(page, "h1", "Pause everything?");
  await page.click("#no");
  assert.equal(await page.locator("#paused").count(), 0);
  await page.click("#pause");
  await page.fill("#why", "the network is mended");
  await page.click("#yes");
  await see(page, "#paused", "Everything is paused by the portal");
  const id = await run(["ok"], ["web1"]);
  for (const path of ["/", "/roles", `/runs/${id}`, "/run"]) {
    await visit(page, path);
    await see(page, "#paused", "the network is mended");
  }
  await visit(page, `/runs/${id}`);
  await see(page, "#status", "held");
  await see(page, "#held", "everything is paused");
  await page.click("#resume");
  await see(page, "h1", "Overview");
  assert.equal(await page.locator("#paused").count(), 0);
  await visit(page, `/runs/${id}`);
  await follow(page, "#status", "successful");
});

story("a run waits for a person, who approves one and rejects another", async (page) => {
  await bind({ name: "asks", matchers: ['alertname = "NeedsYou"'], roles: ["ok"], approval: { required: true, ttl: "1h" } });
  await visit(page, "/");
  await see(page, "h1", "Overview");
  assert.equal(await page.locator("#waiting").count(), 0);
  await tell("NeedsYou", "web1");
  await follow(page, "#waiting", "ok on web1");
  await page.click("#waiting button >> text=Approve");
  await see(page, "h1", "ok");
  await follow(page, "#status", "successful");
  await see(page, "#summary", "by the portal");

  await tell("NeedsYou", "web2");
  await visit(page, "/");
  await follow(page, "#waiting", "ok on web2");
  await page.click("#waiting h3 a");
  await see(page, "#held", "Waiting for approval");
  await page.click("#reject");
  await follow(page, "#status", "canceled");
  await see(page, "#status", "rejected by the portal");
  await visit(page, "/");
  assert.equal(await page.locator("#waiting").count(), 0);
});

story("a host is held, left alone, and released", async (page, reader) => {
  await bind({ name: "mends", matchers: ['alertname = "Broken"'], roles: ["ok"] });
  await visit(page, "/hosts/web1");
  await page.click("#hold");
  await see(page, "h1", "Hold web1");
  await page.fill("#for", "two hours");
  await page.fill("#why", "it gets a new disk");
  reader.mayBeRefused(/\/hold$/);
  await page.click("#yes");
  await see(page, "#for-error", "expected a number before");
  assert.equal(await page.inputValue("#why"), "it gets a new disk");
  await page.fill("#for", "2h");
  await page.click("#yes");
  await see(page, "#held", "it gets a new disk");
  await visit(page, "/");
  await see(page, "#alone", "web1");
  await tell("Broken", "web1");
  await follow(page, "#firing li", /mends: host_held/);
  await page.click("#alone >> text=Release");
  await see(page, "h1", "web1");
  assert.equal(await page.locator("#held").count(), 0);
  await visit(page, "/");
  await follow(page, "#firing li", /mends: successful run #\d+/);
  assert.deepEqual(await texts(page, "#alone"), []);
});

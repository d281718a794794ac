// A schedule is added, starts by itself, is paused and goes on.
import assert from "node:assert/strict";
import { see, story, texts, visit } from "./browser.mjs";

story("a schedule starts by itself, and can be paused", async (page, reader) => {
  await visit(page, "/schedules");
  await page.click("#add-schedule");
  await page.fill("#name", "nightly");
  await page.fill("#cron", "61 * * * *");
  reader.mayBeRefused(/\/schedule$/);
  await page.click("#preview");
  await see(page, "#cron-error", /\w/);
  await page.fill("#cron", "0 3 * * *");
  await page.fill("#timezone", "Asia/Shanghai");
  await page.click("#preview");
  await see(page, "#next", "Next:");
  const next = await texts(page, "#next time");
  assert.equal(next.length, 5);
  // The reader's zone is the schedule's.
  assert.match(next[0], /03:00/);
  assert.match(await page.getAttribute("#next time", "title"), / 19:00:00 UTC$/);
  await page.fill("#cron", "* * * * *");
  await page.click("#preview");
  await see(page, "#next", "minute");
  assert.equal(await page.inputValue("#name"), "nightly");
  await page.selectOption("#role-1", "tidy");
  await page.check("#target-controller");
  await page.click("#save");
  await see(page, "#schedule-nightly", /tidy on .*controller/);

  await visit(page, "/");
  await see(page, "#next", "nightly");
  // It starts within a minute, and is seen to.
  page.setDefaultTimeout(100_000);
  await page.evaluate(() => { window.notReloaded = true; });
  await see(page, "#ended tr", /successful\s+tidy\s+localhost\s+schedule nightly/);
  assert.ok(await page.evaluate(() => window.notReloaded));

  await visit(page, "/schedules");
  await see(page, "#schedule-nightly", /Last:\s+successful\s+run #1/);
  const row = page.locator("#schedule-nightly");
  await row.getByRole("button", { name: "Pause" }).click();
  await see(page, "#schedule-nightly", /paused by the portal/);
  assert.doesNotMatch((await texts(page, "#schedule-nightly"))[0], /Next:/);
  await row.getByRole("button", { name: "Resume" }).click();
  await see(page, "#schedule-nightly", /Next:/);
  assert.doesNotMatch((await texts(page, "#schedule-nightly"))[0], /paused/);
});

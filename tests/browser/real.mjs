// A role of the real Ansible is run on a host, and watched.
import assert from "node:assert/strict";
import { follow, go, see, story, texts, visit } from "./browser.mjs";

story("the real Ansible is watched as it works", async (page, reader) => {
  await visit(page, "/roles/greet");
  await see(page, "#options", /greet_word\s+required/);
  await page.click("#run-role");
  await page.fill("#hosts-names", "web1");
  reader.mayBeRefused(/\/run$/);
  await page.click("#run");
  await see(page, "#vars-error", "greet_word");
  await page.fill("#vars", "greet_word: '{{ 6 * 7 }} hellos'");
  await page.click("#run");
  await follow(page, "#tasks > li", /greet · Greet/);
  // Text of a person is data.
  await follow(page, "#output", "{{ 6 * 7 }} hellos");
  assert.doesNotMatch((await texts(page, "#tasks"))[0], /Change something/);
  await see(page, "#status", "running");
  go();
  await follow(page, "#status", "successful");
  await see(page, "#tasks > li", /Change something[^]*changed/);
  const changed = page.locator("#output span", { hasText: "changed: [web1]" });
  const colour = (of) => of.evaluate((element) => getComputedStyle(element).color);
  assert.notEqual(await colour(changed.first()), await colour(page.locator("#output code")));
});

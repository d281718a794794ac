// A user signs in, looks and acts, and signs out.
import assert from "node:assert/strict";
import { axeFinds, tooWide, walk } from "./checks.mjs";
import { follow, portal, scripts, see, story, visit } from "./browser.mjs";

story("who signs in comes in, acts in his own name, and goes", async (page, reader) => {
  reader.mayBeRefused(/\/login/);
  await visit(page, "/run");
  assert.equal(page.url(), `${portal}/login?next=%2Frun`);
  await see(page, "h1", "Sign in");
  assert.equal(await page.locator("nav").count(), 0, "nothing of what is inside is told");
  if (scripts) {
    for (const size of [{ width: 1280, height: 900 }, { width: 360, height: 740 }]) {
      await page.setViewportSize(size);
      assert.deepEqual([...await axeFinds(page), ...await tooWide(page)], []);
    }
    assert.deepEqual((await walk(page)).unseen, []);
  }
  await page.fill("#user", "alice");
  await page.fill("#password", "wrong");
  await page.click("#sign-in");
  await see(page, "#wrong", "The user name or the password is wrong.");
  assert.equal(await page.inputValue("#user"), "alice");
  assert.equal(await page.inputValue("#password"), "");
  await page.fill("#password", "hunter2");
  await page.keyboard.press("Enter");
  await see(page, "h1", "Run a role");
  assert.equal(page.url(), `${portal}/run`);
  await see(page, "#who", "alice");
  const [cookie] = await page.context().cookies();
  assert.deepEqual([cookie.name, cookie.httpOnly, cookie.sameSite], ["promansible_session", true, "Strict"]);

  await page.selectOption("#role-1", "ok");
  await page.fill("#hosts-names", "web1");
  await page.click("#run");
  await follow(page, "#status", "successful");
  await see(page, "#summary", "manually by alice");
  await page.click("footer >> text=Audit");
  await see(page, "#audit tr", /alice session\s+127\.0\.0\.1:\d+\s+started run \d+: \S+ on \S+?\s*POST \/run\s+303/);
  await see(page, "#audit tr", /alice password\s+127\.0\.0\.1:\d+\s+signed in\s*POST \/login\s+303/);

  await page.click("#sign-out");
  await see(page, "h1", "Sign in");
  await visit(page, "/");
  await see(page, "h1", "Sign in");
});

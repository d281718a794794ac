// What every page must pass, however it is looked at.
import axe from "axe-core";

/** What axe-core finds by all its rules, or by these; the slightest as well: a page without any is not much harder to make. */
export async function axeFinds(page, only) {
  // Evaluated from outside, which the page's own policy allows to no script of its own.
  if (!await page.evaluate(() => "axe" in globalThis)) await page.evaluate(axe.source);
  const rules = only ? { runOnly: only } : { rules: { "target-size": { enabled: true } } };
  const found = await page.evaluate((rules) => globalThis.axe.run(document, { resultTypes: ["violations"], ...rules }), rules);
  const judged = found.passes.length + found.violations.length + found.incomplete.length;
  if (found.testEngine.version !== axe.version || judged < (only ? 1 : 10)) throw new Error("axe-core looked at nothing");
  return found.violations.map((of) => `${of.impact} ${of.id}: ${of.help}: ${of.nodes.slice(0, 3).map((node) => `${node.html} (${node.failureSummary})`).join(" | ")}`);
}

/** What is wider than the page: it would have to be scrolled sideways. */
export function tooWide(page) {
  return page.evaluate(() => {
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= width) return [];
    const wide = [...document.querySelectorAll("body *")].filter((element) => element.getBoundingClientRect().right > width + 0.5);
    return [`${document.documentElement.scrollWidth} > ${width}`, ...wide.slice(0, 5).map((element) => element.outerHTML.slice(0, 200))];
  });
}

/** Walks through the page by Tab; yields what can be reached, and what of it does not show that it has the focus. */
export async function walk(page, most = 80) {
  const reached = [], unseen = [];
  for (let n = 0; n < most; n++) {
    await page.keyboard.press("Tab");
    const at = await page.evaluate(() => {
      const element = document.activeElement;
      if (!element || element === document.body) return null;
      const style = getComputedStyle(element), box = element.getBoundingClientRect();
      const outlined = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
      const there = box.width > 0 && box.height > 0 && box.right > 0 && box.bottom > 0 && box.left < innerWidth && box.top < innerHeight;
      return { name: element.id || element.textContent.trim() || element.tagName, shows: outlined && there };
    });
    if (!at || at.name === reached[0]) break;
    reached.push(at.name);
    if (!at.shows) unseen.push(at.name);
  }
  return { reached, unseen };
}

// What a page can do more where scripts run: times in the reader's zone, and parts that follow what happens.
"use strict";

const MINUTE = 60, HOUR = 3600, DAY = 86400;
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "short" });
const today = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const other = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });

function said(at, now) {
  const seconds = Math.round((at - now) / 1000), distance = Math.abs(seconds);
  if (distance < 45) return seconds > 0 ? "in a moment" : "just now";
  if (distance < 50 * MINUTE) return relative.format(Math.round(seconds / MINUTE), "minute");
  if (distance < 22 * HOUR) return relative.format(Math.round(seconds / HOUR), "hour");
  return other.format(at);
}

function tellTimes(root) {
  const now = new Date();
  for (const element of root.querySelectorAll("time[datetime]")) {
    const at = new Date(element.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    const near = Math.abs(now - at) < 22 * HOUR * 1000;
    // Where times are compared or waited for, how long it is to them is not enough.
    const exact = near && element.closest(".facts, .timeline, #next, .times");
    const listed = element.closest(".times");
    const text = listed && at.toDateString() !== now.toDateString() ? other.format(at) : exact ? today.format(at) + (listed ? "" : ", " + said(at, now)) : said(at, now);
    if (element.textContent !== text) element.textContent = text;
  }
}

// Takes the page's live part anew from the server, unless the reader is busy in it.
function follow(part) {
  let asked = false, busy = false, last = 0;
  async function refresh() {
    if (busy || document.hidden) { asked = true; return; }
    asked = false;
    busy = true;
    const began = performance.now();
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (answer.ok) swap(part, new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch { /* The server is away; the stream tells when it is back. */ }
    last = performance.now() - began;
    busy = false;
    if (asked) soon();
  }
  let timer = null;
  function soon() {
    if (timer !== null) return;
    // A page that takes long to make is made less often.
    timer = setTimeout(() => { timer = null; refresh(); }, Math.max(400, 4 * last));
  }
  const stream = new EventSource(part.dataset.live);
  for (const kind of ["run", "task", "output", "reset"]) stream.addEventListener(kind, soon);
  // Times that come, and what persons hold, are not told.
  const again = setInterval(soon, 30000);
  // What happened before it opened, at first or again, is not told.
  stream.addEventListener("open", soon);
  document.addEventListener("visibilitychange", () => { if (!document.hidden && asked) soon(); });
  follow.stop = () => { stream.close(); clearInterval(again); };
}

function swap(part, page) {
  const fresh = page.getElementById(part.id);
  if (!fresh || part.contains(document.activeElement) && document.activeElement.matches("input, select, textarea")) return;
  const focused = part.contains(document.activeElement) ? document.activeElement : null;
  const key = focused && (focused.id ? "#" + CSS.escape(focused.id) : focused.href && `a[href="${CSS.escape(focused.getAttribute("href"))}"]`);
  const output = part.querySelector("#output");
  const atEnd = output && output.scrollHeight - output.scrollTop - output.clientHeight < 40;
  const top = output && output.scrollTop;
  tellTimes(fresh);
  for (const child of [...fresh.children]) {
    const old = child.id && part.querySelector(`:scope > #${CSS.escape(child.id)}`);
    // What stays the same stays, so that a screen reader hears of changes alone.
    if (!old) continue;
    if (!old.isEqualNode(child)) {
      // A status must stay itself to be read out when its text changes.
      if (old.getAttribute("role") !== "status") continue;
      old.replaceChildren(...child.childNodes);
    }
    child.replaceWith(old);
  }
  part.replaceChildren(...fresh.childNodes);
  const now = part.querySelector("#output");
  if (now) now.scrollTop = atEnd ? now.scrollHeight : top || 0;
  if (key) part.querySelector(key)?.focus({ preventScroll: true });
  const state = document.getElementById("pause-state"), pause = page.getElementById("pause-state");
  if (state && pause && !state.isEqualNode(pause) && !state.contains(document.activeElement)) { tellTimes(pause); state.replaceWith(pause); }
  document.title = page.title;
  if (!fresh.dataset.live) { delete part.dataset.live; follow.stop(); }
}

tellTimes(document);
setInterval(() => tellTimes(document), 15000);
for (const part of document.querySelectorAll("[data-live]")) follow(part);

// Who types into the field of a choice, or chooses in it, means that choice.
document.addEventListener("input", (event) => {
  const radio = event.target.closest(".choice")?.querySelector("input[type=radio]");
  if (radio && radio !== event.target) radio.checked = true;
});

// Extras when scripts run: times in the reader's time zone, and live updates.
"use strict";

const MINUTE = 60, HOUR = 3600, DAY = 86400;
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "short" });
const today = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const other = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });

function describe(at, now) {
  const seconds = Math.round((at - now) / 1000), distance = Math.abs(seconds);
  if (distance < 45) return seconds > 0 ? "in a moment" : "just now";
  if (distance < 50 * MINUTE) return relative.format(Math.round(seconds / MINUTE), "minute");
  if (distance < 22 * HOUR) return relative.format(Math.round(seconds / HOUR), "hour");
  return other.format(at);
}

function localizeTimes(root) {
  const now = new Date();
  for (const element of root.querySelectorAll("time[datetime]")) {
    const at = new Date(element.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    const near = Math.abs(now - at) < 22 * HOUR * 1000;
    // A relative time is not enough where times are compared or awaited.
    const exact = near && element.closest(".facts, .timeline, #next, .times");
    const listed = element.closest(".times");
    const text = listed && at.toDateString() !== now.toDateString() ? other.format(at) : exact ? today.format(at) + (listed ? "" : ", " + describe(at, now)) : describe(at, now);
    if (element.textContent !== text) element.textContent = text;
  }
}

// Reloads the live part of the page from the server, unless the reader is typing in it.
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
    } catch { /* The server is down; the stream reconnects when it is back. */ }
    last = performance.now() - began;
    busy = false;
    if (asked) soon();
  }
  let timer = null;
  function soon() {
    if (timer !== null) return;
    // A page that is slow to render is requested less often.
    timer = setTimeout(() => { timer = null; refresh(); }, Math.max(400, 4 * last));
  }
  const stream = new EventSource(part.dataset.live);
  for (const kind of ["run", "task", "output", "reset"]) stream.addEventListener(kind, soon);
  // There are no events for times that come due, nor for holds.
  const again = setInterval(soon, 30000);
  // Events before the stream opened, or reopened, were missed.
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
  localizeTimes(fresh);
  for (const child of [...fresh.children]) {
    const old = child.id && part.querySelector(`:scope > #${CSS.escape(child.id)}`);
    // Unchanged nodes stay, so that a screen reader announces only changes.
    if (!old) continue;
    if (!old.isEqualNode(child)) {
      // A status element must stay the same node, or its new text is not announced.
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
  if (state && pause && !state.isEqualNode(pause) && !state.contains(document.activeElement)) { localizeTimes(pause); state.replaceWith(pause); }
  document.title = page.title;
  if (!fresh.dataset.live) { delete part.dataset.live; follow.stop(); }
}

localizeTimes(document);
setInterval(() => localizeTimes(document), 15000);
for (const part of document.querySelectorAll("[data-live]")) follow(part);

// Input in the field of a choice selects that choice.
document.addEventListener("input", (event) => {
  const radio = event.target.closest(".choice")?.querySelector("input[type=radio]");
  if (radio && radio !== event.target) radio.checked = true;
});

// Follows the page: the server sends it anew when something has changed, and the parts that differ take the old ones' place.
// Without it every page works; it only does not change by itself.
"use strict";
(() => {
  const sign = document.getElementById("live");
  if (!window.EventSource || !document.querySelector("main [data-part]")) return;
  const say = (state, words) => {
    if (!sign || sign.textContent === words) return;
    sign.className = "live " + state;
    sign.textContent = words;
  };
  const held = new Map(); // by part: what takes its place once nobody is at it
  // A list with buttons stays as it is under a finger: the next one must not be another's.
  const inUse = (part) => part.hasAttribute("data-hold") && (part.contains(document.activeElement) || part.matches(":hover"));
  // The same thing again, by its name or where it leads: never by its place.
  const same = (part, one) => {
    const name = one.id ? "#" + CSS.escape(one.id) : one.hasAttribute("href") ? 'a[href="' + CSS.escape(one.getAttribute("href")) + '"]' : one.tagName === "SUMMARY" && one.parentElement.id ? "#" + CSS.escape(one.parentElement.id) + " > summary" : "";
    return name && part.querySelector(name);
  };
  const replace = (old, next) => {
    if (old.outerHTML === next.outerHTML) return;
    const fresh = document.adoptNode(next);
    for (const open of old.querySelectorAll("details[open][id]")) {
      const again = fresh.querySelector("#" + CSS.escape(open.id));
      if (again) again.open = true;
    }
    const focused = old.contains(document.activeElement) ? same(fresh, document.activeElement) : null;
    old.replaceWith(fresh);
    if (focused) focused.focus({ preventScroll: true });
  };
  const show = (next) => {
    const name = next.dataset.part;
    const old = document.querySelector('[data-part="' + CSS.escape(name) + '"]');
    if (!old) return;
    held.delete(name);
    if (inUse(old)) held.set(name, next);
    else replace(old, next);
  };
  const release = () => setTimeout(() => Array.from(held.values()).forEach(show));
  document.addEventListener("focusout", release);
  document.addEventListener("pointerout", release);
  const follow = () => {
    const source = new EventSource(location.pathname + location.search);
    source.addEventListener("open", () => say("on", "Live"));
    source.addEventListener("error", () => {
      say("off", "Not live: waiting for the dispatcher");
      if (source.readyState === EventSource.CLOSED) setTimeout(follow, 5000);
    });
    source.addEventListener("message", (message) => {
      const next = new DOMParser().parseFromString(message.data, "text/html");
      Array.from(next.querySelectorAll("[data-part]")).forEach(show);
    });
    window.addEventListener("pagehide", () => source.close(), { once: true });
  };
  follow();
})();

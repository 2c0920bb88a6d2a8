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
  const replace = (old, next) => {
    if (old.outerHTML === next.outerHTML) return;
    const fresh = document.adoptNode(next);
    for (const open of old.querySelectorAll("details[open][id]")) {
      const same = fresh.querySelector("#" + CSS.escape(open.id));
      if (same) same.open = true;
    }
    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    const all = (part) => Array.from(part.querySelectorAll("a, summary, button"));
    const position = focused ? all(old).indexOf(focused) : -1;
    old.replaceWith(fresh);
    if (position >= 0 && all(fresh)[position]) all(fresh)[position].focus({ preventScroll: true });
  };
  const follow = () => {
    const source = new EventSource(location.pathname + location.search);
    source.addEventListener("open", () => say("on", "Live"));
    source.addEventListener("error", () => {
      say("off", "Not live: waiting for the dispatcher");
      if (source.readyState === EventSource.CLOSED) setTimeout(follow, 5000);
    });
    source.addEventListener("message", (message) => {
      const next = new DOMParser().parseFromString(message.data, "text/html");
      for (const part of Array.from(next.querySelectorAll("[data-part]"))) {
        const old = document.querySelector('[data-part="' + CSS.escape(part.dataset.part) + '"]');
        if (old) replace(old, part);
      }
    });
    window.addEventListener("pagehide", () => source.close(), { once: true });
  };
  follow();
})();

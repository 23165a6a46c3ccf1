// What a click on a suggested action does, as plain values: open an address, send a message, or say what a site would do.
// Pure, no DOM.

import { safeHref } from "./markdown.js";

const NOTES = {
  handoff: "A person was asked for. On your own site, your page decides what happens now.",
  form: "On your own site, your page opens its form now.",
};

/** {href}, {send} or {note}; null for what nothing can be done with. `base` is the address of the page. */
export function outcome({ label, kind, value } = {}, base) {
  if (typeof label !== "string" || !label.trim()) return null;
  const text = typeof value === "string" ? value.trim() : "";
  switch (kind) {
    case "reply":
      return { send: text || label };
    case "link": {
      const href = text ? safeHref(text, base) : null;
      return href && !href.startsWith("mailto:") ? { href } : null;
    }
    case "handoff":
    case "form": {
      // An operator's own address; a bare word is a message to the page around the chat.
      const href = /^tel:[+\d][\d\s().-]{1,30}$/.test(text) ? text : safeHref(text);
      return href ? { href } : { note: NOTES[kind] };
    }
    default:
      return null;
  }
}

/**
 * What an answer, a source or an action may link to, and how its text is cleaned before it is shown. Pure; used by
 * `markdown.ts` and by everything in the panel that makes a link of data.
 */

const PROTOCOL = /^(?:https?|mailto|tel):/;
const LONGEST_HREF = 2048;

/**
 * Embeddings and overrides of the writing direction, which make a text read as what it is not, and controls that draw nothing.
 * Isolates, tabs and line ends are harmless.
 */
const DECEIVING = /[\u202A-\u202E\u0000-\u0008\u000B\u000C\u000E-\u001F\u007F-\u009F]/g;

/** Named character references that people and models write; the rest stays as it is. */
const NAMED = new Map(Object.entries({ amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00A0" }));

/** The address to follow, normalised, or null: anything but http, https, mailto and tel is no link. */
export function safeHref(href: string, base?: string): string | null {
  const wanted = href.trim();
  if (wanted === "" || wanted.length > LONGEST_HREF) return null;
  try {
    const url = new URL(wanted, base);
    return PROTOCOL.test(url.href) ? url.href : null;
  } catch {
    return null;
  }
}

/** The address of a picture, or null: https only. */
export function safeImage(href: string): string | null {
  const found = safeHref(href);
  return found?.startsWith("https:") ? found : null;
}

/** Where a link of `safeHref` really leads, for a tooltip: the host in ASCII ("xn--…"), or the mail address or number. */
export function destination(href: string): string {
  const url = new URL(href);
  return url.host === "" ? url.pathname : url.host;
}

/** Whether a link's text names a host that is not the one it leads to: "bank.example" over a link to elsewhere. */
export function misleads(text: string, href: string): boolean {
  const url = new URL(href);
  if (url.host === "") return false;
  if (url.username !== "") return true; // https://bank.example@elsewhere.example/
  const named = /^(?:https?:\/\/)?((?:[\p{L}\p{N}-]+\.)+\p{L}{2,})(?=$|[\s/:?#])/iu.exec(text.trim())?.[1];
  if (named === undefined) return false;
  try {
    return bare(new URL(`https://${named}`).hostname) !== bare(url.hostname);
  } catch {
    return false;
  }
}

function bare(host: string): string {
  return host.replace(/^www\./, "");
}

/** Text of an answer as it is shown: character references resolved once, nothing that deceives. */
export function cleanText(text: string): string {
  return text
    .replace(/&(?:#(\d{1,7})|#x([0-9a-f]{1,6})|([a-z]{2,4}));/gi, (whole, decimal?: string, hex?: string, name?: string) => {
      if (name !== undefined) return NAMED.get(name) ?? whole;
      const code = decimal === undefined ? Number(`0x${hex}`) : Number(decimal);
      return code > 0 && code <= 0x10ffff && code >> 11 !== 0x1b ? String.fromCodePoint(code) : "\uFFFD";
    })
    .replace(DECEIVING, "");
}

/** Code as it is shown: every character stays in its place, and those that would deceive the eye become visible. */
export function cleanCode(text: string): string {
  return text.replace(DECEIVING, "\uFFFD");
}

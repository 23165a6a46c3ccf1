/**
 * One run of inline Markdown in an element: links, emphasis, code, citations. Keeps the nodes of what did not change. Used by
 * `markdown.ts`.
 */

import type { Fence } from "./fence.ts";
import { cleanCode, cleanText, destination, misleads, safeHref, safeImage } from "./markdown-links.ts";
import { readSpans, type Span } from "./markdown-spans.ts";

export interface InlineOptions {
  readonly document: Document;
  /** Show pictures (https only); otherwise a link with the picture's text. */
  readonly images: boolean;
  /** The node for a citation mark `[n]`, or null: then it stays text. */
  cite(n: number): Node | null;
  /** Relative links are resolved against this address; without it they are shown as text. */
  readonly base?: string;
}

/** A child of the run by what tells whether it changed. Text has its own words as key. */
type Shown = readonly [key: string, node: Node];
type Piece = readonly [key: string, make: () => Node];

/** [1], [^1], [1, 2] */
const CITATION = /\[\^?(\d{1,3}(?:\s?[,;]\s?\^?\d{1,3}){0,9})\]/g;

/** The finished beginning of a run: so many pieces, and the words of the text after them. */
export interface Finished {
  readonly count: number;
  readonly text: string;
}

const NOTHING: Finished = { count: 0, text: "" };

/** Make `parent` show a run, of which it shows `before`: all but its `finished` beginning is `markdown`. Returns what it shows now. */
export function showInline(
  parent: HTMLElement,
  before: readonly Shown[],
  markdown: string,
  open: boolean,
  options: InlineOptions,
  fence: Fence,
  { count, text }: Finished = NOTHING,
): Shown[] {
  const after = piecesAfter(text, markdown, open, options);
  let same = 0;
  while (same < after.length && after[same]?.[0] === before[count + same]?.[0]) same += 1;
  const shown = before.slice(0, count + same);
  const [old, next] = [before[count + same], after[same]];
  if (old?.[1].nodeType === 3 && next?.[0].startsWith(old[0])) {
    (old[1] as Text).appendData(next[0].slice(old[0].length)); // a selection in it survives
    shown.push([next[0], old[1]]);
  }
  for (const [, gone] of before.slice(shown.length)) parent.removeChild(gone);
  for (const [key, make] of after.slice(shown.length - count)) {
    const made = make();
    const safe = made.nodeType === 1 ? fence(made as HTMLElement) : made;
    parent.append(safe);
    shown.push([key, safe]);
  }
  return shown;
}

/** The pieces of a run that goes on from a text. */
export function piecesAfter(text: string, markdown: string, open: boolean, options: InlineOptions): Piece[] {
  const more = pieces(readSpans(markdown, open), false, options);
  const [first] = more;
  if (text === "") return more;
  const words = first === undefined || first[0].startsWith("\0") ? text : text + more.shift()?.[0];
  return [[words, () => options.document.createTextNode(words)], ...more];
}

/** Put citations in their places below `root`: in all, or in those that have none. */
export function cite(root: HTMLElement, all: boolean, options: InlineOptions): void {
  for (const place of root.querySelectorAll<HTMLElement>(all ? "[data-cite]" : "[data-cite]:not(.cited)")) {
    const n = Number(place.dataset["cite"]);
    const node = options.cite(n);
    if (node !== null) place.replaceChildren(node);
    else if (place.classList.contains("cited")) place.textContent = `[${n}]`;
    place.classList.toggle("cited", node !== null);
  }
}

function pieces(spans: readonly Span[], linked: boolean, options: InlineOptions): Piece[] {
  const found: Piece[] = [];
  let run = "";
  const text = (words: string): void => {
    const clean = cleanText(words);
    if (clean !== "") found.push([clean, () => options.document.createTextNode(clean)]);
  };
  const flush = (): void => {
    let at = 0;
    for (const mark of linked ? [] : run.matchAll(CITATION)) {
      text(run.slice(at, mark.index));
      // A key that no text has: texts of an answer are without controls.
      for (const [n] of (mark[1] ?? "").matchAll(/\d+/g)) found.push([`\0${n}`, () => place(n, [`[${n}]`], options)]);
      at = mark.index + mark[0].length;
    }
    text(run.slice(at));
    run = "";
  };
  for (const span of spans) {
    if (span.type === "text") {
      run += span.text;
    } else {
      flush();
      if (span.type === "escape") text(span.text.replace("&", "&amp;"));
      else found.push([`\0${JSON.stringify(span)}`, () => element(span, linked, options)]);
    }
  }
  flush();
  return found;
}

function build(spans: readonly Span[], linked: boolean, options: InlineOptions): Node[] {
  return pieces(spans, linked, options).map(([, make]) => make());
}

function element(span: Span, linked: boolean, options: InlineOptions): HTMLElement {
  const { document, base } = options;
  switch (span.type) {
    case "code": {
      const code = make(document, "code", [cleanCode(span.text)]);
      code.dir = "ltr";
      return code;
    }
    case "break":
      return make(document, "br", []);
    case "picture":
      return picture(cleanText(span.href), cleanText(span.text).trim(), linked, options);
    case "link": {
      const children = build(span.children, true, options);
      const href = linked ? null : safeHref(span.literal ? span.href : cleanText(span.href), base);
      const link = href === null ? make(document, "span", children) : anchor(document, href, children);
      const n = /^\^?(\d{1,3})$/.exec(link.firstChild?.textContent ?? "")?.[1];
      // `[1](address)` is a citation as well: it must not look like one and lead elsewhere.
      return n === undefined || linked ? link : place(n, [link], options);
    }
    case "em":
    case "strong":
    case "del":
      return make(document, span.type, build(span.children, linked, options));
    default:
      return make(document, "span", [span.text]);
  }
}

/** Where a citation goes in, after the fence; until then what stands there without one. */
function place(n: string, children: (Node | string)[], options: InlineOptions): HTMLElement {
  const made = make(options.document, "span", children);
  made.dataset["cite"] = n;
  return made;
}

function anchor(document: Document, href: string, children: (Node | string)[]): HTMLElement {
  const link = make(document, "a", children);
  const host = destination(href);
  for (const [name, value] of [["href", href], ["target", "_blank"], ["rel", "noopener noreferrer nofollow ugc"], ["title", host]] as const) link.setAttribute(name, value);
  if (misleads(link.textContent ?? "", href)) {
    const note = make(document, "span", [` (${host})`]);
    note.className = "link-host";
    link.append(note);
  }
  return link;
}

function picture(address: string, words: string, linked: boolean, { document, images, base }: InlineOptions): HTMLElement {
  const source = safeImage(address);
  if (images && source !== null) {
    const image = make(document, "img", []);
    // The address last: the picture must not be fetched at once, nor tell whose page this is.
    const attributes = { class: "picture", alt: words, loading: "lazy", decoding: "async", referrerpolicy: "no-referrer", src: source };
    for (const [name, value] of Object.entries(attributes)) image.setAttribute(name, value);
    return image;
  }
  const href = linked ? null : safeHref(address, base);
  return href === null ? make(document, "span", [words]) : anchor(document, href, [words || destination(href)]);
}

function make(document: Document, name: string, children: (Node | string)[]): HTMLElement {
  const made = document.createElement(name);
  made.append(...children);
  return made;
}

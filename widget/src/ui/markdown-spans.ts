/**
 * One run of Markdown text into spans: emphasis by CommonMark's rules, code, links, pictures, bare addresses. Takes time in
 * proportion to the length of the run whatever is in it, and bounds nesting. A run that still grows is read as if its open
 * marks were closed, so that nobody sees `**bo` or `](htt` flicker by. Pure; used by `markdown-inline.ts`.
 */

import { emphasise, type Part, waits } from "./markdown-emphasis.ts";

export type Span =
  | { readonly type: "text" | "escape" | "code"; readonly text: string }
  | { readonly type: "break" }
  | { readonly type: "em" | "strong" | "del"; readonly depth: number; readonly children: readonly Span[] }
  | { readonly type: "link"; readonly href: string; readonly literal: boolean; readonly children: readonly Span[] }
  | { readonly type: "picture"; readonly href: string; readonly text: string };

interface Bracket {
  /** Where in the parts it stands. */
  readonly part: number;
  readonly at: number;
  readonly picture: boolean;
  active: boolean;
}

/** In a growing run: an opening mark farther back than this was meant as it stands. */
const FARTHEST = 600;
const LONGEST_ADDRESS = 1024;
/** What a growing run may end with that is not shown yet: half an escape, reference or tag. */
const HALF = /(?:\\|&#?\w{0,8}|<[a-z/][^<>\s]{0,200}|[<!])$/i;
/** The next character that may begin something. */
const SPECIAL = /[\\`*_~[\]!<\n@hHwW]/g;
const PUNCTUATION = /[\p{P}\p{S}]/u;
const SPACE = /\s/;
const WORD = /[\p{L}\p{N}_]/u;
/** Scripts without spaces between words: emphasis may begin and end anywhere in them. */
const UNSPACED = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\u3000-\u303F\uFF00-\uFFEF]/u;
const BARE = /(?:https?:\/\/|www\.(?=[^\s.]))[^\s<>"`[\]{}|\\^\u3000-\u303F\uFF00-\uFFEF]{1,2048}/iy;
const AUTOLINK = /<((?:https?:\/\/|mailto:|tel:)[^\s<>]{1,2048}|[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8})>/iy;
const LINE_BREAK = /<br\s{0,9}\/?>/iy;
const MAIL_HOST = /@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}(?<![-_])/y;

/** `open`: more of this run may come. */
export function readSpans(source: string, open = false): Span[] {
  return new Reader(open ? source.replace(HALF, "") : source, open).read();
}

/** Whether nothing in a run, which ends with a space, waits for a partner: it reads the same whatever follows. */
export function isWhole(source: string): boolean {
  return !/<br\s{1,9}$/i.test(source) && new Reader(source, false).isWhole();
}

class Reader {
  readonly #source: string;
  readonly #open: boolean;
  #at = 0;
  #text = "";
  #parts: Part[] = [];
  #brackets: Bracket[] = [];
  /** The last ")": no link ends after it. */
  readonly #lastEnd: number;
  /** Lengths of backtick runs that have no partner farther on. */
  readonly #unpaired = new Set<number>();
  /** "[text](" without its end: what follows may bring it. */
  #isCut = false;

  constructor(source: string, open: boolean) {
    this.#source = source;
    this.#open = open;
    this.#lastEnd = source.lastIndexOf(")");
  }

  read(): Span[] {
    this.#scan();
    if (this.#open) this.#mendBracket();
    return emphasise(this.#parts, this.#open);
  }

  isWhole(): boolean {
    this.#scan();
    return this.#brackets.length === 0 && this.#unpaired.size === 0 && !this.#isCut && !waits(this.#parts);
  }

  #scan(): void {
    const source = this.#source;
    while (this.#at < source.length) {
      SPECIAL.lastIndex = this.#at;
      const next = SPECIAL.exec(source)?.index ?? source.length;
      this.#text += source.slice(this.#at, next);
      this.#at = next;
      if (next < source.length) this.#special(source[next] ?? "");
    }
    this.#flush();
  }

  /** Whether a mark here may be closed by what comes. */
  #mends(at: number): boolean {
    return this.#open && this.#source.length - at <= FARTHEST;
  }

  /** "[te": the text of a link to be, shown without its bracket. "[1": a citation to be, not shown yet. */
  #mendBracket(): void {
    const last = this.#brackets.at(-1);
    if (last === undefined || !this.#mends(last.at)) return;
    if (/^[\^\d xX]{0,4}$/.test(this.#source.slice(last.at))) this.#parts.length = last.part;
    else this.#parts.splice(last.part, 1);
  }

  #special(char: string): void {
    switch (char) {
      case "\\":
        return this.#escape();
      case "`":
        return this.#code();
      case "*":
      case "_":
      case "~":
        return this.#mark(char);
      case "!":
        if (this.#source[this.#at + 1] === "[") return this.#bracket(2);
        return this.#literal(1);
      case "[":
        return this.#bracket(1);
      case "]":
        return this.#close();
      case "<":
        return this.#angle();
      case "\n":
        this.#text = this.#text.trimEnd();
        return this.#push({ type: "break" }, 1);
      case "@":
        return this.#mail();
      default:
        return this.#bare();
    }
  }

  #flush(): void {
    if (this.#text !== "") this.#parts.push({ type: "text", text: this.#text });
    this.#text = "";
  }

  #push(part: Part, length: number): void {
    this.#flush();
    this.#parts.push(part);
    this.#at += length;
  }

  #literal(length: number): void {
    this.#text += this.#source.slice(this.#at, this.#at + length);
    this.#at += length;
  }

  #escape(): void {
    const next = this.#source[this.#at + 1] ?? "";
    if (next === "\n") this.#push({ type: "break" }, 2);
    else if (/[!-/:-@[-`{-~]/.test(next)) this.#push({ type: "escape", text: next }, 2);
    else this.#literal(1);
  }

  #code(): void {
    const length = runLength(this.#source, this.#at);
    let end = this.#unpaired.has(length) ? -1 : this.#source.indexOf("`", this.#at + length);
    while (end >= 0) {
      const run = runLength(this.#source, end);
      if (run === length) break;
      end = this.#source.indexOf("`", end + run);
    }
    if (end < 0 && this.#mends(this.#at)) {
      const text = this.#source.slice(this.#at + length).replace(/`+$/, "");
      if (text !== "") this.#push({ type: "code", text }, 0);
      this.#at = this.#source.length;
      return;
    }
    if (end < 0) {
      this.#unpaired.add(length);
      return this.#literal(length);
    }
    let text = this.#source.slice(this.#at + length, end).replaceAll("\n", " ");
    if (/^ .*[^ ].* $/.test(text)) text = text.slice(1, -1);
    this.#push({ type: "code", text }, end + length - this.#at);
  }

  #mark(sign: string): void {
    const length = runLength(this.#source, this.#at);
    const end = this.#at + length === this.#source.length;
    if (sign === "~" && length !== 2 && !(end && this.#open)) return this.#literal(length);
    const before = charBefore(this.#source, this.#at);
    const after = charAfter(this.#source, this.#at + length);
    const gapBefore = SPACE.test(before);
    const gapAfter = SPACE.test(after);
    const punctuationBefore = PUNCTUATION.test(before);
    const punctuationAfter = PUNCTUATION.test(after);
    const unspaced = sign !== "_" && (UNSPACED.test(before) || UNSPACED.test(after));
    const left = !gapAfter && (unspaced || !punctuationAfter || gapBefore || punctuationBefore);
    const right = !gapBefore && (unspaced || !punctuationBefore || gapAfter || punctuationAfter);
    const opens = sign === "_" ? left && (!right || punctuationBefore) : left;
    // "**Note:**text" is not bold to CommonMark, but always meant so.
    const closes = sign === "_" ? right && (!left || punctuationAfter) : right || (length >= 2 && !gapBefore);
    if (!opens && !closes && !(end && this.#open)) return this.#literal(length);
    // What a mark at the very end closes or opens, the next piece says; a lone one within a word ("5*3") is not mended.
    const mends = this.#mends(this.#at) && (end || !(WORD.test(before) && length === 1));
    this.#push({ type: "mark", sign, left: length, length, opens: opens || (end && mends), closes, mends }, length);
  }

  #bracket(length: number): void {
    this.#flush();
    this.#brackets.push({ part: this.#parts.length, at: this.#at + length, picture: length === 2, active: true });
    this.#literal(length);
    this.#flush(); // a part of its own, to be taken away when it turns out to begin a link
  }

  #close(): void {
    const bracket = this.#brackets.pop();
    if (bracket === undefined || !bracket.active) return this.#literal(1);
    const next = this.#source[this.#at + 1];
    const target = next === "(" && this.#at < this.#lastEnd ? targetAt(this.#source, this.#at + 2) : null;
    if (target === null) {
      this.#isCut ||= next === "(";
      if (!this.#mends(bracket.at) || !this.#isHalf(next)) return this.#literal(1);
      this.#flush();
      this.#parts.splice(bracket.part, 1);
      this.#at = this.#source.length;
      return;
    }
    this.#flush();
    const label = this.#source.slice(bracket.at, this.#at);
    const inner = this.#parts.splice(bracket.part).slice(1);
    if (bracket.picture) {
      this.#parts.push({ type: "picture", href: target.href, text: plainOf(emphasise(inner)) });
    } else if (label.trim() === "") {
      this.#parts.push({ type: "text", text: target.href });
    } else {
      this.#parts.push({ type: "link", href: target.href, literal: false, children: emphasise(inner) });
      this.#deactivate();
    }
    this.#at = target.end;
  }

  /** Whether "[text](htt" or "[text]" stands at the very end: a link to be. "[1]" is a citation already. */
  #isHalf(next: string | undefined): boolean {
    if (next === "(") return (targetAt(`${this.#source}"))`, this.#at + 2)?.end ?? 0) > this.#source.length;
    return next === undefined && !/\d$/.test(this.#text);
  }

  /** No link within a link. Those below one that is inactive are so already. */
  #deactivate(): void {
    for (let at = this.#brackets.length - 1; at >= 0; at -= 1) {
      const outer = this.#brackets[at];
      if (outer === undefined || !outer.active) return;
      if (!outer.picture) outer.active = false;
    }
  }

  #angle(): void {
    const auto = matchAt(AUTOLINK, this.#source, this.#at);
    if (auto !== null) {
      const text = auto.slice(1, -1);
      const href = /^[a-z]+:/i.test(text) ? text : `mailto:${text}`;
      return this.#push({ type: "link", href, literal: true, children: [{ type: "text", text }] }, auto.length);
    }
    const line = matchAt(LINE_BREAK, this.#source, this.#at);
    if (line !== null) return this.#push({ type: "break" }, line.length);
    this.#literal(1);
  }

  #bare(): void {
    const found = WORD.test(charBefore(this.#source, this.#at)) ? null : matchAt(BARE, this.#source, this.#at);
    if (found === null) return this.#literal(1);
    const text = withoutTail(found);
    if (!/[^\s.:/]/.test(text.replace(/^(?:https?:\/\/|www\.)/i, ""))) return this.#literal(1);
    const href = /^www\./i.test(text) ? `https://${text}` : text;
    this.#push({ type: "link", href, literal: true, children: [{ type: "text", text }] }, text.length);
  }

  #mail(): void {
    const host = matchAt(MAIL_HOST, this.#source, this.#at);
    const name = host === null ? undefined : /[\w.+-]{1,64}$/.exec(this.#text.slice(-64))?.[0];
    if (host === null || name === undefined) return this.#literal(1);
    this.#text = this.#text.slice(0, -name.length);
    const text = name + host;
    this.#push({ type: "link", href: `mailto:${text}`, literal: true, children: [{ type: "text", text }] }, host.length);
  }
}

function matchAt(pattern: RegExp, source: string, at: number): string | null {
  pattern.lastIndex = at;
  return pattern.exec(source)?.[0] ?? null;
}

function runLength(source: string, at: number): number {
  let end = at + 1;
  while (source[end] === source[at]) end += 1;
  return end - at;
}

/** The character before; a line's beginning counts as white space. */
function charBefore(source: string, at: number): string {
  const low = source.charCodeAt(at - 1);
  return at <= 0 ? " " : low >= 0xdc00 && low <= 0xdfff ? source.slice(at - 2, at) : (source[at - 1] ?? " ");
}

function charAfter(source: string, at: number): string {
  const point = source.codePointAt(at);
  return point === undefined ? " " : String.fromCodePoint(point);
}

/** A bare address without the punctuation of the sentence around it. */
function withoutTail(found: string): string {
  let text = found;
  let open = 0;
  for (const char of text) open += char === "(" ? 1 : char === ")" ? -1 : 0;
  for (;;) {
    const last = text.at(-1) ?? "";
    if (last === ")" && open < 0) open += 1;
    else if (!/[?!.,:;*_~'"’”»…]/.test(last)) return text;
    text = text.slice(0, -1);
  }
}

/** The "address "title")" after "](", or null. */
function targetAt(source: string, from: number): { href: string; end: number } | null {
  let at = skipSpace(source, from);
  let href = "";
  if (source[at] === "<") {
    const end = source.indexOf(">", at);
    if (end < 0 || end - at > LONGEST_ADDRESS) return null;
    href = source.slice(at + 1, end);
    if (/[\n<]/.test(href)) return null;
    at = end + 1;
  } else {
    const begin = at;
    for (let depth = 0; at < source.length && at - begin <= LONGEST_ADDRESS; at += 1) {
      const code = source.charCodeAt(at);
      if (code <= 32) break;
      if (code === 92) at += 1;
      else if (code === 40) depth += 1;
      else if (code === 41 && depth-- === 0) break;
    }
    href = source.slice(begin, at);
  }
  at = skipSpace(source, at);
  const quote = source[at];
  if (quote === '"' || quote === "'") {
    const end = source.indexOf(quote, at + 1);
    if (end < 0 || end - at > LONGEST_ADDRESS) return null;
    at = skipSpace(source, end + 1); // a title is read over: what is shown is where the link leads
  }
  return source[at] === ")" ? { href: href.replace(/\\([!-/:-@[-`{-~])/g, "$1"), end: at + 1 } : null;
}

function skipSpace(source: string, from: number): number {
  let at = from;
  while (at - from < 9 && (source[at] === " " || source[at] === "\n" || source[at] === "\t")) at += 1;
  return at;
}

function plainOf(spans: readonly Span[]): string {
  return spans.map((span) => ("children" in span ? plainOf(span.children) : "text" in span ? span.text : " ")).join("");
}

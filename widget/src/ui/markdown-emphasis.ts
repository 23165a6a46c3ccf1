/**
 * Emphasis: the marks of a run are paired by CommonMark's rules, in time proportional to their number. Pure; used by
 * `markdown-spans.ts`.
 */

import type { Span } from "./markdown-spans.ts";

/** A run of *, _ or ~ that may begin or end emphasis. */
export interface Mark {
  readonly type: "mark";
  readonly sign: string;
  /** How many of them are unused, and were at first. */
  left: number;
  readonly length: number;
  readonly opens: boolean;
  readonly closes: boolean;
  /** Left over in a growing run: to be closed at its end. */
  readonly mends: boolean;
}

export type Part = Span | Mark;

const DEEPEST = 10;

/** Pair the marks of emphasis; those left over are text, or closed at the end of a growing run. */
export function emphasise(parts: readonly Part[], open = false): Span[] {
  const { out, openers } = paired(parts);
  for (const { mark, index } of open ? openers.reverse() : []) {
    if (!mark.mends) continue;
    const inner = asText(out.splice(index + 1));
    out.pop();
    if (inner.length > 0) wrap(out, mark, Math.min(mark.left, 2), inner);
  }
  return asText(out);
}

/** Whether a mark is left that what follows may close. */
export function waits(parts: readonly Part[]): boolean {
  return paired(parts).openers.length > 0;
}

interface Opener {
  readonly mark: Mark;
  readonly index: number;
}

function paired(parts: readonly Part[]): { out: Part[]; openers: Opener[] } {
  const out: Part[] = [];
  const openers: Opener[] = [];
  /** For a kind of closer: below this many openers there is none for it. */
  const floors = new Map<string, number>();
  for (const part of parts) {
    if (part.type !== "mark") {
      out.push(part);
      continue;
    }
    if (part.closes) pair(part, out, openers, floors);
    if (part.left === 0) continue;
    if (part.opens) openers.push({ mark: part, index: out.length });
    out.push(part);
  }
  return { out, openers };
}

function wrap(out: Part[], mark: Mark, used: number, children: readonly Span[]): void {
  const depth = 1 + Math.max(0, ...children.map((child) => ("depth" in child ? child.depth : 0)));
  const sign: Span = { type: "text", text: mark.sign.repeat(used) };
  if (depth > DEEPEST) for (const part of [sign, ...children, sign]) out.push(part);
  else out.push({ type: mark.sign === "~" ? "del" : used === 2 ? "strong" : "em", depth, children });
}

function pair(closer: Mark, out: Part[], openers: Opener[], floors: Map<string, number>): void {
  while (closer.left > 0) {
    const kind = `${closer.sign}${closer.opens}${closer.length % 3}`;
    const floor = floors.get(kind) ?? 0;
    let at = openers.length - 1;
    while (at >= floor && !fits(openers[at]?.mark, closer)) at -= 1;
    const found = at >= floor ? openers[at] : undefined;
    if (found === undefined) {
      floors.set(kind, openers.length);
      return;
    }
    const { mark, index } = found;
    const used = mark.left >= 2 && closer.left >= 2 ? 2 : 1;
    openers.length = at + 1;
    for (const [key, value] of floors) if (value > at) floors.set(key, at);
    const inner = asText(out.splice(index + 1));
    mark.left -= used;
    closer.left -= used;
    if (mark.left === 0) {
      out.length = index;
      openers.length = at;
    }
    wrap(out, mark, used, inner);
  }
}

function fits(mark: Mark | undefined, closer: Mark): boolean {
  if (mark === undefined || mark.sign !== closer.sign) return false;
  // "*a**b*": the two in the middle pair with neither one alone
  const either = mark.closes || closer.opens;
  return !(either && (mark.length + closer.length) % 3 === 0 && !(mark.length % 3 === 0 && closer.length % 3 === 0));
}

function asText(parts: readonly Part[]): Span[] {
  return parts.map((part) => (part.type === "mark" ? { type: "text", text: part.sign.repeat(part.left) } : part));
}

/**
 * How the end of a text that still grows is shown. Pure; used by `markdown.ts` for a streaming answer only, never for a whole
 * one. Open emphasis, code and links are closed by `readSpans` itself.
 */

/** A last line that is only the beginning of a mark: a bullet, a number, a task, a rule, a heading, a fence. */
const HALF_LINE = /^(?:[-+*][ \t]+(?![ \t]))?(?:[-+*_=:|`~#> \t]+|\d{1,9}[.)]?|(`{3,}|~{3,})[^`\n]*|(?:[-+*]|\d{1,9}[.)])[ \t]+\[[ xX]?\]?|)$/;
/** The head of a table at the end of a text: as a paragraph it would be a heap of bars until its rule comes. */
const TABLE_HEAD = /(?:^|\n[ \t]*\n|^\n)[ \t]{0,3}\|[^\n]*\n?$/;

/** `source` without what cannot be read yet at its end. */
export function holdBack(source: string): string {
  const start = source.lastIndexOf("\n") + 1;
  // Without the space around it: thousands of blanks would be gone through in every split.
  const sure = HALF_LINE.test(source.slice(start).trim()) ? source.slice(0, start) : source;
  const head = TABLE_HEAD.exec(sure);
  return head === null ? sure : sure.slice(0, head.index + head[0].length - head[0].trimStart().length);
}

/** Whether the last block of what is shown may still go on. */
export function grows(shown: string): boolean {
  return !/\n[ \t]*\n/.test(shown.slice(shown.trimEnd().length));
}

/**
 * Markdown into blocks: the GFM that chatbots write, without raw HTML and link reference definitions (both are text, so no
 * answer can give `[1]` another meaning than a citation) and without code by indentation (what models indent is never meant
 * as that). Written to be read again with every piece of a growing text: each
 * line is looked at once per level, levels are bounded. The inline parts are left to `markdown-spans.ts`. Pure; used by
 * `markdown.ts`.
 */

export type Block = Paragraph | Heading | Code | Rule | Quote | List | Item | Table | Row | Cell;

interface Base {
  /** What the block was made from; equal raws of one type are equal blocks. */
  readonly raw: string;
}

export interface Paragraph extends Base {
  readonly type: "paragraph";
  readonly text: string;
}

export interface Heading extends Base {
  readonly type: "heading";
  readonly level: number;
  readonly text: string;
}

export interface Code extends Base {
  readonly type: "code";
  readonly language: string;
  readonly text: string;
}

export interface Rule extends Base {
  readonly type: "rule";
}

export interface Quote extends Base {
  readonly type: "quote";
  readonly children: readonly Block[];
}

export interface List extends Base {
  readonly type: "list";
  readonly ordered: boolean;
  readonly start: number;
  /** With space between its items. */
  readonly loose: boolean;
  readonly children: readonly Item[];
}

export interface Item extends Base {
  readonly type: "item";
  readonly task: "" | "open" | "done";
  readonly children: readonly Block[];
}

export interface Table extends Base {
  readonly type: "table";
  readonly align: readonly Align[];
  readonly children: readonly Row[];
}

export interface Row extends Base {
  readonly type: "row";
  readonly header: boolean;
  readonly children: readonly Cell[];
}

export interface Cell extends Base {
  readonly type: "cell";
  readonly header: boolean;
  readonly align: Align;
  readonly text: string;
}

export type Align = "" | "left" | "center" | "right";

/** A block of the top level and the line it begins in. */
export interface Placed {
  readonly block: Block;
  readonly line: number;
}

const DEEPEST = 8;
const MOST_COLUMNS = 40;

const FENCE = /^ {0,3}(`{3,}(?=[^`]*$)|~{3,})(.*)$/;
const HEADING = /^ {0,3}(#{1,6})(?=[ \t]|$)/;
const RULE = /^ {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^([ \t]*)([-*+]|\d{1,9}[.)])(?:([ \t]+)(?=\S)|[ \t]*$)/;
/** Lists that may follow a paragraph without a blank line: not empty, and not "1984. A year". */
const ITEM_IN_TEXT = /^[ \t]{0,3}(?:[-*+]|1[.)])[ \t]+\S/;
const UNDERLINE = /^ {0,3}(=+|-+)[ \t]*$/;
const TASK = /^\[([ xX])\][ \t]+(?=\S)/;
const TABLE_RULE = /^ {0,3}\|?(?:[ \t]*:?-+:?[ \t]*(?:\||$))+[ \t]*$/;

/** The blocks of a text with "\n" line ends. */
export function readBlocks(source: string): Placed[] {
  const lines = source.split("\n");
  return read(lines, 0);
}

function read(lines: readonly string[], depth: number): Placed[] {
  const blocks: Placed[] = [];
  let at = 0;
  while (at < lines.length) {
    if (blank(lines[at])) {
      at += 1;
      continue;
    }
    const [block, end] = one(lines, at, depth);
    blocks.push({ block, line: at });
    at = end;
  }
  return blocks;
}

type Found = readonly [block: Block, end: number];

function one(lines: readonly string[], at: number, depth: number): Found {
  const line = lines[at] ?? "";
  const fence = FENCE.exec(line);
  if (fence !== null) return fenced(lines, at, fence[1] ?? "", fence[2] ?? "");
  const heading = HEADING.exec(line);
  if (heading !== null) {
    const text = line.slice(heading[0].length).trim().replace(/(?:^|[ \t])#+$/, "").trim();
    return [{ type: "heading", raw: line, level: heading[1]?.length ?? 1, text }, at + 1];
  }
  if (RULE.test(line)) return [{ type: "rule", raw: "" }, at + 1];
  if (depth < DEEPEST) {
    if (QUOTE.test(line)) return quoted(lines, at, depth);
    if (ITEM.test(line)) return listed(lines, at, depth);
  }
  if (isTable(lines, at)) return tabled(lines, at);
  return paragraph(lines, at, depth);
}

function blank(line: string | undefined): boolean {
  return line !== undefined && line.trim() === "";
}

function raw(lines: readonly string[], from: number, to: number): string {
  return lines.slice(from, to).join("\n");
}

function width(line: string): number {
  let columns = 0;
  for (const char of line) {
    if (char === " ") columns += 1;
    else if (char === "\t") columns += 4 - (columns % 4);
    else break;
  }
  return columns;
}

/** A line without `columns` of its leading white space. */
function dedent(line: string, columns: number): string {
  let left = columns;
  let at = 0;
  while (left > 0 && (line[at] === " " || line[at] === "\t")) {
    left -= line[at] === " " ? 1 : 4;
    at += 1;
  }
  return " ".repeat(Math.max(0, -left)) + line.slice(at);
}

/** Whether a line begins another block right after a line of text. */
function interrupts(lines: readonly string[], at: number): boolean {
  const line = lines[at] ?? "";
  return FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || ITEM_IN_TEXT.test(line) || isTable(lines, at);
}

function fenced(lines: readonly string[], from: number, fence: string, info: string): Found {
  const indent = width(lines[from] ?? "");
  const closes = new RegExp(`^ {0,3}${fence[0]}{${fence.length},}[ \\t]*$`);
  let at = from + 1;
  while (at < lines.length && !closes.test(lines[at] ?? "")) at += 1;
  // Without its end it goes on to the end of the text: that is what a growing answer looks like.
  const body = lines.slice(from + 1, at);
  if (at >= lines.length && body.at(-1) === "") body.pop();
  const end = Math.min(at + 1, lines.length);
  const language = /^[ \t]*([\w+#.-]{1,24})/.exec(info)?.[1] ?? "";
  return [{ type: "code", raw: raw(lines, from, end), language, text: body.map((line) => dedent(line, indent)).join("\n") }, end];
}

/** The fence that stands open after a line, if `fence` did before it. */
function fenceAfter(line: string, fence: string): string {
  const found = FENCE.exec(line)?.[1] ?? "";
  if (fence === "") return found.slice(0, 3);
  return found.startsWith(fence) && line.trim() === found ? "" : fence;
}

function quoted(lines: readonly string[], from: number, depth: number): Found {
  const body: string[] = [];
  let at = from;
  let fence = "";
  for (; at < lines.length; at += 1) {
    const line = lines[at] ?? "";
    const mark = QUOTE.exec(line);
    // Without its mark a line still belongs to the paragraph above it.
    if (mark === null && (blank(line) || fence !== "" || blank(body.at(-1)) || interrupts(lines, at))) break;
    const inner = mark === null ? line : line.slice(mark[0].length);
    fence = fenceAfter(inner, fence);
    body.push(inner);
  }
  return [{ type: "quote", raw: raw(lines, from, at), children: read(body, depth + 1).map((placed) => placed.block) }, at];
}

function listed(lines: readonly string[], from: number, depth: number): Found {
  const first = ITEM.exec(lines[from] ?? "");
  const sort = (first?.[2] ?? "").slice(-1);
  const ordered = /\d/.test(first?.[2] ?? "");
  const children: Item[] = [];
  let loose = false;
  let at = from;
  let end = from;
  while (at < lines.length) {
    const line = lines[at] ?? "";
    const mark = ITEM.exec(line);
    if (mark === null || (mark[2] ?? "").slice(-1) !== sort || RULE.test(line)) break;
    if (at > from && blank(lines[at - 1])) loose = true;
    const [item, next] = itemAt(lines, at, mark, depth);
    if (item.gap) loose = true;
    children.push(item.block);
    end = next;
    at = next;
    while (at < lines.length && blank(lines[at])) at += 1;
  }
  const start = ordered ? Number.parseInt(first?.[2] ?? "1", 10) : 1;
  return [{ type: "list", raw: raw(lines, from, end), ordered, start, loose, children }, end];
}

function itemAt(lines: readonly string[], from: number, mark: RegExpExecArray, depth: number): readonly [item: { block: Item; gap: boolean }, end: number] {
  const outer = width(mark[1] ?? "");
  const space = (mark[3] ?? "").length;
  let inner = outer + (mark[2]?.length ?? 1) + (space >= 1 && space <= 4 ? space : 1);
  // Models indent what belongs to "1. " by two columns as well.
  const enough = Math.min(inner, outer + 2);
  const begun = (lines[from] ?? "").slice((mark[1] ?? "").length + (mark[2] ?? "").length);
  const task = TASK.exec(begun.trimStart());
  const body = [task === null ? dedent(begun, inner - outer - (mark[2]?.length ?? 1)) : begun.trimStart().slice(task[0].length)];
  let at = from + 1;
  let end = at;
  let fence = fenceAfter(body[0] ?? "", "");
  for (; at < lines.length; at += 1) {
    const line = lines[at] ?? "";
    if (blank(line)) {
      body.push("");
      continue;
    }
    const within = width(line) >= enough;
    if (!within && (blank(lines[at - 1]) || fence !== "" || ITEM.test(line) || interrupts(lines, at))) break;
    if (within) inner = Math.min(inner, width(line));
    const text = within ? dedent(line, inner) : line.trimStart();
    fence = fenceAfter(text, fence);
    body.push(text);
    end = at + 1;
  }
  body.length = end - from;
  const placed = read(body, depth + 1);
  const gap = placed.some(({ line }, index) => index > 0 && blank(body[line - 1]));
  const state = task === null ? "" : task[1] === " " ? "open" : "done";
  return [{ block: { type: "item", raw: raw(lines, from, end), task: state, children: placed.map(({ block }) => block) }, gap }, end];
}

function isTable(lines: readonly string[], at: number): boolean {
  const head = lines[at] ?? "";
  const rule = lines[at + 1];
  if (rule === undefined || !head.includes("|") || !rule.includes("-") || !TABLE_RULE.test(rule)) return false;
  const columns = cells(rule).length;
  return columns <= MOST_COLUMNS && cells(head).length === columns;
}

function tabled(lines: readonly string[], from: number): Found {
  const align = cells(lines[from + 1] ?? "").map((cell): Align => {
    if (cell.endsWith(":")) return cell.startsWith(":") ? "center" : "right";
    return cell.startsWith(":") ? "left" : "";
  });
  const row = (line: string, header: boolean): Row => {
    const texts = cells(line);
    const children = align.map((side, column): Cell => ({ type: "cell", raw: texts[column] ?? "", text: texts[column] ?? "", header, align: side }));
    return { type: "row", raw: line, header, children };
  };
  const children = [row(lines[from] ?? "", true)];
  let at = from + 2;
  for (; at < lines.length && (lines[at] ?? "").includes("|") && !interrupts(lines, at); at += 1) children.push(row(lines[at] ?? "", false));
  return [{ type: "table", raw: raw(lines, from, at), align, children }, at];
}

/** The cells of a row. `\|` and a bar within code are text. */
function cells(line: string): string[] {
  const found: string[] = [];
  const body = line.trim();
  const ticks = body.split("`").length - 1;
  let code = false;
  let seen = 0;
  let cell = "";
  for (let at = body.startsWith("|") ? 1 : 0; at < body.length; at += 1) {
    const char = body[at] ?? "";
    if (char === "\\" && body[at + 1] === "|") {
      cell += "|";
      at += 1;
    } else if (char === "|" && !code) {
      found.push(cell.trim());
      cell = "";
    } else {
      if (char === "`") {
        seen += 1;
        code = !code && seen < ticks; // a last one without its end opens nothing
      }
      cell += char;
    }
  }
  if (cell.trim() !== "" || !body.endsWith("|")) found.push(cell.trim());
  return found;
}

function paragraph(lines: readonly string[], from: number, depth: number): Found {
  let at = from + 1;
  let level = 0;
  for (; at < lines.length && !blank(lines[at]); at += 1) {
    const underline = UNDERLINE.exec(lines[at] ?? "");
    if (underline !== null) {
      level = underline[1]?.startsWith("=") ? 1 : 2;
      break;
    }
    if (depth < DEEPEST ? interrupts(lines, at) : FENCE.test(lines[at] ?? "")) break;
  }
  const text = lines.slice(from, at).map((line) => line.trim()).join("\n");
  if (level > 0) return [{ type: "heading", raw: raw(lines, from, at + 1), level, text }, at + 1];
  return [{ type: "paragraph", raw: raw(lines, from, at), text }, at];
}

/**
 * How much of `source`, read as `placed`, no later text can change: up to the last block that has two whole lines after its
 * start (a list or paragraph may still take in a block of which less is known).
 */
export function settled(source: string, placed: readonly Placed[]): { length: number; blocks: number } {
  const lines = source.split("\n");
  let blocks = placed.length - 1;
  while (blocks > 0 && (placed[blocks]?.line ?? 0) + 2 >= lines.length) blocks -= 1;
  if (blocks <= 0) return { length: 0, blocks: 0 };
  return { length: lengthOf(lines.slice(0, placed[blocks]?.line ?? 0)), blocks };
}

/** Characters of whole lines, with their ends. */
export function lengthOf(lines: readonly string[]): number {
  return lines.reduce((sum, line) => sum + line.length + 1, 0);
}

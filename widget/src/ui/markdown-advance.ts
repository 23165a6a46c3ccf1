/**
 * What of a long block that grows has become finished: rows, items or lines, or the words after which every mark has its partner;
 * and how the rest of it is read without that. Pure; used by `markdown-long.ts`.
 */

import { type Block, lengthOf, readBlocks } from "./markdown-blocks.ts";
import { isWhole } from "./markdown-spans.ts";

/** How the block that grows is read without its finished part. */
export interface Resume {
  readonly type: "paragraph" | "code" | "list" | "table";
  /** Read before the rest, it makes it a block of this type. */
  readonly head: string;
  /** Characters of the finished part, from the block's start. */
  readonly length: number;
  /** Of a list: whether the finished items have space between them. */
  readonly loose: boolean;
  readonly ordered: boolean;
}

/** What a paragraph that goes on begins with: shown text has no such control, and no other block begins with it. */
const GO_ON = "\0 ";

/** Whether what was read with `resume.head` before it is more of the same block. */
export function goesOn(resume: Resume, block: Block | undefined): boolean {
  if (block?.type !== resume.type) return false;
  if (block.type === "list") return block.ordered === resume.ordered;
  return block.type !== "paragraph" || block.text.startsWith(GO_ON[0] ?? "");
}

/** A paragraph's text without what stood for its finished part. */
export function withoutHead(text: string): string {
  return text.slice(GO_ON.length);
}

/** What has become finished: so many children, or so much text. */
export interface Step {
  readonly resume: Resume;
  readonly children: number;
  readonly text: string;
}

/** Shorter paragraphs are read again as a whole. */
const SHORTEST = 256;

/** What of `block`, which is all of `source` and still grows, has become finished; null: nothing more. `source` begins with the head of `was`. */
export function advance(was: Resume | null, source: string, block: Block): Step | null {
  switch (block.type) {
    case "table":
      return tableStep(was, source.split("\n"), block.children.length - 1);
    case "code":
      return codeStep(was, source.split("\n"), block);
    case "list":
      return listStep(was, source.split("\n"), block);
    case "paragraph":
      return paragraphStep(was, source);
    default:
      return null;
  }
}

function step(was: Resume | null, type: Resume["type"], length: number, more: Partial<Resume & Step>): Step {
  const { head = "", loose = false, ordered = false, children = 0, text = "" } = more;
  return { resume: { type, head, length: (was?.length ?? 0) + length, loose, ordered }, children, text };
}

/** A row is one as soon as the line after it is whole: that might have made it the head of another table. */
function tableStep(was: Resume | null, lines: readonly string[], rows: number): Step | null {
  const done = Math.min(rows, lines.length - 4);
  if (done < 1) return null;
  const length = lengthOf(lines.slice(was === null ? 0 : 2, 2 + done));
  return step(was, "table", length, { head: `${lines[0]}\n${lines[1]}\n`, children: was === null ? 1 + done : done });
}

/** One whole line is kept back: whether it has a line after it is for the end to say. */
function codeStep(was: Resume | null, lines: readonly string[], block: Block & { type: "code" }): Step | null {
  const done = lines.length - 3;
  if (done < 1 || block.raw.split("\n").length !== lines.length) return null;
  const text = block.text.split("\n").slice(0, done);
  return step(was, "code", lengthOf(lines.slice(was === null ? 0 : 1, 1 + done)), { head: `${lines[0]}\n`, text: `${text.join("\n")}\n` });
}

function listStep(was: Resume | null, lines: readonly string[], block: Block & { type: "list" }): Step | null {
  let at = 0;
  let children = 0;
  let start = 0;
  for (const [index, item] of block.children.entries()) {
    while (lines[at]?.trim() === "") at += 1;
    if (at + 2 >= lines.length) break;
    [children, start] = [index, at];
    at += item.raw.split("\n").length;
  }
  if (children === 0) return null;
  const finished = lines.slice(0, start);
  const read = readBlocks(finished.join("\n"))[0]?.block;
  const loose = was?.loose || finished.at(-1)?.trim() === "" || (read?.type === "list" && read.loose);
  return step(was, "list", lengthOf(finished), { ordered: block.ordered, loose, children });
}

/** Cut after a space, where no mark is open. */
function paragraphStep(was: Resume | null, source: string): Step | null {
  const body = was === null ? source : withoutHead(source);
  if (body.length < SHORTEST) return null;
  for (const share of [1, 0.75, 0.5]) {
    const end = body.lastIndexOf(" ", body.length * share - 2) + 1;
    const line = body.slice(body.lastIndexOf("\n", end - 1) + 1, end);
    const isInFirst = was !== null && line.length === end;
    // So much of a line is known that it can become neither a mark of its own nor, with the line after it, a table.
    if (end === 0 || !/\S/.test(body[end] ?? " ") || line.includes("|") || !(isInFirst || /[\p{L}\p{N}]/u.test(line))) continue;
    const text = body.slice(0, end).split("\n").map((one, at, all) => (at === all.length - 1 ? one.trimStart() : one.trim())).join("\n");
    if (isWhole(text)) return step(was, "paragraph", end, { head: GO_ON, text });
  }
  return null;
}

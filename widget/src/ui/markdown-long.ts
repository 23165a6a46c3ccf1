/**
 * Long blocks that grow: of a paragraph, list, table or code block of many thousand characters only what is not finished is read and
 * drawn again, so that an answer takes time in proportion to its length however many pieces it comes in. Brought in by
 * `markdown.ts` for the first long block.
 */

import type { Fence } from "./fence.ts";
import type { Drawn, View } from "./markdown.ts";
import { showCode } from "./markdown.ts";
import { advance, goesOn, type Resume, withoutHead } from "./markdown-advance.ts";
import { type Block, readBlocks, settled } from "./markdown-blocks.ts";
import { cite, type Finished, type InlineOptions, piecesAfter, showInline } from "./markdown-inline.ts";
import { cleanCode } from "./markdown-links.ts";
import { grows, holdBack } from "./markdown-mend.ts";

type Patch = (parent: HTMLElement, before: readonly Drawn[], blocks: readonly Block[], open: boolean) => Drawn[];

interface State {
  /** How the block goes on; null: nothing of it is finished. */
  resume: Resume | null;
  /** What is drawn of the finished part: so many pieces or children, and the text after them. */
  finished: Finished;
  /** Below this length it is not worth while to look again for a finished part. */
  seek: number;
}

/** Where no finished part is found, it is looked for again when so much more has come. */
const LATER = 1.25;

export class Long {
  readonly #patch: Patch;
  readonly #options: InlineOptions;
  readonly #fence: Fence;
  /** Of the first block after the settled ones. */
  readonly #states = new WeakMap<View, State>();

  constructor(patch: Patch, options: InlineOptions, fence: Fence) {
    this.#patch = patch;
    this.#options = options;
    this.#fence = fence;
  }

  /** Look for a finished part of the block that `shown` begins with, all of it read and drawn just now. */
  seek(view: View, shown: string): void {
    const state = this.#states.get(view) ?? { resume: null, finished: { count: 0, text: "" }, seek: 0 };
    state.resume = null;
    state.finished = { count: 0, text: "" };
    this.#states.set(view, state);
    this.#advance(state, shown);
  }

  /** Show more of a text of which a finished part is known. False: it has to be read from where it is settled. */
  goOn(target: HTMLElement, view: View, source: string): boolean {
    const state = this.#states.get(view);
    const { length, blocks } = view.settled;
    const resume = state?.resume ?? null;
    if (!state || !resume) return false;
    state.resume = null;
    if (!source.startsWith(view.source.slice(0, length + resume.length))) return false;
    const shown = holdBack(resume.head + source.slice(length + resume.length));
    const placed = readBlocks(shown);
    const [first, ...others] = placed.map(({ block }) => block);
    const drawn = view.blocks[blocks];
    if (!drawn || !first || !goesOn(resume, first)) return false; // it became something else: a heading, a table
    const open = grows(shown);
    this.#draw(drawn, first, open && others.length === 0, state.finished, resume.loose);
    const fresh = this.#patch(target, view.blocks.slice(blocks + 1), others, open);
    view.blocks = [...view.blocks.slice(0, blocks + 1), ...fresh];
    cite(target, false, this.#options);
    const more = settled(shown, placed);
    if (more.blocks > 0) {
      view.settled = { length: length + resume.length - resume.head.length + more.length, blocks: blocks + more.blocks };
      this.#states.delete(view);
      return true;
    }
    state.resume = resume;
    this.#advance(state, shown);
    return true;
  }

  /** Bring an element up to a block that was read without its finished part. */
  #draw(drawn: Drawn, block: Block, open: boolean, finished: Finished, loose: boolean): void {
    const { count } = finished;
    drawn.signature = ""; // what it was made from is no longer at hand
    if (block.type === "code") showCode(drawn.body, finished.text + cleanCode(block.text));
    else if (block.type === "paragraph") {
      drawn.inline = showInline(drawn.body, drawn.inline, withoutHead(block.text), open, this.#options, this.#fence, finished);
    } else if (block.type === "table" || block.type === "list") {
      if (block.type === "list") drawn.node.classList.toggle("loose", loose || block.loose);
      const children = block.type === "table" ? block.children.slice(1) : block.children;
      drawn.children = [...drawn.children.slice(0, count), ...this.#patch(drawn.body, drawn.children.slice(count), children, open)];
    }
  }

  #advance(state: State, shown: string): void {
    if (shown.length < state.seek) return;
    const placed = readBlocks(shown);
    const [only] = placed;
    if (placed.length !== 1 || only?.line !== 0) return;
    const step = advance(state.resume, shown, only.block);
    state.seek = step === null ? shown.length * LATER : 0;
    if (step === null) return;
    state.resume = step.resume;
    const { count, text } = state.finished;
    if (only.block.type === "paragraph") {
      const more = piecesAfter(text, step.text, false, this.#options);
      state.finished = { count: count + more.length - 1, text: more.at(-1)?.[0] ?? "" };
    } else state.finished = { count: count + step.children, text: text + cleanCode(step.text) };
  }
}

/**
 * Answers in Markdown as DOM nodes, while they stream and afterwards.
 *
 * Nothing of an answer is ever parsed as HTML: blocks and spans become nodes made here; what spans became passes a second
 * fence (`fence.ts`) before it is attached. Each block remembers what it was made from, so that a later text changes only what differs:
 * finished blocks keep their nodes (and a selection in them), the open one grows. What no later text can change is not even read
 * again; of long blocks that grow, `markdown-long.ts` draws the rest alone. Made by `answers.ts`, one for each answer.
 */

import { loadFence, type Fence } from "./fence.ts";
import { type Block, readBlocks, settled } from "./markdown-blocks.ts";
import { cite, type InlineOptions, showInline } from "./markdown-inline.ts";
import { cleanCode } from "./markdown-links.ts";
import type { Long } from "./markdown-long.ts";
import { grows, holdBack } from "./markdown-mend.ts";

export interface MarkdownLabels {
  readonly code: string;
  readonly table: string;
  readonly done: string;
  readonly open: string;
}

export interface MarkdownOptions extends InlineOptions {
  /** `loadFence`'s; loaded when left out. */
  readonly fence?: Fence;
  /** `markdown-long.ts`'s; loaded for the first long block when left out. */
  readonly Long?: typeof Long;
  /** Made anew for each code block and put at the end of its head; `read` gives the code as it stands then. */
  codeAction?(read: () => string): Node | null;
  /** What screen readers say; English without. */
  readonly labels?: MarkdownLabels;
}

export interface Markdown {
  /**
   * Make `target`, which nobody else may fill, show `markdown`. `final`: nothing more comes; citations are asked for again.
   * While a text streams, a call may be passed over when drawing is slow; the final one never is.
   */
  update(target: HTMLElement, markdown: string, final: boolean): void;
}

/** What was drawn, and from what. */
export interface Drawn {
  /** What an element is made of that does not change with its content: only one of the same kind is brought up to a block. */
  readonly kind: string;
  readonly node: HTMLElement;
  /** Where children go. */
  readonly body: HTMLElement;
  signature: string;
  children: readonly Drawn[];
  inline: ReturnType<typeof showInline>;
}

export interface View {
  source: string;
  final: boolean;
  settled: { readonly length: number; readonly blocks: number };
  blocks: readonly Drawn[];
  /** Not before this time is a growing text drawn again. */
  next_ms: number;
}

/** After a slow drawing, its time times this passes before the next: the page stays usable. */
const REST = 4;
const SLOW_MS = 12;
/** A block that grows and has fewer characters is read again as a whole: that takes less than a millisecond. */
const LONG = 1_500;
const ENGLISH: MarkdownLabels = { code: "Code", table: "Table", done: "Done", open: "To do" };

/** Make a code block show `text`. */
export function showCode(body: HTMLElement, text: string): void {
  const last = body.firstChild as Text | null;
  if (last !== null && text.startsWith(last.data)) last.appendData(text.slice(last.length)); // a selection in it survives
  else body.textContent = text;
}

export async function createMarkdown(options: MarkdownOptions): Promise<Markdown> {
  const views = new WeakMap<HTMLElement, View>();
  const fence = options.fence ?? (await loadFence(options.document));
  const labels = options.labels ?? ENGLISH;
  let long = options.Long && new options.Long(patch, options, fence);

  function show(target: HTMLElement, view: View, source: string, final: boolean): void {
    if (!final && long?.goOn(target, view, source)) return;
    // The whole text is read again at its end: whatever came in between, the result is that of the whole text.
    if (final || !source.startsWith(view.source.slice(0, view.settled.length))) view.settled = { length: 0, blocks: 0 };
    const { length, blocks } = view.settled;
    const rest = source.slice(length);
    const shown = final ? rest : holdBack(rest);
    const placed = readBlocks(shown);
    const fresh = patch(target, view.blocks.slice(blocks), placed.map(({ block }) => block), !final && grows(shown));
    view.blocks = [...view.blocks.slice(0, blocks), ...fresh];
    cite(target, final, options);
    if (final) return;
    const more = settled(shown, placed);
    view.settled = { length: length + more.length, blocks: blocks + more.blocks };
    if (shown.length - more.length < LONG) return;
    if (long) long.seek(view, shown.slice(more.length));
    else void bring().catch(() => undefined); // drawn as well without it, only more slowly; the next piece tries again
  }

  async function bring(): Promise<void> {
    const { Long } = await import("./markdown-long.ts");
    long ??= new Long(patch, options, fence);
  }

  /** Make `parent`, which now shows `before`, show `blocks`. `open`: the last of them still grows. */
  function patch(parent: HTMLElement, before: readonly Drawn[], blocks: readonly Block[], open: boolean): Drawn[] {
    const after = blocks.map((block, index) => {
      const old = before[index];
      const grows = open && index === blocks.length - 1;
      const kind = JSON.stringify(block, (key, value: unknown) => (/^(?:raw|text|children|loose)$/.test(key) ? undefined : value));
      const drawn = old?.kind === kind ? old : make(block, kind);
      const signature = `${grows}${block.raw}`;
      if (drawn.signature !== signature) fill(drawn, block, grows);
      drawn.signature = signature;
      if (old === undefined) parent.append(drawn.node);
      else if (old !== drawn) old.node.replaceWith(drawn.node);
      return drawn;
    });
    for (const old of before.slice(after.length)) old.node.remove();
    return after;
  }

  /** An element for a block, without its content. Nothing of the answer is in it but a language's name and numbers. */
  function make(block: Block, kind: string): Drawn {
    const drawn = (node: HTMLElement, body = node): Drawn => ({ kind, node, body, signature: "", children: [], inline: [] });
    switch (block.type) {
      case "code": {
        const body = element("code");
        const name = element("span", "code-language");
        name.textContent = block.language;
        const head = element("div", "code-head", name);
        const action = options.codeAction?.(() => body.textContent ?? "");
        if (action) head.append(action);
        const pre = region(element("pre", "", body), block.language === "" ? labels.code : `${labels.code}, ${block.language}`);
        pre.dir = "ltr";
        return drawn(element("div", "code", head, pre), body);
      }
      case "table": {
        const body = element("table");
        return drawn(region(element("div", "table", body), labels.table), body);
      }
      case "list": {
        const list = element(block.ordered ? "ol" : "ul");
        if (block.ordered) list.setAttribute("start", String(block.start));
        return drawn(list);
      }
      case "item": {
        if (block.task === "") return drawn(element("li"));
        const box = element("span", `task ${block.task}`);
        box.role = "img";
        box.ariaLabel = labels[block.task];
        const body = element("div", "task-text");
        return drawn(element("li", "task-item", box, body), body);
      }
      case "row":
        return drawn(element("tr"));
      case "rule":
        return drawn(element("hr"));
      case "quote":
        return drawn(element("blockquote"));
      default: {
        const cell = block.type === "cell" ? (block.header ? "th" : "td") : "";
        // The panel has the two levels of headings above.
        const made = element(cell || (block.type === "heading" ? `h${Math.min(6, block.level + 2)}` : "p"), cell && block.type === "cell" && block.align ? `to-${block.align}` : "");
        if (cell === "th") made.setAttribute("scope", "col");
        made.dir = "auto";
        return drawn(made);
      }
    }
  }

  /** Bring an element up to its block. */
  function fill(drawn: Drawn, block: Block, open: boolean): void {
    if (block.type === "code") showCode(drawn.body, cleanCode(block.text));
    else if ("text" in block) drawn.inline = showInline(drawn.body, drawn.inline, block.text, open, options, fence);
    else if ("children" in block) {
      if (block.type === "list") drawn.node.classList.toggle("loose", block.loose);
      drawn.children = patch(drawn.body, drawn.children, block.children, open);
    }
  }

  function element(name: string, className = "", ...children: Node[]): HTMLElement {
    const made = options.document.createElement(name);
    if (className) made.className = className;
    made.append(...children);
    return made;
  }

  /** What scrolls by itself is reached by the keyboard and has a name. */
  function region(made: HTMLElement, label: string): HTMLElement {
    made.tabIndex = 0;
    made.role = "region";
    made.ariaLabel = label;
    return made;
  }

  return {
    update(target, markdown, final) {
      let view = views.get(target);
      if (view === undefined) {
        view = { source: "", final: false, settled: { length: 0, blocks: 0 }, blocks: [], next_ms: 0 };
        views.set(target, view);
        target.replaceChildren();
      }
      const source = markdown.includes("\r") ? markdown.replace(/\r\n?/g, "\n") : markdown;
      if (source === view.source && final === view.final) {
        if (final) cite(target, false, options);
        return;
      }
      const begun_ms = performance.now();
      if (!final && begun_ms < view.next_ms && source.startsWith(view.source)) return;
      show(target, view, source, final);
      view.source = source;
      view.final = final;
      const took_ms = performance.now() - begun_ms;
      view.next_ms = took_ms > SLOW_MS ? begun_ms + took_ms * (1 + REST) : 0;
    },
  };
}

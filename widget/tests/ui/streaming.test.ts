/** Answers drawn while they grow: the same as drawn at once, and at a cost in proportion to their length. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { createMarkdown, type Markdown } from "../../src/ui/markdown.ts";
import { Long } from "../../src/ui/markdown-long.ts";
import { Paper, type PaperElement } from "./paper.ts";

interface Sheet {
  readonly paper: Paper;
  readonly target: PaperElement;
  readonly markdown: Markdown;
}

async function sheet(cites = 0): Promise<Sheet> {
  const paper = new Paper();
  const cite = (n: number): Node | null => (n > cites ? null : (paper.createElement("button") as unknown as Node));
  const markdown = await createMarkdown({ document: paper as unknown as Document, images: false, cite, Long, fence: (built) => built });
  return { paper, target: paper.createElement("div"), markdown };
}

function draw({ markdown, target }: Sheet, text: string, final: boolean): void {
  markdown.update(target as unknown as HTMLElement, text, final);
}

/** Nothing is passed over because this machine is busy. */
function withoutClock<T>(run: () => T): T {
  const { now } = performance;
  performance.now = () => 0;
  try {
    return run();
  } finally {
    performance.now = now;
  }
}

function chance(seed: number): () => number {
  let state = seed;
  return () => (state = (state * 1_103_515_245 + 12_345) & 0x7fffffff) / 0x7fffffff;
}

const WORDS = ["a ", "word ", "longer-words ", "*em* ", "**strong words** ", "`co de` ", "[1] ", "[1, 2] ", "[link](https://x.y/a_(b) 'title here') ", "snake_case ", "5 * 3 ", "\\* ", "&amp; ", "https://ex.am/p?q=1 ", "a@b.cd ", "<br > ", "x | y ", "é中文 ", "** ", "_", "`", "[", "~~", "(", ") ", "](", "*", "\\", "<br ", "- ", "1. "];
const LINES = ["\n", "\n\n", "\n- item ", "\n  - inner ", "\n1. one ", "\n   more ", "\n> said ", "\n# head\n", "\n===\n", "\n---\n", "\n| a | b |\n|---|:-:|\n", "\n| 1 | `2|3` |", "\n| x |\n", "\n```ts\n", "\nlet x = 1;\n", "\n\n\n", "\n- [x] done ", "\r\n", "\n    code? "];

/** Marks that find their partners much later, or never. */
const PARTNERS = ["**bold ", "bold** ", "_words ", "words_ ", "[label ", "label](https://x.y/z) ", "`tick ", "tick` ", "~~gone ", "gone~~ ", "[label](https://x.y/z ", "'a title') "];

/** Long runs of one kind, with everything else in between now and then. */
function textOf(random: () => number): string {
  const kinds = [
    () => WORDS[Math.floor(random() * 16)] ?? "",
    () => WORDS[Math.floor(random() * WORDS.length)] ?? "",
    () => `\n| ${WORDS[Math.floor(random() * 12)]?.replaceAll("|", "") ?? ""}| ${Math.floor(random() * 1000)} |`,
    () => `\n- ${WORDS[Math.floor(random() * 16)] ?? ""}${random() < 0.15 ? "\n\n  more of it" : ""}${random() < 0.1 ? "\n" : ""}`,
    () => `\n${"    ".slice(0, random() * 5)}code_${Math.floor(random() * 1000)}();`,
    () => `${WORDS[Math.floor(random() * 16)] ?? ""}${random() < 0.2 ? "\n" : ""}`,
    () => (random() < 0.96 ? "word " : (PARTNERS[Math.floor(random() * PARTNERS.length)] ?? "")),
    () => LINES[Math.floor(random() * LINES.length)] ?? "",
  ];
  const heads = ["", "\n", "\n| a | b |\n|---|---|", "\n\n", "\n```ts", "\n", "\n", "\n"];
  let text = "";
  for (let parts = 1 + Math.floor(random() * 4); parts > 0; parts -= 1) {
    const kind = Math.floor(random() * kinds.length);
    text += `\n\n${heads[kind]}`;
    for (let left = 3 + Math.floor(random() * (kind === 6 ? 400 : 90)); left > 0; left -= 1) text += random() < 0.015 ? (kinds[7]?.() ?? "") : (kinds[kind]?.() ?? "");
  }
  return text;
}

test("a text comes to the same however it was cut", async () => {
  const random = chance(4_711);
  for (let round = 0; round < 80; round += 1) {
    const text = textOf(random);
    const grown = await sheet(1);
    const size = 1 + random() * (random() < 0.5 ? 6 : 70);
    for (let end = 0; end < text.length; ) {
      end = Math.min(text.length, end + 1 + Math.floor(random() * size));
      withoutClock(() => draw(grown, text.slice(0, end), false));
      if (random() > 0.08) continue;
      const fresh = await sheet(1);
      withoutClock(() => draw(fresh, text.slice(0, end), false));
      assert.equal(grown.target.written, fresh.target.written, `round ${round}, after ${JSON.stringify(text.slice(0, end))}`);
    }
    const whole = await sheet(1);
    withoutClock(() => draw(grown, text, true));
    withoutClock(() => draw(whole, text, true));
    assert.equal(grown.target.written, whole.target.written, JSON.stringify(text));
  }
});

const WORD = "An answer goes on with **bold words**, `code` and a mark [1] in it, ";
const HUGE: Record<string, (size: number) => string> = {
  "a paragraph": (size) => WORD.repeat(size / WORD.length),
  "a paragraph of lines": (size) => WORD.concat("\n").repeat(size / WORD.length),
  "plain words": (size) => "nothing but words ".repeat(size / 18),
  "a table": (size) => `| a | b | c |\n|---|---|---|\n${"| first cell | **second** | 3 |\n".repeat(size / 31)}`,
  "a list": (size) => "- an item with **bold words** in it\n".repeat(size / 36),
  "code": (size) => `\`\`\`py\n${"    print('a line of code')\n".repeat(size / 28)}`,
};

for (const [name, make] of Object.entries(HUGE)) {
  test(`${name} of four times the length costs about four times as much`, async () => {
    /** How many nodes are made, and how much text is read by the searches through it, for one answer in pieces of ten characters. */
    const cost = async (size: number): Promise<{ made: number; read: number }> => {
      const one = await sheet();
      const text = make(size);
      let read = 0;
      const { split } = String.prototype;
      // Blocks are read line by line: what is split is what is read.
      String.prototype.split = function (this: string, ...words: unknown[]) {
        read += this.length;
        return Reflect.apply(split, this, words) as string[];
      } as typeof split;
      try {
        withoutClock(() => {
          for (let end = 10; end < text.length; end += 10) draw(one, text.slice(0, end), false);
        });
      } finally {
        String.prototype.split = split;
      }
      return { made: one.paper.made, read };
    };
    const [small, large] = [await cost(5_000), await cost(20_000)];
    assert.ok(large.made < 5 * small.made + 20, `${large.made} nodes after ${small.made}`);
    assert.ok(large.read < 6 * small.read, `${large.read} characters read after ${small.read}`);
  });
}

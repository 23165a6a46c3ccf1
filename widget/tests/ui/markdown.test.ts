import assert from "node:assert/strict";
import { test } from "node:test";

import { type Block, readBlocks, settled } from "../../src/ui/markdown-blocks.ts";
import { cleanCode, cleanText, destination, misleads, safeHref, safeImage } from "../../src/ui/markdown-links.ts";
import { holdBack } from "../../src/ui/markdown-mend.ts";
import { readSpans, type Span } from "../../src/ui/markdown-spans.ts";

/** Spans as a line: em(…), [text](address), `code`. */
function line(spans: readonly Span[]): string {
  return spans
    .map((span) => {
      if (span.type === "link") return `[${line(span.children)}](${span.href})`;
      if (span.type === "picture") return `![${span.text}](${span.href})`;
      if (span.type === "break") return "/";
      if (span.type === "code") return `\`${span.text}\``;
      return "children" in span ? `${span.type}(${line(span.children)})` : span.text;
    })
    .join("");
}

function outline(blocks: readonly Block[]): unknown[] {
  return blocks.map((block) => ("children" in block ? [block.type, ...outline(block.children)] : "text" in block ? `${block.type} ${block.text}` : block.type));
}

const spans: Record<string, string> = {
  "**a** *b* ***c*** ~~d~~": "strong(a) em(b) em(strong(c)) del(d)",
  "*a **b** c* and __d _e_ f__": "em(a strong(b) c) and strong(d em(e) f)",
  "snake_case_name 2 * 3 * 4 ~5~": "snake_case_name 2 * 3 * 4 ~5~",
  "*a**b*": "em(a**b)",
  "**「中文」**后面": "strong(「中文」)后面",
  "**Note:**text": "strong(Note:)text",
  "`a *b*` ``c`d`` `open": "`a *b*` `c`d` `open",
  "[a *b*](https://x.y/c_(d) 'title')": "[a em(b)](https://x.y/c_(d))",
  "[a [b](https://x.y)](https://z.y)": "[a [b](https://x.y)]([https://z.y](https://z.y))",
  "![a *b*](https://x.y/p.png)": "![a b](https://x.y/p.png)",
  "see https://x.y/a_b(c), (https://x.y/d). <https://e.f>": "see [https://x.y/a_b(c)](https://x.y/a_b(c)), ([https://x.y/d](https://x.y/d)). [https://e.f](https://e.f)",
  "www.x.y/z! a.b@c.de, xhttps://n.o": "[www.x.y/z](https://www.x.y/z)! [a.b@c.de](mailto:a.b@c.de), xhttps://n.o",
  "a<br>b  \nc\\\nd": "a/b/c/d",
  "\\*a\\* \\[1\\] <b>x</b>": "*a* [1] <b>x</b>",
};
for (const [markdown, wanted] of Object.entries(spans)) {
  test(`spans of ${JSON.stringify(markdown)}`, () => assert.equal(line(readSpans(markdown)), wanted));
}

const growing: Record<string, string> = {
  "a **bo": "a strong(bo)",
  "a **bold*": "a strong(bold)",
  "a **": "a ",
  "a _b **c": "a em(b strong(c))",
  "5*3": "5*3",
  "a `co": "a `co`",
  "a [te": "a te",
  "a [text](https://x": "a text",
  "a [text](https://x.y/(b)": "a text",
  "a ![pic](ht": "a pic",
  "a [1": "a ",
  "a [1]": "a [1]",
  "a &am": "a ",
  "a \\": "a ",
};
for (const [markdown, wanted] of Object.entries(growing)) {
  test(`a growing run: ${JSON.stringify(markdown)}`, () => assert.equal(line(readSpans(markdown, true)), wanted));
}

test("blocks", () => {
  const source = "# A #\ntext\n- a\n  - b\n1. c\n\n   d\n- [x] e\n> f\ng\n\n| h | i\\|j |\n|---|:-:|\n| k | `l|m` |\nafter\n```ts\nn\n```\nSet\n===\n***";
  assert.deepEqual(outline(readBlocks(source).map(({ block }) => block)), [
    "heading A",
    "paragraph text",
    ["list", ["item", "paragraph a", ["list", ["item", "paragraph b"]]]],
    ["list", ["item", "paragraph c", "paragraph d"]],
    ["list", ["item", "paragraph e"]],
    ["quote", "paragraph f\ng"],
    ["table", ["row", "cell h", "cell i|j"], ["row", "cell k", "cell `l|m`"]],
    "paragraph after",
    "code n",
    "heading Set",
    "rule",
  ]);
});

test("what cannot be read yet is held back", () => {
  for (const end of ["-", "1.", "#", "```py", "- [ ", "> ", "| a | b |", "| a | b |\n|--"]) assert.equal(holdBack(`text\n\n${end}`), "text\n\n", end);
  for (const whole of ["text", "a | b", "- x", "| a |\n|---|\n| 1 |"]) assert.equal(holdBack(whole), whole);
  assert.equal(holdBack("text\n  \t"), "text\n");
});

test("what no later text can change is settled", () => {
  const source = "one\n\ntwo\n\nthree\nfour\nfive";
  assert.deepEqual(settled(source, readBlocks(source)), { length: 10, blocks: 2 });
});

test("links lead where they may", () => {
  for (const bad of ["javascript:1", " JaVaScript:1", "java\tscript:1", "data:text/html,x", "//x.y", "/x", "vbscript:1", "", `https://x.y/${"a".repeat(3000)}`]) {
    assert.equal(safeHref(bad), null, bad);
  }
  assert.equal(safeHref("/a", "https://x.y/b/"), "https://x.y/a");
  assert.equal(safeHref("javascript:1", "https://x.y/b/"), null);
  assert.equal(safeHref("tel:+49 1"), "tel:+49 1");
  assert.equal(safeImage("http://x.y/a.png"), null);
  assert.equal(destination("https://аррlе.example/a"), "xn--l-7sbbr7e.example".replace("xn--l-7sbbr7e", new URL("https://аррlе.example").host.split(".")[0] ?? ""));
  assert.match(destination("https://аррlе.example/a"), /^xn--/);
});

test("a text that names another host misleads", () => {
  assert.ok(misleads("bank.example", "https://elsewhere.example/"));
  assert.ok(misleads("https://bank.example/login", "https://elsewhere.example/"));
  assert.ok(misleads("x", "https://bank.example@elsewhere.example/"));
  assert.ok(!misleads("www.bank.example/a", "https://bank.example/b"));
  assert.ok(!misleads("our page", "https://elsewhere.example/"));
});

test("texts are cleaned once", () => {
  assert.equal(cleanText("&lt;b&gt; &amp;lt; &#60;&#x3c; &nope; a\u202eb\u0000c &#0;"), "<b> &lt; << &nope; abc \uFFFD");
  assert.equal(cleanCode("a\u202eb&lt;"), "a\uFFFDb&lt;");
});

test("hostile texts take time in proportion to their length", () => {
  const units = [">", "- ", "[", "[a](", "![a](b", "*a_", "**a", "`a``", "<", "<a ", "|a|\n|-|\n", "- a\n", "> - ", "http://", "a@b.", "&#", "~~a", "[a](b)", "\\", "1. ", " ", "\t"];
  const work = (size: number): number => {
    const begun = performance.now();
    for (const unit of units) {
      const source = unit.repeat(size / unit.length);
      for (const { block } of readBlocks(source)) if ("text" in block) readSpans(block.text);
      readSpans(source, true);
      holdBack(source);
      holdBack(`${source}x`);
    }
    return performance.now() - begun;
  };
  work(2_000);
  const [small, large] = [work(4_000), work(32_000)];
  // Eight times the text: 64 times the work would be quadratic. Wide, for a busy machine.
  assert.ok(large < 40 * small + 200, `${large.toFixed()} ms after ${small.toFixed()} ms`);
});

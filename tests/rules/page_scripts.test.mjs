// Rules of the pages' scripts, run by Node as they are served: the guide's Markdown and the demo page's playground.

import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const pages = new URL("../../src/chatwright/entrypoints/pages/", import.meta.url);
const { parse, inline, safeHref } = await import(fileURLToPath(new URL("markdown.js", pages)));
const { changed, choicesOf, command, inkOn, snippet } = await import(fileURLToPath(new URL("demo/playground.js", pages)));

// Markdown -----------------------------------------------------------------------------------------------------------

test("links lead to http, https and mailto only", () => {
  for (const href of ["javascript:alert(1)", "data:text/html,x", "vbscript:x", "JAVASCRIPT:x", "/relative", "//host", " "]) {
    assert.equal(safeHref(href), null, href);
  }
  assert.equal(safeHref("https://a.example/x"), "https://a.example/x");
  assert.equal(safeHref("mailto:a@example.com"), "mailto:a@example.com");
  assert.equal(safeHref("/guide/x", "https://a.example/"), "https://a.example/guide/x");
});

test("markup of a model stays text", () => {
  const [paragraph] = parse("<img src=x onerror=alert(1)><script>alert(1)</script>");
  assert.deepEqual(paragraph.c, ["<img src=x onerror=alert(1)><script>alert(1)</script>"]);
});

test("blocks are told apart", () => {
  const tree = parse("# Head\n\ntext\nmore\n\n- a\n  - b\n- c\n\n3. x\n4. y\n\n```py\nx = 1\n```\n\n> quote\n\n| a | b |\n| - | - |\n| 1 | `x|y` |\n\n---");
  assert.deepEqual(tree.map((block) => block.t), ["h", "p", "ul", "ol", "pre", "quote", "table", "hr"]);
  assert.equal(tree[2].items.length, 2);
  assert.equal(tree[2].items[0][1].t, "ul");
  assert.equal(tree[3].start, 3);
  assert.deepEqual(tree[4], { t: "pre", lang: "py", text: "x = 1" });
  assert.deepEqual(tree[6].rows, [[["1"], [{ t: "code", text: "x|y" }]]]);
});

test("a half-streamed fence is code already", () => {
  assert.deepEqual(parse("```\nx = 1"), [{ t: "pre", lang: "", text: "x = 1" }]);
});

test("spans", () => {
  assert.deepEqual(inline("a **b *c*** `d` [1] [e](https://x.example/(y))"), [
    "a ",
    { t: "b", c: ["b ", { t: "i", c: ["c"] }] },
    " ",
    { t: "code", text: "d" },
    " ",
    { t: "cite", n: 1 },
    " ",
    { t: "a", href: "https://x.example/(y)", c: ["e"] },
  ]);
  assert.deepEqual(inline("snake_case_name and 2 * 3 * 4"), ["snake_case_name and 2 * 3 * 4"]);
  assert.deepEqual(inline("\\*no\\*"), ["*no*"]);
});

test("hostile texts are read in bounded time", () => {
  const started = performance.now();
  for (const piece of ["*", "_", "[", "![", "`", "<", "> ", "- ", "| ", "**a ", "[a](", "http://", "~~"]) {
    parse(piece.repeat(8000));
    parse(`${piece}\n`.repeat(4000));
  }
  assert.ok(performance.now() - started < 10_000);
});

// Playground ---------------------------------------------------------------------------------------------------------

const config = {
  theme: { accent: "#4f46e5", scheme: "auto", position: "right" },
  avatar: { tier: "auto", colors: { shell: "#f4f6fb", accent: "#4f46e5", glass: "#141a33", glow: "#7df3ff" } },
};
const own = choicesOf(config);

test("the snippet is one line, with only what differs from the chatbot", () => {
  assert.equal(
    snippet("https://chat.example.com", "cw_pub_x", changed(own, own)),
    '<script async src="https://chat.example.com/widget.js" data-chatbot="cw_pub_x"></script>',
  );
  const choices = { ...own, position: "left", locale: "ar", mode: "frame" };
  assert.equal(
    snippet("https://chat.example.com", "cw_pub_x", changed(choices, own)),
    '<script async src="https://chat.example.com/widget.js" data-chatbot="cw_pub_x" data-mode="frame" data-position="left" data-locale="ar"></script>',
  );
});

test("the command sets what belongs to the chatbot, and nothing that belongs to a page", () => {
  assert.equal(command("demo", changed(own, own)), null);
  assert.equal(command("demo", changed({ ...own, locale: "de", mode: "inline" }, own)), null);
  const all = command("demo", changed({ ...own, accent: "#0f766e", glow: "#9ff7c8", scheme: "dark", tier: "2d" }, own));
  const [, json] = /^chatwright chatbot set demo 'widget=(.*)'$/.exec(all);
  assert.deepEqual(JSON.parse(json), {
    theme: { accent: "#0f766e", scheme: "dark" },
    avatar: { colors: { glow: "#9ff7c8" }, tier: "2d" },
  });
});

test("words on the accent are read", () => {
  assert.equal(inkOn("#4f46e5"), "#ffffff");
  assert.equal(inkOn("#eab308"), "#0e1420");
  assert.equal(inkOn("#ffffff"), "#0e1420");
});

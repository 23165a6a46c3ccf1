/** The chat as a whole: who listens, and what it must not know. */

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";

import { allDone, MINUTE, world } from "./world.ts";

test("no DOM in the core", () => {
  const folder = new URL("../../src/core/", import.meta.url);
  for (const name of readdirSync(folder)) {
    const code = readFileSync(new URL(name, folder), "utf8").replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, "");
    assert.doesNotMatch(code, /\b(document|window|HTMLElement|Element|Node)\b/, name);
    assert.doesNotMatch(code, /from "three|from "\.\.\//, `${name} stays by itself`);
    assert.ok(code.split("\n").length < 400, `${name} is short`);
  }
});

test("listeners are told once a microtask, and each change is a new object", async () => {
  const { clock, open } = world();
  const { chat } = open();
  let calls = 0;
  chat.subscribe(() => {
    calls += 1;
  });
  chat.send("one");
  chat.send("two");
  assert.equal(calls, 0);
  await Promise.resolve();
  assert.equal(calls, 1);
  const before = chat.state.turns[0];
  await clock.run(MINUTE, allDone(chat));
  assert.notEqual(chat.state.turns[0], before);
  assert.equal(chat.state, chat.state, "the same object while nothing changes");
  chat.dispose();
});

test("an error of a listener is the listener's", async (context) => {
  const { clock, open } = world();
  const { chat } = open();
  const thrown: unknown[] = [];
  context.mock.method(console, "error", (error: unknown) => thrown.push(error));
  chat.on(() => {
    throw new Error("mine");
  });
  chat.send("hello");
  assert.ok(await clock.run(MINUTE, allDone(chat)));
  assert.ok(thrown.length > 0);
  chat.dispose();
});

import assert from "node:assert/strict";
import { test } from "node:test";

import { dressable } from "../../src/embed/frame.ts";

test("a page dresses the chat in its frame, and cannot make it another's", () => {
  const looks = { locale: "de", avatar: null, clips: null, tier: "low", shell: "#111111", glass: "#222222", glow: "#333333", accent: "#444444", scheme: "dark" };
  assert.deepEqual(dressable(looks), Object.entries(looks));
  for (const name of ["chatbot", "base", "mode", "open", "onclick", "style", "data-scheme", "locale\n", "Chatbot"]) {
    assert.deepEqual(dressable({ [name]: "x", accent: "red" }), [["accent", "red"]], name);
  }
  for (const nothing of [undefined, null, 7, "chatbot", []]) assert.deepEqual(dressable(nothing), []);
});

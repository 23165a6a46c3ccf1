import assert from "node:assert/strict";
import { test } from "node:test";

import { findSource } from "../../src/avatar/clipmap.ts";
import { ANIMATIONS } from "../../src/avatar/types.ts";

const clip = (name: string) => ({ kind: "clip", name });

test("the operator's map comes first", () => {
  assert.deepEqual(findSource("wave", ["wave", "Greeting_02"], [], { wave: "Greeting_02" }), clip("Greeting_02"));
});

test("a map to a clip that is not there is passed over", () => {
  assert.deepEqual(findSource("wave", ["wave"], [], { wave: "gone" }), clip("wave"));
});

test("a map may name an expression", () => {
  assert.deepEqual(findSource("nod", [], ["Smug"], { nod: "Smug" }), { kind: "expression", name: "Smug" });
});

test("clips are found by the names that models give them", () => {
  const clips = ["Idle", "mixamo.com|Waving", "Thumbs Up", "CharacterArmature|Yes", "HeadShake", "talking_01", "TPose"];
  assert.deepEqual(findSource("idle", clips, [], {}), clip("Idle"));
  assert.deepEqual(findSource("wave", clips, [], {}), clip("mixamo.com|Waving"));
  assert.deepEqual(findSource("thumbs_up", clips, [], {}), clip("Thumbs Up"));
  assert.deepEqual(findSource("nod", clips, [], {}), clip("CharacterArmature|Yes"));
  assert.deepEqual(findSource("confused", clips, [], {}), clip("HeadShake"));
  assert.deepEqual(findSource("talk_calm", clips, [], {}), clip("talking_01"));
  assert.deepEqual(findSource("talk_explain", clips, [], {}), clip("talking_01"));
});

test("no clip because of a few letters in another word", () => {
  assert.deepEqual(findSource("confused", ["piano", "casino"], [], {}), { kind: "none" });
  assert.deepEqual(findSource("wave", ["hiking", "biking"], [], {}), { kind: "none" });
});

test("an expression comes before the nearest clip, the nearest clip before idle", () => {
  assert.deepEqual(findSource("happy", ["wave", "idle"], ["joy"], {}), { kind: "expression", name: "joy" });
  assert.deepEqual(findSource("happy", ["wave", "idle"], [], {}), clip("wave"));
  assert.deepEqual(findSource("talk_calm", ["Explain", "idle"], [], {}), clip("Explain"));
  assert.deepEqual(findSource("confused", ["idle"], [], {}), clip("idle"));
});

test("the nearest clip may be a mapped one", () => {
  assert.deepEqual(findSource("talk_calm", ["c1"], [], { talk_explain: "c1" }), clip("c1"));
});

test("a model with one clip plays it", () => {
  for (const animation of ANIMATIONS) assert.deepEqual(findSource(animation, ["Take 001"], [], {}), clip("Take 001"));
});

test("a model with nothing has nothing", () => {
  for (const animation of ANIMATIONS) assert.deepEqual(findSource(animation, [], [], {}), { kind: "none" });
});

import assert from "node:assert/strict";
import { test } from "node:test";

import { contrast } from "../../src/embed/colors.ts";
import { DARK_BACK, DARK_SURFACE, inks, LIGHT_BACK, LIGHT_SURFACE, solid } from "../../src/ui/shades.ts";

const EDGES = ["#000000", "#ffffff", "#ffff00", "#00ffcc", "#ff6600", "#808080", "#777777", "#757575", "#4f46e5"];

function* accents(count: number): Generator<string> {
  yield* EDGES;
  let seed = 11;
  for (let at = 0; at < count; at += 1) {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
    yield `#${(seed % 0x1000000).toString(16).padStart(6, "0")}`;
  }
}

test("text in the accent's colour can be read on every background", () => {
  for (const accent of accents(2_000)) {
    const { light, dark } = inks(accent);
    for (const back of [LIGHT_BACK, LIGHT_SURFACE]) assert.ok(contrast(light, back) >= 4.5, `${accent} ${light} on ${back}`);
    for (const back of [DARK_BACK, DARK_SURFACE]) assert.ok(contrast(dark, back) >= 4.5, `${accent} ${dark} on ${back}`);
  }
});

test("an accent that can be read stays as it is", () => {
  assert.equal(inks("#4338ca").light, "#4338ca");
  assert.equal(inks("#a5b4fc").dark, "#a5b4fc");
});

test("text on the accent can be read, whatever the accent", () => {
  for (const accent of accents(2_000)) {
    const { back, text } = solid(accent);
    assert.ok(contrast(back, text) >= 4.5, `${accent}: ${text} on ${back}`);
  }
  assert.equal(solid("#4f46e5").back, "#4f46e5");
  assert.equal(solid("#ffff00").back, "#ffff00");
});

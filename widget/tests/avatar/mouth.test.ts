import assert from "node:assert/strict";
import { test } from "node:test";

import { Life } from "../../src/avatar/layers.ts";
import { Mouth } from "../../src/avatar/mouth.ts";

const FRAME_S = 1 / 60;

test("a mouth that nobody moves is shut", () => {
  const mouth = new Mouth();
  for (let i = 0; i < 100; i++) assert.deepEqual(mouth.update(FRAME_S), { open: 0, round: 0 });
});

test("it opens and shuts several times a second while text flows, and falls shut after it", () => {
  const mouth = new Mouth();
  const opens: number[] = [];
  for (let i = 0; i < 120; i++) {
    if (i % 6 === 0) mouth.speak(0.9);
    const { open, round } = mouth.update(FRAME_S);
    assert.ok(open >= 0 && open <= 1 && round >= 0 && round <= 1);
    opens.push(open);
  }
  const peaks = opens.filter((open, i) => i > 0 && open > (opens[i - 1] ?? 1) && open > (opens[i + 1] ?? 1) && open > 0.2);
  assert.ok(peaks.length >= 6 && peaks.length <= 16, `${peaks.length} syllables in 2 s`);
  assert.ok(Math.max(...opens) > 0.5);
  for (let i = 0; i < 120; i++) mouth.update(FRAME_S);
  assert.deepEqual(mouth.update(FRAME_S), { open: 0, round: 0 });
});

test("levels outside 0..1 and nonsense are brought inside", () => {
  for (const level of [NaN, Infinity, -3, 900]) {
    const mouth = new Mouth();
    for (let i = 0; i < 30; i++) {
      mouth.speak(level);
      const { open } = mouth.update(FRAME_S);
      assert.ok(open >= 0 && open <= 1);
    }
  }
});

test("eyes blink every few seconds, and briefly", () => {
  const life = new Life(() => 0.5);
  let blinks = 0;
  let shut = 0;
  let before = 0;
  for (let i = 0; i < 60 * 30; i++) {
    const { blink } = life.update(FRAME_S);
    assert.ok(blink >= 0 && blink <= 1);
    if (blink > 0 && before === 0) blinks += 1;
    if (blink > 0) shut += 1;
    before = blink;
  }
  assert.ok(blinks >= 5 && blinks <= 14, `${blinks} blinks in 30 s`);
  assert.ok(shut / (60 * 30) < 0.1);
});

test("gaze glides to where it shall look, never outside", () => {
  const life = new Life(() => 0.5);
  life.look(5, NaN);
  const first = life.update(FRAME_S);
  assert.ok(first.gazeX > 0 && first.gazeX < 0.3 && first.gazeY === 0);
  for (let i = 0; i < 200; i++) life.update(FRAME_S);
  const last = life.update(FRAME_S);
  assert.ok(last.gazeX > 0.99 && last.gazeX <= 1);
});

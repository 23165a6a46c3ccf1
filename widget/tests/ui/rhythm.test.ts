import assert from "node:assert/strict";
import { test } from "node:test";

import { beatsOf, LAG_MS, Rhythm } from "../../src/ui/rhythm.ts";

const voiced = (text: string): number => beatsOf(text).filter(({ level }) => level > 0).length;

test("a syllable is a beat", () => {
  assert.equal(voiced("banana"), 3);
  assert.equal(voiced("take"), 1);
  assert.equal(voiced("Über"), 2);
  assert.equal(voiced("мама"), 2);
  assert.equal(voiced("你好"), 2);
  assert.ok(voiced("مرحبا") >= 1);
});

test("pauses are silent", () => {
  for (const text of [" ", ". ", "\n\n", ", ", "***", "```", "—"]) assert.equal(voiced(text), 0, JSON.stringify(text));
  const rest = (text: string): number => beatsOf(text).reduce((sum, { ms }) => sum + ms, 0);
  assert.ok(rest(". ") > rest(", "));
  assert.ok(rest(", ") > rest(" "));
});

test("an open vowel opens the mouth wider", () => {
  const [a, i] = [beatsOf("ah")[0], beatsOf("ich")[0]];
  assert.ok(a && i && a.level > i.level);
});

test("whatever comes, levels are shares, times are short and the mouth does not lag behind", () => {
  let seed = 7;
  const random = (): number => {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
    return seed / 2_147_483_648;
  };
  const letters = "aeiou bcdfg .,!? 09 äé мя 你 ب \n😀#*`";
  for (let round = 0; round < 300; round += 1) {
    const rhythm = new Rhythm();
    for (let piece = 0; piece < 8; piece += 1) {
      let text = "";
      for (let at = random() * 60; at > 0; at -= 1) text += [...letters][Math.floor(random() * [...letters].length)];
      rhythm.add(text);
      if (random() < 0.4) rhythm.next();
    }
    let total = 0;
    for (let beat = rhythm.next(); beat !== null; beat = rhythm.next()) {
      assert.ok(beat.level >= 0 && beat.level <= 1);
      assert.ok(beat.ms > 0 && beat.ms <= 500);
      total += beat.ms;
    }
    assert.ok(total <= LAG_MS + 1);
    assert.equal(rhythm.next(), null);
  }
});

test("a very long word costs little", () => {
  assert.ok(beatsOf("a-".repeat(5)).length > 0);
  assert.ok(beatsOf("ab".repeat(20_000)).length <= 12);
});

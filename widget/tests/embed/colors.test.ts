import assert from "node:assert/strict";
import { test } from "node:test";

import { contrast, inkOn } from "../../src/embed/colors.ts";

test("contrast is WCAG's", () => {
  assert.equal(contrast("#000000", "#ffffff"), 21);
  assert.equal(contrast("#777777", "#777777"), 1);
  assert.ok(Math.abs(contrast("#777777", "#ffffff") - 4.478) < 0.001);
});

test("what stands on an accent is never harder to read than need be", () => {
  let state = 7;
  const random = (): number => (state = (state * 1103515245 + 12345) & 0x7fffffff) >> 7;
  for (let at = 0; at < 5_000; at += 1) {
    const accent = `#${(random() & 0xffffff).toString(16).padStart(6, "0")}`;
    const best = Math.max(contrast(accent, "#ffffff"), contrast(accent, "#0e1420"));
    const got = contrast(accent, inkOn(accent));
    assert.ok(got >= 4.5 || got === best, `${accent}: ${got}, possible ${best}`);
    assert.ok(got >= 4.2, `${accent}: ${got}`); // icons and bold words need 3
  }
});

test("white is preferred where it reads well", () => {
  assert.equal(inkOn("#4f46e5"), "#ffffff");
  assert.equal(inkOn("#ffd700"), "#0e1420");
});

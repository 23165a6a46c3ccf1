import assert from "node:assert/strict";
import { test } from "node:test";

import { modelAddress, safeLink } from "../../src/ui/dom.ts";

test("a model's path is the server's own, wherever the page comes from", () => {
  assert.equal(modelAddress("/widget/robot.glb", "https://chat.example/below"), "https://chat.example/below/widget/robot.glb");
  assert.equal(modelAddress("https://cdn.example/fox.glb", "https://chat.example"), "https://cdn.example/fox.glb");
  assert.equal(modelAddress(null, "https://chat.example"), null);
});

test("what an action or a source may lead to", () => {
  for (const bad of ["javascript:alert(1)", " JavaScript:alert(1)", "data:text/html,x", "//evil.example", "/\\evil.example", "vbscript:1", "blob:x", "x"]) {
    assert.equal(safeLink(bad, "https://chat.example"), "", bad);
  }
  assert.equal(safeLink("/guide/start", "https://chat.example"), "https://chat.example/guide/start");
  assert.equal(safeLink(" tel:+491 ", "https://chat.example"), "tel:+491");
});

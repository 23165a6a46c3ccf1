import assert from "node:assert/strict";
import { test } from "node:test";

import { firstRatio, FrameWatch, Sharpness } from "../../src/avatar/framewatch.ts";
import { chooseTier, fromSaved, isSoftware, type Machine, toSaved, wantsStage } from "../../src/avatar/tiers.ts";

const GPU = "ANGLE (NVIDIA, NVIDIA GeForce RTX 3060 Direct3D11 vs_5_0 ps_5_0, D3D11)";
const SOFTWARE = "ANGLE (Google, Vulkan 1.3.0 (SwiftShader Device (Subzero) (0x0000C0DE)), SwiftShader driver)";
const DAY_MS = 86_400_000;
const machine = (over: Partial<Machine> = {}): Machine => ({
  renderer: GPU, memoryGib: 8, saveData: false, saved: null, nowMs: 30 * DAY_MS, ...over,
});

test("what the operator set wins over every measurement", () => {
  const slow = machine({ renderer: SOFTWARE, memoryGib: 1, saveData: true, saved: toSaved("2d", SOFTWARE, 30 * DAY_MS) });
  assert.deepEqual(chooseTier("full", "robot", slow), { tier: "full", reason: "setting" });
  assert.deepEqual(chooseTier("low", "robot", machine()), { tier: "low", reason: "setting" });
  assert.deepEqual(chooseTier("2d", "robot", machine()), { tier: "2d", reason: "setting" });
  assert.deepEqual(chooseTier("text", "model", machine()), { tier: "text", reason: "setting" });
  assert.deepEqual(chooseTier("full", "none", machine()), { tier: "text", reason: "setting" });
  assert.deepEqual(chooseTier("full", "face", machine()), { tier: "2d", reason: "setting" });
});

test("no tier of 3D without WebGL, whatever is set", () => {
  for (const setting of ["auto", "low", "full"] as const) {
    assert.deepEqual(chooseTier(setting, "robot", machine({ renderer: null })), { tier: "2d", reason: "no-webgl" });
  }
});

test("auto goes by the machine", () => {
  assert.equal(chooseTier("auto", "robot", machine()).tier, "full");
  assert.equal(chooseTier("auto", "robot", machine({ memoryGib: 0 })).tier, "full");
  assert.equal(chooseTier("auto", "robot", machine({ renderer: "" })).tier, "full");
  assert.deepEqual(chooseTier("auto", "robot", machine({ renderer: SOFTWARE })), { tier: "low", reason: "software-renderer" });
  assert.deepEqual(chooseTier("auto", "model", machine({ memoryGib: 2 })), { tier: "low", reason: "little-memory" });
  assert.deepEqual(chooseTier("auto", "robot", machine({ saveData: true })), { tier: "2d", reason: "save-data" });
});

test("renderers in software are known by their names", () => {
  for (const name of [SOFTWARE, "llvmpipe (LLVM 15.0.7, 256 bits)", "Microsoft Basic Render Driver", "Apple Software Renderer"]) {
    assert.ok(isSoftware(name), name);
  }
  for (const name of [GPU, "Apple M2", "Adreno (TM) 640", "Mali-G78", ""]) assert.ok(!isSoftware(name), name);
});

test("a choice is kept a week, for the same renderer", () => {
  const kept = toSaved("low", GPU, 30 * DAY_MS);
  assert.equal(fromSaved(kept, GPU, 36 * DAY_MS), "low");
  assert.equal(fromSaved(kept, GPU, 38 * DAY_MS), null);
  assert.equal(fromSaved(kept, GPU, 29 * DAY_MS), null, "from the future: the clock was changed");
  assert.equal(fromSaved(kept, "Apple M2", 31 * DAY_MS), null);
  for (const foreign of [null, "", "full 1 x", "low x", "low 99999999999999999999 x"]) assert.equal(fromSaved(foreign, "x", 1), null);
  assert.deepEqual(chooseTier("auto", "robot", machine({ saved: toSaved("2d", GPU, 30 * DAY_MS) })), { tier: "2d", reason: "measured-before" });
});

test("a slow first frame is for the low tier", () => {
  assert.deepEqual(new FrameWatch("full").first(401), { tier: "low", reason: "slow-first-frame" });
  assert.equal(new FrameWatch("full").first(400), null);
  assert.equal(new FrameWatch("low").first(3000), null);
});

test("two seconds below 30 frames are for the low tier, one is not", () => {
  const watch = new FrameWatch("full");
  for (let i = 0; i < 3; i++) assert.equal(watch.window(12, 500, 60), null);
  assert.equal(watch.window(20, 500, 60), null, "a fast half second starts the count anew");
  for (let i = 0; i < 3; i++) assert.equal(watch.window(12, 500, 60), null);
  assert.deepEqual(watch.window(12, 500, 60), { tier: "low", reason: "slow-frames" });
});

test("a cap of 30 is not slowness", () => {
  const watch = new FrameWatch("full");
  for (let i = 0; i < 20; i++) assert.equal(watch.window(14, 500, 30), null);
});

test("the low tier gives way to the face only when it is a slide show", () => {
  const watch = new FrameWatch("low");
  for (let i = 0; i < 20; i++) assert.equal(watch.window(8, 500, 60), null);
  for (let i = 0; i < 7; i++) assert.equal(watch.window(4, 500, 60), null);
  assert.deepEqual(watch.window(4, 500, 60), { tier: "2d", reason: "slow-frames" });
});

test("a page that slept is not a slow machine", () => {
  const watch = new FrameWatch("full");
  for (let i = 0; i < 10; i++) assert.equal(watch.window(1, 60_000, 60), null);
});

test("WebGL is not even asked for when nothing will be drawn with it", () => {
  assert.ok(wantsStage("auto", "robot") && wantsStage("low", "model"));
  assert.ok(!wantsStage("2d", "robot") && !wantsStage("text", "robot") && !wantsStage("auto", "face") && !wantsStage("auto", "none"));
});

test("the low tier gets sharper while its frames come on time, and stays below what was too much", () => {
  assert.equal(firstRatio("full", 3, false), 2);
  assert.equal(firstRatio("low", 3, false), 1);
  assert.equal(firstRatio("low", 3, true), 2, "a still picture costs nothing");
  const sharpness = new Sharpness(1);
  const windows = (count: number, frames: number, screen = 3): (number | null)[] => Array.from({ length: count }, () => sharpness.window(frames, 500, 60, screen));
  assert.deepEqual(windows(3, 30), [null, null, 1.5], "not before a second and a half");
  assert.deepEqual(windows(3, 30), [null, null, 2]);
  assert.deepEqual(windows(8, 30), Array(8).fill(null), "no sharper than that");
  assert.deepEqual(windows(1, 20), [1.5], "too much at once");
  assert.deepEqual(windows(20, 30), Array(20).fill(null), "and not tried again");
});

test("no sharper than the screen, and not on a machine that is just fast enough", () => {
  const sharpness = new Sharpness(1);
  for (let at = 0; at < 20; at += 1) assert.equal(sharpness.window(27, 500, 60, 3), null);
  for (let at = 0; at < 20; at += 1) assert.equal(sharpness.window(30, 500, 60, 1), null);
  assert.equal(sharpness.window(1, 4_000, 60, 3), null, "a page that slept");
});

import assert from "node:assert/strict";
import { test } from "node:test";

import { Cues, DWELL_MS, isReaction, SILENCE_MS, THINKING_MS } from "../../src/avatar/cues.ts";

/** Runs the clock in steps of 50 ms as `index.ts` does with its timer; returns [time, animation] of every start. */
function run(cues: Cues, fromMs: number, toMs: number, each?: (nowMs: number) => void): [number, string][] {
  const starts: [number, string][] = [];
  for (let now = fromMs; now <= toMs; now += 50) {
    each?.(now);
    const started = cues.tick(now);
    if (started !== null) starts.push([now, started]);
  }
  return starts;
}

test("the first cue plays at once, the next after the dwell", () => {
  const cues = new Cues();
  assert.equal(cues.cue("thinking", 1000), "thinking");
  assert.equal(cues.cue("talk_calm", 1200), null);
  assert.equal(cues.nextMs(1200), 1000 + DWELL_MS - 1200);
  assert.deepEqual(run(cues, 1250, 2500), [[2500, "talk_calm"]]);
});

test("of the cues that wait the newest wins", () => {
  const cues = new Cues();
  cues.cue("thinking", 0);
  for (const [at, name] of [[100, "talk_calm"], [300, "wave"], [600, "talk_explain"], [900, "happy"]] as const) cues.cue(name, at);
  assert.deepEqual(run(cues, 950, 3000), [[1500, "happy"]]);
});

test("after the last reaction it is idle", () => {
  const cues = new Cues();
  cues.cue("happy", 0);
  assert.deepEqual(run(cues, 50, 10_000).map(([, name]) => name), ["idle"]);
  assert.equal(cues.playing, "idle");
  assert.equal(cues.nextMs(10_000), null, "idle needs no timer");
});

test("after a reaction in the middle of the text the talk goes on", () => {
  const cues = new Cues();
  cues.cue("talk_explain", 0);
  cues.heard(0);
  cues.cue("nod", 100);
  const starts = run(cues, 150, 6000, (now) => void cues.heard(now));
  assert.deepEqual(starts.map(([, name]) => name), ["nod", "talk_explain"]);
});

test("the talk ends when the text does, and comes back with it", () => {
  const cues = new Cues();
  cues.cue("talk_calm", 0);
  const starts = run(cues, 50, 9000, (now) => void (now < 4000 && cues.heard(now)));
  assert.equal(starts.length, 1);
  assert.equal(starts[0]?.[1], "idle");
  assert.ok((starts[0]?.[0] ?? 0) >= 3950 + SILENCE_MS && (starts[0]?.[0] ?? 0) <= 4050 + SILENCE_MS);
  assert.equal(cues.heard(9100), "talk_calm");
  assert.equal(cues.heard(9200), null, "once is enough");
});

test("text alone does not make a waver talk", () => {
  const cues = new Cues();
  cues.cue("wave", 0);
  run(cues, 50, 5000);
  assert.equal(cues.heard(5100), null);
});

test("a new question forgets the talk of the last answer", () => {
  const cues = new Cues();
  cues.cue("talk_calm", 0);
  cues.cue("thinking", 2000);
  cues.cue("thumbs_up", 4000);
  const starts = run(cues, 4050, 9000, (now) => void cues.heard(now));
  assert.deepEqual(starts.map(([, name]) => name), ["idle"]);
});

test("the same loop again does not start anew, the same reaction does", () => {
  const cues = new Cues();
  cues.cue("talk_calm", 0);
  assert.equal(cues.cue("talk_calm", 2000), null);
  assert.equal(cues.cue("nod", 2000), "nod");
  assert.equal(cues.cue("nod", 3600), "nod");
});

test("thinking ends by itself in the end", () => {
  const cues = new Cues();
  cues.cue("thinking", 0);
  assert.equal(cues.tick(THINKING_MS - 1), null);
  assert.equal(cues.tick(THINKING_MS), "idle");
});

test("play is at once and clears the queue", () => {
  const cues = new Cues();
  cues.cue("thinking", 0);
  cues.cue("talk_calm", 100);
  assert.equal(cues.force("wave", 200), "wave");
  assert.equal(cues.tick(200 + DWELL_MS), null);
});

test("names that nobody knows last like loops do and are left by the next cue", () => {
  const cues = new Cues();
  assert.ok(!isReaction("backflip"));
  assert.equal(cues.cue("backflip", 0), "backflip");
  assert.equal(cues.cue("nod", 2000), "nod");
});

test("any cues at any time: every start keeps its dwell, and it all ends in idle", () => {
  const names = ["wave", "happy", "thumbs_up", "nod", "thinking", "confused", "talk_calm", "talk_explain"];
  let seed = 7;
  const random = (): number => (seed = (seed * 16807) % 2147483647) / 2147483647;
  for (let round = 0; round < 50; round++) {
    const cues = new Cues();
    let now = 0;
    let beganMs = -Infinity;
    for (let i = 0; i < 60; i++) {
      now += random() * 900;
      const name = names[Math.floor(random() * names.length)] ?? "nod";
      const before = cues.playing;
      const started = random() < 0.4 ? cues.cue(name, now) : random() < 0.5 ? cues.heard(now) : cues.tick(now);
      if (started === null) continue;
      assert.ok(now - beganMs >= DWELL_MS || before === "idle", `${before} had ${now - beganMs} ms`);
      beganMs = now;
    }
    for (let next = cues.nextMs(now); next !== null; next = cues.nextMs(now)) {
      now += next;
      cues.tick(now);
    }
    assert.equal(cues.playing, "idle");
  }
});

test("a name that every object has is no reaction", () => {
  for (const name of ["constructor", "toString", "__proto__"]) assert.ok(!isReaction(name), name);
});

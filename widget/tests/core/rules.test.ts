/** The pure parts: place, reducer, history, backoff, frames. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { backoffMs, pauseMs, retryAfterMs } from "../../src/core/backoff.ts";
import { accepted, changed, newTurn, pending, received, type Kept } from "../../src/core/conversation.ts";
import { readFrame, type Frame } from "../../src/core/frames.ts";
import { merged, type Item } from "../../src/core/history.ts";
import { Place } from "../../src/core/place.ts";
import { browserPorts } from "../../src/core/ports.ts";
import { seeded } from "./clock.ts";

const chunk = (index: number, text: string): Frame => ({ type: "stream_chunk", message_id: "m", index, chunk: text });

function told(turns: readonly Kept[], ...frames: Frame[]): readonly Kept[] {
  return frames.reduce((before, frame) => received(before, frame).turns, turns);
}

test("full jitter: between 0 and 0.4 s doubling to 15 s, over the whole of it", () => {
  const random = seeded(1);
  for (const [attempt, most] of [[0, 400], [1, 800], [5, 12_800], [6, 15_000], [50, 15_000]] as const) {
    const waits = Array.from({ length: 500 }, () => backoffMs(attempt, random));
    assert.ok(Math.max(...waits) <= most && Math.max(...waits) > 0.9 * most);
    assert.ok(Math.min(...waits) >= 0 && Math.min(...waits) < 0.1 * most);
  }
});

test("Retry-After: seconds, a date, or nothing that can be read; never longer than a quarter of an hour", () => {
  const now = Date.parse("2026-01-01T00:00:00Z");
  assert.equal(retryAfterMs("1.5", now), 1_500);
  assert.equal(retryAfterMs("Thu, 01 Jan 2026 00:00:30 GMT", now), 30_000);
  for (const value of [null, "", "soon", "-3", "Thu, 01 Jan 2020 00:00:30 GMT"]) assert.equal(retryAfterMs(value, now), 0);
  assert.equal(retryAfterMs("999999999", now), 900_000);
});

test("place: each number once, a gap told, a reload before the oldest open answer", () => {
  const place = new Place(4);
  assert.equal(place.judge({ type: "stream_start", message_id: "a", seq: 4 }), "seen");
  assert.equal(place.judge({ type: "stream_start", message_id: "a", seq: 6 }), "gap");
  assert.equal(place.seq, 4);
  assert.equal(place.judge({ type: "message_accepted", message_id: "a", seq: 5 }), "news");
  assert.equal(place.judge({ type: "message_accepted", message_id: "b", seq: 6 }), "news");
  assert.equal(place.checkpoint, 4);
  assert.equal(place.judge({ type: "stream_complete", message_id: "a", seq: 7 }), "news");
  assert.equal(place.checkpoint, 5);
  place.ended("b");
  assert.equal(place.checkpoint, 7, "the history told of its end");
  assert.equal(place.judge({ type: "stream_error", message_id: "b", seq: 8 }), "news");
  assert.equal(place.judge({ type: "stream_start", message_id: "d", seq: 11 }, true), "news", "the server has it no more");
});

test("place: replacements set the number, several share it, and it may be lower", () => {
  const place = new Place(50);
  assert.equal(place.judge({ type: "message_replace", message_id: "a", seq: 7, final: false }), "news");
  assert.equal(place.judge({ type: "message_replace", message_id: "b", seq: 7, final: true }), "news");
  assert.deepEqual([place.seq, place.checkpoint], [7, 7]);
  assert.equal(place.judge({ type: "stream_chunk", message_id: "a", seq: 8 }), "news");
  assert.equal(place.checkpoint, 7);
});

test("pieces: a repeated one is dropped, after a hole nothing is added until the whole comes", () => {
  const turns = [newTurn({ key: "m", messageId: "m", phase: "waiting" })];
  const shown = (...frames: Frame[]): string | undefined => told(turns, ...frames)[0]?.answer.text;
  assert.equal(shown(chunk(0, "a"), chunk(0, "a"), chunk(1, "b")), "ab");
  assert.equal(shown(chunk(0, "a"), chunk(2, "c"), chunk(3, "d")), "a");
  assert.equal(shown(chunk(0, "a"), chunk(2, "c"), { type: "stream_complete", message_id: "m", text: "abc" }), "abc");
  assert.equal(shown(chunk(0, "a"), { type: "stream_reset", message_id: "m" }, chunk(0, "x")), "x");
  const lost: Frame = { type: "message_replace", message_id: "m", text: "", state: "accepted", final: false };
  assert.equal(shown(chunk(0, "a"), lost, chunk(1, "b")), "ab", "what is shown is not taken away");
  assert.equal(shown(lost, chunk(5, "f")), "");
});

test("what the history told as finished is not changed or said again by a replay", () => {
  const item = (role: "visitor" | "assistant", text: string): Item => ({
    type: "item", id: role, message_id: "m", role, text, state: "answered", ordinal: 1, created_at: "t", rating: null, clientId: null,
  });
  const { turns } = merged([], [item("visitor", "q"), item("assistant", "whole")]);
  let now = turns;
  for (const frame of [{ type: "stream_start", message_id: "m", animation: "wave" }, chunk(0, "who"), { type: "stream_reset", message_id: "m" }, { type: "stream_complete", message_id: "m", text: "whole" }]) {
    const change = received(now, frame);
    assert.deepEqual(change.events, []);
    now = change.turns;
  }
  assert.equal(now[0], turns[0], "the same object");
  assert.equal(merged(turns, [item("visitor", "q"), item("assistant", "whole")]).turns, turns);
});

test("tabs: texts stand in the order in which the server took them", () => {
  const random = seeded(3);
  for (let round = 0; round < 300; round += 1) {
    const ids = Array.from({ length: 6 }, (_, index) => `${index}`);
    const shuffled = (): string[] => ids.map((id) => [random(), id] as const).sort(([a], [b]) => a - b).map(([, id]) => id);
    let turns: readonly Kept[] = [];
    for (const id of shuffled()) {
      if (random() < 0.5) turns = pending(turns, { clientId: id, text: id, createdAt: "t", failure: null }).turns;
    }
    for (const id of [...shuffled(), ...shuffled()]) {
      turns = accepted(turns, { clientId: id, messageId: `m${id}`, seq: Number(id) * 7 + 1, text: id, createdAt: "t" }).turns;
    }
    assert.equal(turns.map((turn) => turn.text).join(""), "012345");
  }
});

test("bounded: the oldest turns go, those under way stay", () => {
  const turns = Array.from({ length: 400 }, (_, index) => newTurn({ key: `${index}`, phase: index === 0 ? "waiting" : "done" }));
  const kept = changed(turns).turns;
  assert.equal(kept.length, 300);
  assert.deepEqual([kept[0]?.key, kept[1]?.key, kept.at(-1)?.key], ["0", "101", "399"]);
});

test("frames: anything may come, nothing of the wrong type gets through", () => {
  for (const data of [undefined, 5, "", "{", "[]", "null", "{}", '{"type":5}']) assert.equal(readFrame(data), null);
  const frame = readFrame('{"type":"stream_complete","text":7,"seq":"9","sources":{},"message_id":"m","state":null}');
  assert.deepEqual(frame, { type: "stream_complete", message_id: "m" });
  assert.equal(readFrame('{"type":"unknown_to_us","seq":3}')?.seq, 3);
  const random = seeded(5);
  const words = ["stream_chunk", "message_replace", "stream_complete", "stream_error", "stream_start", "animation", "stream_reset", "x"];
  let turns: readonly Kept[] = [];
  for (let round = 0; round < 2_000; round += 1) {
    const any = (): unknown => [null, 1, "m", "a", {}, [{}], [null], true, -1, "merged_into", "failed"][Math.floor(random() * 11)];
    const names = ["message_id", "text", "chunk", "index", "state", "final", "sources", "suggested_actions", "code", "retry_after_s", "animation"];
    const made = Object.fromEntries(names.map((name) => [name, any()]));
    const read = readFrame(JSON.stringify({ ...made, type: words[Math.floor(random() * words.length)] }));
    assert.ok(read);
    turns = received(turns, read).turns;
    for (const turn of turns) assert.equal(typeof turn.answer.text, "string");
  }
});

test("a wait that the server asks for is kept, up to a quarter of an hour", () => {
  assert.equal(pauseMs(0, () => 0, 7.5), 7_500);
  assert.equal(pauseMs(0, () => 0.5, 0), 200);
  assert.equal(pauseMs(0, () => 0, 1e9), 900_000);
});

test("a timer for longer than browsers can count does not run at once", async () => {
  const { timers } = browserPorts();
  let hasRun = false;
  const timer = timers.set(() => {
    hasRun = true;
  }, 2 ** 40);
  await new Promise((resolve) => setTimeout(resolve, 30));
  timers.clear(timer);
  assert.equal(hasRun, false);
});

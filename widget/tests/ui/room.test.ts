import assert from "node:assert/strict";
import { test } from "node:test";

import { endOf, follows, sizeOf, type StageSize } from "../../src/ui/room.ts";

const ROOM = { height: 700, content: 300, hasTurns: true, isAvatarShown: true };

test("the avatar makes room for reading", () => {
  assert.equal(sizeOf({ ...ROOM, hasTurns: false, content: 0 }, "hero"), "hero");
  assert.equal(sizeOf(ROOM, "hero"), "talk");
  assert.equal(sizeOf({ ...ROOM, height: 400 }, "hero"), "small");
  assert.equal(sizeOf({ ...ROOM, content: 4_000 }, "talk"), "small");
  assert.equal(sizeOf({ ...ROOM, isAvatarShown: false }, "hero"), "none");
});

test("a length at the limit does not make it come and go", () => {
  let size: StageSize = "talk";
  const seen: StageSize[] = [];
  for (const content of [1_000, 1_150, 1_050, 1_150, 1_050]) seen.push((size = sizeOf({ ...ROOM, content }, size)));
  assert.deepEqual(seen, ["talk", "small", "small", "small", "small"]);
  assert.equal(sizeOf({ ...ROOM, hasTurns: false, content: 0 }, size), "hero");
});

test("new text is followed until the visitor scrolls up, and again from the end", () => {
  const log = { scrollTop: 500, clientHeight: 400, scrollHeight: 900 };
  assert.equal(follows(true, 500, log), true);
  assert.equal(follows(true, 500, { ...log, scrollHeight: 1_400 }), true, "it grew under us");
  assert.equal(follows(true, 500, { ...log, scrollTop: 300 }), false, "the visitor went up");
  assert.equal(follows(false, 300, { ...log, scrollTop: 360 }), false, "and a little down again");
  assert.equal(follows(false, 300, { ...log, scrollTop: 470 }), true, "near enough to the end");
});

test("whatever streams in, who never scrolls up stays at the end", () => {
  let seed = 3;
  const random = (most: number): number => {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.floor((seed / 2_147_483_648) * most);
  };
  for (let round = 0; round < 200; round += 1) {
    let [sticks, lastTop, clientHeight, scrollHeight] = [true, 0, 400, 100];
    for (let step = 0; step < 50; step += 1) {
      scrollHeight += random(300);
      clientHeight = 300 + random(200);
      const end = Math.max(0, scrollHeight - clientHeight);
      const late = { scrollTop: Math.max(0, end - random(2)), clientHeight, scrollHeight: scrollHeight + random(200) };
      if (late.scrollTop >= lastTop) sticks = follows(sticks, lastTop, late);
      lastTop = late.scrollTop;
      scrollHeight = late.scrollHeight;
    }
    assert.equal(sticks, true);
  }
});

test("an answer that fits keeps its first line in view, a longer one is followed to its end", () => {
  const log = { scrollTop: 0, clientHeight: 400, scrollHeight: 1_000 };
  assert.equal(endOf(log, null), 600, "it is being written");
  assert.equal(endOf(log, { offsetTop: 520, offsetHeight: 200 }), 508, "what is below would push it out");
  assert.equal(endOf(log, { offsetTop: 700, offsetHeight: 100 }), 600, "all of it is seen anyway");
  assert.equal(endOf(log, { offsetTop: 100, offsetHeight: 700 }), 600, "it does not fit");
  assert.equal(endOf(log, { offsetTop: 0, offsetHeight: 0 }), 600, "there is none");
});

import assert from "node:assert/strict";
import { test } from "node:test";

import { AnimationClip, BufferAttribute, BufferGeometry, Group, Mesh, MeshBasicMaterial, NumberKeyframeTrack, Object3D, VectorKeyframeTrack } from "three";

import type { Clip } from "../../src/avatar/clips.ts";
import { humanGestures } from "../../src/avatar/humanoid.ts";
import { Player } from "../../src/avatar/player.ts";
import { ANIMATIONS } from "../../src/avatar/types.ts";

const FRAME_S = 1 / 60;

/** A bone that each clip holds at another x: 0 idle, 10 wave (1 s), 20 thinking, 30 talk_calm; "wave" alone lifts it. */
function stage(): { bone: Object3D; player: Player } {
  const root = new Group();
  const bone = new Object3D();
  bone.name = "bone";
  root.add(bone);
  const clip = (name: string, x: number, loop: boolean, lifts = false): [string, Clip] => {
    const tracks = [new VectorKeyframeTrack("bone.position", [0, 1], [x, 0, 0, x, lifts ? 5 : 0, 0])];
    if (lifts) tracks.push(new VectorKeyframeTrack("bone.scale", [0, 1], [1, 1, 1, 2, 2, 2]));
    return [name, { clip: new AnimationClip(name, 1, tracks), loop, stillAt: 0.5 }];
  };
  const clips = new Map([clip("idle", 0, true), clip("wave", 10, false, true), clip("thinking", 20, true), clip("talk_calm", 30, true)]);
  return { bone, player: new Player(root, clips) };
}

function go(player: Player, seconds: number, each?: () => void): void {
  for (let t = 0; t < seconds; t += FRAME_S) {
    player.update(FRAME_S);
    each?.();
  }
}

test("a blend goes from the pose of now to the clip, without a jump", () => {
  const { bone, player } = stage();
  player.play("idle");
  go(player, 0.5);
  player.play("thinking");
  let before = bone.position.x;
  go(player, 1, () => {
    assert.ok(bone.position.x >= before - 1e-4 && bone.position.x - before < 2.5, `${before} -> ${bone.position.x}`);
    before = bone.position.x;
  });
  assert.ok(Math.abs(bone.position.x - 20) < 1e-3);
});

test("interrupted in the middle of a blend it goes on from there, again and again", () => {
  const { bone, player } = stage();
  player.play("idle");
  go(player, 0.2);
  let before = bone.position.x;
  for (let i = 0; i < 40; i++) {
    player.play(["thinking", "idle", "wave", "talk_calm"][i % 4] ?? "idle");
    go(player, 0.1, () => {
      assert.ok(Math.abs(bone.position.x - before) < 5, `${before} -> ${bone.position.x}`);
      before = bone.position.x;
    });
  }
});

test("a reaction ends in the base loop and leaves nothing behind", () => {
  const { bone, player } = stage();
  player.play("talk_calm");
  go(player, 0.5);
  player.play("wave");
  go(player, 0.9);
  assert.ok(bone.position.y > 3 && bone.scale.x > 1.5);
  go(player, 1);
  assert.ok(Math.abs(bone.position.x - 30) < 1e-3, "back to the talk");
  assert.ok(Math.abs(bone.position.y) < 1e-3 && Math.abs(bone.scale.x - 1) < 1e-3, "what only the wave moves is at rest");
});

test("thinking is nothing to come back to", () => {
  const { bone, player } = stage();
  player.play("thinking");
  go(player, 0.5);
  player.play("wave");
  go(player, 2);
  assert.ok(Math.abs(bone.position.x) < 1e-3);
});

test("the same reaction again starts anew, from the pose of now", () => {
  const { bone, player } = stage();
  player.play("idle");
  player.play("wave");
  go(player, 0.8);
  const high = bone.position.y;
  player.play("wave");
  go(player, FRAME_S);
  assert.ok(Math.abs(bone.position.y - high) < 0.5);
  go(player, 0.4);
  assert.ok(bone.position.y < 3);
});

test("names that the body does not have are idle", () => {
  const { bone, player } = stage();
  player.play("thinking", 0);
  go(player, 0.4);
  player.play("backflip");
  go(player, 1);
  assert.ok(Math.abs(bone.position.x) < 1e-3);
});

test("what a layer writes over the pose does not pile up", () => {
  const { bone, player } = stage();
  player.play("idle");
  go(player, 2, () => void (bone.position.x += 0.5));
  assert.ok(Math.abs(bone.position.x - 0.5) < 1e-3);
});

test("a still pose is the telling one", () => {
  const { bone, player } = stage();
  player.pose("wave");
  assert.ok(Math.abs(bone.position.x - 10) < 1e-3 && Math.abs(bone.position.y - 2.5) < 1e-3);
  player.pose("thinking");
  assert.ok(Math.abs(bone.position.x - 20) < 1e-3 && Math.abs(bone.position.y) < 1e-3);
});

test("morphs are blended, too", () => {
  const root = new Group();
  const geometry = new BufferGeometry();
  const smile = new BufferAttribute(new Float32Array(9), 3);
  smile.name = "smile";
  geometry.morphAttributes.position = [smile];
  const face = new Mesh(geometry, new MeshBasicMaterial());
  face.name = "face";
  root.add(face);
  const clip = (name: string, weight: number): [string, Clip] => [
    name,
    { clip: new AnimationClip(name, 1, [new NumberKeyframeTrack("face.morphTargetInfluences[smile]", [0, 1], [weight, weight])]), loop: true, stillAt: 0 },
  ];
  const player = new Player(root, new Map([clip("idle", 0), clip("thinking", 1)]));
  player.play("idle");
  go(player, 0.1);
  player.play("thinking");
  go(player, 0.15);
  const part = face.morphTargetInfluences?.[0] ?? 0;
  assert.ok(part > 0.05 && part < 0.95);
  go(player, 0.4);
  assert.equal(face.morphTargetInfluences?.[0], 1);
});

test("gestures of a humanoid drive the same bones in every clip", () => {
  const nodes = { head: "H", chest: "C", leftUpperArm: "LU", rightUpperArm: "RU", leftLowerArm: "LL", rightLowerArm: "RL" };
  const gestures = humanGestures(nodes, 1);
  const driven = (name: string): string => (gestures.get(name as "idle")?.clip.tracks ?? []).map((track) => track.name).sort().join();
  for (const name of ANIMATIONS) assert.equal(driven(name), driven("idle"), name);
  assert.equal(humanGestures({ head: "H" }, -1).get("wave")?.clip.tracks.length, 1, "bones that are not there are left out");
});

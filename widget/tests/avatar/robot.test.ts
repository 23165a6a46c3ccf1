import assert from "node:assert/strict";
import { test } from "node:test";

import { AnimationMixer, Color, type KeyframeTrack, type Material, type Mesh, type MeshLambertMaterial, type Object3D, Vector3 } from "three";

import { buildClips } from "../../src/avatar/clips.ts";
import { type Arm, MOVES, REST } from "../../src/avatar/poses.ts";
import { ARM, buildRobot, FRAMING, type Rig } from "../../src/avatar/robot.ts";
import { HEAD } from "../../src/avatar/robot_shapes.ts";
import { ANIMATIONS, type AnimationName } from "../../src/avatar/types.ts";

const COLORS = { shell: "#f4f6fb", accent: "#4f5bd5", glass: "#141a33", glow: "#7df3ff" };
const LOOPS = ["idle", "thinking", "talk_calm", "talk_explain"];
const PROPS: Readonly<Record<string, readonly string[]>> = {
  wave: ["waves"],
  happy: ["sparks"],
  nod: ["nods"],
  thinking: ["thought"],
  confused: ["question"],
  talk_calm: ["speech"],
  talk_explain: ["panel"],
};

function meshes(rig: Rig): Mesh[] {
  const found: Mesh[] = [];
  rig.root.traverse((part) => (part as Mesh).isMesh && found.push(part as Mesh));
  return found;
}

/** The rig with one clip at one moment. */
function posed(name: AnimationName, second: number): Rig {
  const rig = buildRobot(COLORS, true);
  const { clip } = buildClips(rig).get(name)!;
  const mixer = new AnimationMixer(rig.root);
  mixer.clipAction(clip).play();
  mixer.setTime(Math.min(second, clip.duration - 1e-4));
  rig.root.updateMatrixWorld(true);
  return rig;
}

function first(track: KeyframeTrack): number[] {
  return [...track.values.slice(0, track.getValueSize())];
}

function last(track: KeyframeTrack): number[] {
  return [...track.values.slice(-track.getValueSize())];
}

function near(a: readonly number[], b: readonly number[], what: string): void {
  assert.equal(a.length, b.length, what);
  // q and -q are the same rotation.
  const same = (sign: number): boolean => a.every((value, at) => Math.abs(value - sign * b[at]!) < 1e-5);
  assert.ok(same(1) || (what.endsWith("quaternion") && same(-1)), `${what}: ${a.join()} is not ${b.join()}`);
}

test("nine clips, of a length that can be watched, with a telling moment inside", () => {
  const clips = buildClips(buildRobot(COLORS, false));
  assert.deepEqual([...clips.keys()], [...ANIMATIONS]);
  for (const [name, { clip, loop, stillAt }] of clips) {
    assert.equal(clip.name, name);
    assert.ok(clip.duration >= 1.4 && clip.duration <= 6, `${name} lasts ${clip.duration} s`);
    assert.ok(stillAt >= 0 && stillAt < clip.duration, name);
    assert.equal(loop, LOOPS.includes(name), name);
  }
});

test("every clip drives the same tracks, and each of them is a part of the robot", () => {
  const rig = buildRobot(COLORS, false);
  const wanted = [...buildClips(rig).values()].map(({ clip }) => clip.tracks.map((track) => track.name));
  assert.equal(new Set(wanted[0]).size, wanted[0]!.length);
  for (const names of wanted) assert.deepEqual(names, wanted[0]);
  for (const name of wanted[0]!) {
    const [node, property] = [name.split(".")[0]!, name.slice(name.indexOf(".") + 1)];
    const morph = /^morphTargetInfluences\[(\w+)\]$/.exec(property)?.[1];
    if (morph === undefined) assert.ok(rig.bones[node] !== undefined && property in rig.bones[node], name);
    else assert.ok(rig.faces[node]?.morphTargetDictionary?.[morph] !== undefined, name);
  }
});

test("no clip drives what the stage sets itself", () => {
  const rig = buildRobot(COLORS, false);
  const driven = new Set([...buildClips(rig).values()].flatMap(({ clip }) => clip.tracks.map((track) => track.name)));
  for (const name of ["gaze.quaternion", "gaze.position", "eyes.position", "eyeL.morphTargetInfluences[blink]", "eyeR.morphTargetInfluences[blink]", "mouth.morphTargetInfluences[aa]", "mouth.morphTargetInfluences[oh]"]) {
    assert.ok(!driven.has(name), name);
    const morph = /\[(\w+)\]/.exec(name)?.[1];
    const node = name.split(".")[0]!;
    assert.ok(morph === undefined ? rig.bones[node] : rig.faces[node]?.morphTargetDictionary?.[morph] !== undefined, name);
  }
});

test("times rise, values are numbers, rotations are rotations", () => {
  for (const { clip } of buildClips(buildRobot(COLORS, false)).values()) {
    for (const { name, times, values } of clip.tracks) {
      assert.ok(values.every(Number.isFinite) && times.every(Number.isFinite), `${clip.name} ${name}`);
      assert.ok(times.every((time, at) => at === 0 || time > times[at - 1]!), `${clip.name} ${name}`);
      assert.ok(times[times.length - 1]! <= clip.duration + 1e-6, `${clip.name} ${name}`);
      if (!name.endsWith("quaternion")) continue;
      for (let at = 0; at < values.length; at += 4) assert.ok(Math.abs(Math.hypot(...values.slice(at, at + 4)) - 1) < 1e-4, `${clip.name} ${name}`);
    }
  }
});

test("what is played once begins and ends at rest, a loop ends as it began", () => {
  const clips = buildClips(buildRobot(COLORS, false));
  const rest = clips.get("idle")!.clip.tracks.map(first);
  for (const [name, { clip, loop }] of clips) {
    clip.tracks.forEach((track, at) => {
      near(last(track), first(track), `${name} ${track.name}`);
      if (!loop) near(first(track), rest[at]!, `${name} ${track.name}`);
    });
  }
});

test("each still shows its own prop, and no other", () => {
  const names = [...new Set(Object.values(PROPS).flat())];
  for (const name of ANIMATIONS) {
    const rig = posed(name, MOVES[name].stillAt);
    const seen = names.filter((prop) => rig.bones[prop]!.visible);
    assert.deepEqual(seen, PROPS[name] ?? [], name);
    for (const prop of seen) assert.ok(rig.bones[prop]!.scale.x > 0.95, `${name}: ${prop} is small`);
    for (const prop of names) if (!seen.includes(prop)) assert.equal(rig.bones[prop]!.scale.x, 0);
  }
});

test("the robot stands as high and wide as the camera is told", () => {
  for (const name of ANIMATIONS) {
    const rig = posed(name, MOVES[name].stillAt);
    const [low, high] = [new Vector3(Infinity, Infinity, Infinity), new Vector3(-Infinity, -Infinity, -Infinity)];
    const point = new Vector3();
    const shown = (part: Object3D | null): boolean => part === null || (part.visible && shown(part.parent));
    for (const mesh of meshes(rig).filter(shown)) {
      const at = mesh.geometry.getAttribute("position");
      for (let i = 0; i < at.count; i++) {
        point.fromBufferAttribute(at, i).applyMatrix4(mesh.matrixWorld);
        low.min(point);
        high.max(point);
      }
    }
    assert.ok(low.x >= -FRAMING.width / 2 && high.x <= FRAMING.width / 2, `${name}: x ${low.x} to ${high.x}`);
    assert.ok(low.y >= FRAMING.middleY - FRAMING.height / 2 && high.y <= FRAMING.middleY + FRAMING.height / 2, `${name}: y ${low.y} to ${high.y}`);
  }
});

test("arms reach the points that the poses name, and the left is the right's mirror image at rest", () => {
  const shoulder = new Vector3(...ARM.shoulder);
  for (const [name, { keys }] of Object.entries(MOVES)) {
    for (const [second, pose] of keys) {
      for (const arm of [pose.R ?? REST.R, pose.L ?? REST.L] as Arm[]) {
        const far = new Vector3(...arm.at).sub(shoulder).sub(new Vector3(0, arm.shrug ?? 0, 0)).length();
        assert.ok(far <= ARM.upper + ARM.fore, `${name} at ${second} s: ${far.toFixed(3)} is too far`);
      }
    }
  }
  const rig = posed("idle", 0);
  const [left, right] = ["L", "R"].map((letter) => rig.bones[`hand${letter}`]!.getWorldPosition(new Vector3()));
  assert.ok(left!.x > 0.3);
  near([left!.x, left!.y, left!.z], [-right!.x, right!.y, right!.z], "mirrored");
  const chest = rig.bones["chest"]!;
  near(chest.worldToLocal(left!.clone()).toArray(), REST.L.at, "wrist");
});

test("no hand goes through the head or the body on its way", () => {
  const rig = buildRobot(COLORS, true);
  const point = new Vector3();
  for (const [name, { clip }] of buildClips(rig)) {
    const mixer = new AnimationMixer(rig.root);
    mixer.clipAction(clip).play();
    for (let second = 0; second < clip.duration; second += 1 / 30) {
      mixer.setTime(second);
      rig.root.updateMatrixWorld(true);
      for (const letter of ["L", "R"]) {
        for (const bone of [`fore${letter}`, `hand${letter}`, `tips${letter}`, `indexTip${letter}`]) {
          const where = `${name} at ${second.toFixed(2)} s: ${bone}`;
          rig.bones["head"]!.worldToLocal(rig.bones[bone]!.getWorldPosition(point));
          const head = Math.abs(point.x / HEAD.x) ** HEAD.power + Math.abs((point.y - 0.36) / HEAD.y) ** HEAD.power + Math.abs(point.z / HEAD.z) ** HEAD.power;
          assert.ok(head > 1, `${where} is in the head`);
          rig.bones["chest"]!.worldToLocal(rig.bones[bone]!.getWorldPosition(point));
          const body = (point.x / 0.285) ** 2 + (point.y / 0.335) ** 2 + (point.z / 0.285) ** 2;
          assert.ok(body > 1, `${where} is in the body`);
        }
      }
    }
    mixer.stopAllAction();
  }
});

test("light enough for a machine without a GPU", () => {
  for (const [cheap, triangles, calls] of [[false, 32_000, 64], [true, 16_000, 64]] as const) {
    const rig = buildRobot(COLORS, cheap);
    const all = meshes(rig);
    const sum = all.reduce((total, mesh) => total + mesh.geometry.getIndex()!.count / 3, 0);
    assert.ok(sum < triangles, `${sum} triangles`);
    assert.ok(all.length < calls, `${all.length} meshes`);
    for (const mesh of all) {
      assert.ok([...mesh.geometry.getAttribute("position").array].every(Number.isFinite), mesh.name);
      assert.ok([...mesh.geometry.getAttribute("normal").array].every(Number.isFinite), mesh.name);
    }
  }
});

test("colours are taken over, at once and later", () => {
  const rig = buildRobot(COLORS, true);
  const colorOf = (name: string): string => {
    const found = meshes(rig).map((mesh) => mesh.material as MeshLambertMaterial).find((material) => material.name === name)!;
    return `#${found.color.getHexString()}`;
  };
  for (const [name, color] of Object.entries(COLORS)) assert.equal(colorOf(name), color);
  rig.setColors({ ...COLORS, accent: "#cc3366" });
  assert.equal(colorOf("accent"), "#cc3366");
  assert.notEqual(new Color(colorOf("mark")).getHex(), new Color(COLORS.accent).getHex());
});

test("dispose frees every geometry and material, once each", () => {
  const rig = buildRobot(COLORS, true);
  const held = new Set<{ addEventListener(type: "dispose", listener: () => void): void }>();
  for (const mesh of meshes(rig)) {
    held.add(mesh.geometry);
    held.add(mesh.material as Material);
  }
  const freed: unknown[] = [];
  for (const thing of held) thing.addEventListener("dispose", () => freed.push(thing));
  rig.dispose();
  assert.equal(freed.length, held.size);
  assert.equal(new Set(freed).size, held.size);
});

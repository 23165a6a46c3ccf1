/**
 * The robot's nine animations as clips, made from the poses in `poses.ts`: arms are bent to reach their points, ways between poses are eased.
 * Every clip drives the same tracks, so that a cross-fade never leaves a bone half-way. Called by the stage.
 */

import { AnimationClip, Euler, Matrix4, NumberKeyframeTrack, Quaternion, QuaternionKeyframeTrack, Vector3, VectorKeyframeTrack } from "three";
import type { KeyframeTrack } from "three";
import { type Arm, type Grip, MOVES, type Move, type Pose, REST } from "./poses.ts";
import { ARM, type Rig } from "./robot.ts";
import type { Point } from "./robot_shapes.ts";
import { ANIMATIONS, type AnimationName } from "./types.ts";

export interface Clip {
  readonly clip: AnimationClip;
  readonly loop: boolean;
  /** The second of the most telling pose: shown under reduced motion. */
  readonly stillAt: number;
}

const SAMPLES_PER_S = 14;
const EYE_MORPHS = ["closed", "happy", "squint", "wide"] as const;
const MOUTH_MORPHS = ["smile", "grin", "frown", "talk", "wavy"] as const;
const PROPS = ["thought", "question", "panel", "speech", "nods", "waves", "sparks"] as const;
const LIGHTS = ["dot", "bar", "wave"].flatMap((name) => [1, 2, 3].map((n) => `${name}${n}`));

/** Curl of index, its tip, the other fingers, their tips; the thumb's turn forward (x) and away from the palm (z). */
const GRIPS: Readonly<Record<Grip, readonly [number, number, number, number, number, number]>> = {
  relaxed: [0.3, 0.45, 0.4, 0.55, -0.55, 0.15],
  open: [0.02, 0.04, 0.02, 0.04, -1.0, 0],
  cup: [0.22, 0.3, 0.3, 0.35, -1.0, 0.1],
  thumb: [1.55, 1.65, 1.6, 1.7, -1.72, 0],
  point: [0, 0.05, 1.6, 1.7, -0.55, 0.75],
};

/** What a track holds: its name's last part says how it is mixed. */
type Channels = Map<string, readonly number[]>;

/** Rotations of upper arm, forearm and hand that bring the wrist where it should be. `side`: -1 the right arm, 1 the left. */
function bend(arm: Arm, side: number): Quaternion[] {
  const mirrored = ([x, y, z]: Point): Vector3 => new Vector3(side * x, y, z);
  const shoulder = mirrored(ARM.shoulder).add(new Vector3(0, arm.shrug ?? 0, 0));
  const to = mirrored(arm.at).sub(shoulder);
  const far = Math.min(to.length(), (ARM.upper + ARM.fore) * 0.998);
  const along = to.clone().normalize();
  const hint = mirrored(arm.elbow ?? [0.55, -0.75, -0.45]);
  const out = hint.addScaledVector(along, -hint.dot(along)).normalize();
  const reach = (ARM.upper ** 2 - ARM.fore ** 2 + far ** 2) / (2 * far);
  const elbow = along.clone().multiplyScalar(reach).addScaledVector(out, Math.sqrt(Math.max(0, ARM.upper ** 2 - reach ** 2)));
  const hinge = new Vector3().crossVectors(along, out);
  const frame = (down: Vector3, x: Vector3): Quaternion => {
    const y = down.clone().normalize().negate();
    return new Quaternion().setFromRotationMatrix(new Matrix4().makeBasis(x, y, new Vector3().crossVectors(x, y)));
  };
  const upper = frame(elbow, hinge);
  const fore = frame(along.multiplyScalar(far).sub(elbow), hinge);
  const fingers = mirrored(arm.fingers).normalize();
  const x = new Vector3().crossVectors(mirrored(arm.thumb), fingers).normalize();
  const hand = frame(fingers, x);
  return [upper, upper.clone().invert().multiply(fore), fore.clone().invert().multiply(hand)];
}

function turn(x: number, y: number, z: number): number[] {
  return new Quaternion().setFromEuler(new Euler(x, y, z)).toArray();
}

/** Every channel of a pose, whatever it says. */
function channelsOf(pose: Pose, rig: Rig): Channels {
  const channels: Channels = new Map();
  const move = (name: string, x: number, y: number, z: number): void => {
    const at = rig.bones[name]!.position;
    channels.set(`${name}.position`, [at.x + x, at.y + y, at.z + z]);
  };
  move("hips", ...pose.hips);
  for (const name of ["chest", "head", "antenna"] as const) channels.set(`${name}.quaternion`, turn(...pose[name]));
  for (const [letter, side] of [["R", -1], ["L", 1]] as const) {
    const arm = pose[letter];
    const [upper, fore, hand] = bend(arm, side) as [Quaternion, Quaternion, Quaternion];
    move(`arm${letter}`, 0, arm.shrug ?? 0, 0);
    channels.set(`arm${letter}.quaternion`, upper.toArray());
    channels.set(`fore${letter}.quaternion`, fore.toArray());
    channels.set(`hand${letter}.quaternion`, hand.toArray());
    const [index, indexTip, fingers, tips, thumbX, thumbZ] = GRIPS[arm.grip];
    for (const [name, curl] of [["index", index], ["indexTip", indexTip], ["fingers", fingers], ["tips", tips]] as const) {
      channels.set(`${name}${letter}.quaternion`, turn(0, 0, -side * curl));
    }
    channels.set(`thumb${letter}.quaternion`, turn(thumbX, 0, -side * thumbZ));
    move(`eye${letter}_j`, pose.look[0], pose.look[1], 0);
    const [raise, tilt] = pose[`brow${letter}`];
    move(`brow${letter}`, 0, raise, 0);
    channels.set(`brow${letter}.quaternion`, turn(0, 0, tilt));
    for (const morph of EYE_MORPHS) channels.set(`eye${letter}.morphTargetInfluences[${morph}]`, [pose[`eye${letter}`][morph] ?? 0]);
  }
  for (const morph of MOUTH_MORPHS) channels.set(`mouth.morphTargetInfluences[${morph}]`, [pose.mouth[morph] ?? 0]);
  for (const prop of PROPS) channels.set(`${prop}.scale`, Array<number>(3).fill(pose.props[prop] ?? 0));
  for (const name of LIGHTS) {
    const size = pose.props[name] ?? 1;
    channels.set(`${name}.scale`, name.startsWith("dot") ? [size, size, size] : [1, size, 1]);
  }
  return channels;
}

function makeTrack(name: string, times: number[], values: number[]): KeyframeTrack {
  if (name.endsWith(".quaternion")) return new QuaternionKeyframeTrack(name, times, values);
  return name.endsWith("]") ? new NumberKeyframeTrack(name, times, values) : new VectorKeyframeTrack(name, times, values);
}

/** One channel over time: eased from key to key, or a single value where nothing changes. */
function trackOf(name: string, seconds: readonly number[], keys: readonly (readonly number[])[]): KeyframeTrack {
  const first = keys[0]!;
  if (keys.every((key) => key.every((value, at) => value === first[at]))) return makeTrack(name, [0], [...first]);
  const [a, b] = [new Quaternion(), new Quaternion()];
  const times = [0];
  const values = [...first];
  for (let at = 1; at < keys.length; at++) {
    const [from, to, start, end] = [keys[at - 1]!, keys[at]!, seconds[at - 1]!, seconds[at]!];
    const steps = Math.max(2, Math.round((end - start) * SAMPLES_PER_S));
    for (let step = 1; step <= steps; step++) {
      const way = step / steps;
      const eased = way * way * (3 - 2 * way);
      times.push(start + (end - start) * way);
      if (name.endsWith(".quaternion")) values.push(...a.fromArray(from).slerp(b.fromArray(to), eased).toArray());
      else values.push(...from.map((value, part) => value + (to[part]! - value) * eased));
    }
  }
  return makeTrack(name, times, values);
}

function clipOf(name: AnimationName, move: Move, rig: Rig): AnimationClip {
  const seconds = move.keys.map(([second]) => second);
  const poses = move.keys.map(([, pose]) => channelsOf({ ...REST, ...pose }, rig));
  const tracks = [...poses[0]!.keys()].map((channel) =>
    trackOf(
      channel,
      seconds,
      poses.map((pose) => pose.get(channel)!),
    ),
  );
  return new AnimationClip(name, seconds[seconds.length - 1]!, tracks);
}

/** Of a rig that nothing has moved yet. */
export function buildClips(rig: Rig): Map<AnimationName, Clip> {
  return new Map(
    ANIMATIONS.map((name) => {
      const move = MOVES[name];
      return [name, { clip: clipOf(name, move, rig), loop: move.loop, stillAt: move.stillAt }];
    }),
  );
}

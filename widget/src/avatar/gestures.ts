/**
 * Animations for models that bring none: the whole of a GLB without clips breathes, sways and nods. Called by `model.ts`; a VRM has
 * better ones in `humanoid.ts`.
 */

import { AnimationClip, Euler, type KeyframeTrack, Quaternion, QuaternionKeyframeTrack, VectorKeyframeTrack } from "three";
import type { Clip } from "./clips.ts";
import { ANIMATIONS, type AnimationName } from "./types.ts";

/** Seconds and Euler angles in degrees (or a place): [t, x, y, z]. */
export type Keys = readonly (readonly [number, number, number, number])[];

export interface Gesture {
  readonly seconds: number;
  readonly loop: boolean;
  readonly stillAt: number;
  readonly turns: Readonly<Record<string, Keys>>;
  readonly lift?: Keys;
}

const breath = (deep: number, seconds = 4): Keys => [
  [0, 0, 0, 0],
  [seconds / 2, 0, deep, 0],
  [seconds, 0, 0, 0],
];

/** Of the whole model; places are shares of its height. */
const WHOLE: Readonly<Record<AnimationName, Gesture>> = {
  idle: { seconds: 4, loop: true, stillAt: 0, turns: { "": [[0, 0, -2, 0], [2, 0.6, 2, 0], [4, 0, -2, 0]] }, lift: breath(0.008) },
  wave: { seconds: 1.8, loop: false, stillAt: 0.4, turns: { "": [[0, 0, 0, 0], [0.4, 0, 0, -9], [0.8, 0, 0, 8], [1.2, 0, 0, -7], [1.8, 0, 0, 0]] } },
  happy: {
    seconds: 1.8,
    loop: false,
    stillAt: 0.3,
    turns: { "": [[0, 0, 0, 0], [0.3, -4, 0, 5], [0.9, -4, 0, -5], [1.8, 0, 0, 0]] },
    lift: [[0, 0, 0, 0], [0.3, 0, 0.09, 0], [0.6, 0, 0, 0], [0.9, 0, 0.07, 0], [1.2, 0, 0, 0], [1.8, 0, 0, 0]],
  },
  thumbs_up: { seconds: 1.8, loop: false, stillAt: 0.4, turns: { "": [[0, 0, 0, 0], [0.4, 8, 10, 0], [1.2, 8, 10, 0], [1.8, 0, 0, 0]] } },
  nod: { seconds: 1.3, loop: false, stillAt: 0.3, turns: { "": [[0, 0, 0, 0], [0.3, 11, 0, 0], [0.6, 0, 0, 0], [0.9, 9, 0, 0], [1.3, 0, 0, 0]] } },
  thinking: { seconds: 4, loop: true, stillAt: 1, turns: { "": [[0, -4, 14, 6], [2, -6, 18, 7], [4, -4, 14, 6]] }, lift: breath(0.006) },
  confused: { seconds: 2.2, loop: false, stillAt: 0.5, turns: { "": [[0, 0, 0, 0], [0.5, 2, -6, 11], [1.6, 2, 6, 11], [2.2, 0, 0, 0]] } },
  talk_calm: { seconds: 3, loop: true, stillAt: 0.8, turns: { "": [[0, 1, -4, 0], [0.8, 3, -1, 1], [1.6, 0, 3, 0], [3, 1, -4, 0]] }, lift: breath(0.006, 3) },
  talk_explain: { seconds: 2.4, loop: true, stillAt: 0.6, turns: { "": [[0, 2, -8, -2], [0.6, 5, 0, 2], [1.2, 2, 8, -2], [1.8, 5, 0, 2], [2.4, 2, -8, -2]] }, lift: breath(0.01, 2.4) },
};

/** Clips that move the object called `pivot` as a whole; `height` in the model's units. */
export function wholeGestures(pivot: string, height: number): Map<AnimationName, Clip> {
  return made(WHOLE, (gesture) => {
    const tracks: KeyframeTrack[] = [turn(pivot, gesture.turns[""] ?? [[0, 0, 0, 0]], 1)];
    const lift = gesture.lift ?? [[0, 0, 0, 0]];
    tracks.push(new VectorKeyframeTrack(`${pivot}.position`, times(lift), lift.flatMap((key) => [0, key[2] * height, 0])));
    return tracks;
  });
}

/** A clip for each animation of `gestures`. */
export function made(gestures: Readonly<Record<AnimationName, Gesture>>, tracks: (gesture: Gesture) => KeyframeTrack[]): Map<AnimationName, Clip> {
  return new Map(
    ANIMATIONS.map((name) => {
      const gesture = gestures[name];
      const clip = new AnimationClip(name, gesture.seconds, tracks(gesture));
      return [name, { clip, loop: gesture.loop, stillAt: gesture.stillAt }];
    }),
  );
}

function times(keys: Keys): number[] {
  return keys.map((key) => key[0]);
}

/** A track of the object called `node`. `facing` -1 turns x and z round. */
export function turn(node: string, keys: Keys, facing: 1 | -1): KeyframeTrack {
  const radians = Math.PI / 180;
  const values = keys.flatMap(([, x, y, z]) =>
    new Quaternion().setFromEuler(new Euler(x * radians * facing, y * radians, z * radians * facing)).toArray(),
  );
  return new QuaternionKeyframeTrack(`${node}.quaternion`, times(keys), values);
}

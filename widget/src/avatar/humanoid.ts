/**
 * Gestures for a VRM, whose bones have the same names and axes in every file: it waves, thinks and explains without a clip of its
 * own. Called by `vrm.ts`.
 */

import type { Clip } from "./clips.ts";
import { type Gesture, type Keys, made, turn } from "./gestures.ts";
import type { AnimationName } from "./types.ts";

/** Arms hang in idle: files stand with their arms spread. Left arm: z > 0 lifts; right arm: z < 0 does. */
const ARMS: Readonly<Record<string, Keys>> = {
  leftUpperArm: [[0, 0, 0, -72]],
  rightUpperArm: [[0, 0, 0, 72]],
  leftLowerArm: [[0, 0, -12, 0]],
  rightLowerArm: [[0, 0, 12, 0]],
};

/** Of a humanoid's bones, in VRM's axes: y up, the figure looks to +z, its left is +x. */
const HUMAN: Readonly<Record<AnimationName, Gesture>> = {
  idle: { seconds: 4, loop: true, stillAt: 0, turns: { chest: [[0, 0, 0, 0], [2, -1.4, 0, 0], [4, 0, 0, 0]], head: [[0, 1, -2, 0], [2, -1, 2, 1], [4, 1, -2, 0]] } },
  wave: {
    seconds: 2.4,
    loop: false,
    stillAt: 0.8,
    turns: {
      rightUpperArm: [[0, 0, 0, 72], [0.4, 0, 20, 52], [2, 0, 20, 52], [2.4, 0, 0, 72]],
      rightLowerArm: [[0, 0, 12, 0], [0.4, 0, 25, -118], [0.8, 0, 25, -152], [1.2, 0, 25, -115], [1.6, 0, 25, -152], [2, 0, 25, -120], [2.4, 0, 12, 0]],
      head: [[0, 0, 0, 0], [0.4, -3, 0, -7], [2, -3, 0, -7], [2.4, 0, 0, 0]],
    },
  },
  happy: {
    seconds: 2,
    loop: false,
    stillAt: 0.4,
    turns: {
      rightUpperArm: [[0, 0, 0, 72], [0.4, 0, 20, 28], [0.8, 0, 20, 42], [1.2, 0, 20, 28], [1.6, 0, 20, 42], [2, 0, 0, 72]],
      rightLowerArm: [[0, 0, 12, 0], [0.4, 0, 15, -122], [1.6, 0, 15, -122], [2, 0, 12, 0]],
      leftUpperArm: [[0, 0, 0, -72], [0.4, 0, -20, -28], [0.8, 0, -20, -42], [1.2, 0, -20, -28], [1.6, 0, -20, -42], [2, 0, 0, -72]],
      leftLowerArm: [[0, 0, -12, 0], [0.4, 0, -15, 122], [1.6, 0, -15, 122], [2, 0, -12, 0]],
      head: [[0, 0, 0, 0], [0.4, -8, 0, 5], [1, -8, 0, -5], [1.6, -8, 0, 5], [2, 0, 0, 0]],
    },
  },
  thumbs_up: {
    seconds: 2.2,
    loop: false,
    stillAt: 0.8,
    turns: {
      rightUpperArm: [[0, 0, 0, 72], [0.5, 0, 30, 66], [1.7, 0, 30, 66], [2.2, 0, 0, 72]],
      rightLowerArm: [[0, 0, 12, 0], [0.5, 0, 112, -28], [1.7, 0, 112, -28], [2.2, 0, 12, 0]],
      head: [[0, 0, 0, 0], [0.5, -3, 0, -6], [0.9, 6, 0, -6], [1.3, -3, 0, -6], [2.2, 0, 0, 0]],
    },
  },
  nod: { seconds: 1.4, loop: false, stillAt: 0.25, turns: { head: [[0, 0, 0, 0], [0.25, 19, 0, 0], [0.55, -3, 0, 0], [0.8, 16, 0, 0], [1.4, 0, 0, 0]] } },
  thinking: {
    seconds: 4,
    loop: true,
    stillAt: 1,
    turns: {
      head: [[0, -9, 20, 8], [2, -12, 25, 10], [4, -9, 20, 8]],
      rightUpperArm: [[0, 0, 30, 62]],
      rightLowerArm: [[0, 0, 138, -18], [2, 0, 141, -18], [4, 0, 138, -18]],
    },
  },
  confused: {
    seconds: 2.6,
    loop: false,
    stillAt: 0.8,
    turns: {
      head: [[0, 0, 0, 0], [0.5, 3, -6, 17], [1.9, 3, 6, 17], [2.6, 0, 0, 0]],
      rightUpperArm: [[0, 0, 0, 72], [0.5, 0, 25, 50], [1.9, 0, 25, 50], [2.6, 0, 0, 72]],
      rightLowerArm: [[0, 0, 12, 0], [0.5, 0, 70, -50], [1.9, 0, 70, -50], [2.6, 0, 12, 0]],
      leftUpperArm: [[0, 0, 0, -72], [0.5, 0, -25, -50], [1.9, 0, -25, -50], [2.6, 0, 0, -72]],
      leftLowerArm: [[0, 0, -12, 0], [0.5, 0, -70, 50], [1.9, 0, -70, 50], [2.6, 0, -12, 0]],
    },
  },
  talk_calm: { seconds: 3.2, loop: true, stillAt: 0.8, turns: { head: [[0, 0, -4, 0], [0.8, 4, 0, 2], [1.6, 0, 4, 0], [2.4, 3, 0, -2], [3.2, 0, -4, 0]], chest: [[0, 0, -1, 0], [1.6, 0, 1, 0], [3.2, 0, -1, 0]] } },
  talk_explain: {
    seconds: 2.8,
    loop: true,
    stillAt: 0.7,
    turns: {
      head: [[0, 0, -6, 0], [0.7, 5, 0, 3], [1.4, 0, 6, 0], [2.1, 5, 0, -3], [2.8, 0, -6, 0]],
      rightUpperArm: [[0, 0, 20, 62], [0.7, 0, 35, 50], [1.4, 0, 20, 62], [2.8, 0, 20, 62]],
      rightLowerArm: [[0, 0, 60, -30], [0.7, 0, 85, -50], [1.4, 0, 60, -30], [2.8, 0, 60, -30]],
      leftUpperArm: [[0, 0, -20, -62], [1.4, 0, -20, -62], [2.1, 0, -35, -50], [2.8, 0, -20, -62]],
      leftLowerArm: [[0, 0, -60, 30], [1.4, 0, -60, 30], [2.1, 0, -85, 50], [2.8, 0, -60, 30]],
    },
  },
};

/**
 * Clips for a humanoid. `nodes`: bone name -> name of its object. `facing`: 1, or -1 where x and z are turned round (VRM 0).
 * Each clip drives every bone that any of them does: nothing stays where another left it.
 */
export function humanGestures(nodes: Readonly<Record<string, string>>, facing: 1 | -1): Map<AnimationName, Clip> {
  const bones = new Set(Object.values(HUMAN).flatMap((gesture) => Object.keys(gesture.turns)));
  for (const bone of Object.keys(ARMS)) bones.add(bone);
  return made(HUMAN, (gesture) =>
    [...bones].flatMap((bone) => {
      const node = nodes[bone];
      return node === undefined ? [] : [turn(node, gesture.turns[bone] ?? ARMS[bone] ?? [[0, 0, 0, 0]], facing)];
    }),
  );
}

/**
 * The choreography of the robot: what it does in each animation, as poses at moments. `clips.ts` turns it into tracks.
 *
 * Points and directions of arms are in the chest's space, mirrored for the right arm: x is away from the body for both. Angles are in
 * radians, Euler xyz: +x bows, +y turns to the robot's left, +z leans to its right. What a pose leaves out is as in REST.
 */

import type { Point, Point2 } from "./robot_shapes.ts";
import type { AnimationName } from "./types.ts";

export type Grip = "relaxed" | "open" | "cup" | "thumb" | "point";

export interface Arm {
  /** Where the wrist is. */
  readonly at: Point;
  /** Where the fingers point, and where the thumb's side of the hand is. */
  readonly fingers: Point;
  readonly thumb: Point;
  readonly grip: Grip;
  /** How far the shoulder is pulled up. */
  readonly shrug?: number;
  /** Where the elbow would like to be, seen from the line between shoulder and wrist. */
  readonly elbow?: Point;
}

type Morphs = Readonly<Record<string, number>>;

export interface Pose {
  /** Moves the whole robot. */
  readonly hips: Point;
  readonly chest: Point;
  readonly head: Point;
  readonly antenna: Point;
  readonly R: Arm;
  readonly L: Arm;
  readonly eyeR: Morphs;
  readonly eyeL: Morphs;
  readonly mouth: Morphs;
  /** Both pupils: right and up. */
  readonly look: Point2;
  /** How far a brow is raised, and turned (+: its left end goes down, seen by the viewer). */
  readonly browR: Point2;
  readonly browL: Point2;
  /** Scale of the props that are seen, and of the lights on them (1 unless said). */
  readonly props: Morphs;
}

export interface Move {
  readonly loop: boolean;
  readonly stillAt: number;
  readonly keys: readonly (readonly [second: number, pose: Partial<Pose>])[];
}

const DOWN: Arm = { at: [0.46, -0.17, 0.11], fingers: [0.22, -1, 0.1], thumb: [-0.3, 0, 1], grip: "relaxed" };

export const REST: Pose = {
  hips: [0, 0, 0],
  chest: [0, 0, 0],
  head: [0, 0, 0],
  antenna: [0, 0, 0],
  R: DOWN,
  L: DOWN,
  eyeR: {},
  eyeL: {},
  mouth: { smile: 1 },
  look: [0, 0],
  browR: [0, 0],
  browL: [0, 0],
  props: {},
};

const both = (morphs: Morphs): Pick<Pose, "eyeR" | "eyeL"> => ({ eyeR: morphs, eyeL: morphs });

// idle
const breath: Arm = { ...DOWN, at: [0.476, -0.157, 0.12] };

// wave
const WAVE: Arm = { at: [0.672, 0.375, 0.14], fingers: [0.1, 1, 0.08], thumb: [-1, 0.1, 0], grip: "open" };
const waveOut: Arm = { ...WAVE, at: [0.712, 0.27, 0.14], fingers: [1, 1, 0.08], thumb: [-1, 1, 0] };
const waveIn: Arm = { ...WAVE, at: [0.63, 0.41, 0.18], fingers: [-0.25, 1, 0.1], thumb: [-1, -0.25, 0] };
const greeting: Partial<Pose> = {
  chest: [0, 0, 0.05],
  head: [-0.04, 0, 0.12],
  mouth: { grin: 1 },
  browR: [0.014, 0],
  browL: [0.014, 0],
  props: { waves: 1 },
};

// happy
const cheer: Arm = { at: [0.62, 0.44, 0.1], fingers: [0.5, 1, 0.05], thumb: [-1, 0.5, 0.1], grip: "open" };
const cheerLow: Arm = { ...cheer, at: [0.69, 0.34, 0.12], fingers: [0.9, 0.9, 0.05], thumb: [-1, 0.8, 0.1] };
const joy: Partial<Pose> = { ...both({ happy: 1 }), mouth: { grin: 1 }, browR: [0.012, 0], browL: [0.012, 0], props: { sparks: 1 } };

// thumbs_up
const THUMB: Arm = { at: [0.58, 0.19, 0.27], fingers: [-0.65, 0.05, 0.75], thumb: [0, 1, 0], grip: "thumb" };
const approval: Partial<Pose> = {
  chest: [0, 0.14, 0.03],
  head: [0, -0.1, 0.1],
  eyeR: {},
  eyeL: { happy: 1 },
  mouth: { smile: 1.15 },
  browR: [0.02, 0.1],
  browL: [-0.004, 0],
};

// thinking
const chin: Arm = { at: [0.17, 0.25, 0.38], fingers: [-0.05, 1, 0.02], thumb: [0.6, 0.5, 0.5], grip: "point" };
const support: Arm = { at: [0.13, -0.02, 0.29], fingers: [-1, 0.12, 0.12], thumb: [0, 1, 0.2], grip: "relaxed", elbow: [0.8, -0.5, -0.2] };
const pondering: Partial<Pose> = {
  chest: [0, 0.06, -0.03],
  R: chin,
  L: support,
  eyeR: { squint: 0.35 },
  eyeL: {},
  mouth: { frown: 0.25 },
  look: [0.036, 0.032],
  browR: [-0.012, -0.2],
  browL: [0.026, -0.16],
};

// confused
const shrug: Arm = { at: [0.6, 0.02, 0.18], fingers: [0.8, 0.25, 0.5], thumb: [0.5, 0, -0.8], grip: "cup", shrug: 0.06 };
const puzzled: Partial<Pose> = {
  chest: [0, 0, -0.03],
  head: [0.02, 0.06, -0.26],
  R: shrug,
  L: shrug,
  eyeR: { squint: 0.7 },
  eyeL: { wide: 1 },
  mouth: { wavy: 1 },
  browR: [-0.01, -0.32],
  browL: [0.034, 0.2],
  props: { question: 1 },
};

// talk_calm
const offer: Arm = { at: [0.5, 0.0, 0.32], fingers: [0.45, 0.25, 0.85], thumb: [0.9, 0, -0.5], grip: "cup" };
const calm: Partial<Pose> = { R: offer, mouth: { talk: 0.75 }, browR: [0.006, 0], browL: [0.006, 0], props: { speech: 1 } };

// talk_explain
const present: Arm = { at: [0.5, 0.1, 0.3], fingers: [0.75, 0.2, 0.6], thumb: [0.6, 0, -0.75], grip: "cup" };
const point: Arm = { at: [0.6, 0.25, 0.2], fingers: [-0.05, 1, 0.1], thumb: [-0.75, 0, 0.65], grip: "point" };
const explaining: Partial<Pose> = { L: present, mouth: { talk: 1 }, browR: [0.026, -0.06], browL: [0.026, 0.06], props: { panel: 1 } };

export const MOVES: Readonly<Record<AnimationName, Move>> = {
  idle: {
    loop: true,
    stillAt: 0,
    keys: [
      [0, {}],
      [1.3, { hips: [0, 0.012, 0], head: [-0.02, 0.05, 0.02], antenna: [0, 0, 0.05], R: breath, L: breath }],
      [2.6, { head: [0.01, 0.02, -0.015], antenna: [0, 0, -0.04] }],
      [3.9, { hips: [0, 0.012, 0], head: [-0.02, -0.05, -0.02], antenna: [0, 0, 0.04], R: breath, L: breath }],
      [5.2, {}],
    ],
  },
  wave: {
    loop: false,
    stillAt: 0.85,
    keys: [
      [0, {}],
      [0.4, { ...greeting, R: WAVE }],
      [0.62, { ...greeting, R: waveOut }],
      [0.85, { ...greeting, R: WAVE }],
      [1.08, { ...greeting, R: waveIn, head: [-0.04, 0, 0.09] }],
      [1.38, { ...greeting, R: waveOut }],
      [1.68, { ...greeting, R: waveIn, head: [-0.04, 0, 0.09] }],
      [1.95, { ...greeting, R: waveOut, props: { waves: 0.9 } }],
      [2.4, {}],
    ],
  },
  happy: {
    loop: false,
    stillAt: 0.42,
    keys: [
      [0, {}],
      [0.2, { ...joy, hips: [0, -0.05, 0], props: {}, head: [0.1, 0, 0] }],
      [0.42, { ...joy, hips: [0, 0.1, 0], chest: [0, 0, 0.05], head: [-0.08, 0, 0.08], R: cheer, L: cheer }],
      [0.66, { ...joy, hips: [0, -0.03, 0], R: cheerLow, L: cheerLow, antenna: [0, 0, 0.15] }],
      [0.92, { ...joy, hips: [0, 0.1, 0], chest: [0, 0, -0.05], head: [-0.08, 0, -0.08], R: cheer, L: cheer }],
      [1.18, { ...joy, hips: [0, -0.03, 0], R: cheerLow, L: cheerLow, antenna: [0, 0, -0.15] }],
      [1.44, { ...joy, hips: [0, 0.08, 0], chest: [0, 0, 0.04], head: [-0.06, 0, 0.06], R: cheer, L: cheer }],
      [1.7, { ...joy, hips: [0, -0.02, 0], R: cheerLow, L: cheerLow, props: { sparks: 0.6 } }],
      [2.1, {}],
    ],
  },
  thumbs_up: {
    loop: false,
    stillAt: 0.7,
    keys: [
      [0, {}],
      [0.25, { chest: [0, 0.05, 0], R: { ...THUMB, at: [0.5, 0.0, 0.2], fingers: [-0.3, -0.2, 0.9], thumb: [-0.2, 1, 0.2] } }],
      [0.5, { ...approval, R: { ...THUMB, at: [0.58, 0.25, 0.26] }, hips: [0, 0.02, 0] }],
      [0.7, { ...approval, R: THUMB }],
      [1.15, { ...approval, R: { ...THUMB, at: [0.585, 0.22, 0.26] }, head: [0.08, -0.1, 0.1] }],
      [1.7, { ...approval, R: THUMB }],
      [2.2, {}],
    ],
  },
  nod: {
    loop: false,
    stillAt: 0.35,
    keys: [
      [0, {}],
      [0.35, { chest: [0.07, 0, 0], head: [0.42, 0, 0], ...both({ closed: 1 }), browR: [-0.01, 0], browL: [-0.01, 0], props: { nods: 1 } }],
      [0.65, { head: [-0.08, 0, 0], props: { nods: 0.8 } }],
      [0.95, { chest: [0.05, 0, 0], head: [0.34, 0, 0], ...both({ closed: 1 }), browR: [-0.01, 0], browL: [-0.01, 0], props: { nods: 1 } }],
      [1.22, { head: [-0.04, 0, 0], props: { nods: 0.5 } }],
      [1.5, {}],
    ],
  },
  thinking: {
    loop: true,
    stillAt: 2.4,
    keys: [
      [0, { ...pondering, head: [-0.05, 0.12, 0.1], props: { thought: 1, dot1: 1, dot2: 0.45, dot3: 0.45 } }],
      [0.8, { ...pondering, head: [-0.06, 0.14, 0.11], antenna: [0, 0, 0.1], props: { thought: 1.03, dot1: 0.45, dot2: 1, dot3: 0.45 } }],
      [1.6, { ...pondering, head: [-0.08, 0.16, 0.13], props: { thought: 1, dot1: 0.45, dot2: 0.45, dot3: 1 } }],
      [2.4, { ...pondering, head: [-0.08, 0.16, 0.13], antenna: [0, 0, -0.1], props: { thought: 1.03, dot1: 1, dot2: 0.85, dot3: 0.7 } }],
      [3.2, { ...pondering, head: [-0.05, 0.12, 0.1], props: { thought: 1, dot1: 1, dot2: 0.45, dot3: 0.45 } }],
    ],
  },
  confused: {
    loop: false,
    stillAt: 0.6,
    keys: [
      [0, {}],
      [0.45, { ...puzzled, hips: [0, 0.015, 0] }],
      [0.6, puzzled],
      [1.3, { ...puzzled, head: [0.02, -0.08, -0.2], look: [-0.03, 0], props: { question: 0.9 } }],
      [2.0, { ...puzzled, head: [0.02, 0.06, -0.28] }],
      [2.6, {}],
    ],
  },
  talk_calm: {
    loop: true,
    stillAt: 0.8,
    keys: [
      [0, { ...calm, mouth: { talk: 0.2, smile: 0.6 }, props: { speech: 1, wave1: 0.5, wave2: 0.8, wave3: 0.4 } }],
      [0.4, { ...calm, mouth: { talk: 0.7 }, head: [0.02, 0.02, 0.02], props: { speech: 1, wave1: 0.9, wave2: 0.5, wave3: 0.8 } }],
      [0.8, { ...calm, mouth: { talk: 0.9 }, head: [0.03, 0.03, 0.04], R: { ...offer, at: [0.54, 0.07, 0.32] }, props: { speech: 1, wave1: 0.6, wave2: 1, wave3: 0.7 } }],
      [1.2, { ...calm, mouth: { talk: 0.3, smile: 0.5 }, head: [0, 0, 0.02], props: { speech: 1, wave1: 1, wave2: 0.6, wave3: 0.5 } }],
      [1.6, { ...calm, mouth: { talk: 0.8 }, head: [-0.02, -0.02, 0], props: { speech: 1, wave1: 0.5, wave2: 0.9, wave3: 1 } }],
      [2.0, { ...calm, mouth: { talk: 0.35, smile: 0.5 }, head: [0.02, -0.04, -0.03], R: { ...offer, at: [0.46, -0.04, 0.31] }, props: { speech: 1, wave1: 0.8, wave2: 0.5, wave3: 0.6 } }],
      [2.4, { ...calm, mouth: { talk: 0.85 }, head: [0.02, -0.02, -0.02], props: { speech: 1, wave1: 0.6, wave2: 1, wave3: 0.9 } }],
      [2.8, { ...calm, mouth: { talk: 0.2, smile: 0.6 }, props: { speech: 1, wave1: 0.5, wave2: 0.8, wave3: 0.4 } }],
    ],
  },
  talk_explain: {
    loop: true,
    stillAt: 0.7,
    keys: [
      [0, { ...explaining, R: point, chest: [0, 0.05, 0], head: [0, 0.02, 0.03], mouth: { talk: 0.4 }, props: { panel: 1, bar1: 0.5, bar2: 0.6, bar3: 0.7 } }],
      [0.35, { ...explaining, R: { ...point, at: [0.595, 0.29, 0.2] }, chest: [0, 0.07, 0], head: [-0.03, 0.06, 0.05], mouth: { talk: 0.9 }, props: { panel: 1, bar1: 0.5, bar2: 0.8, bar3: 1 } }],
      [0.7, { ...explaining, R: point, chest: [0, 0.08, 0], head: [0.03, 0.1, 0.04], props: { panel: 1, bar1: 0.55, bar2: 0.9, bar3: 1.3 } }],
      [1.05, { ...explaining, R: { ...point, at: [0.595, 0.29, 0.2] }, head: [-0.02, 0.02, 0], mouth: { talk: 0.4 }, props: { panel: 1, bar1: 0.8, bar2: 1, bar3: 1.3 } }],
      [1.4, { ...explaining, R: point, chest: [0, 0, 0], head: [0.03, -0.06, -0.03], mouth: { talk: 0.95 }, props: { panel: 1, bar1: 1, bar2: 0.7, bar3: 1 } }],
      [1.75, { ...explaining, R: { ...point, at: [0.615, 0.27, 0.21] }, head: [-0.03, -0.06, -0.03], mouth: { talk: 0.5 }, props: { panel: 1, bar1: 0.8, bar2: 0.5, bar3: 0.8 } }],
      [2.1, { ...explaining, R: point, chest: [0, 0.03, 0], head: [0.02, 0, 0], mouth: { talk: 0.9 }, props: { panel: 1, bar1: 0.6, bar2: 0.5, bar3: 0.6 } }],
      [2.45, { ...explaining, R: point, chest: [0, 0.05, 0], head: [0, 0.02, 0.03], mouth: { talk: 0.4 }, props: { panel: 1, bar1: 0.5, bar2: 0.6, bar3: 0.7 } }],
    ],
  },
};

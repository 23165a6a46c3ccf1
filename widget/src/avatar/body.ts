/** What stands on the stage: our robot or a model by URL. The seam between `stage.ts` and `robot.ts`, `model.ts`, `vrm.ts`. */

import type { Object3D } from "three";
import type { AvatarColors } from "../config.ts";
import type { MouthShape } from "./mouth.ts";
import type { Clip } from "./clips.ts";

/** The part of the scene that the camera shows, in the body's units. */
export interface View {
  /** Middle of the view. */
  readonly x: number;
  readonly y: number;
  readonly z: number;
  readonly width: number;
  readonly height: number;
}

/** What moves beside the clips, for one frame. */
export interface Layers {
  /** Seconds since the frame before. */
  readonly dt: number;
  readonly mouth: MouthShape;
  /** 0 open .. 1 shut. */
  readonly blink: number;
  /** -1..1 from left to right (as the visitor sees it) and from bottom to top. */
  readonly gazeX: number;
  readonly gazeY: number;
}

export interface Body {
  readonly root: Object3D;
  /** By animation name; "idle" may be missing. */
  readonly clips: ReadonlyMap<string, Clip>;
  readonly view: View;
  /** A clip was started: moods that are not clips. `still`: no motion is wanted, show it at once. */
  start(name: string, still: boolean): void;
  /** After the clips of a frame. */
  layer(layers: Layers): void;
  setColors(colors: AvatarColors): void;
  dispose(): void;
}

/** What the panel asks of an avatar, whichever tier draws it. No three.js here. */

import type { AvatarColors, AvatarConfig, TierSetting } from "../config.ts";

export const ANIMATIONS = ["idle", "wave", "happy", "thumbs_up", "nod", "thinking", "confused", "talk_calm", "talk_explain"] as const;
export type AnimationName = (typeof ANIMATIONS)[number];

/** full, low: three.js · 2d: the SVG face · text: nothing is drawn. */
export type Tier = "full" | "low" | "2d" | "text";

/** One way of drawing: the 3D stage or the SVG face. */
export interface Figure {
  readonly tier: Tier;
  /** Show an animation now; names that it does not have are drawn as the nearest, or idle. */
  play(name: string): void;
  /** How wide the mouth is, 0..1, decaying by itself; called with the rhythm of the text or the voice. */
  speak(level: number): void;
  /** Where to look, -1..1 from left to right and from bottom to top. */
  look(x: number, y: number): void;
  setColors(colors: AvatarColors): void;
  /** False: stop drawing (closed, hidden, off-screen). */
  setActive(active: boolean): void;
  dispose(): void;
}

export interface AvatarOptions {
  readonly container: HTMLElement;
  readonly config: AvatarConfig;
  /** prefers-reduced-motion: a still pose for each animation. */
  readonly reducedMotion: boolean;
  /** Called on each change of tier, with what brought it about. */
  readonly onTier?: (tier: Tier, reason: string) => void;
  /** Called with each animation that starts. */
  readonly onPlay?: (name: string) => void;
}

/**
 * The avatar of a panel (`mountAvatar` in `index.ts`): shows the SVG face at once, brings the 3D stage in behind it, and goes
 * back to the face when the stage fails or loses its context. Cues are played with a minimum dwell.
 */
export interface Avatar {
  readonly tier: Tier;
  /** The animation that plays now. */
  readonly playing: string;
  /** A cue of the server: plays when the one before has had its 1.5 s; the newest waiting cue wins. */
  cue(name: string): void;
  /** At once, without dwell (playground). */
  play(name: string): void;
  speak(level: number): void;
  look(x: number, y: number): void;
  setColors(colors: AvatarColors): void;
  setTier(tier: TierSetting): void;
  setActive(active: boolean): void;
  dispose(): void;
}

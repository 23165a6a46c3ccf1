/** When a machine gets a lesser tier than it has. Pure; fed by the loop of `stage.ts`. */

import type { Choice } from "./tiers.ts";
import type { Tier } from "./types.ts";

/** A first frame that takes longer than this (download not counted) sends a machine from full to low. */
export const FIRST_FRAME_MS = 400;
/** How long the frame rate has to stay below the limit. */
export const SLOW_FOR_MS = 2000;
const SLOW_FPS = 30;
/** Below this even the low tier is worse to look at than the face. */
const UNUSABLE_FPS = 12;
/** A share of the cap that counts as the cap: timers are not exact. */
const NEARLY = 0.8;
/** A longer pause between two frames is a page that slept, not a slow machine. */
const SLEPT_MS = 1000;
/** Watches the frames of one stage in tier "auto" and says when it shall step down. */
export class FrameWatch {
  readonly #tier: Tier;
  #slowMs = 0;
  #unusableMs = 0;

  constructor(tier: Tier) {
    this.#tier = tier;
  }

  /** The first frame took `ms`, from the renderer's making to its showing. */
  first(ms: number): Choice | null {
    return this.#tier === "full" && ms > FIRST_FRAME_MS ? { tier: "low", reason: "slow-first-frame" } : null;
  }

  /** `frames` frames were shown within `ms`, where at most `capFps` were wanted. */
  window(frames: number, ms: number, capFps: number): Choice | null {
    if (ms <= 0 || (frames <= 1 && ms > SLEPT_MS)) return null;
    const fps = (frames * 1000) / ms;
    const slow = Math.min(SLOW_FPS, capFps * NEARLY);
    this.#slowMs = fps < slow ? this.#slowMs + ms : 0;
    this.#unusableMs = fps < UNUSABLE_FPS ? this.#unusableMs + ms : 0;
    if (this.#tier === "full" && this.#slowMs >= SLOW_FOR_MS) return { tier: "low", reason: "slow-frames" };
    if (this.#tier === "low" && this.#unusableMs >= 2 * SLOW_FOR_MS) return { tier: "2d", reason: "slow-frames" };
    return null;
  }
}

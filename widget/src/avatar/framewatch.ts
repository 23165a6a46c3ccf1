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

/** How sharp a screen the low tier draws for at most, and the steps on the way there. */
const SHARPEST = 2;
const SHARPER_BY = 0.5;
/** So long frames have to come at the cap's rate before more is asked of the machine. */
const EASY_FOR_MS = 1500;
const EASY = 0.95;

/** Pixels a CSS pixel that a stage of this tier begins with on a screen of `screen`. `still`: it draws one frame now and then. */
export function firstRatio(tier: Tier, screen: number, still: boolean): number {
  return tier === "full" || still ? Math.min(screen, SHARPEST) : Math.min(screen, 1);
}

/**
 * How sharp the low tier draws: without smoothing its edges need the pixels, but what they cost is only known by trying. Goes up in
 * steps while the frames come at their full rate, one back when they no longer do, and stays there. Pure.
 */
export class Sharpness {
  #limit = SHARPEST;
  #easyMs = 0;
  #ratio: number;

  constructor(ratio: number) {
    this.#ratio = ratio;
  }

  /** As `FrameWatch.window`. Returns the ratio to draw with from now on a screen of `screen`, or null: as before. */
  window(frames: number, ms: number, capFps: number, screen: number): number | null {
    if (ms <= 0 || (frames <= 1 && ms > SLEPT_MS)) return null;
    const fps = (frames * 1000) / ms;
    this.#easyMs = fps >= capFps * EASY ? this.#easyMs + ms : 0;
    if (fps < capFps * NEARLY && this.#ratio > 1) return this.#to((this.#limit = Math.max(1, this.#ratio - SHARPER_BY)));
    const next = Math.min(this.#ratio + SHARPER_BY, this.#limit, screen);
    return this.#easyMs >= EASY_FOR_MS && next > this.#ratio ? this.#to(next) : null;
  }

  #to(ratio: number): number {
    this.#easyMs = 0;
    this.#ratio = ratio;
    return ratio;
  }
}

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

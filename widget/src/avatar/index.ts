/**
 * The avatar of a panel. Draws the SVG face at once, brings the 3D stage in behind it, goes back to the face when the stage fails
 * or loses its context, and turns cues into animations. Part of the chat chunk: three.js only comes with `stage.ts`, on demand.
 *
 * Nothing here rejects or throws at its caller: an avatar that cannot be drawn is a face, or nothing, and `onTier` says why.
 */

import type { AvatarColors, TierSetting } from "../config.ts";
import { Cues } from "./cues.ts";
import { mountFace } from "./face.ts";
import { findRenderer, keepSaved, readMachine } from "./probe.ts";
import type { Stage } from "./stage.ts";
import { type Choice, chooseTier, isSoftware, toSaved, wantsStage } from "./tiers.ts";
import type { Avatar, AvatarOptions, Figure, Tier } from "./types.ts";

/** More contexts lost than this, and the machine keeps its face. */
const LOSSES = 3;
const SWAP_MS = 240;
const LOOK_AGAIN_MS = 40;

/** Throws only where not even a place for it can be made. */
export function mountAvatar(options: AvatarOptions): Avatar {
  return new LiveAvatar(options);
}

class LiveAvatar implements Avatar {
  readonly #options: AvatarOptions;
  readonly #view: Window & typeof globalThis;
  readonly #cues = new Cues();
  #colors: AvatarColors;
  #setting: TierSetting;
  #tier: Tier | null = null;
  #figure: Figure | null = null;
  #active = true;
  /** Tells who waits to be looked at. */
  #onActive: (() => void) | null = null;
  /** The stage that is being made. */
  #making: AbortController | null = null;
  /** Takes away what fades out under its successor. */
  #leave: (() => void) | null = null;
  #losses = 0;
  /** A stage was lost and did not come back: the next opening tries again. */
  #forsaken = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #lookedMs = 0;
  #disposed = false;

  constructor(options: AvatarOptions) {
    this.#options = options;
    this.#view = options.container.ownerDocument.defaultView ?? globalThis.window;
    this.#colors = options.config.colors;
    this.#setting = options.config.tier;
    if (this.#view.getComputedStyle(options.container).position === "static") options.container.style.position = "relative";
    this.#choose();
  }

  get tier(): Tier {
    return this.#tier ?? "text";
  }

  get playing(): string {
    return this.#cues.playing;
  }

  cue(name: string): void {
    this.#show(this.#cues.cue(name, performance.now()));
  }

  play(name: string): void {
    this.#show(this.#cues.force(name, performance.now()));
  }

  speak(level: number): void {
    if (this.#disposed) return;
    if (level > 0) this.#show(this.#cues.heard(performance.now()));
    this.#figure?.speak(level);
  }

  look(x: number, y: number): void {
    const now = performance.now();
    // A pointer moves a hundred times a second.
    if (now - this.#lookedMs < LOOK_AGAIN_MS && (x !== 0 || y !== 0)) return;
    this.#lookedMs = now;
    this.#figure?.look(x, y);
  }

  setColors(colors: AvatarColors): void {
    this.#colors = colors;
    this.#figure?.setColors(colors);
  }

  setTier(tier: TierSetting): void {
    if (this.#disposed) return;
    this.#setting = tier;
    this.#losses = 0;
    this.#choose();
  }

  setActive(active: boolean): void {
    this.#active = active;
    this.#figure?.setActive(active);
    if (active) this.#onActive?.();
    if (active && this.#forsaken && !this.#disposed) {
      this.#forsaken = false;
      this.#choose();
    }
  }

  dispose(): void {
    this.#disposed = true;
    clearTimeout(this.#timer);
    this.#making?.abort();
    this.#leave?.();
    this.#figure?.dispose();
    this.#figure = null;
  }

  #show(name: string | null): void {
    if (this.#disposed) return;
    if (name !== null) {
      this.#figure?.play(name);
      this.#options.onPlay?.(name);
    }
    clearTimeout(this.#timer);
    const next = this.#cues.nextMs(performance.now());
    if (next === null) return;
    this.#timer = setTimeout(() => this.#show(this.#cues.tick(performance.now())), next + 1);
  }

  /** Decide anew by the setting and the machine. */
  #choose(): void {
    this.#making?.abort();
    this.#making = null;
    const { kind } = this.#options.config;
    const renderer = wantsStage(this.#setting, kind) ? findRenderer(this.#options.container.ownerDocument) : null;
    const choice = chooseTier(this.#setting, kind, readMachine(this.#view, renderer));
    if (choice.tier === "text") this.#swap(null, "text", choice.reason);
    else if (choice.tier === "2d") this.#face(choice.reason);
    else {
      if (this.#figure === null) this.#face("loading");
      void this.#raise(choice, renderer ?? "");
    }
  }

  /** Make a stage behind what is shown, and swap when its first frame is there. */
  async #raise(choice: Choice, renderer: string): Promise<void> {
    const making = new AbortController();
    this.#making?.abort();
    this.#making = making;
    const auto = this.#setting === "auto";
    try {
      await this.#painted();
      if (!this.#active) await new Promise<void>((resolve) => void (this.#onActive = resolve));
      making.signal.throwIfAborted();
      const { createStage } = await import("./stage.ts");
      making.signal.throwIfAborted();
      const { container, config, reducedMotion } = this.#options;
      // The stage may speak before it is returned: of its first frame.
      let stage: Stage | null = null;
      let slower: Choice | null = null;
      stage = await createStage({
        container,
        config,
        reducedMotion,
        colors: this.#colors,
        tier: choice.tier === "full" ? "full" : "low",
        isSoftware: isSoftware(renderer),
        playing: this.playing,
        active: this.#active,
        signal: making.signal,
        onSlow: auto
          ? (next) => {
              slower = next;
              if (stage !== null) this.#step(stage, next, renderer);
            }
          : null,
        onLost: (back) => this.#lost(stage, back),
      });
      if (this.#making === making) this.#making = null;
      if (stage.instead !== null) choice = { tier: choice.tier, reason: `model: ${stage.instead}` };
      this.#swap(stage, stage.tier, choice.reason);
      if (slower !== null) this.#step(stage, slower, renderer);
    } catch (error) {
      if (making.signal.aborted) return;
      this.#making = null;
      this.#face(`failed: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  /** The page has drawn what it had to: the visitor can type before three.js is read. */
  #painted(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, 200);
      this.#view.requestAnimationFrame(() => {
        clearTimeout(timer);
        setTimeout(resolve, 0);
      });
    });
  }

  #step(stage: Stage, slower: Choice, renderer: string): void {
    if (this.#disposed || this.#making !== null || this.#figure !== stage) return;
    if (slower.tier !== "low" && slower.tier !== "2d") return;
    keepSaved(this.#view, toSaved(slower.tier, renderer, Date.now()));
    if (slower.tier === "2d") this.#face(slower.reason);
    else void this.#raise(slower, renderer);
  }

  #lost(stage: Stage | null, back: Promise<void>): void {
    if (stage === null || this.#figure !== stage) return;
    this.#losses += 1;
    this.#forsaken = true;
    this.#face("context-lost");
    if (this.#losses > LOSSES) return;
    void back.then(() => {
      if (this.#disposed || !this.#forsaken) return;
      this.#forsaken = false;
      this.#choose();
    });
  }

  #face(reason: string): void {
    const { container, reducedMotion } = this.#options;
    if (this.#figure?.tier === "2d") this.#tell("2d", reason);
    else this.#swap(mountFace(container, this.#colors, reducedMotion), "2d", reason);
  }

  /** Show `next` in place of what is shown; the two overlap for a moment. */
  #swap(next: Figure | null, tier: Tier, reason: string): void {
    const before = this.#figure;
    this.#figure = next;
    if (next !== null) {
      next.setColors(this.#colors);
      next.setActive(this.#active);
      next.play(this.playing);
    }
    this.#appear(next, before);
    this.#tell(tier, reason);
  }

  #appear(next: Figure | null, before: Figure | null): void {
    this.#leave?.();
    if (!isStage(next)) {
      before?.dispose();
      return;
    }
    const { style } = next.canvas;
    if (this.#options.reducedMotion || before === null) {
      style.opacity = "1";
      before?.dispose();
      return;
    }
    style.transition = `opacity ${SWAP_MS}ms ease-out`;
    style.opacity = "1";
    before.setActive(false);
    const timer = setTimeout(() => this.#leave?.(), SWAP_MS);
    this.#leave = () => {
      this.#leave = null;
      clearTimeout(timer);
      before.dispose();
    };
  }

  #tell(tier: Tier, reason: string): void {
    this.#tier = tier;
    try {
      this.#options.onTier?.(tier, reason);
    } catch (error) {
      // The listener's mistake is the page's to see, not the avatar's to die of.
      reportError(error);
    }
  }
}

function isStage(figure: Figure | null): figure is Stage {
  return figure !== null && "canvas" in figure;
}

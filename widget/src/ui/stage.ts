/** The avatar's place in the panel: what it hears (cues, text, voice) and where it looks (pointer, the text being written). */

import type { Store } from "../embed/store.ts";
import { mountAvatar } from "../avatar/index.ts";
import type { Avatar } from "../avatar/types.ts";
import type { AvatarConfig, TierSetting } from "../config.ts";
import { html, modelAddress } from "./dom.ts";
import { Rhythm } from "./rhythm.ts";

/** The pointer at this distance is looked at as far as eyes go. */
const FAR_PX = 420;
const WRITING_MS = 2_500;
/** Longer than any cue has to wait for its turn. */
const REST_MS = 1_800;

/** Under this name the browser remembers that the visitor wants no avatar. */
const CHOICE = "avatar";
const OFF = "off";

export interface StageActs {
  emit(name: string, detail: unknown): void;
  /** Whether something is drawn has changed. */
  changed(): void;
}

export class Stage {
  readonly node = html("div", { class: "stage", "aria-hidden": "true" });
  /** What the avatar fills. In the small stage it is larger than its frame, which shows the head alone. */
  readonly #figure = html("div", { class: "figure" });
  readonly #acts: StageActs;
  readonly #local: Store;
  readonly #rhythm = new Rhythm();
  #avatar: Avatar | null = null;
  #active = false;
  /** What was to be played before it was there. */
  #early: string | null = null;
  #config: AvatarConfig;
  /** What the page or the chatbot asks for; the visitor may have none of it. */
  #tier: TierSetting;
  #isWanted: boolean;
  #disposed = false;
  #mouth: ReturnType<typeof setTimeout> | undefined;
  #resting: ReturnType<typeof setTimeout> | undefined;
  #writing: ReturnType<typeof setTimeout> | undefined;
  readonly #point = (event: PointerEvent): void => this.#look(event.clientX, event.clientY);

  /** `local`: where the visitor's choice is kept. */
  constructor(config: AvatarConfig, local: Store, acts: StageActs) {
    this.#config = config;
    this.#tier = config.tier;
    this.#local = local;
    this.#isWanted = local.get(CHOICE) !== OFF;
    this.#acts = acts;
    this.node.append(this.#figure);
    // Before the avatar is there its place is kept free, so that nothing moves when it comes.
    this.node.hidden = !this.isOffered || !this.#isWanted;
  }

  /** Whether this chatbot has an avatar. */
  get isOffered(): boolean {
    return this.#config.kind !== "none" && this.#tier !== "text";
  }

  /** Whether the visitor wants to see it. */
  get isWanted(): boolean {
    return this.#isWanted;
  }

  /** The visitor hides it, or wants it back; this browser remembers. */
  toggle(): void {
    this.#isWanted = !this.#isWanted;
    this.#local.set(CHOICE, this.#isWanted ? null : OFF);
    this.#avatar?.setTier(this.#tierNow);
  }

  get #tierNow(): TierSetting {
    return this.#isWanted ? this.#tier : "text";
  }

  /** Whether there is anything to see, or will be. */
  get isShown(): boolean {
    return !this.node.hidden;
  }

  /** `base`: the server. Throws only where not even a place for it can be made. */
  mount(base: string): void {
    const given = this.#config;
    if (given.kind === "none" || this.#disposed) return;
    const config = { ...given, url: modelAddress(given.url, base), tier: this.#tierNow };
    const avatar = mountAvatar({
      container: this.#figure,
      config,
      reducedMotion: matchMedia("(prefers-reduced-motion: reduce)").matches,
      onTier: (tier, reason) => {
        this.node.dataset["tier"] = tier;
        this.#show(tier !== "text");
        this.#acts.emit("tier", { tier, reason });
      },
      onPlay: (name) => this.#acts.emit("animation", name),
    });
    this.#avatar = avatar;
    avatar.setActive(this.#active);
    avatar.cue("wave");
    if (this.#early) avatar.cue(this.#early);
  }

  setActive(active: boolean): void {
    if (this.#active === active) return;
    this.#active = active;
    this.#avatar?.setActive(active);
    if (active) addEventListener("pointermove", this.#point, { passive: true });
    else removeEventListener("pointermove", this.#point);
    if (!active) this.hush();
  }

  cue(name: string): void {
    if (this.#avatar) this.#avatar.cue(name);
    else this.#early = name;
  }

  play(name: string): void {
    if (this.#avatar) this.#avatar.play(name);
    else this.#early = name;
  }

  /** A piece of the answer was shown: the mouth says it. */
  hear(text: string): void {
    if (!this.#avatar || !this.#active) return;
    this.#rhythm.add(text);
    if (this.#mouth === undefined) this.#beat();
  }

  /** The voice, as it is. */
  speak(level: number): void {
    this.#avatar?.speak(level);
  }

  hush(): void {
    this.#rhythm.clear();
    clearTimeout(this.#resting);
    clearTimeout(this.#mouth);
    this.#mouth = undefined;
    this.#avatar?.speak(0);
  }

  /** No answer is on its way: what it was thinking about is over, unless a cue that still waits says more. */
  rest(): void {
    clearTimeout(this.#resting);
    this.#resting = setTimeout(() => {
      if (this.#avatar?.playing === "thinking") this.#avatar.cue("idle");
    }, REST_MS);
  }

  /** The visitor writes: eyes on the text for a moment. */
  watchWriting(): void {
    this.#avatar?.look(0, -0.8);
    clearTimeout(this.#writing);
    this.#writing = setTimeout(() => {
      this.#writing = undefined;
      this.#avatar?.look(0, 0);
    }, WRITING_MS);
  }

  restyle(config: AvatarConfig): void {
    this.#config = config;
    this.#avatar?.setColors(config.colors);
  }

  setTier(tier: TierSetting): void {
    this.#tier = tier;
    this.#avatar?.setTier(this.#tierNow);
  }

  dispose(): void {
    this.#disposed = true;
    this.setActive(false);
    clearTimeout(this.#writing);
    clearTimeout(this.#resting);
    this.#avatar?.dispose();
  }

  #show(shown: boolean): void {
    if (this.node.hidden !== shown) return;
    this.node.hidden = !shown;
    this.#acts.changed();
  }

  #beat(): void {
    const beat = this.#rhythm.next();
    this.#mouth = beat ? setTimeout(() => this.#beat(), beat.ms) : undefined;
    this.#avatar?.speak(beat?.level ?? 0);
  }

  #look(x: number, y: number): void {
    if (this.#writing !== undefined || !this.#avatar) return;
    const box = this.#figure.getBoundingClientRect();
    const share = (from: number): number => Math.max(-1, Math.min(1, from / FAR_PX));
    this.#avatar.look(share(x - box.left - box.width / 2), share(box.top + box.height / 3 - y));
  }
}

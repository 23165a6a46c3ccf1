/**
 * What plays when: cues of the server come faster than a body can show them. Pure; the clock is the caller's.
 *
 *   - each animation has at least 1.5 s; of the cues that wait for that the newest wins
 *   - a reaction (wave, happy …) is played once, then the talk goes on, or idle
 *   - a talk ends a moment after the text does, and comes back when the text does
 *   - thinking ends by itself when nothing ever comes
 */

export const DWELL_MS = 1500;
/** No text or voice for so long: it is over. */
export const SILENCE_MS = 1800;
/** Answers that take longer have failed somewhere. */
export const THINKING_MS = 90_000;

/** How long the figures take for what is played once. */
const ONCE_MS: Readonly<Record<string, number>> = {
  wave: 2600,
  happy: 2400,
  thumbs_up: 2600,
  nod: 1800,
  confused: 3000,
};

export function isReaction(name: string): boolean {
  return Object.hasOwn(ONCE_MS, name);
}

export function isTalk(name: string): boolean {
  return name.startsWith("talk");
}

export class Cues {
  #playing = "idle";
  #sinceMs = -Infinity;
  #waiting: string | null = null;
  /** The talk to come back to while text flows. */
  #talk: string | null = null;
  #heardMs = -Infinity;

  get playing(): string {
    return this.#playing;
  }

  /** A cue of the server. Each of these methods returns the animation to start now, or null. */
  cue(name: string, nowMs: number): string | null {
    this.#waiting = name;
    return this.tick(nowMs);
  }

  /** Past the queue. */
  force(name: string, nowMs: number): string {
    this.#waiting = null;
    return this.#start(name, nowMs);
  }

  /** Text or voice flows. */
  heard(nowMs: number): string | null {
    this.#heardMs = nowMs;
    const rested = this.#playing === "idle" && this.#waiting === null;
    return rested && this.#talk !== null ? this.#start(this.#talk, nowMs) : null;
  }

  tick(nowMs: number): string | null {
    if (nowMs - this.#sinceMs < DWELL_MS) return null;
    if (this.#waiting !== null) {
      const name = this.#waiting;
      this.#waiting = null;
      return name === this.#playing && !isReaction(name) ? null : this.#start(name, nowMs);
    }
    const endMs = this.#endMs();
    if (endMs === null || nowMs < endMs) return null;
    const talks = this.#talk !== null && nowMs - this.#heardMs < SILENCE_MS && !isTalk(this.#playing);
    return this.#start(talks ? (this.#talk ?? "idle") : "idle", nowMs);
  }

  /** How long until `tick` can have something to say; null: not without a new cue. */
  nextMs(nowMs: number): number | null {
    const dwelt = this.#sinceMs + DWELL_MS;
    const at = this.#waiting !== null ? dwelt : this.#endMs();
    return at === null ? null : Math.max(0, Math.max(at, dwelt) - nowMs);
  }

  /** When what plays is over, in the caller's clock; null: it goes on. */
  #endMs(): number | null {
    const once = isReaction(this.#playing) ? ONCE_MS[this.#playing] : undefined;
    if (once !== undefined) return this.#sinceMs + once;
    if (isTalk(this.#playing)) return Math.max(this.#heardMs, this.#sinceMs) + SILENCE_MS;
    if (this.#playing === "thinking") return this.#sinceMs + THINKING_MS;
    return null;
  }

  #start(name: string, nowMs: number): string {
    this.#playing = name;
    this.#sinceMs = nowMs;
    if (isTalk(name)) this.#talk = name;
    else if (name === "thinking" || name === "wave") this.#talk = null;
    return name;
  }
}

/**
 * A mouth that moves with text: levels come in with the pieces of an answer (`rhythm.ts`) or from the voice, the mouth opens and
 * closes in syllables and falls shut by itself. Pure; part of `layers.ts`, drawn by the bodies.
 */

/** Speech has four to six syllables a second. */
const SYLLABLES_PER_S = 5.2;
/** After so long without a new level half of it is left. */
const HALF_LIFE_S = 0.28;
const RISE_PER_S = 22;

export interface MouthShape {
  /** 0 shut .. 1 wide open ("aa"). */
  readonly open: number;
  /** 0 .. 1 drawn together ("oh"). */
  readonly round: number;
}

export const SHUT: MouthShape = { open: 0, round: 0 };

export class Mouth {
  #target = 0;
  #level = 0;
  #phase = 0;

  /** 0..1; whatever else is brought inside. */
  speak(level: number): void {
    this.#target = Math.min(1, Math.max(0, Number.isFinite(level) ? level : 0));
  }

  /** The shape after `dt` seconds more. */
  update(dt: number): MouthShape {
    this.#level += (this.#target - this.#level) * Math.min(1, dt * RISE_PER_S);
    this.#target *= 0.5 ** (dt / HALF_LIFE_S);
    if (this.#level < 0.02) return SHUT;
    this.#phase += dt * SYLLABLES_PER_S * Math.PI;
    // Two beats that do not divide each other: no two syllables are alike.
    const beat = Math.sin(this.#phase) ** 2;
    const vowel = 0.5 + 0.5 * Math.sin(this.#phase * 0.61 + 1);
    return { open: this.#level * beat * (0.45 + 0.55 * vowel), round: this.#level * beat * (1 - vowel) * 0.7 };
  }
}

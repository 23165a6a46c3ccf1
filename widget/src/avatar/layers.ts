/** Blink, gaze and mouth, over the clips: the life that no clip brings. Pure but for chance; `stage.ts` hands the result to the body. */

import type { Layers } from "./body.ts";
import { Mouth, SHUT } from "./mouth.ts";

const BLINK_S = 0.17;
/** Gaze follows its target with this rate. */
const GAZE_PER_S = 7;

export class Life {
  readonly #mouth = new Mouth();
  readonly #random: () => number;
  #clockS = 0;
  #blinkAtS = 1.2;
  #wantX = 0;
  #wantY = 0;
  #gazeX = 0;
  #gazeY = 0;

  constructor(random: () => number = Math.random) {
    this.#random = random;
  }

  speak(level: number): void {
    this.#mouth.speak(level);
  }

  look(x: number, y: number): void {
    this.#wantX = inside(x);
    this.#wantY = inside(y);
  }

  update(dt: number): Layers {
    this.#clockS += dt;
    const since = this.#clockS - this.#blinkAtS;
    // Now and then twice in a row, as people do.
    if (since > BLINK_S) this.#blinkAtS = this.#clockS + (this.#random() < 0.15 ? 0.12 : 2 + this.#random() * 3.5);
    const step = Math.min(1, dt * GAZE_PER_S);
    this.#gazeX += (this.#wantX - this.#gazeX) * step;
    this.#gazeY += (this.#wantY - this.#gazeY) * step;
    const blink = since > 0 && since < BLINK_S ? Math.sin((since / BLINK_S) * Math.PI) : 0;
    return { dt, mouth: this.#mouth.update(dt), blink, gazeX: this.#gazeX, gazeY: this.#gazeY };
  }
}

/** Nothing moves: for still poses. */
export const STILL: Layers = { dt: 0, mouth: SHUT, blink: 0, gazeX: 0, gazeY: 0 };

function inside(value: number): number {
  return Number.isFinite(value) ? Math.min(1, Math.max(-1, value)) : 0;
}

/** Answers read aloud: off until the visitor asks for it, with the browser's voices brought in then. Used by `panel.ts`. */

import type { Turn } from "../core/types.ts";
import type { Speech } from "./speech.ts";

export class Reading {
  readonly #locale: string;
  readonly #onLevel: (level: number) => void;
  #speech: Promise<Speech> | null = null;
  #isOn = false;
  /** Counts what was asked for: what comes in late of an earlier wish is not read. */
  #wish = 0;

  /** `onLevel`: how wide the mouth is, 0..1, with the voice. */
  constructor(locale: string, onLevel: (level: number) => void) {
    this.#locale = locale;
    this.#onLevel = onLevel;
  }

  /** Whether this browser can speak at all. */
  static get isPossible(): boolean {
    return "speechSynthesis" in window;
  }

  /** Whether answers are read as they come. */
  get isOn(): boolean {
    return this.#isOn;
  }

  toggle(): void {
    this.#isOn = !this.#isOn;
    if (this.#isOn) void this.#load();
    else this.stop();
  }

  /** An answer grows, or is whole. */
  follow(turn: Turn, final: boolean): void {
    if (this.#isOn) this.#say(turn.answer.text, final);
  }

  /** One answer from its beginning. */
  read(turn: Turn): void {
    this.stop();
    this.#say(turn.answer.text, true);
  }

  stop(): void {
    this.#wish += 1;
    void this.#speech?.then((speech) => speech.stop()).catch(() => undefined);
  }

  #say(text: string, final: boolean): void {
    const wish = this.#wish;
    void this.#load()
      .then((speech) => {
        if (wish === this.#wish) speech.speak(text, final);
      })
      .catch(() => undefined);
  }

  #load(): Promise<Speech> {
    this.#speech ??= import("./speech.ts").then(
      ({ createSpeech }) => createSpeech({ locale: this.#locale, onLevel: this.#onLevel }),
      (error: unknown) => {
        this.#speech = null; // no network now: the next wish tries again
        throw error;
      },
    );
    return this.#speech;
  }
}

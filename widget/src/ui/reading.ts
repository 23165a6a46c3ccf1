/** Answers read aloud: off until the visitor asks for it, and loaded then, with the voices. Used by `livepanel.ts`. */

import type { Turn } from "../core/types.ts";
import { createSpeech, type Speech } from "./speech.ts";

export class Reading {
  readonly #onLevel: (level: number) => void;
  #speech: Speech;
  #isOn = false;
  /** The one answer that is being read because of its button. */
  #one: string | null = null;

  /** `onLevel`: how wide the mouth is, 0..1, with the voice. */
  constructor(locale: string, onLevel: (level: number) => void) {
    this.#onLevel = onLevel;
    this.#speech = this.#speak(locale);
  }

  /** Whether answers are read as they come. */
  get isOn(): boolean {
    return this.#isOn;
  }

  /** The language of the answers to come; whether they are read stays as it was. */
  setLocale(locale: string): void {
    this.stop();
    this.#speech = this.#speak(locale);
  }

  toggle(): void {
    this.#isOn = !this.#isOn;
    if (!this.#isOn) this.stop();
  }

  /** An answer grows, or is whole. */
  follow(turn: Turn, final: boolean): void {
    if (this.#isOn) this.#speech.speak(turn.answer.text, final);
  }

  /** One answer from its beginning; the same once more: no longer. */
  read(turn: Turn): void {
    const again = this.#one === turn.key;
    this.stop();
    if (again) return;
    this.#one = turn.key;
    this.#speech.speak(turn.answer.text);
  }

  stop(): void {
    this.#one = null;
    this.#speech.stop();
  }

  #speak(locale: string): Speech {
    const onSpeaking = (on: boolean): void => {
      if (!on) this.#one = null;
    };
    return createSpeech({ locale, onLevel: this.#onLevel, onSpeaking });
  }
}

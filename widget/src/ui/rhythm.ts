/**
 * The mouth's rhythm out of a text that streams in. Pieces come in bursts, a mouth moves by syllables: each piece becomes beats of
 * how wide the mouth is, played one after the other, with rests where a speaker would breathe. Pure; the clock is the
 * caller's. Used by `stage.ts`.
 */

export interface Beat {
  /** How wide the mouth is, 0..1; 0 is a rest. */
  readonly level: number;
  readonly ms: number;
}

/** What is said later than this after its text came is not said at all: a mouth that lags behind looks wrong. */
export const LAG_MS = 1_200;

const SYLLABLE_MS = 130;
const WORD_MS = 40;
const COMMA_MS = 160;
const SENTENCE_MS = 340;
/** Words, signs that are read as a syllable each (Chinese, Japanese, Korean), digits, and where a speaker rests. */
const PIECES = /([\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af])|(\p{L}[\p{L}\p{M}]*)|(\p{N})|([.!?…。！？:]+|\s*\n\n\s*)|([,;،、，；–—])|\s+/gu;
/** Latin, Greek and Cyrillic vowels, without their marks; other scripts have a syllable for each three letters. */
const SYLLABLES = /[aeiouyœæøαεηιουωаеёиоуыэюяіїє]+/giu;
const LONGEST_WORD = 12;
const WIDE: Readonly<Record<string, number>> = { a: 1, o: 0.9, e: 0.75, u: 0.6, i: 0.5, y: 0.5 };

/** The beats of a piece of text. Anything but letters and digits is a rest or nothing. */
export function beatsOf(text: string): Beat[] {
  return [...text.matchAll(PIECES)].flatMap(([, sign, word, digit, end, comma]) => {
    if (word) return syllables(word);
    if (sign || digit) return [{ level: 0.7, ms: SYLLABLE_MS * (sign ? 1.3 : 2) }];
    return [{ level: 0, ms: end ? SENTENCE_MS : comma ? COMMA_MS : WORD_MS }];
  });
}

function syllables(word: string): Beat[] {
  const plain = word.normalize("NFD").replace(/\p{M}/gu, "");
  const groups = plain.match(SYLLABLES) ?? plain.match(/.{1,3}/gu) ?? [];
  // A silent e at an end is worth no syllable of its own, but one word is worth at least one.
  if (groups.length > 1 && /[^aeiouy]e$/i.test(plain)) groups.pop();
  return groups.slice(0, LONGEST_WORD).map((group) => ({ level: WIDE[group[0]?.toLowerCase() ?? ""] ?? 0.7, ms: SYLLABLE_MS }));
}

/** Beats that wait to be played. */
export class Rhythm {
  #beats: Beat[] = [];
  #waiting_ms = 0;

  /** Text came in. Of what waits too long the oldest is left out. */
  add(text: string): void {
    for (const beat of beatsOf(text)) {
      this.#beats.push(beat);
      this.#waiting_ms += beat.ms;
    }
    let skipped = 0;
    while (this.#waiting_ms > LAG_MS && skipped < this.#beats.length - 1) {
      this.#waiting_ms -= this.#beats[skipped]?.ms ?? 0;
      skipped += 1;
    }
    if (skipped > 0) this.#beats.splice(0, skipped);
  }

  /** The next beat, or null: nothing is said. */
  next(): Beat | null {
    const beat = this.#beats.shift() ?? null;
    this.#waiting_ms -= beat?.ms ?? 0;
    return beat;
  }

  clear(): void {
    this.#beats = [];
    this.#waiting_ms = 0;
  }
}

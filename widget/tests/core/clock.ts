/** A clock that is turned by hand, and random numbers that come again. */

import type { Timers } from "../../src/core/ports.ts";

/** Mulberry32: the same numbers for the same seed. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export class Clock implements Timers {
  #now = Date.parse("2026-01-01T00:00:00Z");
  #next = 1;
  readonly #timers = new Map<number, { at: number; work: () => void }>();

  now(): number {
    return this.#now;
  }

  set(work: () => void, ms: number): number {
    const id = this.#next;
    this.#next += 1;
    this.#timers.set(id, { at: this.#now + Math.max(0, ms), work });
    return id;
  }

  clear(handle: unknown): void {
    this.#timers.delete(handle as number);
  }

  get size(): number {
    return this.#timers.size;
  }

  /** Turn the clock on by `ms`, or until `isDone`. What was started by a timer runs to its next wait. */
  async run(ms: number, isDone: () => boolean = () => false): Promise<boolean> {
    const end = this.#now + ms;
    await settle();
    for (;;) {
      if (isDone()) return true;
      const due = [...this.#timers].filter(([, timer]) => timer.at <= end).sort(([one, a], [two, b]) => a.at - b.at || one - two)[0];
      if (!due) break;
      const [id, timer] = due;
      this.#timers.delete(id);
      this.#now = Math.max(this.#now, timer.at);
      timer.work();
      await settle();
    }
    this.#now = end;
    return isDone();
  }
}

export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

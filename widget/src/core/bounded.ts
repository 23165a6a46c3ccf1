/** A bound on any wait. */

import type { Timers } from "./ports.ts";

class TooLate extends Error {}

/** `work`'s result, if it comes within `ms`. Raises TooLate otherwise; what comes later is dropped. */
export function within<T>(timers: Timers, ms: number, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const late = timers.set(() => reject(new TooLate(`nothing within ${ms} ms`)), ms);
    work.then(resolve, reject).finally(() => timers.clear(late));
  });
}

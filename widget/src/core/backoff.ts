/** How long to wait before trying again. Pure. */

const FIRST_MS = 400;
const CAP_MS = 15_000;
/** A server that names a longer wait than this is asked again after it: a wrong clock must not end a chat. */
const OBEY_AT_MOST_MS = 15 * 60_000;

/** Full jitter: anywhere between 0 and the ceiling, so that a thousand visitors do not come back at once. */
export function backoffMs(attempt: number, random: () => number): number {
  return Math.round(random() * Math.min(CAP_MS, FIRST_MS * 2 ** Math.min(attempt, 16)));
}

/** The same, and not before the `retryAfterS` that the server asked for. */
export function pauseMs(attempt: number, random: () => number, retryAfterS: number): number {
  return Math.max(Math.min(OBEY_AT_MOST_MS, retryAfterS * 1000), backoffMs(attempt, random));
}

/** `Retry-After` (seconds or a date) in milliseconds; 0 when absent or unreadable. */
export function retryAfterMs(value: string | null, nowMs: number): number {
  if (!value) return 0;
  const seconds = Number(value);
  const ms = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(value) - nowMs;
  return Number.isFinite(ms) ? Math.min(OBEY_AT_MOST_MS, Math.max(0, ms)) : 0;
}

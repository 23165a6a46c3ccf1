// How long to wait before trying again. Pure.

const FIRST_MS = 400;
const CAP_MS = 15_000;

/** Full jitter: anywhere between 0 and the ceiling, so that a thousand visitors do not come back at once. */
export function backoffMs(attempt, random = Math.random) {
  return Math.round(random() * Math.min(CAP_MS, FIRST_MS * 2 ** attempt));
}

/** `Retry-After` in milliseconds; 0 when absent or unreadable. */
export function retryAfterMs(value, nowMs = Date.now()) {
  if (!value) return 0;
  const seconds = Number(value);
  if (Number.isFinite(seconds)) return Math.max(0, seconds * 1000);
  const at = Date.parse(value);
  return Number.isNaN(at) ? 0 : Math.max(0, at - nowMs);
}

/**
 * Texts of the visitor that the server has not accepted yet. Each has a storage key of its own, so that two tabs that
 * write at once cannot lose one another's; all tabs of a visitor share them, and a reload finds them again.
 */

import { isRecord, type Memory } from "./memory.ts";
import type { Failure } from "./types.ts";

const KEY = "out:";
const ENTRIES_AT_MOST = 50;
/** The server knows an id again for at least 24 h; after that the same id would be a second message. */
const RESEND_WITHIN_MS = 23 * 3_600_000;

/** No word of the server, however often it was tried. */
export const UNAVAILABLE: Failure = { code: "unavailable", message: "", retriable: true, retryAfterS: 0 };
const FULL: Failure = { code: "rate_limit_exceeded", message: "too many unsent messages", retriable: true, retryAfterS: 0 };

export interface Entry {
  readonly clientId: string;
  readonly text: string;
  /** RFC 3339. */
  readonly createdAt: string;
  /** The talk it was written in, see `talk.ts`: a text of an earlier one is not sent into a new one. */
  readonly epoch: string;
  /** Place among the texts of one visitor: Unix ms of the first queueing, or of the retry. */
  readonly order: number;
  /** Fixed at the first try: a repeat must be the same request to count as the same message. Undefined: not tried. */
  readonly conversationId?: string | null;
  /** Tries that ended without a word of the server. */
  readonly faults: number;
  /** Set: refused (or given up); kept for the visitor to see and try again. */
  readonly failure: Failure | null;
}

export class Outbox {
  readonly #memory: Memory;
  readonly #begunAt: number;

  constructor(memory: Memory, nowMs: number) {
    this.#memory = memory;
    this.#begunAt = nowMs;
  }

  /** All entries, in the order of sending. */
  list(): Entry[] {
    const found: Entry[] = [];
    for (const name of this.#memory.names(KEY)) {
      const entry = readEntry(this.#memory.get(name));
      if (entry && name === KEY + entry.clientId) found.push(entry);
      else this.#memory.remove(name);
    }
    return found.sort((one, other) => one.order - other.order || (one.clientId < other.clientId ? -1 : 1));
  }

  get(clientId: string): Entry | null {
    return readEntry(this.#memory.get(KEY + clientId));
  }

  /** The next text to send in this talk, null when none waits. */
  next(epoch: string): Entry | null {
    return this.list().find((entry) => entry.failure === null && entry.epoch === epoch) ?? null;
  }

  /** Queue a text behind the others. When there are too many it is not stored, and the entry says why. */
  add(text: Pick<Entry, "clientId" | "text" | "epoch">, nowMs: number): Entry {
    const order = Math.max(nowMs, ...this.list().map((entry) => entry.order + 1));
    const entry: Entry = { ...text, createdAt: new Date(nowMs).toISOString(), order, faults: 0, failure: null };
    if (this.#memory.names(KEY).length >= ENTRIES_AT_MOST) return { ...entry, failure: FULL };
    this.put(entry);
    return entry;
  }

  put(entry: Entry): void {
    this.#memory.put(KEY + entry.clientId, entry);
  }

  /** True when it was there. */
  remove(clientId: string): boolean {
    const had = this.get(clientId) !== null;
    this.#memory.remove(KEY + clientId);
    return had;
  }

  /** Take away what belongs to other talks; called when a new one has begun. */
  keepOnly(epoch: string): void {
    for (const entry of this.list()) if (entry.epoch !== epoch) this.remove(entry.clientId);
  }

  /** Texts that were tried so long ago that the server may not know them again: they are not sent by themselves. */
  giveUpOld(nowMs: number): void {
    for (const entry of this.list()) {
      if (entry.failure === null && isTooOld(entry, nowMs)) this.put({ ...entry, failure: UNAVAILABLE });
    }
  }

  /**
   * Into another talk, as if never tried: their conversation is gone from the server. `isOther`: this is another visitor
   * than the last time, and what was there before them is not theirs: it goes.
   */
  move(epoch: string, isOther: boolean): void {
    for (const { conversationId: _, ...entry } of this.list()) {
      if (isOther && !(Date.parse(entry.createdAt) >= this.#begunAt)) this.remove(entry.clientId);
      else this.put({ ...entry, epoch });
    }
  }
}

export function isTooOld(entry: Entry, nowMs: number): boolean {
  return !(nowMs - Date.parse(entry.createdAt) < RESEND_WITHIN_MS);
}

/** What storage holds under our version is ours; it is looked at as far as a mistake would harm. */
function readEntry(value: unknown): Entry | null {
  if (!isRecord(value)) return null;
  const { clientId, text, createdAt, epoch, order, faults, failure } = value;
  if ([clientId, text, createdAt, epoch].some((field) => typeof field !== "string" || !field)) return null;
  // Without a count of its faults it would be tried for ever.
  if (typeof order !== "number" || typeof faults !== "number" || (failure !== null && !isRecord(failure))) return null;
  return value as unknown as Entry;
}

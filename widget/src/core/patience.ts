/**
 * How long a page waits for what it was promised. An answer that is silent is looked up after 20 s and given up after two
 * minutes; a gap in the events that the server does not fill is closed. Nothing waits for ever, and nothing is asked for
 * at every frame.
 */

import type { Kept } from "./conversation.ts";
import type { Timers } from "./ports.ts";
import type { Failure } from "./types.ts";

const LOOK_EVERY_MS = 5_000;
const LOOK_UP_AFTER_MS = 20_000;
/** An answer has 60 s in all on the server, and may queue before that. */
const GIVE_UP_AFTER_MS = 120_000;
const TEXTS_AFTER_MS = 300;
const TEXTS_AGAIN_MS = 10_000;
const GAP_AGAIN_MS = 5_000;
const GAP_LOOK_UPS = 2;

export interface PatienceParts {
  /** The turns that wait for something, while there is a line. */
  open(): readonly Kept[];
  isUnderWay(clientId: string): boolean;
  lookUp(): void;
  giveUp(turn: Kept, failure: Failure): void;
}

export class Patience {
  readonly #timers: Timers;
  readonly #parts: PatienceParts;
  #timer: unknown = null;
  #textsTimer: unknown = null;
  #textsAt = 0;
  #isOver = false;
  #heardAt = 0;
  #lookedUpAt = 0;
  #gapSeq = -1;
  #gapAt = 0;
  #gapTries = 0;

  constructor(timers: Timers, parts: PatienceParts) {
    this.#timers = timers;
    this.#parts = parts;
    this.#heardAt = timers.now();
  }

  /** Something of the conversation came, or the line is new. */
  heard(): void {
    this.#heardAt = this.#lookedUpAt = this.#timers.now();
  }

  /** Something is awaited from now on. */
  watch(): void {
    if (this.#timer !== null || this.#isOver) return;
    this.heard();
    this.#next();
  }

  /** A message is shown whose text another page sent: the history has it. */
  wantTexts(): void {
    if (this.#textsTimer !== null || this.#isOver) return;
    const againAt = this.#textsAt + TEXTS_AGAIN_MS;
    this.#textsTimer = this.#timers.set(
      () => {
        this.#textsTimer = null;
        this.#textsAt = this.#timers.now();
        this.#parts.lookUp();
      },
      Math.max(TEXTS_AFTER_MS, againAt - this.#timers.now()),
    );
  }

  /** Something after event `seq` is missing. True when it is time to ask for it. */
  gap(seq: number): boolean {
    const now = this.#timers.now();
    if (this.#gapSeq !== seq) {
      this.#gapTries = 0;
    } else if (now - this.#gapAt < GAP_AGAIN_MS) {
      return false;
    }
    this.#gapSeq = seq;
    this.#gapAt = now;
    this.#gapTries += 1;
    return true;
  }

  /** The server was asked often enough for what comes after `seq`. */
  isGapForGood(seq: number): boolean {
    return this.#gapSeq === seq && this.#gapTries >= GAP_LOOK_UPS && this.#timers.now() - this.#gapAt >= GAP_AGAIN_MS;
  }

  /** A new line brings everything anew. */
  gapClosed(): void {
    this.#gapSeq = -1;
  }

  dispose(): void {
    this.#isOver = true;
    this.#timers.clear(this.#timer);
    this.#timers.clear(this.#textsTimer);
  }

  #next(): void {
    this.#timer = this.#timers.set(() => this.#look(), LOOK_EVERY_MS);
  }

  #look(): void {
    this.#timer = null;
    if (this.#isOver) return;
    const now = this.#timers.now();
    const open = this.#parts.open();
    // A text that waits in the outbox has its own bounds; one that is in no outbox any more waits for its receipt.
    const waiting = open.filter((turn) => turn.messageId !== null || !this.#parts.isUnderWay(turn.clientId ?? ""));
    if (waiting.length === 0) this.#heardAt = this.#lookedUpAt = now;
    if (now - this.#heardAt >= GIVE_UP_AFTER_MS) {
      for (const turn of waiting) this.#parts.giveUp(turn, { code: "deadline_exceeded", message: "", retriable: true, retryAfterS: 0 });
    } else if (now - this.#lookedUpAt >= LOOK_UP_AFTER_MS) {
      this.#lookedUpAt = now;
      this.#parts.lookUp();
    }
    this.#next();
  }
}

/** Following a conversation's events over one line after the other: nothing twice, nothing left out. */

import { pauseMs } from "./backoff.ts";
import { readFailure, type Frame } from "./frames.ts";
import type { Patience } from "./patience.ts";
import type { Ports } from "./ports.ts";
import type { SharedTalk } from "./talk.ts";
import type { ResumeFrame } from "./wire.gen.ts";

export interface FollowingParts {
  readonly ports: Ports;
  readonly talk: SharedTalk;
  readonly patience: Patience;
  send(frame: ResumeFrame): boolean;
  /** The conversation is not there (any more). */
  gone(): void;
}

export class Following {
  readonly #parts: FollowingParts;
  #timer: unknown = null;
  #tries = 0;

  constructor(parts: FollowingParts) {
    this.#parts = parts;
  }

  /** Ask for everything after what was seen. */
  resume(): void {
    const { talk, send } = this.#parts;
    const { conversationId } = talk.sync();
    if (conversationId !== null) send({ type: "resume", conversation_id: conversationId, after_seq: talk.place.seq });
  }

  /** Count a frame. False when it was seen, or when something before it is missing: then that is asked for. */
  isNews(frame: Frame): boolean {
    const { patience, talk } = this.#parts;
    const verdict = talk.place.judge(frame, patience.isGapForGood(talk.place.seq));
    if (verdict === "gap" && patience.gap(talk.place.seq)) this.resume();
    if (verdict !== "news") return false;
    this.#tries = 0;
    patience.heard();
    return true;
  }

  /** The server says that it does not send the events, or no longer. */
  refused(frame: Frame): void {
    const { timers, random } = this.#parts.ports;
    if (frame.code === "not_found" || frame.code === "forbidden") {
      this.#parts.gone();
      return;
    }
    this.#tries += 1;
    timers.clear(this.#timer);
    this.#timer = timers.set(() => this.resume(), pauseMs(this.#tries, random, readFailure(frame).retryAfterS));
  }

  /** The line ended; the next one begins with `resume`. */
  lineLost(): void {
    this.#parts.ports.timers.clear(this.#timer);
    this.#parts.patience.gapClosed();
  }
}

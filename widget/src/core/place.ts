/** Where a page stands in the numbered events of its conversation: what is news, what was seen, what is missing. Pure. */

import type { Frame } from "./frames.ts";

/** news: take it · seen: drop it · gap: something is missing before it, ask for it. */
export type Verdict = "news" | "seen" | "gap";

export class Place {
  /** Number of the last event taken. */
  seq: number;
  /** message id -> number before its first event, of the answers that have not ended. */
  readonly #open = new Map<string, number>();

  constructor(seq = 0) {
    this.seq = seq;
  }

  /** `force`: take it although something is missing; the server was asked for that and has it no more. */
  judge(frame: Frame, force = false): Verdict {
    const { seq } = frame;
    if (seq === undefined) return "news";
    if (frame.type === "message_replace") {
      // Events were lost, perhaps with their numbering: this frame sets the place. Several carry the same number.
      this.seq = seq;
      this.#note(frame, seq);
      return "news";
    }
    if (seq <= this.seq) return "seen";
    if (seq > this.seq + 1 && !force) return "gap";
    this.#note(frame, this.seq);
    this.seq = seq;
    return "news";
  }

  /** The history told of an end whose event stayed away. */
  ended(messageId: string): void {
    this.#open.delete(messageId);
  }

  /** Where a reload resumes: before the oldest answer that has not ended, so that its text is whole again. */
  get checkpoint(): number {
    return Math.min(this.seq, ...this.#open.values());
  }

  #note(frame: Frame, before: number): void {
    const id = frame.message_id;
    if (!id) return;
    if (isEnd(frame)) this.#open.delete(id);
    else if (frame.type === "message_replace") this.#open.set(id, before);
    else if (!this.#open.has(id)) this.#open.set(id, before);
  }
}

/** Nothing more comes about that message. */
export function isEnd({ type, final }: Frame): boolean {
  return type === "stream_complete" || type === "stream_error" || (type === "message_replace" && final !== false);
}

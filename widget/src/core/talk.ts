/**
 * Which conversation the tabs of one visitor are in, and where its events were read to. One record in storage, shared.
 *
 * `epoch` names the talk before it has a conversation: a new one begins with each reset, and whoever finds another epoch
 * in storage than its own knows that a reset happened elsewhere.
 */

import { isRecord, type Memory } from "./memory.ts";
import { Place } from "./place.ts";

const KEY = "talk";

export interface Talk {
  readonly epoch: string;
  readonly conversationId: string | null;
  /** Everything up to this event is finished: a reload resumes here. */
  readonly seq: number;
  /** Ordinal of the newest message known, 0 for none: where a reload begins to read the history, less a window. */
  readonly ordinal: number;
}

/** Before anything was stored all tabs must agree on the epoch without a word. */
const FIRST: Talk = { epoch: "0", conversationId: null, seq: 0, ordinal: 0 };

export class SharedTalk {
  now: Talk;
  place: Place;
  readonly #memory: Memory;
  readonly #onSwitch: (before: Talk) => void;

  /** `onSwitch`: this page is in another talk now, or its talk has its conversation now, by another tab's doing or ours. */
  constructor(memory: Memory, onSwitch: (before: Talk) => void) {
    this.#memory = memory;
    this.#onSwitch = onSwitch;
    this.now = this.#read();
    this.place = new Place(this.now.seq);
  }

  /** Take over what storage says, if another tab changed it. Returns the talk as it is now. */
  sync(): Talk {
    const stored = this.#read();
    const { now } = this;
    const isSameEpoch = stored.epoch === now.epoch;
    // Storage that lost the talk, or has not heard of its conversation yet, is told again.
    const isBehind = isSameEpoch ? stored.conversationId === null && now.conversationId !== null : stored === FIRST;
    if (isBehind) this.#memory.put(KEY, now);
    else if (!isSameEpoch) this.#switch(stored);
    else if (stored.conversationId !== now.conversationId) this.#switch({ ...stored, seq: 0 });
    return this.now;
  }

  /** Begin anew, without a conversation. */
  renew(epoch: string): void {
    this.#memory.put(KEY, { epoch, conversationId: null, seq: 0, ordinal: 0 });
    this.#switch(this.#read());
  }

  /** The server made the conversation for the first message. */
  found(conversationId: string): void {
    this.place = new Place();
    this.now = { ...this.now, conversationId, seq: 0, ordinal: 0 };
    this.#memory.put(KEY, this.now);
  }

  /** Store where a reload goes on, if that has changed. */
  save(ordinal = 0): void {
    const seq = this.place.checkpoint;
    if (seq === this.now.seq && ordinal <= this.now.ordinal) return;
    const { epoch, conversationId } = this.sync();
    if (conversationId === null) return;
    this.now = { epoch, conversationId, seq: this.place.checkpoint, ordinal: Math.max(ordinal, this.now.ordinal) };
    this.#memory.put(KEY, this.now);
  }

  #switch(talk: Talk): void {
    const before = this.now;
    this.now = talk;
    this.place = new Place(talk.seq);
    this.#onSwitch(before);
  }

  #read(): Talk {
    const value = this.#memory.get(KEY);
    if (!isRecord(value)) return FIRST;
    const { epoch, conversationId, seq, ordinal } = value;
    if (typeof epoch !== "string") return FIRST;
    return {
      epoch,
      conversationId: typeof conversationId === "string" && conversationId ? conversationId : null,
      seq: count(seq),
      ordinal: count(ordinal),
    };
  }
}

function count(value: unknown): number {
  return typeof value === "number" && Number.isSafeInteger(value) && value > 0 ? value : 0;
}

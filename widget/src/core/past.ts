/**
 * What was said before this page, or while its line was away: read from the server once for each conversation, before the
 * line is opened, and again when events stay away. `history.ts`, which only who has been here before needs, comes with it.
 */

import type { Api, Fault } from "./api.ts";
import { isOpen } from "./conversation.ts";
import type { Outbox } from "./outbox.ts";
import type { SharedTalk } from "./talk.ts";
import type { Turns } from "./turns.ts";

export interface PastParts {
  readonly api: Api;
  readonly talk: SharedTalk;
  readonly outbox: Outbox;
  readonly turns: Turns;
  token(): Promise<string>;
  changed(): void;
  /** The conversation is not there (any more), or not this visitor's. */
  gone(): void;
}

export class Past {
  readonly #parts: PastParts;
  #isLoaded: boolean;
  #isRead = false;
  #isOver = false;

  constructor(parts: PastParts) {
    this.#parts = parts;
    this.#isLoaded = parts.talk.now.conversationId === null;
  }

  /** Whether what is shown is all there is. */
  get isLoaded(): boolean {
    return this.#isLoaded;
  }

  /** Read it unless it is known. Raises Fault. */
  async recall(): Promise<void> {
    if (!this.#isRead) await this.read();
  }

  /** Raises Fault. */
  async read(): Promise<void> {
    const { api, talk, outbox, turns, token, gone } = this.#parts;
    const { epoch, conversationId, ordinal } = talk.sync();
    // Should it not load, the events alone must do, until the next connection.
    const history = conversationId === null ? null : await import("./history.ts").catch(() => null);
    if (conversationId !== null && history) {
      const items = await history.fetchHistory(api, await token(), conversationId, ordinal).catch((error: Partial<Fault>) => {
        if (error.status !== 403 && error.status !== 404) throw error;
      });
      if (this.#isOver) return;
      if (talk.now.epoch !== epoch || talk.now.conversationId !== conversationId) return this.recall(); // of another talk
      if (items) {
        for (const item of items) if (item.clientId) outbox.remove(item.clientId);
        turns.apply(history.merged, items);
        for (const turn of turns.all) if (turn.messageId && !isOpen(turn)) talk.place.ended(turn.messageId);
        talk.save(Math.max(0, ...items.map((item) => item.ordinal)));
      } else gone(); // another server, a wiped data folder or another visitor's conversation: begin a new one
    }
    this.#isRead = conversationId === null || history !== null;
    this.#isLoaded = true;
    this.#parts.changed();
  }

  /** The conversation has just begun: there is nothing before it. */
  begun(): void {
    this.#isRead = true;
  }

  /** The page is in another talk now (`isAnother`), or its talk has its conversation from another tab. */
  switched(isAnother: boolean): void {
    const isNew = this.#parts.talk.now.conversationId === null;
    this.#isRead = isNew;
    this.#isLoaded = isNew || !isAnother;
  }

  dispose(): void {
    this.#isOver = true;
  }
}

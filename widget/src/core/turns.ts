/** The turns of one visit as they are now: every change goes through here, and whoever listens is told of it. */

import { isOpen, type Change, type Kept } from "./conversation.ts";
import type { ChatEvent } from "./types.ts";

export interface TurnsParts {
  /** Something is awaited. */
  awaited(): void;
  changed(): void;
  emit(event: ChatEvent): void;
}

export class Turns {
  readonly #parts: TurnsParts;
  #all: readonly Kept[] = [];

  constructor(parts: TurnsParts) {
    this.#parts = parts;
  }

  get all(): readonly Kept[] {
    return this.#all;
  }

  get open(): readonly Kept[] {
    return this.#all.filter(isOpen);
  }

  byKey(key: string): Kept | undefined {
    return this.#all.find((turn) => turn.key === key);
  }

  byMessage(messageId: string | undefined): Kept | undefined {
    return messageId === undefined ? undefined : this.#all.find((turn) => turn.messageId === messageId);
  }

  /** Take over what a step of `conversation.ts` or `history.ts` makes of them. */
  apply<Given extends readonly unknown[]>(step: (turns: readonly Kept[], ...given: Given) => Change, ...given: Given): void {
    const { turns, events } = step(this.#all, ...given);
    if (turns === this.#all && events.length === 0) return;
    this.#all = turns;
    if (turns.some(isOpen)) this.#parts.awaited();
    this.#parts.changed();
    for (const event of events) this.#parts.emit(event);
  }

  /** Another conversation begins. */
  clear(): void {
    this.#all = [];
  }
}

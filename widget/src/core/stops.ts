/** What the visitor stopped while the server may not know of it yet. Bounded: the oldest is forgotten. */

const REMEMBERED_AT_MOST = 100;

export class Stops {
  /** Texts taken back after they were sent: client id -> epoch. Should the server have them, their answers are stopped. */
  readonly #texts = new Map<string, string>();
  /** Messages whose answers are to end: said again after a reconnect. */
  readonly #answers = new Set<string>();

  takeBack(clientId: string, epoch: string): void {
    this.#texts.set(clientId, epoch);
    shrink(this.#texts);
  }

  /** The talk of a text that was taken back. */
  epochOf(clientId: string): string | undefined {
    return this.#texts.get(clientId);
  }

  /** The server has that text after all: stop its answer. True when it was taken back. */
  arrived(clientId: string, messageId: string): boolean {
    if (!this.#texts.delete(clientId)) return false;
    this.stop(messageId);
    return true;
  }

  stop(messageId: string): void {
    this.#answers.add(messageId);
    shrink(this.#answers);
  }

  ended(messageId: string): void {
    this.#answers.delete(messageId);
  }

  get pending(): readonly string[] {
    return [...this.#answers];
  }

  /** Another talk: its answers are nobody's here. */
  clear(): void {
    this.#answers.clear();
  }
}

function shrink(collection: Map<string, unknown> | Set<string>): void {
  if (collection.size <= REMEMBERED_AT_MOST) return;
  for (const first of collection.keys()) {
    collection.delete(first);
    return;
  }
}

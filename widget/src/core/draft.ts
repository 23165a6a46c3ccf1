/** What the visitor wrote and did not send: one text of each tab, of the talk it was written in. */

import { isRecord, type Memory } from "./memory.ts";

const KEY = "draft";
/** What the server takes of a message; the storage of a tab holds some 5 million. */
const LETTERS_AT_MOST = 32_000;

export class Draft {
  readonly #memory: Memory;

  /** `memory`: of the tab, so that two tabs do not write into one another's text. */
  constructor(memory: Memory) {
    this.#memory = memory;
  }

  /** The text left in that talk, "" if there is none. */
  read(epoch: string): string {
    const kept = this.#memory.get(KEY);
    return isRecord(kept) && kept["epoch"] === epoch && typeof kept["text"] === "string" ? kept["text"] : "";
  }

  keep(epoch: string, text: string): void {
    if (text) this.#memory.put(KEY, { epoch, text: text.slice(0, LETTERS_AT_MOST) });
    else this.#memory.remove(KEY);
  }
}

/**
 * JSON values under one prefix of the page's storage. What the storage does not take (blocked, full) is kept for this
 * page; what it holds and cannot be read (corrupt, another version's) counts as absent. Never throws.
 */

import type { KeyStore } from "./ports.ts";

const VERSION = 1;

export class Memory {
  readonly prefix: string;
  readonly #storage: KeyStore | null;
  /** Values that the storage refused; null: removed here though the storage may still hold it. */
  readonly #here = new Map<string, unknown>();

  constructor(prefix: string, storage: KeyStore | null) {
    this.prefix = prefix;
    this.#storage = storage;
  }

  /** The value as it was put, null when there is none. The caller checks its shape. */
  get(name: string): unknown {
    if (this.#here.has(name)) return this.#here.get(name);
    try {
      const stored: unknown = JSON.parse(this.#storage?.getItem(this.prefix + name) ?? "null");
      if (!isRecord(stored) || stored["v"] !== VERSION) return null;
      return stored["value"] ?? null;
    } catch {
      return null;
    }
  }

  put(name: string, value: unknown): void {
    try {
      if (!this.#storage) throw new Error("no storage");
      this.#storage.setItem(this.prefix + name, JSON.stringify({ v: VERSION, value }));
      this.#here.delete(name);
    } catch {
      this.#here.set(name, value);
    }
  }

  remove(name: string): void {
    this.#here.delete(name);
    try {
      this.#storage?.removeItem(this.prefix + name);
    } catch {
      this.#here.set(name, null);
    }
  }

  /** Names that begin with `start`, in no order. */
  names(start: string): string[] {
    const found = new Set<string>();
    try {
      for (let index = 0; index < (this.#storage?.length ?? 0); index += 1) {
        const key = this.#storage?.key(index);
        if (key?.startsWith(this.prefix + start)) found.add(key.slice(this.prefix.length));
      }
    } catch {
      // Blocked in the middle of it: what this page kept itself is below.
    }
    for (const [name, value] of this.#here) {
      if (value === null) found.delete(name);
      else if (name.startsWith(start)) found.add(name);
    }
    return [...found];
  }
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

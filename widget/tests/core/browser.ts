/** A browser's storage, channels and locks, as its tabs share them: seen late, full or blocked when they are told to be. */

import type { Channel, KeyStore, Locks } from "../../src/core/ports.ts";
import type { Clock } from "./clock.ts";

export class FakeStorage implements KeyStore {
  readonly values = new Map<string, string>();
  /** Throw at each write, as a full or blocked storage does. */
  isFull = false;
  isBlocked = false;

  get length(): number {
    this.#check();
    return this.values.size;
  }

  key(index: number): string | null {
    return [...this.values.keys()][index] ?? null;
  }

  getItem(key: string): string | null {
    this.#check();
    return this.values.get(key) ?? null;
  }

  setItem(key: string, value: string): void {
    this.#check();
    if (this.isFull) throw new Error("QuotaExceededError");
    this.values.set(key, value);
  }

  removeItem(key: string): void {
    this.#check();
    this.values.delete(key);
  }

  #check(): void {
    if (this.isBlocked) throw new Error("SecurityError");
  }
}

/**
 * One tab's sight of the storage where each tab has a process of its own: writes are seen here at once and elsewhere `lagMs`
 * later, in one order for all.
 */
class TabStorage implements KeyStore {
  readonly #browser: Browser;
  readonly #values: Map<string, string>;
  readonly #unsettled = new Map<string, number>();
  onchange: ((key: string) => void) | null = null;

  constructor(browser: Browser) {
    this.#browser = browser;
    this.#values = new Map(browser.storage.values);
  }

  get length(): number {
    return this.#values.size;
  }

  key(index: number): string | null {
    return [...this.#values.keys()][index] ?? null;
  }

  getItem(key: string): string | null {
    return this.#values.get(key) ?? null;
  }

  setItem(key: string, value: string | null): void {
    set(this.#values, key, value);
    this.#unsettled.set(key, (this.#unsettled.get(key) ?? 0) + 1);
    const { clock, lagMs, storage, views } = this.#browser;
    clock.set(() => {
      set(storage.values, key, value);
      for (const view of views) clock.set(() => view.see(this, key, value), lagMs / 2);
    }, lagMs / 2);
  }

  removeItem(key: string): void {
    if (this.#values.has(key)) this.setItem(key, null);
  }

  see(by: TabStorage, key: string, value: string | null): void {
    const waiting = this.#unsettled.get(key) ?? 0;
    if (by === this) this.#unsettled.set(key, waiting - 1);
    else if (waiting === 0) {
      set(this.#values, key, value);
      this.onchange?.(key);
    }
  }
}

function set(values: Map<string, string>, key: string, value: string | null): void {
  if (value === null) values.delete(key);
  else values.set(key, value);
}

/** What the tabs of one browser share. */
export class Browser {
  readonly storage = new FakeStorage();
  readonly views = new Set<TabStorage>();
  /** Until a tab's write is seen in the others. 0: all look at the same storage, and there are no storage events. */
  lagMs = 0;
  hasChannels = true;
  readonly clock: Clock;
  readonly #channels = new Set<{ name: string; channel: Channel }>();
  readonly #queues = new Map<string, Promise<unknown>>();
  hasLocks = true;

  constructor(clock: Clock) {
    this.clock = clock;
  }

  newView(): TabStorage {
    const view = new TabStorage(this);
    this.views.add(view);
    return view;
  }

  channel(name: string): Channel | null {
    if (!this.hasChannels) return null;
    const channel: Channel = {
      onmessage: null,
      postMessage: (message: unknown) => {
        const copy = structuredClone(message);
        for (const other of this.#channels) {
          if (other.name === name && other.channel !== channel) this.clock.set(() => other.channel.onmessage?.({ data: copy }), 1);
        }
      },
      close: () => {
        for (const other of this.#channels) if (other.channel === channel) this.#channels.delete(other);
      },
    };
    this.#channels.add({ name, channel });
    return channel;
  }

  get locks(): Locks | null {
    if (!this.hasLocks) return null;
    return {
      request: <T>(name: string, options: { signal: AbortSignal }, work: () => Promise<T>): Promise<T> => {
        const before = this.#queues.get(name) ?? Promise.resolve();
        const mine = before.catch(() => undefined).then(() => {
          if (options.signal.aborted) throw new Error("AbortError");
          return work();
        });
        this.#queues.set(name, mine);
        return mine;
      },
    };
  }
}

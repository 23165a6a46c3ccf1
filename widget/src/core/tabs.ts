/**
 * Several tabs of one visitor: what one does the others hear of, and what only one may do at a time is done by one.
 *
 * News go by BroadcastChannel; storage events tell the same a little later where there is none. Work that only one tab may
 * do runs under a Web Lock, which the browser gives back when a tab dies; where there are none (a page without TLS) under
 * a lease in storage, which ends by itself.
 */

import { isRecord, type Memory } from "./memory.ts";
import type { Channel, Ports } from "./ports.ts";
import type { Rating } from "./types.ts";

const WAIT_AT_MOST_MS = 60_000;
/** A tab's writes to storage are seen in the others some milliseconds later: so long a lock is kept after the work. */
const SETTLE_MS = 50;
const LEASE_MS = 30_000;
const POLL_MS = 100;

export type News =
  | { readonly type: "talk" }
  | { readonly type: "outbox" }
  | {
      readonly type: "accepted";
      readonly clientId: string;
      readonly messageId: string;
      readonly conversationId: string;
      readonly text: string;
      readonly seq: number | null;
    }
  | { readonly type: "dropped"; readonly clientId: string }
  | { readonly type: "halted"; readonly messageId: string }
  | { readonly type: "rated"; readonly messageId: string; readonly rating: Rating | null };

const KINDS = new Set(["talk", "outbox", "accepted", "dropped", "halted", "rated"]);

export class Tabs {
  readonly #ports: Ports;
  readonly #memory: Memory;
  readonly #id: string;
  readonly #channel: Channel | null;
  readonly #unlisten: () => void;

  constructor(ports: Ports, memory: Memory, hear: (news: News) => void) {
    this.#ports = ports;
    this.#memory = memory;
    this.#id = ports.newId();
    this.#channel = ports.channel(memory.prefix);
    if (this.#channel) {
      this.#channel.onmessage = ({ data }) => {
        if (isRecord(data) && KINDS.has(String(data["type"]))) hear(data as unknown as News);
      };
    }
    this.#unlisten = ports.listen("storage", ({ key }) => {
      // null: somebody cleared all of it.
      if (key !== null && key !== undefined && !key.startsWith(memory.prefix)) return;
      if (!key?.startsWith(`${memory.prefix}out:`)) hear({ type: "talk" });
      if (!key?.startsWith(`${memory.prefix}talk`)) hear({ type: "outbox" });
    });
  }

  tell(news: News): void {
    try {
      this.#channel?.postMessage(news);
    } catch {
      // Closed, or a browser that forbids it: the storage events tell.
    }
  }

  /** Do `work` while no other tab of this visitor does work of that name. Raises when it was not let for a minute. */
  alone<T>(name: string, work: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#hold(name, async () => {
        await work().then(resolve, reject);
        await this.#pause(SETTLE_MS);
      }).catch(reject);
    });
  }

  close(): void {
    this.#unlisten();
    if (this.#channel) {
      this.#channel.onmessage = null;
      this.#channel.close();
    }
  }

  async #hold(name: string, work: () => Promise<void>): Promise<void> {
    const { locks, timers } = this.#ports;
    const stop = new AbortController();
    const late = timers.set(() => stop.abort(), WAIT_AT_MOST_MS);
    let hasBegun = false;
    const begin = (): Promise<void> => {
      timers.clear(late);
      hasBegun = true;
      return work();
    };
    try {
      if (locks) return await locks.request(this.#memory.prefix + name, { signal: stop.signal }, begin);
    } catch (error) {
      if (hasBegun || stop.signal.aborted) throw error;
      // Denied: a frame whose storage is blocked, too.
    } finally {
      timers.clear(late);
    }
    await this.#lease(`lease:${name}`);
    await begin();
    this.#memory.remove(`lease:${name}`);
  }

  async #lease(name: string): Promise<void> {
    const { timers, random } = this.#ports;
    const askedAt = timers.now();
    for (;;) {
      const now = timers.now();
      const held = this.#memory.get(name);
      const isFree = !isRecord(held) || typeof held["until"] !== "number" || held["until"] < now || held["until"] > now + 2 * LEASE_MS;
      if (isFree) {
        this.#memory.put(name, { tab: this.#id, until: now + LEASE_MS });
        await this.#pause(SETTLE_MS);
        const mine = this.#memory.get(name);
        if (isRecord(mine) && mine["tab"] === this.#id) return; // who wrote last has it
      }
      if (timers.now() - askedAt > WAIT_AT_MOST_MS) throw new Error("another tab holds the lease");
      await this.#pause(POLL_MS * (0.5 + random()));
    }
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.#ports.timers.set(() => resolve(), ms));
  }
}


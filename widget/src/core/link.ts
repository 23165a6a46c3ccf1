/**
 * The line to the server, kept up: token, history, socket, and after each end the next try, with full jitter from 0.4 to
 * 15 s, not before the server's `Retry-After`, at once when the network or the page comes back. Every wait has a bound.
 */

import { Fault } from "./api.ts";
import { backoffMs } from "./backoff.ts";
import type { Frame } from "./frames.ts";
import type { Ports } from "./ports.ts";
import { ABANDONED, Socket } from "./socket.ts";
import { Refused } from "./token.ts";
import type { Connection, Failure } from "./types.ts";
import type { ClientFrame } from "./wire.gen.ts";

/** A connection that lived so long (or brought a frame) was a good one: the next try begins from 0.4 s. */
const GOOD_AFTER_MS = 10_000;
/** An attempt that is younger than this is not begun anew when the network comes back. */
const YOUNG_MS = 3_000;
const BUSY_MS = 1_000;

export interface LinkEvents {
  /** Raises Refused, Fault. */
  token(): Promise<string>;
  /** Ask for another next time. */
  dropToken(): void;
  /** The server did not take it. */
  tokenRefused(): void;
  /** Before each connection; raises Fault. */
  prepare(token: string): Promise<void>;
  ready(visitorId: string | null): void;
  frame(frame: Frame): void;
  lost(code: number): void;
  changed(): void;
}

interface Run {
  isOver: boolean;
}

export class Link {
  connection: Connection = "idle";
  retryAt: number | null = null;
  failure: Failure | null = null;
  readonly #ports: Ports;
  readonly #address: string;
  readonly #events: LinkEvents;
  #run: Run | null = null;
  #socket: Socket | null = null;
  #attempt = 0;
  #attemptAt = 0;
  #notBefore = 0;
  #skipPause: (() => void) | null = null;
  #hasBeenOnline = false;

  constructor(ports: Ports, address: string, events: LinkEvents) {
    this.#ports = ports;
    this.#address = address;
    this.#events = events;
  }

  get isReady(): boolean {
    return this.#socket?.isReady ?? false;
  }

  start(): void {
    if (this.#run) return;
    this.#run = { isOver: false };
    void this.#keepUp(this.#run);
  }

  stop(): void {
    this.#abandon();
    this.#set("idle");
  }

  /** Try again now. `isAsked`: by a person, so that neither a refusal nor the server's wait stands in the way. */
  wake(isAsked: boolean): void {
    if (this.connection === "idle" || (this.connection === "refused" && !isAsked)) return;
    this.#attempt = 0;
    if (this.isReady) {
      this.#socket?.probe();
      return;
    }
    const now = this.#ports.timers.now();
    if (isAsked) this.#notBefore = 0;
    if (this.#skipPause) {
      if (now >= this.#notBefore) this.#skipPause();
    } else if (now - this.#attemptAt > YOUNG_MS || !this.#run) {
      // What is under way began on a network that is gone.
      this.#abandon();
      this.start();
    }
  }

  /** The browser says that the network went away: find out whether the line did. */
  doubt(): void {
    if (this.isReady) this.#socket?.probe();
    else if (this.connection === "reconnecting" || this.connection === "connecting") this.#set("offline", this.retryAt);
  }

  send(frame: ClientFrame): boolean {
    return this.#socket?.send(frame) ?? false;
  }

  /** End this connection and come back: something that had to come did not. */
  renew(): void {
    this.#socket?.end(ABANDONED);
  }

  #abandon(): void {
    if (this.#run) this.#run.isOver = true;
    this.#run = null;
    this.#socket?.end(ABANDONED);
    this.#socket = null;
    this.#skipPause?.();
  }

  async #keepUp(run: Run): Promise<void> {
    while (!run.isOver) {
      this.#attemptAt = this.#ports.timers.now();
      this.#set(this.#offlineOr(this.#hasBeenOnline ? "reconnecting" : "connecting"));
      let floorMs = 0;
      try {
        const token = await this.#events.token();
        if (run.isOver) return;
        await this.#events.prepare(token);
        if (run.isOver) return;
        floorMs = this.#read(await this.#session(run, token));
      } catch (error) {
        if (run.isOver) return;
        if (error instanceof Refused) {
          this.#run = null;
          this.#set("refused", null, { code: error.code, message: error.message, retriable: false, retryAfterS: 0 });
          return;
        }
        if (error instanceof Fault) {
          floorMs = error.retryAfterMs;
          if (error.status === 401) this.#events.tokenRefused();
        } else {
          console.error(error); // a fault of ours, or of the page's policy: somebody should hear of it
        }
      }
      if (run.isOver) return;
      const waitMs = Math.max(floorMs, backoffMs(this.#attempt, this.#ports.random));
      this.#attempt += 1;
      await this.#pause(waitMs, floorMs);
    }
  }

  /** One connection to its end; resolves with the close code. */
  #session(run: Run, token: string): Promise<number> {
    return new Promise((resolve) => {
      let readyAt: number | null = null;
      const socket = new Socket(this.#ports, this.#address, token, {
        ready: (visitorId) => {
          readyAt = this.#ports.timers.now();
          this.#hasBeenOnline = true;
          this.#set("online");
          this.#events.ready(visitorId);
        },
        frame: (frame) => {
          if (run.isOver || this.#socket !== socket) return;
          if (frame.type !== "error") this.#attempt = 0;
          this.#events.frame(frame);
        },
        closed: (code) => {
          if (readyAt !== null && this.#ports.timers.now() - readyAt > GOOD_AFTER_MS) this.#attempt = 0;
          if (this.#socket === socket) this.#socket = null;
          if (!run.isOver) this.#set(this.#offlineOr(this.#hasBeenOnline ? "reconnecting" : "connecting"));
          this.#events.lost(code);
          resolve(code);
        },
      });
      this.#socket = socket;
    });
  }

  /** What a close code asks for; returns the least wait in ms. Raises Refused. */
  #read(code: number): number {
    switch (code) {
      case 4403:
        throw new Refused("forbidden", "this page may not use the chatbot");
      case 4401:
        this.#events.tokenRefused();
        return 0;
      case 1008:
        this.#events.dropToken();
        this.#attempt += 3;
        return BUSY_MS;
      case 1013:
        return BUSY_MS;
      default: // 1006 and ours: the line; 1011, 1012: the server comes back; 4408: it was too slow
        return 0;
    }
  }

  #pause(ms: number, floorMs: number): Promise<void> {
    const { timers } = this.#ports;
    const now = timers.now();
    this.#notBefore = now + floorMs;
    this.#set(this.#offlineOr("reconnecting"), now + ms);
    return new Promise((resolve) => {
      const go = (): void => {
        timers.clear(timer);
        this.#skipPause = null;
        resolve();
      };
      const timer = timers.set(go, ms);
      this.#skipPause = go;
    });
  }

  #offlineOr(connection: Connection): Connection {
    return this.#ports.isOnline() ? connection : "offline";
  }

  #set(connection: Connection, retryAt: number | null = null, failure: Failure | null = null): void {
    this.connection = connection;
    this.retryAt = retryAt;
    this.failure = failure;
    this.#events.changed();
  }
}

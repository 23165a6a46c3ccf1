/**
 * One connection to `/api/v1/ws`, from opening to its end: auth, ready, heartbeat. Says each frame and, exactly once, its
 * end. It does not come back by itself; `link.ts` opens the next.
 */

import { readFrame, type Frame } from "./frames.ts";
import type { Ports, SocketLike } from "./ports.ts";
import type { ClientFrame } from "./wire.gen.ts";

const READY_WITHIN_MS = 10_000;
const PING_EVERY_MS = 25_000;
const PONG_WITHIN_MS = 10_000;
/** After a sleep of the machine a line may be dead without knowing: younger signs of life than this need no proof. */
const FRESH_MS = 5_000;
const OPEN = 1;

/** Close codes of our own, besides the server's: no `ready` in time, no `pong`, ended by this page. */
const NOT_READY = 4900;
const NO_PONG = 4901;
export const ABANDONED = 4902;

export interface SocketEvents {
  ready(visitorId: string | null): void;
  frame(frame: Frame): void;
  closed(code: number): void;
}

export class Socket {
  readonly #ports: Ports;
  readonly #events: SocketEvents;
  readonly #socket: SocketLike;
  #isReady = false;
  #isOver = false;
  #heardAt = 0;
  #opening: unknown = null;
  #beat: unknown = null;
  #pong: unknown = null;

  /** Raises what `WebSocket` does: an address that the page's policy forbids. */
  constructor(ports: Ports, address: string, token: string, events: SocketEvents) {
    this.#ports = ports;
    this.#events = events;
    const socket = ports.socket(address);
    this.#socket = socket;
    this.#opening = ports.timers.set(() => this.end(NOT_READY), READY_WITHIN_MS);
    socket.onopen = () => this.#write({ type: "auth", token });
    socket.onmessage = ({ data }) => this.#hear(data);
    socket.onclose = ({ code }) => this.#finish(code);
    socket.onerror = null; // a close follows
  }

  get isReady(): boolean {
    return this.#isReady && !this.#isOver && this.#socket.readyState === OPEN;
  }

  /** False when the connection does not take it (any more). */
  send(frame: ClientFrame): boolean {
    return this.isReady && this.#write(frame);
  }

  /** Is the line alive? A dead one ends within 10 s. Asked when the network or the page comes back. */
  probe(): void {
    if (this.#isReady && this.#ports.timers.now() - this.#heardAt > FRESH_MS) this.#ping();
  }

  /** End it now, without waiting for the other side: the line may be dead. */
  end(code: number): void {
    if (this.#isOver) return;
    this.#finish(code);
    try {
      this.#socket.close(1000);
    } catch {
      // Not open yet: it is dropped as it is.
    }
  }

  #write(frame: ClientFrame): boolean {
    try {
      this.#socket.send(JSON.stringify(frame));
      return true;
    } catch {
      return false;
    }
  }

  #hear(data: unknown): void {
    if (this.#isOver) return;
    this.#heardAt = this.#ports.timers.now();
    this.#ports.timers.clear(this.#pong);
    this.#pong = null;
    const frame = readFrame(data);
    if (!frame || frame.type === "pong") return;
    if (frame.type !== "ready") {
      this.#events.frame(frame);
      return;
    }
    if (this.#isReady) return; // the answer to a renewed token
    this.#isReady = true;
    this.#ports.timers.clear(this.#opening);
    this.#nextBeat();
    this.#events.ready(frame.visitor_id ?? null);
  }

  #nextBeat(): void {
    this.#beat = this.#ports.timers.set(() => {
      this.#ping();
      this.#nextBeat();
    }, PING_EVERY_MS);
  }

  #ping(): void {
    if (this.#pong !== null || this.#isOver) return;
    this.#write({ type: "ping" });
    this.#pong = this.#ports.timers.set(() => this.end(NO_PONG), PONG_WITHIN_MS);
  }

  #finish(code: number): void {
    if (this.#isOver) return;
    this.#isOver = true;
    for (const timer of [this.#opening, this.#beat, this.#pong]) this.#ports.timers.clear(timer);
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#events.closed(code);
  }
}

/**
 * Texts from the outbox to the server, one after the other, by one tab at a time. A text leaves the outbox when the server
 * says that it has it; whatever happens before that, it is sent again under the same id, which the server knows again.
 */

import { pauseMs } from "./backoff.ts";
import { within } from "./bounded.ts";
import { readFailure, type Frame } from "./frames.ts";
import { UNAVAILABLE, type Entry, type Outbox } from "./outbox.ts";
import type { Ports } from "./ports.ts";
import type { Tabs } from "./tabs.ts";
import type { Talk } from "./talk.ts";
import type { Failure } from "./types.ts";
import type { MessageFrame } from "./wire.gen.ts";

const RECEIPT_WITHIN_MS = 20_000;
/** A server closes the connection on frames of 64 KiB and more. */
const FRAME_BYTES_AT_MOST = 60 * 1024;
const METADATA_BYTES_AT_MOST = 8 * 1024;
/** Points of a text that finds no server: 1 for a line lost meanwhile, 3 for silence or "unavailable". */
const FAULTS_AT_MOST = 24;
const AGAIN_MS = 1_000;
const TOO_BIG = 1009;
const TOO_LONG: Failure = { code: "payload_too_large", message: "", retriable: false, retryAfterS: 0 };
/** The server could not, but may soon. */
const PASSING = new Set(["unavailable", "internal_error", "request_timeout"]);

type Outcome = { readonly kind: "accepted" } | { readonly kind: "refused"; readonly failure: Failure } | { readonly kind: "lost"; readonly code: number };

export interface DeliveryParts {
  readonly ports: Ports;
  readonly tabs: Tabs;
  readonly outbox: Outbox;
  isReady(): boolean;
  send(frame: MessageFrame): boolean;
  /** The talk as storage has it now. */
  talk(): Talk;
  metadata(): Readonly<Record<string, unknown>>;
  /** The entry's conversation is gone: begin a new one with it. */
  forget(): void;
  /** Its entry in the outbox carries the failure. */
  refused(clientId: string, failure: Failure): void;
  renewLine(): void;
}

export class Delivery {
  readonly #parts: DeliveryParts;
  #current: { readonly entry: Entry; readonly end: (outcome: Outcome) => void } | null = null;
  #isRunning = false;
  #isAsked = false;
  #isOver = false;
  #notBefore = 0;
  #timer: unknown = null;

  constructor(parts: DeliveryParts) {
    this.#parts = parts;
  }

  /** The text that is on its way: sent, neither accepted nor refused. */
  get current(): Entry | null {
    return this.#current?.entry ?? null;
  }

  /** There may be something to send, or a line to send it on. */
  kick(): void {
    this.#isAsked = true;
    if (this.#isRunning || this.#isOver) return;
    this.#isRunning = true;
    void this.#work().finally(() => {
      this.#isRunning = false;
      if (this.#isAsked) this.kick();
    });
  }

  accepted(clientId: string): void {
    if (this.#current?.entry.clientId === clientId) this.#current.end({ kind: "accepted" });
  }

  /** An error frame about a text, or about a frame that could not be read. */
  refused(frame: Frame): void {
    const asked = frame.client_message_id;
    if (!this.#current || (asked !== undefined && asked !== this.#current.entry.clientId)) return;
    this.#current.end({ kind: "refused", failure: readFailure(frame) });
  }

  lineLost(code: number): void {
    this.#current?.end({ kind: "lost", code });
  }

  dispose(): void {
    this.#isOver = true;
    this.#parts.ports.timers.clear(this.#timer);
    this.lineLost(0);
  }

  async #work(): Promise<void> {
    const { ports, tabs, outbox, isReady, talk } = this.#parts;
    while (this.#isAsked && !this.#isOver) {
      this.#isAsked = false;
      if (!isReady()) return; // asked again when there is a line
      const waitMs = this.#notBefore - ports.timers.now();
      if (waitMs > 0) return this.#kickIn(waitMs);
      if (outbox.next(talk().epoch) === null) return;
      try {
        // Storage is read again inside: another tab may have sent it meanwhile, or begun the conversation.
        await tabs.alone("send", async () => {
          const entry = outbox.next(talk().epoch);
          if (entry && isReady() && !this.#isOver) await this.#deliver(entry);
        });
        this.#isAsked = true; // for the next in line
      } catch {
        this.#kickIn(AGAIN_MS);
      }
    }
  }

  #kickIn(ms: number): void {
    const { timers } = this.#parts.ports;
    timers.clear(this.#timer);
    this.#timer = timers.set(() => this.kick(), ms);
  }

  async #deliver(given: Entry): Promise<void> {
    const { outbox, ports } = this.#parts;
    const pinned = given.conversationId === undefined ? this.#parts.talk().conversationId : given.conversationId;
    const entry: Entry = { ...given, conversationId: pinned };
    const frame = this.#frame(entry);
    if (frame === null) {
      this.#refuse(entry, TOO_LONG);
      return;
    }
    outbox.put(entry);
    const outcome = await this.#exchange(entry, frame);
    if (outcome.kind === "accepted" || outbox.get(entry.clientId) === null) return; // or taken back meanwhile
    if (outcome.kind === "lost") {
      if (outcome.code === TOO_BIG) this.#refuse(entry, TOO_LONG);
      else this.#fault(entry, outcome.code === 0 ? 3 : 1, 0);
      return;
    }
    const { failure } = outcome;
    if (failure.code === "not_found" && pinned !== null && entry.faults < FAULTS_AT_MOST) {
      outbox.put({ ...entry, faults: entry.faults + 8 });
      this.#parts.forget();
    } else if (PASSING.has(failure.code)) {
      this.#fault(entry, 3, Math.max(AGAIN_MS / 4, pauseMs(entry.faults, ports.random, failure.retryAfterS)), failure);
    } else {
      this.#refuse(entry, failure);
    }
  }

  /** Send it and wait for the server's word; "lost" with code 0 when there is none in time. */
  async #exchange(entry: Entry, frame: MessageFrame): Promise<Outcome> {
    const word = new Promise<Outcome>((end) => {
      this.#current = { entry, end };
    });
    try {
      if (!this.#parts.send(frame)) return { kind: "lost", code: 1006 };
      return await within(this.#parts.ports.timers, RECEIPT_WITHIN_MS, word);
    } catch {
      this.#parts.renewLine();
      return { kind: "lost", code: 0 };
    } finally {
      this.#current = null;
    }
  }

  #fault(entry: Entry, points: number, waitMs: number, failure?: Failure): void {
    const { outbox, ports } = this.#parts;
    const faults = entry.faults + points;
    if (faults >= FAULTS_AT_MOST) {
      this.#refuse(entry, failure ?? UNAVAILABLE);
      return;
    }
    outbox.put({ ...entry, faults });
    this.#notBefore = ports.timers.now() + waitMs;
  }

  #refuse(entry: Entry, failure: Failure): void {
    this.#parts.outbox.put({ ...entry, failure });
    this.#parts.refused(entry.clientId, failure);
  }

  /** The frame, without the page's data where they make it too big; null when the text does. */
  #frame(entry: Entry): MessageFrame | null {
    const bare: MessageFrame = {
      type: "message",
      text: entry.text,
      client_message_id: entry.clientId,
      ...(entry.conversationId ? { conversation_id: entry.conversationId } : {}),
      // With the history this comes back: a reload finds its own text again there.
      metadata: { client_message_id: entry.clientId },
    };
    if (bytes(bare) > FRAME_BYTES_AT_MOST - METADATA_BYTES_AT_MOST) return bytes(bare) > FRAME_BYTES_AT_MOST ? null : bare;
    try {
      const metadata = { ...this.#parts.metadata(), client_message_id: entry.clientId };
      return bytes(metadata) > METADATA_BYTES_AT_MOST ? bare : { ...bare, metadata };
    } catch {
      return bare; // a page's object that is no JSON
    }
  }
}

function bytes(value: unknown): number {
  return new TextEncoder().encode(JSON.stringify(value)).length;
}

/**
 * The visitor's token: asked for when needed, renewed before its end. Where the page's own server vouches for the visitor
 * (`User.token`) the page is asked, else `POST /api/v1/widget/token`.
 */

import { Fault, type Api } from "./api.ts";
import { within } from "./bounded.ts";
import { isRecord, type Memory } from "./memory.ts";
import type { Ports } from "./ports.ts";
import type { User } from "./types.ts";

const VISITOR = "visitor";
const PAGE_WITHIN_MS = 15_000;
const SERVER_TOKEN_MS = 15 * 60_000;
/** One that the page brings does not say when it began. */
const PAGE_TOKEN_MS = 10 * 60_000;
const RENEW_BEFORE_MS = 60_000;
const RENEW_AT_LEAST_MS = 5_000;
const USELESS_BEFORE_MS = 5_000;
/** So many times in a row the page's server may fail to vouch for the visitor; then they are taken for signed out. */
const REFUSALS_AT_MOST = 3;
/** Trying again does not mend these. */
const FATAL = new Set([400, 403, 404, 405, 410, 422]);

/** The server does not speak to this page: wrong origin, unknown chatbot; or the page's own does not vouch for its visitor any more. */
export class Refused extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

export class Tokens {
  readonly #ports: Ports;
  readonly #api: Api;
  readonly #widgetId: string;
  readonly #memory: Memory;
  readonly #user: User | null;
  readonly #onRenewed: (token: string) => void;
  #token: string | null = null;
  #endsAt = 0;
  #visitorId: string | null = null;
  #renewal: unknown = null;
  #refusals = 0;
  #isOver = false;

  /** `onRenewed` gets the token that takes the place of a living one. */
  constructor(
    parts: { ports: Ports; api: Api; widgetId: string; memory: Memory; user: User | null },
    onRenewed: (token: string) => void,
  ) {
    this.#ports = parts.ports;
    this.#api = parts.api;
    this.#widgetId = parts.widgetId;
    this.#memory = parts.memory;
    this.#user = parts.user;
    this.#onRenewed = onRenewed;
  }

  /** Whether a visitor is known; if not, tabs must not ask at the same time, or they get one each. */
  get isKnown(): boolean {
    return Boolean(this.#user?.token) || this.#asked() !== null;
  }

  /** A token that is good for some seconds at least. Raises Refused, Fault. */
  async get(): Promise<string> {
    if (this.#isOver) throw new Fault("unavailable", "over"); // it waited for its turn until after the end
    if (this.#token !== null && this.#ports.timers.now() < this.#endsAt - USELESS_BEFORE_MS) return this.#token;
    const token = this.#user?.token ? await this.#fromPage(this.#user.token) : await this.#fromServer();
    this.#token = token;
    this.#plan();
    return token;
  }

  /** The next `get` asks for another. */
  drop(): void {
    this.#token = null;
    this.#ports.timers.clear(this.#renewal);
  }

  /** The server did not take it. */
  refused(): void {
    this.#refusals += 1;
    this.drop();
  }

  /** Who the server says this is. True when it is another visitor than the last time. */
  meet(visitorId: string | null): boolean {
    this.#refusals = 0;
    if (visitorId === null) return false;
    this.#visitorId = visitorId;
    const before = this.#memory.get(VISITOR);
    if (before !== visitorId) this.#memory.put(VISITOR, visitorId);
    return typeof before === "string" && before !== visitorId;
  }

  /** Another tab became another visitor: storage has the one that counts. */
  get isOther(): boolean {
    const stored = this.#memory.get(VISITOR);
    return this.#visitorId !== null && typeof stored === "string" && stored !== this.#visitorId;
  }

  dispose(): void {
    this.#isOver = true;
    this.drop();
  }

  async #fromPage(ask: () => Promise<string>): Promise<string> {
    if (this.#refusals >= REFUSALS_AT_MOST) {
      this.#refusals = 0; // whoever tries again then asks the page again
      throw new Refused("unauthenticated", "nobody is signed in");
    }
    let token: unknown;
    try {
      token = await within(this.#ports.timers, PAGE_WITHIN_MS, Promise.resolve().then(ask));
    } catch (error) {
      throw new Fault("unavailable", String(error)); // the page's server is away, and may come back
    }
    if (typeof token !== "string" || !token) {
      this.#refusals += 1;
      throw new Fault("unauthenticated", "the page gave no token");
    }
    this.#endsAt = this.#ports.timers.now() + PAGE_TOKEN_MS;
    return token;
  }

  async #fromServer(): Promise<string> {
    const visitorId = this.#asked();
    const body = { widget_id: this.#widgetId, ...(visitorId === null ? {} : { visitor_id: visitorId }) };
    let reply: unknown;
    try {
      reply = await this.#api.request("/api/v1/widget/token", { body });
    } catch (error) {
      if (error instanceof Fault && FATAL.has(error.status)) throw new Refused(error.code, error.message);
      throw error;
    }
    if (!isRecord(reply) || typeof reply["token"] !== "string") throw new Fault("unavailable", "the reply has no token");
    const now = this.#ports.timers.now();
    const endsAt = Date.parse(String(reply["expires_at"]));
    // A clock that is wrong must make no token look ended, and none look good for years.
    this.#endsAt = endsAt > now + RENEW_BEFORE_MS ? Math.min(endsAt, now + SERVER_TOKEN_MS) : now + PAGE_TOKEN_MS;
    if (typeof reply["visitor_id"] === "string") this.meet(reply["visitor_id"]);
    return reply["token"];
  }

  #asked(): string | null {
    if (this.#user?.id) return this.#user.id;
    const stored = this.#memory.get(VISITOR);
    // Storage that was cleared in the middle of a visit does not make another visitor of this one.
    return typeof stored === "string" && stored && stored.length <= 200 ? stored : this.#visitorId;
  }

  #plan(): void {
    const { timers } = this.#ports;
    timers.clear(this.#renewal);
    if (this.#isOver) return;
    const inMs = Math.max(RENEW_AT_LEAST_MS, this.#endsAt - timers.now() - RENEW_BEFORE_MS);
    this.#renewal = timers.set(() => {
      this.#token = null;
      this.get().then(
        (token) => {
          if (!this.#isOver) this.#onRenewed(token);
        },
        () => undefined, // no drama: the socket ends with 4401 and the next connection asks again
      );
    }, inMs);
  }
}

/**
 * A server that speaks the wire as docs/reference/websocket.md has it, over lines that drop, repeat and mix up frames when
 * they are told to.
 */

import type { Ports, SocketLike } from "../../src/core/ports.ts";
import { FakeStorage, type Browser } from "./browser.ts";
import type { Clock } from "./clock.ts";

export interface Message {
  readonly id: string;
  readonly clientId: string;
  readonly text: string;
  readonly ordinal: number;
  readonly metadata: unknown;
  readonly answer: string;
  state: string;
}

interface Talk {
  readonly id: string;
  readonly visitor: string;
  readonly messages: Message[];
  log: Record<string, unknown>[];
  seq: number;
}

export interface Chaos {
  /** Chances for each frame the server sends. */
  drop?: number;
  repeat?: number;
  swap?: number;
  /** Chance that an answer starts over in its middle, and that the event log is lost. */
  reset?: number;
  lose?: number;
}

/** One server; `line()` is what a tab connects with. */
export class Server {
  readonly clock: Clock;
  readonly random: () => number;
  readonly talks = new Map<string, Talk>();
  readonly receipts = new Map<string, { conversation: string; message: Message; digest: string }>();
  readonly lines = new Set<Line>();
  chaos: Chaos = {};
  /** Pieces of an answer and the time between them, ms. */
  pieces = 8;
  everyMs = 60;
  drops = 0;
  tokens = 0;
  fetches: string[] = [];
  /** Set: this answers instead. */
  onFetch: ((path: string, options: RequestInit) => Response | null | Promise<Response>) | null = null;
  onMessage: ((frame: Record<string, unknown>, line: Line) => boolean) | null = null;
  onAuth: ((line: Line, token: string) => boolean) | null = null;
  /** Answer, or leave the message waiting. */
  isAnswering = true;
  #ids = 0;

  constructor(clock: Clock, random: () => number) {
    this.clock = clock;
    this.random = random;
  }

  newId(kind: string): string {
    this.#ids += 1;
    return `${kind}-${this.#ids}`;
  }

  ports(browser: Browser): Ports {
    const view = browser.lagMs > 0 ? browser.newView() : null;
    return {
      fetch: async (address, options) => {
        await new Promise<void>((resolve) => void this.clock.set(resolve, 5 + this.random() * 20));
        return this.fetch(address, options);
      },
      socket: () => new Line(this),
      storage: view ?? browser.storage,
      tabStorage: new FakeStorage(), // of a tab that was never here before
      timers: this.clock,
      channel: (name) => browser.channel(name),
      locks: browser.locks,
      random: this.random,
      newId: () => this.newId("c"),
      isOnline: () => true,
      listen: (type, work) => {
        if (type === "storage" && view) view.onchange = (key) => work({ key });
        return () => {
          if (type === "storage" && view) view.onchange = null;
        };
      },
    };
  }

  async fetch(address: string, options: RequestInit): Promise<Response> {
    const path = address.replace("http://server", "");
    this.fetches.push(path);
    const other = await this.onFetch?.(path, options);
    if (other) return other;
    if (path === "/api/v1/widget/token") {
      const asked = JSON.parse(String(options.body)) as { visitor_id?: string };
      this.tokens += 1;
      const visitor = asked.visitor_id ?? this.newId("v");
      const expires = new Date(this.clock.now() + 900_000).toISOString();
      return Response.json({ token: `t:${visitor}`, expires_at: expires, visitor_id: visitor });
    }
    const found = /^\/api\/v1\/conversations\/([^/]+)\/messages\?limit=(\d+)&cursor=(\d+)$/.exec(path);
    const talk = found ? this.talks.get(String(found[1])) : undefined;
    if (!found || !talk) return Response.json({ error: { code: "not_found", message: "no such thing" } }, { status: 404 });
    const page = talk.messages.filter((one) => one.ordinal > Number(found[3])).slice(0, Number(found[2]));
    const last = page.at(-1);
    const items = page.flatMap((one) => [
      { id: one.id, message_id: one.id, role: "visitor", text: one.text, state: one.state, ordinal: one.ordinal, created_at: "2026-01-01T00:00:00Z", metadata: one.metadata },
      ...(one.state === "answered"
        ? [{ id: `a-${one.id}`, message_id: one.id, role: "assistant", text: one.answer, state: one.state, ordinal: one.ordinal, created_at: "2026-01-01T00:00:01Z", sources: [], rating: null }]
        : []),
    ]);
    return Response.json({ items, next_cursor: last && last !== talk.messages.at(-1) ? String(last.ordinal) : null });
  }

  accept(line: Line, frame: Record<string, unknown>): void {
    const clientId = String(frame["client_message_id"]);
    const text = String(frame["text"]);
    const digest = `${String(frame["conversation_id"] ?? "")}\n${text}`;
    const key = `${line.visitor}:${clientId}`;
    const earlier = this.receipts.get(key);
    if (earlier) {
      if (earlier.digest !== digest) {
        line.say({ type: "error", code: "conflict", message: "used", client_message_id: clientId });
        return;
      }
      line.say({ type: "message_accepted", conversation_id: earlier.conversation, message_id: earlier.message.id, stream_id: "s", client_message_id: clientId, replayed: true, ts: "t" });
      if (!line.follows.has(earlier.conversation)) line.follow(earlier.conversation, 0);
      return;
    }
    const asked = frame["conversation_id"] as string | undefined;
    const known = asked === undefined ? undefined : this.talks.get(asked);
    if (asked !== undefined && known?.visitor !== line.visitor) {
      line.say({ type: "error", code: "not_found", message: "no such conversation", client_message_id: clientId, conversation_id: asked });
      return;
    }
    const talk = known ?? { id: this.newId("conv"), visitor: line.visitor, messages: [], log: [], seq: 0 };
    this.talks.set(talk.id, talk);
    const number = talk.messages.length + 1;
    const answer = Array.from({ length: this.pieces }, (_, index) => `<${text}:${number}.${index}> `).join("");
    const message: Message = { id: this.newId("m"), clientId, text, ordinal: number, metadata: frame["metadata"], answer, state: "accepted" };
    talk.messages.push(message);
    this.receipts.set(key, { conversation: talk.id, message, digest });
    const before = talk.seq;
    this.append(talk, { type: "message_accepted", message_id: message.id, client_message_id: clientId });
    if (!line.follows.has(talk.id)) line.follow(talk.id, before);
    if (this.isAnswering) this.#answer(talk, message);
  }

  cancel(messageId: string): void {
    for (const talk of this.talks.values()) {
      const message = talk.messages.find((one) => one.id === messageId);
      if (message?.state !== "accepted") continue;
      message.state = "cancelled";
      this.append(talk, { type: "stream_error", message_id: message.id, code: "cancelled", message: "", retriable: false, state: "cancelled" });
    }
  }

  append(talk: Talk, event: Record<string, unknown>): void {
    talk.seq += 1;
    const frame = { conversation_id: talk.id, ts: new Date(this.clock.now()).toISOString(), ...event, seq: talk.seq };
    talk.log.push(frame);
    for (const line of this.lines) line.pump(talk.id);
  }

  /** The event log is gone: who resumes gets the state of the messages. */
  lose(talk: Talk): void {
    talk.log = [];
  }

  #answer(talk: Talk, message: Message): void {
    const pieces = message.answer.match(/<[^>]*> /g) ?? [];
    let delay = 20;
    const later = (work: () => void): void => {
      delay += Math.round(this.everyMs * (0.5 + this.random()));
      this.clock.set(() => {
        if (message.state === "accepted") work();
      }, delay);
    };
    const stream = (): void => {
      later(() => this.append(talk, { type: "stream_start", message_id: message.id, chatbot_id: "b", animation: "thinking" }));
      const isReset = this.random() < (this.chaos.reset ?? 0);
      const upTo = isReset ? Math.ceil(pieces.length / 2) : pieces.length;
      const write = (from: number, to: number): void => {
        for (let index = from; index < to; index += 1) {
          later(() => {
            this.append(talk, { type: "stream_chunk", message_id: message.id, chunk: pieces[index], index, animation: index > 0 ? "explaining" : null });
            if (this.random() < (this.chaos.lose ?? 0)) this.lose(talk);
          });
        }
      };
      write(0, upTo);
      if (isReset) {
        later(() => this.append(talk, { type: "stream_reset", message_id: message.id }));
        write(0, pieces.length);
      }
    };
    stream();
    later(() => {
      message.state = "answered";
      this.append(talk, { type: "stream_complete", message_id: message.id, text: message.answer, state: "answered", sources: [], suggested_actions: [], animation: "happy", provider: "p", model: "m", cached: "miss" });
    });
  }
}

/** One WebSocket, both ends. */
export class Line implements SocketLike {
  readyState = 0;
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: ((event: { code: number }) => void) | null = null;
  onerror: (() => void) | null = null;
  visitor = "";
  isMute = false;
  readonly heard: Record<string, unknown>[] = [];
  readonly follows = new Map<string, number>();
  readonly #server: Server;
  #at = 0;
  #isCut = false;

  constructor(server: Server) {
    this.#server = server;
    server.lines.add(this);
    this.#later(() => {
      if (this.readyState !== 0) return;
      this.readyState = 1;
      this.onopen?.();
    });
  }

  send(data: string): void {
    if (this.readyState !== 1) throw new Error("not open");
    const frame = JSON.parse(data) as Record<string, unknown>;
    this.#later(() => {
      if (this.readyState === 1 && !this.isMute && !this.#isCut) this.#hear(frame);
    });
  }

  close(): void {
    this.#server.lines.delete(this);
    this.readyState = 3;
  }

  /** The server (or the network) ends it. */
  cut(code = 1006): void {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.#server.lines.delete(this);
    this.#server.drops += 1;
    this.onclose?.({ code });
  }

  say(frame: Record<string, unknown>): void {
    const { chaos, random } = this.#server;
    if (random() < (chaos.drop ?? 0)) {
      // What was said before still arrives.
      this.#isCut = true;
      this.#server.lines.delete(this);
      this.#later(() => this.cut());
    }
    if (this.#isCut) return;
    const data = JSON.stringify(frame);
    const send = (): void => {
      if (this.readyState === 1) this.onmessage?.({ data });
    };
    this.#later(send, random() < (chaos.swap ?? 0) ? 150 : 0);
    if (random() < (chaos.repeat ?? 0)) this.#later(send);
  }

  follow(conversation: string, after: number): void {
    this.follows.delete(conversation);
    const talk = this.#server.talks.get(conversation);
    if (!talk) return;
    const first = talk.log.length > 0 ? Number(talk.log[0]?.["seq"]) : talk.seq + 1;
    if (after < first - 1) {
      for (const one of talk.messages) {
        const isFinal = one.state !== "accepted";
        const seq = talk.log.length > 0 ? first - 1 : talk.seq;
        this.say({ type: "message_replace", conversation_id: conversation, message_id: one.id, stream_id: one.id, ts: "t", text: isFinal ? one.answer : "", state: one.state, final: isFinal, sources: [], seq });
      }
      this.follows.set(conversation, first - 1);
    } else {
      this.follows.set(conversation, after);
    }
    this.pump(conversation);
  }

  pump(conversation: string): void {
    const after = this.follows.get(conversation);
    if (after === undefined || this.isMute) return;
    for (const frame of this.#server.talks.get(conversation)?.log ?? []) {
      const seq = Number(frame["seq"]);
      if (seq <= (this.follows.get(conversation) ?? 0)) continue;
      this.follows.set(conversation, seq);
      this.say(frame);
      if (this.#isCut) return;
    }
  }

  #hear(frame: Record<string, unknown>): void {
    const server = this.#server;
    this.heard.push(frame);
    if (frame["type"] === "auth") {
      const token = String(frame["token"]);
      if (server.onAuth && !server.onAuth(this, token)) return;
      this.visitor = token.slice(2);
      this.say({ type: "ready", visitor_id: this.visitor });
    } else if (frame["type"] === "ping") {
      this.say({ type: "pong", ts: "t" });
    } else if (frame["type"] === "resume") {
      const id = String(frame["conversation_id"]);
      if (server.talks.get(id)?.visitor === this.visitor) this.follow(id, Number(frame["after_seq"]));
      else this.say({ type: "error", code: "not_found", message: "", conversation_id: id });
    } else if (frame["type"] === "cancel") {
      server.cancel(String(frame["message_id"]));
    } else if (frame["type"] === "message") {
      if (server.onMessage && !server.onMessage(frame, this)) return;
      server.accept(this, frame);
    }
  }

  /** In order, a few ms later, unless `extra` lets others pass. */
  #later(work: () => void, extra = 0): void {
    const now = this.#server.clock.now();
    const at = Math.max(now + 2 + Math.floor(this.#server.random() * 6), this.#at);
    if (extra === 0) this.#at = at;
    this.#server.clock.set(work, at - now + extra);
  }
}

// The wire: visitor token, history, WebSocket, resume, outbox. Knows no DOM and draws nothing; main.js listens.
//
// Promises kept here: an unsent text survives a reload (outbox in storage, same client_message_id, so twice is once);
// frames with a seq already seen are dropped; after a drop `resume` fetches what was missed; after a reload `resume`
// starts before the oldest unfinished answer, so its text is complete again.

import { backoffMs, retryAfterMs } from "./backoff.js";
import { Memory } from "./memory.js";

const PING_EVERY_MS = 25_000;
const PONG_WITHIN_MS = 10_000;
const READY_WITHIN_MS = 10_000;
const RENEW_BEFORE_MS = 60_000;
const STALE_AFTER_MS = 20_000;
const REQUEST_TIMEOUT_MS = 15_000;
const HISTORY_PAGES = 20;
const TERMINAL = new Set(["stream_complete", "stream_error"]);

/** A refusal that trying again does not mend (wrong origin, unknown chatbot). */
export class Fatal extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** A fault that passes: the loop backs off, at least `retryAfterMs`. */
class Passing extends Error {
  constructor(message, retryAfterMs = 0) {
    super(message);
    this.retryAfterMs = retryAfterMs;
  }
}

export function newId() {
  if (globalThis.crypto?.randomUUID) return crypto.randomUUID();
  // randomUUID needs a secure context; a demo opened by a plain-http LAN address has none.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export class ChatConnection {
  #slug;
  #widgetId;
  #base;
  #memory;
  #emit;
  #token = null;
  #expiresAt = 0;
  #renewTimer = null;
  #socket = null;
  #ready = false;
  #attempt = 0;
  #wake = null;
  #closed = false;
  #historyLoaded = false;
  #lastSeq = 0;
  #open = new Map(); // message_id -> seq before its first frame
  #stopWhenAccepted = new Set();
  #heardAt = 0;
  #frameAt = 0;
  #pongTimer = null;
  #inFlight = null; // client_message_id sent and not yet answered: one at a time keeps order and one conversation

  /**
   * `base`: the server's address, e.g. "https://chat.example.com"; `storage`: Storage or null; `emit(event)` gets
   * {type: "status" | "history" | "pending" | "refused" | "fatal" | "cleared"} or a server frame as it came.
   */
  constructor({ slug, widgetId, base, storage, emit }) {
    this.#slug = slug;
    this.#widgetId = widgetId;
    this.#base = base;
    this.#memory = new Memory(`chatwright:chat:${widgetId}`, storage);
    this.#lastSeq = this.#memory.value.last_seq;
    this.#emit = emit;
  }

  get conversationId() {
    return this.#memory.value.conversation_id;
  }

  /** Run until `close()` or a fatal refusal. Never rejects. */
  async run() {
    for (const entry of this.#memory.value.outbox) this.#emit({ type: "pending", ...entry });
    while (!this.#closed) {
      this.#emit({ type: "status", state: this.#attempt === 0 && !this.#historyLoaded ? "connecting" : "reconnecting" });
      let waitMs = 0;
      try {
        await this.#ensureToken();
        if (!this.#historyLoaded) await this.#loadHistory();
        await this.#session();
      } catch (error) {
        if (error instanceof Fatal) {
          this.#emit({ type: "fatal", code: error.code, message: error.message });
          return;
        }
        waitMs = error instanceof Passing ? error.retryAfterMs : 0;
      }
      if (this.#closed) return;
      waitMs = Math.max(waitMs, backoffMs(this.#attempt));
      this.#attempt += 1;
      this.#emit({ type: "status", state: "reconnecting", retry_in_ms: waitMs });
      await this.#pause(waitMs);
    }
  }

  /** Queue a text. It is sent now or when the connection is back; its id is returned at once. */
  send(text) {
    const entry = { client_message_id: newId(), text, created_at: new Date().toISOString(), conversation_id: undefined };
    this.#memory.set({ outbox: [...this.#memory.value.outbox, entry] });
    this.#emit({ type: "pending", ...entry });
    this.#flush();
    return entry.client_message_id;
  }

  /** Take a text that was not accepted yet out of the outbox. */
  drop(clientMessageId) {
    this.#memory.set({ outbox: this.#memory.value.outbox.filter((entry) => entry.client_message_id !== clientMessageId) });
  }

  /** Stop an answer. `messageId` may be unknown still: then it is stopped as soon as the server names it. */
  cancel({ messageId, clientMessageId }) {
    if (messageId) this.#transmit({ type: "cancel", message_id: messageId });
    else if (clientMessageId) this.#stopWhenAccepted.add(clientMessageId);
  }

  /** Forget the conversation on this page; the server keeps it. */
  startOver() {
    for (const messageId of this.#open.keys()) this.#transmit({ type: "cancel", message_id: messageId });
    this.#open.clear();
    this.#lastSeq = 0;
    this.#memory.set({ conversation_id: null, last_seq: 0, outbox: [] });
    this.#emit({ type: "cleared" });
  }

  /** Try at once instead of waiting out the backoff: the network or the tab came back. */
  wake() {
    this.#attempt = 0;
    this.#wake?.();
    if (this.#ready) this.#emit({ type: "status", state: "online" });
    // A socket that slept with the laptop may be dead without knowing it: ask.
    if (this.#ready && Date.now() - this.#heardAt > 5000) this.#ping();
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#renewTimer);
    this.#socket?.close(1000);
    this.#wake?.();
  }

  async #request(path, options = {}) {
    let response;
    try {
      response = await fetch(this.#base + path, { ...options, signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS) });
    } catch (error) {
      throw new Passing(String(error));
    }
    if (response.ok) return response.json();
    const body = await response.json().catch(() => null);
    const failure = new Passing(body?.error?.message ?? `HTTP ${response.status}`, retryAfterMs(response.headers.get("retry-after")));
    failure.status = response.status;
    failure.code = body?.error?.code ?? null;
    throw failure;
  }

  async #ensureToken() {
    if (this.#token && Date.now() < this.#expiresAt - 5000) return;
    const body = { widget_id: this.#widgetId };
    if (this.#memory.value.visitor_id) body.visitor_id = this.#memory.value.visitor_id;
    let reply;
    try {
      reply = await this.#request("/api/v1/widget/token", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
      });
    } catch (error) {
      if (error.status === 403) throw new Fatal("forbidden", error.message);
      if (error.status === 404) throw new Fatal("not_found", error.message);
      throw error;
    }
    this.#token = reply.token;
    this.#expiresAt = Date.parse(reply.expires_at) || Date.now() + 60_000;
    this.#memory.set({ visitor_id: reply.visitor_id });
    clearTimeout(this.#renewTimer);
    const renewInMs = Math.max(5000, this.#expiresAt - Date.now() - RENEW_BEFORE_MS);
    this.#renewTimer = setTimeout(() => this.#renew(), renewInMs);
  }

  #renew() {
    if (this.#closed) return;
    this.#expiresAt = 0;
    // The new token goes to the living socket too. A failed renewal is no drama: the next reconnect asks again.
    this.#ensureToken().then(
      () => this.#transmit({ type: "auth", token: this.#token }),
      () => {},
    );
  }

  async #loadHistory() {
    const id = this.conversationId;
    if (!id) {
      this.#historyLoaded = true;
      this.#emit({ type: "history", items: [] });
      return;
    }
    const items = [];
    let cursor = null;
    try {
      for (let page = 0; page < HISTORY_PAGES; page += 1) {
        const query = new URLSearchParams({ limit: "100", ...(cursor ? { cursor } : {}) });
        const reply = await this.#request(`/api/v1/conversations/${encodeURIComponent(id)}/messages?${query}`, {
          headers: { authorization: `Bearer ${this.#token}` },
        });
        items.push(...reply.items);
        cursor = reply.next_cursor;
        if (!cursor) break;
      }
    } catch (error) {
      if (error.status === 401) this.#token = null;
      if (error.status === 404 || error.status === 403) {
        // Another server, a wiped data folder or another visitor: start a new conversation.
        this.#forgetConversation();
        this.#historyLoaded = true;
        this.#emit({ type: "history", items: [] });
        return;
      }
      throw error;
    }
    if (id !== this.conversationId) return;
    this.#historyLoaded = true;
    this.#emit({ type: "history", items });
  }

  #forgetConversation() {
    this.#lastSeq = 0;
    this.#open.clear();
    const outbox = this.#memory.value.outbox.map((entry) => ({ ...entry, conversation_id: undefined }));
    this.#memory.set({ conversation_id: null, last_seq: 0, outbox });
  }

  /** One WebSocket from open to close. Resolves when it closed; the caller decides when to come back. */
  #session() {
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(`${this.#base.replace(/^http/, "ws")}/api/v1/ws`);
      this.#socket = socket;
      this.#ready = false;
      let beat = null;
      const opening = setTimeout(() => socket.close(), READY_WITHIN_MS);
      socket.onopen = () => socket.send(JSON.stringify({ type: "auth", token: this.#token }));
      socket.onmessage = ({ data }) => {
        this.#heardAt = Date.now();
        let frame;
        try {
          frame = JSON.parse(data);
        } catch {
          return;
        }
        if (frame.type === "ready") {
          if (this.#ready) return; // the answer to a renewed token
          clearTimeout(opening);
          this.#ready = true;
          this.#attempt = 0;
          this.#inFlight = null;
          this.#emit({ type: "status", state: "online" });
          if (this.conversationId) {
            this.#transmit({ type: "resume", conversation_id: this.conversationId, after_seq: this.#lastSeq });
          }
          this.#flush();
          beat = setInterval(() => this.#beat(), PING_EVERY_MS);
        } else {
          this.#receive(frame);
        }
      };
      socket.onclose = ({ code }) => {
        clearTimeout(opening);
        clearInterval(beat);
        clearTimeout(this.#pongTimer);
        this.#pongTimer = null;
        if (this.#socket === socket) this.#socket = null;
        this.#ready = false;
        this.#inFlight = null;
        if (code === 4401 || code === 1008) this.#token = null; // expired or revoked: ask for a new one
        if (code === 4403) reject(new Fatal("forbidden", "this page may not use the chatbot"));
        else resolve();
      };
    });
  }

  #beat() {
    this.#ping();
    // An answer that hangs in the air is looked up: the history knows how it ended.
    if (this.#open.size > 0 && Date.now() - this.#frameAt > STALE_AFTER_MS) this.#loadHistory().catch(() => {});
  }

  #ping() {
    if (this.#pongTimer) return;
    const socket = this.#socket;
    const askedAt = Date.now();
    this.#transmit({ type: "ping" });
    this.#pongTimer = setTimeout(() => {
      this.#pongTimer = null;
      if (this.#heardAt >= askedAt || this.#socket !== socket || !socket) return;
      // Do not wait for the close handshake of a dead line.
      const { onclose } = socket;
      socket.onclose = socket.onmessage = null;
      socket.close();
      onclose?.({ code: 4000 });
    }, PONG_WITHIN_MS);
  }

  #transmit(frame) {
    if (!this.#ready || this.#socket?.readyState !== 1) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  #flush() {
    if (!this.#ready || this.#inFlight) return;
    const [entry] = this.#memory.value.outbox;
    if (!entry) return;
    if (entry.conversation_id === undefined) {
      // Fixed at the first try: a repeat must be the same request to count as the same message.
      entry.conversation_id = this.conversationId;
      this.#memory.set({});
    }
    const frame = { type: "message", chatbot: this.#slug, text: entry.text, client_message_id: entry.client_message_id };
    if (entry.conversation_id) frame.conversation_id = entry.conversation_id;
    if (this.#transmit(frame)) this.#inFlight = entry.client_message_id;
  }

  #receive(frame) {
    if (frame.type === "pong") return;
    this.#frameAt = Date.now();
    if (frame.type === "message_accepted") {
      this.#accepted(frame);
      return;
    }
    if (frame.type === "error" || frame.type === "stream_error") {
      const refused = frame.client_message_id ?? (frame.message_id ? null : this.#inFlight);
      if (refused && !this.#open.has(frame.message_id)) {
        this.#refused(refused, frame);
        return;
      }
      if (frame.type === "error") {
        if (frame.code === "not_found" && !frame.message_id) this.#forgetConversation();
        return;
      }
    }
    if (frame.conversation_id && frame.conversation_id !== this.conversationId) return;
    if (!this.#advance(frame)) return;
    if (frame.type === "stream_start" && frame.message_id && !this.#open.has(frame.message_id)) {
      this.#open.set(frame.message_id, (frame.seq ?? this.#lastSeq + 1) - 1);
    }
    if (TERMINAL.has(frame.type) || (frame.type === "message_replace" && frame.final !== false)) {
      this.#open.delete(frame.message_id);
    }
    this.#checkpoint();
    this.#emit(frame);
  }

  /** Count the frame. False when it was seen already. */
  #advance(frame) {
    if (typeof frame.seq !== "number") return true;
    if (frame.type === "message_replace") {
      // Sent when the event log was lost: numbering may have begun anew, so this frame sets the place.
      this.#lastSeq = frame.seq;
      return true;
    }
    if (frame.seq <= this.#lastSeq) return false;
    this.#lastSeq = frame.seq;
    return true;
  }

  /** Store where a reload resumes: before the oldest unfinished answer, else after everything seen. */
  #checkpoint() {
    const seq = this.#open.size > 0 ? Math.min(...this.#open.values()) : this.#lastSeq;
    if (seq !== this.#memory.value.last_seq) this.#memory.set({ last_seq: seq });
  }

  #accepted(frame) {
    if (this.#inFlight === frame.client_message_id) this.#inFlight = null;
    const mine = this.#memory.value.outbox.some((entry) => entry.client_message_id === frame.client_message_id);
    if (mine && !this.conversationId) this.#memory.set({ conversation_id: frame.conversation_id });
    if (frame.conversation_id !== this.conversationId) return;
    // Told twice: as a receipt without seq to the sender, and as a numbered event to every follower, in any order.
    const before = this.#lastSeq;
    const fresh = typeof frame.seq === "number" && this.#advance(frame);
    if (!fresh && !mine) return;
    this.drop(frame.client_message_id);
    if (!this.#open.has(frame.message_id)) this.#open.set(frame.message_id, before);
    this.#checkpoint();
    this.#emit(frame);
    if (frame.replayed) {
      // Accepted at an earlier try whose receipt was lost: its events may be over already, fetch them.
      this.#transmit({ type: "resume", conversation_id: this.conversationId, after_seq: this.#lastSeq });
    }
    if (this.#stopWhenAccepted.delete(frame.client_message_id)) this.#transmit({ type: "cancel", message_id: frame.message_id });
    this.#flush();
  }

  #refused(clientMessageId, frame) {
    this.drop(clientMessageId);
    if (this.#inFlight === clientMessageId) this.#inFlight = null;
    if (frame.code === "not_found" && this.conversationId) this.#forgetConversation();
    this.#emit({ ...frame, type: "refused", client_message_id: clientMessageId });
    this.#flush();
  }

  #pause(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    }).finally(() => {
      this.#wake = null;
    });
  }
}

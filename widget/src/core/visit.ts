/**
 * One visitor on one page: the conversation with the server, its texts on the way, its place in the events, in step with
 * the visitor's other tabs. `client.ts` makes one for each user that the page names.
 */

import { Fault, type Api } from "./api.ts";
import * as talking from "./conversation.ts";
import type { Change, Kept } from "./conversation.ts";
import { Delivery } from "./delivery.ts";
import { sendFeedback } from "./feedback.ts";
import { Following } from "./following.ts";
import type { Frame } from "./frames.ts";
import { Link } from "./link.ts";
import { Memory } from "./memory.ts";
import { isTooOld, Outbox } from "./outbox.ts";
import { Patience } from "./patience.ts";
import { isEnd } from "./place.ts";
import type { Ports } from "./ports.ts";
import { Stops } from "./stops.ts";
import { Tabs, type News } from "./tabs.ts";
import { SharedTalk, type Talk } from "./talk.ts";
import { Tokens } from "./token.ts";
import type { ChatEvent, ChatState, Failure, Rating, User } from "./types.ts";

export interface VisitParts {
  readonly ports: Ports;
  readonly api: Api;
  readonly widgetId: string;
  /** Of the storage, one for each user. */
  readonly prefix: string;
  readonly user: User | null;
  metadata(): Readonly<Record<string, unknown>>;
  changed(): void;
  emit(event: ChatEvent): void;
}

export class Visit {
  readonly #parts: VisitParts;
  readonly #memory: Memory;
  readonly #outbox: Outbox;
  readonly #tabs: Tabs;
  readonly #tokens: Tokens;
  /** Kept up by `client.ts`. */
  readonly link: Link;
  readonly #delivery: Delivery;
  readonly #patience: Patience;
  readonly #following: Following;
  readonly #stops = new Stops();
  readonly #talk: SharedTalk;
  #turns: readonly Kept[] = [];
  #isLoaded: boolean;
  #isHistoryRead = false;
  #isDisposed = false;

  constructor(parts: VisitParts) {
    const { ports, api, widgetId, user } = parts;
    this.#parts = parts;
    this.#memory = new Memory(parts.prefix, ports.storage);
    this.#outbox = new Outbox(this.#memory, ports.timers.now());
    this.#talk = new SharedTalk(this.#memory, (before) => this.#switched(before));
    this.#isLoaded = this.#talk.now.conversationId === null;
    this.#tabs = new Tabs(ports, this.#memory, (news) => this.#hear(news));
    this.#tokens = new Tokens({ ports, api, widgetId, user, memory: this.#memory }, (token) => this.link.send({ type: "auth", token }));
    this.link = new Link(ports, api.socketAddress, {
      token: () => this.#token(),
      dropToken: () => this.#tokens.drop(),
      prepare: async () => (this.#isHistoryRead ? undefined : this.#readHistory()),
      ready: (visitorId) => this.#ready(visitorId),
      frame: (frame) => this.#frame(frame),
      lost: (code) => {
        this.#following.lineLost();
        this.#delivery.lineLost(code);
      },
      changed: () => parts.changed(),
    });
    this.#delivery = new Delivery({
      ports,
      tabs: this.#tabs,
      outbox: this.#outbox,
      isReady: () => this.link.isReady,
      send: (frame) => this.link.send(frame),
      talk: () => this.#talk.sync(),
      metadata: () => parts.metadata(),
      forget: () => this.#forget(),
      refused: (clientId, failure) => this.#refused(clientId, failure),
      renewLine: () => this.link.renew(),
    });
    this.#patience = new Patience(ports.timers, {
      open: () => (this.link.isReady ? this.#turns.filter(talking.isOpen) : []),
      isUnderWay: (clientId) => this.#delivery.current?.clientId === clientId || this.#outbox.get(clientId) !== null,
      lookUp: () => this.#lookUp(),
      giveUp: (turn, failure) => this.#apply(talking.givenUp(this.#turns, turn.key, failure)),
    });
    this.#following = new Following({
      ports,
      talk: this.#talk,
      patience: this.#patience,
      send: (frame) => this.link.send(frame),
      gone: () => this.#forget(),
    });
    this.#outbox.giveUpOld(this.#now());
    this.#readOutbox();
  }

  get state(): ChatState {
    const { connection, retryAt, failure } = this.link;
    const { conversationId } = this.#talk.now;
    return { connection, retryAt, failure, conversationId, turns: this.#turns, loaded: this.#isLoaded };
  }

  dispose(): void {
    this.#isDisposed = true;
    this.link.stop();
    this.#delivery.dispose();
    this.#tokens.dispose();
    this.#patience.dispose();
    this.#following.lineLost();
    this.#tabs.close();
  }

  // What the visitor does --------------------------------------------------------------------------------------------

  send(text: string): string {
    const clientId = this.#parts.ports.newId();
    this.#queue(clientId, text);
    return clientId;
  }

  cancel(key: string): void {
    const turn = this.#find(key);
    if (!turn || !talking.isOpen(turn)) return;
    if (turn.messageId !== null) {
      const { messageId } = turn;
      this.#stops.stop(messageId);
      this.link.send({ type: "cancel", message_id: messageId });
      this.#apply(talking.halted(this.#turns, key));
      this.#tabs.tell({ type: "halted", messageId });
      return;
    }
    const clientId = turn.clientId ?? "";
    const wasTried = this.#outbox.get(clientId)?.conversationId !== undefined || this.#delivery.current?.clientId === clientId;
    this.#outbox.remove(clientId);
    if (wasTried) this.#stops.takeBack(clientId, this.#talk.now.epoch);
    this.#apply(wasTried ? talking.halted(this.#turns, key) : talking.removed(this.#turns, key));
    this.#tabs.tell({ type: "dropped", clientId });
  }

  retry(key: string): void {
    const turn = this.#find(key);
    if (!turn || (turn.phase !== "failed" && turn.phase !== "refused")) return;
    const isNew = turn.messageId !== null || turn.failure?.code === "conflict";
    this.#apply(talking.askedAnew(this.#turns, turn, isNew));
    const clientId = turn.clientId;
    const entry = clientId === null ? null : this.#outbox.get(clientId);
    const isOld = entry !== null && isTooOld(entry, this.#now());
    if (clientId !== null) this.#outbox.remove(clientId);
    if (isNew || isOld || clientId === null) this.send(turn.text);
    else this.#queue(clientId, turn.text);
    if (clientId !== null && isNew) this.#tabs.tell({ type: "dropped", clientId });
  }

  drop(key: string): void {
    const turn = this.#find(key);
    if (!turn || (turn.messageId !== null && turn.phase !== "refused" && turn.phase !== "failed")) return;
    if (turn.phase === "sending") {
      this.cancel(key);
      return;
    }
    const clientId = turn.clientId ?? "";
    this.#outbox.remove(clientId);
    this.#apply(talking.removed(this.#turns, key));
    this.#tabs.tell({ type: "dropped", clientId });
  }

  async rate(key: string, rating: Rating | null, comment?: string): Promise<void> {
    const turn = this.#find(key);
    const { conversationId } = this.#talk.now;
    if (!turn?.messageId || conversationId === null) throw new Fault("not_found", "there is no answer to rate");
    const { messageId, rating: before } = turn;
    this.#apply(talking.rated(this.#turns, messageId, rating));
    try {
      await sendFeedback(this.#parts.api, await this.#token(), { conversationId, messageId }, rating, comment);
      this.#tabs.tell({ type: "rated", messageId, rating });
    } catch (error) {
      if (this.#find(key)?.rating === rating) this.#apply(talking.rated(this.#turns, messageId, before));
      throw error;
    }
  }

  reset(): void {
    for (const turn of this.#turns) {
      if (turn.messageId !== null && talking.isOpen(turn)) this.link.send({ type: "cancel", message_id: turn.messageId });
    }
    const epoch = this.#parts.ports.newId();
    this.#outbox.keepOnly(epoch);
    this.#talk.renew(epoch);
    this.#tabs.tell({ type: "talk" });
  }

  #queue(clientId: string, text: string): void {
    const entry = this.#outbox.add({ clientId, text: text.replaceAll("\0", ""), epoch: this.#talk.sync().epoch }, this.#now());
    this.#apply(talking.pending(this.#turns, entry));
    this.#tabs.tell({ type: "outbox" });
    this.#delivery.kick();
  }

  // What the line brings ---------------------------------------------------------------------------------------------

  async #token(): Promise<string> {
    // Two tabs that open at once must become one visitor.
    if (this.#tokens.isKnown) return this.#tokens.get();
    return this.#tabs.alone("visitor", () => this.#tokens.get());
  }

  /** Raises Fault. */
  async #readHistory(): Promise<void> {
    const { epoch, conversationId, ordinal } = this.#talk.sync();
    // Only who has been here before needs it. Should it not load, the events alone must do, until the next connection.
    const history = conversationId === null ? null : await import("./history.ts").catch(() => null);
    if (conversationId !== null && history) {
      try {
        const items = await history.fetchHistory(this.#parts.api, await this.#token(), conversationId, ordinal);
        if (this.#isDisposed || this.#talk.now.epoch !== epoch || this.#talk.now.conversationId !== conversationId) return;
        for (const item of items) if (item.clientId) this.#outbox.remove(item.clientId);
        this.#apply(history.merged(this.#turns, items));
        for (const turn of this.#turns) if (turn.messageId && !talking.isOpen(turn)) this.#talk.place.ended(turn.messageId);
        this.#talk.save(Math.max(0, ...items.map((item) => item.ordinal)));
      } catch (error) {
        if (!(error instanceof Fault) || (error.status !== 403 && error.status !== 404)) throw error;
        // Another server, a wiped data folder or another visitor's conversation: begin a new one.
        if (this.#talk.now.conversationId === conversationId) this.#forget();
      }
    }
    this.#isHistoryRead = conversationId === null || history !== null;
    this.#isLoaded = true;
    this.#parts.changed();
  }

  #lookUp(): void {
    this.#following.resume();
    this.#readHistory().catch(() => {
      if (!this.#isLoaded) this.#patience.wantTexts(); // an answer that stays away is asked for again, too
    });
  }

  #ready(visitorId: string | null): void {
    if (this.#tokens.meet(visitorId)) this.#forget(true);
    this.#patience.heard();
    this.#following.resume();
    for (const messageId of this.#stops.pending) this.link.send({ type: "cancel", message_id: messageId });
    this.#delivery.kick();
  }

  #frame(frame: Frame): void {
    if (frame.type === "message_accepted") return this.#accepted(frame);
    if (frame.type === "error") return this.#error(frame);
    if (frame.conversation_id !== this.#talk.now.conversationId || !this.#following.isNews(frame)) return;
    this.#apply(talking.received(this.#turns, frame));
    const turn = this.#turns.find((one) => one.messageId === frame.message_id);
    if (turn?.messageId && isEnd(frame)) this.#stops.ended(turn.messageId);
    if (turn) this.#wantText(turn);
    this.#talk.save();
  }

  #accepted(frame: Frame): void {
    const { message_id: messageId, conversation_id: conversationId, client_message_id: clientId = null } = frame;
    if (!messageId || !conversationId) return;
    const current = this.#delivery.current;
    const isMine = clientId !== null && current?.clientId === clientId;
    const entry = clientId === null ? null : (this.#outbox.get(clientId) ?? (isMine ? current : null));
    const epoch = entry?.epoch ?? (clientId === null ? undefined : this.#stops.epochOf(clientId));
    if (clientId !== null && this.#stops.arrived(clientId, messageId)) this.link.send({ type: "cancel", message_id: messageId });
    // Storage first, then the receipt: whoever sends next must find the conversation there.
    if (epoch !== undefined && epoch === this.#talk.sync().epoch && this.#talk.now.conversationId === null) {
      this.#talk.found(conversationId);
      this.#isHistoryRead = true;
      this.#parts.emit({ type: "conversation", conversationId });
      this.#tabs.tell({ type: "talk" });
    }
    if (conversationId === this.#talk.now.conversationId) {
      // Told twice: as a receipt without a number to the sender, and as a numbered event to all, in any order.
      if (frame.seq !== undefined) this.#following.isNews(frame);
      const text = entry?.text ?? "";
      const seq = frame.seq ?? null;
      this.#apply(talking.accepted(this.#turns, { clientId, messageId, seq, text, createdAt: frame.ts ?? "" }));
      if (clientId !== null && entry) {
        this.#outbox.remove(clientId);
        this.#tabs.tell({ type: "accepted", clientId, messageId, conversationId, text, seq });
        if (isMine) this.#parts.emit({ type: "sent", text, clientId });
      }
      const turn = this.#turns.find((one) => one.messageId === messageId);
      if (turn) this.#wantText(turn);
      this.#patience.heard();
      this.#talk.save();
    }
    if (clientId !== null) this.#delivery.accepted(clientId);
  }

  #error(frame: Frame): void {
    const { client_message_id: clientId, message_id: messageId, conversation_id: conversationId } = frame;
    if (clientId !== undefined) this.#delivery.refused(frame);
    else if (messageId !== undefined) this.#stops.ended(messageId);
    else if (conversationId === undefined) this.#delivery.refused(frame);
    else if (conversationId === this.#talk.now.conversationId) this.#following.refused(frame);
  }

  #refused(clientId: string, failure: Failure): void {
    this.#apply(talking.refused(this.#turns, clientId, failure));
    this.#tabs.tell({ type: "outbox" });
  }

  // The talk, shared with the other tabs -----------------------------------------------------------------------------

  #hear(news: News): void {
    if (this.#isDisposed) return;
    switch (news.type) {
      case "talk":
        this.#talk.sync();
        if (!this.#tokens.isOther) break;
        this.#tokens.drop();
        this.link.renew();
        break;
      case "outbox":
        this.#talk.sync();
        this.#readOutbox();
        this.#delivery.kick();
        break;
      case "accepted":
        if (this.#talk.sync().conversationId !== news.conversationId) break;
        this.#apply(talking.accepted(this.#turns, { ...news, createdAt: new Date(this.#now()).toISOString() }));
        this.#patience.heard();
        break;
      case "dropped":
        this.#apply(talking.droppedElsewhere(this.#turns, news.clientId));
        break;
      case "halted":
        this.#apply(talking.halted(this.#turns, this.#turns.find((one) => one.messageId === news.messageId)?.key ?? ""));
        break;
      case "rated":
        this.#apply(talking.rated(this.#turns, news.messageId, news.rating));
    }
  }

  /** The page is in another talk than `before`, or the talk has its conversation from another tab. */
  #switched(before: Talk): void {
    const { epoch, conversationId } = this.#talk.now;
    const isAnother = epoch !== before.epoch || before.conversationId !== null;
    const { current } = this.#delivery;
    if (current && this.#outbox.get(current.clientId)?.epoch !== epoch) this.#stops.takeBack(current.clientId, current.epoch);
    if (isAnother) {
      this.#turns = [];
      this.#stops.clear();
    }
    this.#isHistoryRead = conversationId === null;
    this.#isLoaded = conversationId === null || !isAnother;
    this.#readOutbox();
    this.#parts.emit({ type: "conversation", conversationId });
    this.#parts.changed();
    if (this.link.isReady && conversationId !== null) this.#lookUp();
    this.#delivery.kick();
  }

  /** The conversation is gone from the server: what is unsent goes into a new one, unless it is another visitor's. */
  #forget(isOther = false): void {
    const epoch = this.#parts.ports.newId();
    this.#outbox.move(epoch, isOther);
    this.#talk.renew(epoch);
    this.#tabs.tell({ type: "talk" });
  }

  #readOutbox(): void {
    for (const entry of this.#outbox.list()) {
      if (entry.epoch === this.#talk.now.epoch) this.#apply(talking.pending(this.#turns, entry));
    }
  }

  #apply(change: Change): void {
    const before = this.#turns;
    if (change.turns === before && change.events.length === 0) return;
    this.#turns = change.turns;
    if (change.turns.some(talking.isOpen)) this.#patience.watch();
    this.#parts.changed();
    for (const event of change.events) this.#parts.emit(event);
  }

  /** A message that another page sent comes without its text, one by a receipt without its place: the history has both. */
  #wantText(turn: Kept): void {
    if (turn.ordinal === null && (turn.text === "" || turn.acceptedSeq === null)) this.#patience.wantTexts();
  }

  #find(key: string): Kept | undefined {
    return this.#turns.find((turn) => turn.key === key);
  }

  #now(): number {
    return this.#parts.ports.timers.now();
  }
}

/**
 * One visitor on one page: the conversation with the server, its texts on the way, its place in the events, in step with
 * the visitor's other tabs. `client.ts` makes one for each user that the page names.
 */

import { Fault, type Api } from "./api.ts";
import * as talking from "./conversation.ts";
import type { Kept } from "./conversation.ts";
import { Delivery } from "./delivery.ts";
import { Draft } from "./draft.ts";
import { sendFeedback } from "./feedback.ts";
import { Following } from "./following.ts";
import type { Frame } from "./frames.ts";
import { Link } from "./link.ts";
import { Memory } from "./memory.ts";
import { isTooOld, Outbox } from "./outbox.ts";
import { Past } from "./past.ts";
import { Patience } from "./patience.ts";
import { isEnd } from "./place.ts";
import type { Ports } from "./ports.ts";
import { Stops } from "./stops.ts";
import { Tabs, type News } from "./tabs.ts";
import { SharedTalk, type Talk } from "./talk.ts";
import { Tokens } from "./token.ts";
import { Turns } from "./turns.ts";
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
  readonly #past: Past;
  readonly #draft: Draft;
  readonly #turns: Turns;
  #isDisposed = false;

  constructor(parts: VisitParts) {
    const { ports, api, widgetId, user } = parts;
    this.#parts = parts;
    this.#memory = new Memory(parts.prefix, ports.storage);
    this.#turns = new Turns({ awaited: () => this.#patience.watch(), changed: () => parts.changed(), emit: (event) => parts.emit(event) });
    this.#outbox = new Outbox(this.#memory, ports.timers.now());
    this.#talk = new SharedTalk(this.#memory, (before) => this.#switched(before));
    // With nobody's name on it, it could be shown to somebody else after a reload: it lasts as long as the page.
    this.#draft = new Draft(new Memory(parts.prefix, user?.token && !user.id ? null : ports.tabStorage));
    this.#tabs = new Tabs(ports, this.#memory, (news) => this.#hear(news));
    this.#tokens = new Tokens({ ports, api, widgetId, user, memory: this.#memory }, (token) => this.link.send({ type: "auth", token }));
    this.link = new Link(ports, api.socketAddress, {
      token: () => this.#token(),
      dropToken: () => this.#tokens.drop(),
      tokenRefused: () => this.#tokens.refused(),
      prepare: () => this.#past.recall(),
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
      open: () => (this.link.isReady ? this.#turns.open : []),
      isUnderWay: (clientId) => this.#delivery.current?.clientId === clientId || this.#outbox.get(clientId) !== null,
      lookUp: () => this.#lookUp(),
      giveUp: (turn, failure) => this.#turns.apply(talking.givenUp, turn.key, failure),
    });
    this.#following = new Following({
      ports,
      talk: this.#talk,
      patience: this.#patience,
      send: (frame) => this.link.send(frame),
      gone: () => this.#forget(),
    });
    this.#past = new Past({
      api,
      talk: this.#talk,
      outbox: this.#outbox,
      token: () => this.#token(),
      turns: this.#turns,
      changed: () => parts.changed(),
      gone: () => this.#forget(),
    });
    this.#outbox.giveUpOld(this.#now());
    this.#readOutbox();
  }

  get state(): ChatState {
    const { connection, retryAt, failure } = this.link;
    const { conversationId } = this.#talk.now;
    return { connection, retryAt, failure, conversationId, turns: this.#turns.all, loaded: this.#past.isLoaded };
  }

  get draft(): string {
    return this.#draft.read(this.#talk.now.epoch);
  }

  set draft(text: string) {
    this.#draft.keep(this.#talk.now.epoch, text);
  }

  dispose(): void {
    this.#isDisposed = true;
    this.#past.dispose();
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
    const turn = this.#turns.byKey(key);
    if (!turn || !talking.isOpen(turn)) return;
    if (turn.messageId !== null) {
      const { messageId } = turn;
      this.#stops.stop(messageId);
      this.link.send({ type: "cancel", message_id: messageId });
      this.#turns.apply(talking.halted, key);
      this.#tabs.tell({ type: "halted", messageId });
      return;
    }
    const clientId = turn.clientId ?? "";
    const wasTried = this.#outbox.get(clientId)?.conversationId !== undefined || this.#delivery.current?.clientId === clientId;
    this.#outbox.remove(clientId);
    if (wasTried) this.#stops.takeBack(clientId, this.#talk.now.epoch);
    this.#turns.apply(wasTried ? talking.halted : talking.removed, key);
    this.#tabs.tell({ type: "dropped", clientId });
  }

  retry(key: string): void {
    const turn = this.#turns.byKey(key);
    if (!turn || (turn.phase !== "failed" && turn.phase !== "refused")) return;
    const isNew = turn.messageId !== null || turn.failure?.code === "conflict";
    this.#turns.apply(talking.askedAnew, turn, isNew);
    const clientId = turn.clientId;
    const entry = clientId === null ? null : this.#outbox.get(clientId);
    const isOld = entry !== null && isTooOld(entry, this.#now());
    if (clientId !== null) this.#outbox.remove(clientId);
    if (clientId !== null) this.#tabs.tell({ type: "dropped", clientId }); // and is seen again at its new place
    if (isNew || isOld || clientId === null) this.send(turn.text);
    else this.#queue(clientId, turn.text);
  }

  drop(key: string): void {
    const turn = this.#turns.byKey(key);
    if (!turn || (turn.messageId !== null && turn.phase !== "refused" && turn.phase !== "failed")) return;
    if (turn.phase === "sending") {
      this.cancel(key);
      return;
    }
    const clientId = turn.clientId ?? "";
    this.#outbox.remove(clientId);
    this.#turns.apply(talking.removed, key);
    this.#tabs.tell({ type: "dropped", clientId });
  }

  async rate(key: string, rating: Rating | null, comment?: string): Promise<void> {
    const turn = this.#turns.byKey(key);
    const { conversationId } = this.#talk.now;
    if (!turn?.messageId || conversationId === null) throw new Fault("not_found", "there is no answer to rate");
    const { messageId, rating: before } = turn;
    this.#turns.apply(talking.rated, messageId, rating);
    try {
      await sendFeedback(this.#parts.api, await this.#token(), { conversationId, messageId }, rating, comment);
      this.#tabs.tell({ type: "rated", messageId, rating });
    } catch (error) {
      if (this.#turns.byKey(key)?.rating === rating) this.#turns.apply(talking.rated, messageId, before);
      throw error;
    }
  }

  reset(): void {
    for (const turn of this.#turns.open) {
      if (turn.messageId !== null) this.link.send({ type: "cancel", message_id: turn.messageId });
    }
    const epoch = this.#parts.ports.newId();
    this.draft = "";
    this.#outbox.keepOnly(epoch);
    this.#talk.renew(epoch);
    this.#tabs.tell({ type: "talk" });
  }

  #queue(clientId: string, text: string): void {
    const entry = this.#outbox.add({ clientId, text: text.replaceAll("\0", ""), epoch: this.#talk.sync().epoch }, this.#now());
    this.#turns.apply(talking.pending, entry);
    this.#tabs.tell({ type: "outbox" });
    this.#delivery.kick();
  }

  // What the line brings ---------------------------------------------------------------------------------------------

  async #token(): Promise<string> {
    // Two tabs that open at once must become one visitor.
    if (this.#tokens.isKnown) return this.#tokens.get();
    return this.#tabs.alone("visitor", () => this.#tokens.get());
  }

  #lookUp(): void {
    this.#following.resume();
    this.#past.read().catch(() => {
      if (!this.#past.isLoaded) this.#patience.wantTexts(); // an answer that stays away is asked for again, too
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
    this.#turns.apply(talking.received, frame);
    const turn = this.#turns.byMessage(frame.message_id);
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
      this.#past.begun();
      this.#parts.emit({ type: "conversation", conversationId });
      this.#tabs.tell({ type: "talk" });
    }
    if (conversationId === this.#talk.now.conversationId) {
      // Told twice: as a receipt without a number to the sender, and as a numbered event to all, in any order.
      if (frame.seq !== undefined) this.#following.isNews(frame);
      const text = entry?.text ?? "";
      const seq = frame.seq ?? null;
      this.#turns.apply(talking.accepted, { clientId, messageId, seq, text, createdAt: frame.ts ?? "" });
      if (clientId !== null && entry) {
        this.#outbox.remove(clientId);
        this.#tabs.tell({ type: "accepted", clientId, messageId, conversationId, text, seq });
        if (isMine) this.#parts.emit({ type: "sent", text, clientId });
      }
      const turn = this.#turns.byMessage(messageId);
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
    this.#turns.apply(talking.refused, clientId, failure);
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
        this.#turns.apply(talking.accepted, { ...news, createdAt: new Date(this.#now()).toISOString() });
        this.#patience.heard();
        break;
      case "dropped":
        this.#turns.apply(talking.droppedElsewhere, news.clientId);
        break;
      case "halted":
        this.#turns.apply(talking.halted, this.#turns.byMessage(news.messageId)?.key ?? "");
        break;
      case "rated":
        this.#turns.apply(talking.rated, news.messageId, news.rating);
    }
  }

  /** The page is in another talk than `before`, or the talk has its conversation from another tab. */
  #switched(before: Talk): void {
    const { epoch, conversationId } = this.#talk.now;
    const isAnother = epoch !== before.epoch || before.conversationId !== null;
    const { current } = this.#delivery;
    if (current && this.#outbox.get(current.clientId)?.epoch !== epoch) this.#stops.takeBack(current.clientId, current.epoch);
    if (isAnother) {
      this.#turns.clear();
      this.#stops.clear();
    }
    this.#past.switched(isAnother);
    this.#readOutbox();
    this.#parts.emit({ type: "conversation", conversationId });
    this.#parts.changed();
    if (this.link.isReady && conversationId !== null) this.#lookUp();
    this.#delivery.kick();
  }

  /** The conversation is gone from the server: what is unsent goes into a new one, unless it is another visitor's. */
  #forget(isOther = false): void {
    const epoch = this.#parts.ports.newId();
    const { draft } = this;
    this.#outbox.move(epoch, isOther);
    this.#talk.renew(epoch);
    this.draft = isOther ? "" : draft;
    this.#tabs.tell({ type: "talk" });
  }

  #readOutbox(): void {
    for (const entry of this.#outbox.list()) {
      if (entry.epoch === this.#talk.now.epoch) this.#turns.apply(talking.pending, entry);
    }
  }

  /** A message that another page sent comes without its text, one by a receipt without its place: the history has both. */
  #wantText(turn: Kept): void {
    if (turn.ordinal === null && (turn.text === "" || turn.acceptedSeq === null)) this.#patience.wantTexts();
  }

  #now(): number {
    return this.#parts.ports.timers.now();
  }
}

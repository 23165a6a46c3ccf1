/**
 * The chat of one widget on one page, as the panel and the page's own scripts use it. Holds the visitor (`visit.ts`), those
 * who listen, and what the page says of itself. No DOM: `ports.ts` is all it knows of its surroundings.
 */

import { Api } from "./api.ts";
import { browserPorts, type Ports } from "./ports.ts";
import type { Chat, ChatEvent, ChatState, Rating, User } from "./types.ts";
import { Visit } from "./visit.ts";

interface ChatOptions {
  /** The server's address, e.g. "https://chat.example.com". */
  readonly base: string;
  readonly widgetId: string;
  /** The page's language as the widget speaks it; goes with each message as metadata. */
  readonly locale?: string;
  readonly ports?: Partial<Ports>;
}

/** Make the chat. It reads what an earlier visit left, and connects with `start()` (or the first `send`). */
export function createChat(options: ChatOptions): Chat {
  return new Client(options);
}

class Client implements Chat {
  readonly #ports: Ports;
  readonly #api: Api;
  readonly #widgetId: string;
  readonly #listeners = new Set<(state: ChatState) => void>();
  readonly #hearers = new Set<(event: ChatEvent) => void>();
  readonly #unlisten: readonly (() => void)[];
  #user: User | null = null;
  #metadata: Readonly<Record<string, unknown>>;
  #visit: Visit;
  #state: ChatState | null = null;
  #isTelling = false;
  #isStarted = false;
  #isDisposed = false;

  constructor({ base, widgetId, locale, ports }: ChatOptions) {
    this.#ports = { ...browserPorts(), ...ports };
    this.#api = new Api(base, this.#ports);
    this.#widgetId = widgetId;
    this.#metadata = locale ? { locale } : {};
    this.#visit = this.#newVisit();
    const wake = (): void => this.#visit.link.wake(false);
    this.#unlisten = [
      this.#ports.listen("online", wake),
      this.#ports.listen("visibilitychange", wake),
      this.#ports.listen("pageshow", wake),
      this.#ports.listen("offline", () => this.#visit.link.doubt()),
    ];
  }

  get state(): ChatState {
    this.#state ??= this.#visit.state;
    return this.#state;
  }

  subscribe(listener: (state: ChatState) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  on(listener: (event: ChatEvent) => void): () => void {
    this.#hearers.add(listener);
    return () => this.#hearers.delete(listener);
  }

  start(): void {
    if (this.#isDisposed) return;
    this.#isStarted = true;
    this.#visit.link.start();
  }

  stop(): void {
    this.#isStarted = false;
    this.#visit.link.stop();
  }

  wake(): void {
    if (this.#isStarted) this.#visit.link.wake(true);
  }

  send(text: string): string {
    if (!/[^\s\0]/.test(text)) return ""; // nothing said
    const clientId = this.#visit.send(text);
    this.start();
    return clientId;
  }

  cancel(key: string): void {
    this.#visit.cancel(key);
  }

  retry(key: string): void {
    this.#visit.retry(key);
  }

  drop(key: string): void {
    this.#visit.drop(key);
  }

  rate(key: string, rating: Rating | null, comment?: string): Promise<void> {
    return this.#visit.rate(key, rating, comment);
  }

  get draft(): string {
    return this.#visit.draft;
  }

  setDraft(text: string): void {
    this.#visit.draft = text;
  }

  setUser(user: User | null): void {
    if (this.#isDisposed) return;
    const before = this.#user;
    const isNamedAlike = space(user) === space(before);
    this.#user = user;
    if (isNamedAlike && isVouchedAlike(user, before)) {
      // New traits go with the next message, a new way to a token is asked next time; signed in again, they are let in.
      if (this.#isStarted && this.state.connection === "refused") this.wake();
      return;
    }
    if (before && !isNamedAlike) this.#visit.draft = "";
    this.#visit.dispose();
    this.#visit = this.#newVisit();
    this.#changed();
    this.#emit({ type: "conversation", conversationId: this.#visit.state.conversationId });
    if (this.#isStarted) this.#visit.link.start();
  }

  setMetadata(metadata: Readonly<Record<string, unknown>>): void {
    this.#metadata = { ...this.#metadata, ...metadata };
  }

  reset(): void {
    this.#visit.reset();
  }

  dispose(): void {
    this.#isDisposed = true;
    this.#isStarted = false;
    for (const stop of this.#unlisten) stop();
    this.#visit.dispose();
    this.#listeners.clear();
    this.#hearers.clear();
  }

  #newVisit(): Visit {
    const user = this.#user;
    const visit: Visit = new Visit({
      ports: this.#ports,
      api: this.#api,
      widgetId: this.#widgetId,
      prefix: `chatwright:${this.#widgetId}:${space(user)}:`,
      user: user?.token ? { ...user, token: async () => (await this.#user?.token?.()) ?? "" } : user,
      metadata: () => this.#about(),
      changed: () => this.#changed(),
      emit: (event) => {
        if (visit === this.#visit) this.#emit(event);
      },
    });
    return visit;
  }

  /** What goes with each message. Nobody trusts it there. */
  #about(): Readonly<Record<string, unknown>> {
    const { id, traits } = this.#user ?? {};
    const user = { ...(id ? { id } : {}), ...(traits ? { traits } : {}) };
    return { ...this.#metadata, ...(id || traits ? { user } : {}) };
  }

  #changed(): void {
    this.#state = null;
    if (this.#isTelling || this.#isDisposed) return;
    this.#isTelling = true;
    queueMicrotask(() => {
      this.#isTelling = false;
      if (this.#isDisposed) return;
      const { state } = this;
      for (const listener of this.#listeners) this.#call(() => listener(state));
    });
  }

  #emit(event: ChatEvent): void {
    for (const hearer of this.#hearers) this.#call(() => hearer(event));
  }

  /** A listener's fault is the listener's: the chat goes on, and the console tells. */
  #call(listener: () => void): void {
    try {
      listener();
    } catch (error) {
      console.error(error);
    }
  }
}

/** The part of the storage that is this user's: another person at the same browser must not see the first one's chat. */
function space(user: User | null): string {
  if (user?.id) return `u-${encodeURIComponent(user.id)}`;
  return user?.token ? "vouched" : "visitor";
}

/** Whether two users of one space are let in alike: of one name it does not matter which function brings the token. */
function isVouchedAlike(one: User | null, other: User | null): boolean {
  return one?.token === other?.token || Boolean(one?.id && one.token && other?.token);
}

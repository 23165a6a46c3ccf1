/** The chat as values: what `core/` keeps and everybody else reads. No DOM here. */

import type { RatingRequest, SourceView, SuggestedActionView } from "./wire.gen.ts";

/** How the connection stands. "refused": trying again does not mend it (wrong origin, unknown chatbot). */
export type Connection = "idle" | "connecting" | "online" | "reconnecting" | "offline" | "refused";

/**
 * sending: in the outbox · waiting: accepted, no text yet · streaming · done · stopped: by the visitor · failed: no (whole)
 * answer · refused: not accepted (limit, guard, too long) · handed_off: a person goes on · merged: answered with a later one
 */
export type Phase = "sending" | "waiting" | "streaming" | "done" | "stopped" | "failed" | "refused" | "handed_off" | "merged";

export type Rating = NonNullable<RatingRequest["rating"]>;

export interface Failure {
  /** An error code of the contract: rate_limit_exceeded, budget_exceeded, content_blocked, provider_unavailable … */
  readonly code: string;
  readonly message: string;
  readonly retriable: boolean;
  /** 0: the server named none. */
  readonly retryAfterS: number;
}

export type Source = SourceView;

export interface SuggestedAction extends Omit<SuggestedActionView, "kind"> {
  /** "reply": ask `value` · "link", "form": open `value` · "handoff": `value` says how to reach a person, or is the bare word */
  readonly kind: string; // a newer server may know others
}

export interface Answer {
  readonly id: string | null;
  /** Markdown. */
  readonly text: string;
  readonly sources: readonly Source[];
  readonly actions: readonly SuggestedAction[];
  readonly provider: string | null;
  readonly model: string | null;
  readonly cached: string | null;
  readonly partial: boolean;
}

/** One message of the visitor with its answer. A new object for each change, so that `!==` tells. */
export interface Turn {
  /** Stays the same from the first keystroke to the end. */
  readonly key: string;
  readonly clientId: string | null;
  readonly messageId: string | null;
  readonly text: string;
  /** RFC 3339. */
  readonly createdAt: string;
  readonly phase: Phase;
  readonly failure: Failure | null;
  readonly answer: Answer;
  readonly rating: Rating | null;
}

export interface ChatState {
  readonly connection: Connection;
  /** Unix ms of the next try while reconnecting, else null. */
  readonly retryAt: number | null;
  /** Why the connection is refused. */
  readonly failure: Failure | null;
  readonly conversationId: string | null;
  readonly turns: readonly Turn[];
  /** False until the history of an earlier visit is read (or there is none). */
  readonly loaded: boolean;
}

/** What happens, for those who react instead of drawing state. Live only: nothing of it comes from history or replays. */
export type ChatEvent =
  | { readonly type: "cue"; readonly animation: string; readonly messageId: string }
  | { readonly type: "delta"; readonly text: string; readonly messageId: string }
  | { readonly type: "sent"; readonly text: string; readonly clientId: string }
  | { readonly type: "answered"; readonly turn: Turn }
  | { readonly type: "failed"; readonly turn: Turn }
  | { readonly type: "conversation"; readonly conversationId: string | null };

/** Who speaks, as the page says it. */
export interface User {
  /** With `token`: the page's own server vouches for it (docs/how-to/embed-the-widget.md). */
  readonly id?: string;
  readonly token?: () => Promise<string>;
  /** Shown to the chatbot's operator with the conversation; never trusted. */
  readonly traits?: Readonly<Record<string, string | number | boolean>>;
}

/** The chat, as the panel uses it. Made by `createChat` in `client.ts`. */
export interface Chat {
  readonly state: ChatState;
  /** Call `listener` after each change, once per microtask. Returns the way to stop it. */
  subscribe(listener: (state: ChatState) => void): () => void;
  on(listener: (event: ChatEvent) => void): () => void;
  /** Connect; again after `stop`. */
  start(): void;
  /** Close the socket; what is unsent stays. */
  stop(): void;
  /** Try again now instead of at `retryAt`. */
  wake(): void;
  /** Queue a text; it goes out when it can. Returns the client message id, "" for a text without a letter. */
  send(text: string): string;
  /** Stop an answer, or take back a text not accepted yet. By `Turn.key`. */
  cancel(key: string): void;
  /** Ask the same again after a failure or refusal. By `Turn.key`. */
  retry(key: string): void;
  /** Take a refused or unsent text away. By `Turn.key`. */
  drop(key: string): void;
  /** Rate an answer; null takes the rating back. Rejects when the server does not take it. */
  rate(key: string, rating: Rating | null, comment?: string): Promise<void>;
  /** What was written here in this conversation and is not sent: it survives a reload of the tab. "": nothing. */
  readonly draft: string;
  /** Keep it (its first 32,000 characters); "" forgets it. A reset and another user forget it, too. */
  setDraft(text: string): void;
  setUser(user: User | null): void;
  /** Data of the page that goes with each message (untrusted there): current_page, … */
  setMetadata(metadata: Readonly<Record<string, unknown>>): void;
  /** A new conversation; the old one stays with the server. */
  reset(): void;
  dispose(): void;
}

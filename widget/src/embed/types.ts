/** The seam between the launcher (`widget.js`, small) and the panel (the chat chunk, loaded on first open). */

import type { WidgetConfig } from "../config.ts";
import type { User } from "../core/types.ts";
import type { Store } from "./store.ts";

/**
 * floating: launcher and panel over the page · inline: the element is the panel · frame: floating, the panel in an iframe
 * (`PanelHost.mode` "frame": the panel runs inside of it, fills it and has a close button)
 */
export type Mode = "floating" | "inline" | "frame";

/** What the launcher hands to the panel. */
export interface PanelHost {
  /** `<chatwright-chat>`. */
  readonly element: HTMLElement;
  /** Where the panel puts its one element; the launcher's button and style sheet are in here, too. */
  readonly root: ShadowRoot;
  /** Origin of the chatwright server, without a slash at the end. */
  readonly base: string;
  readonly mode: Mode;
  readonly config: WidgetConfig;
  /** What the page's attributes or `setLocale` ask for, else the config's. */
  readonly locale: string;
  /** Whom the page named before the panel was there; undefined: it said nothing. */
  readonly user: User | null | undefined;
  /** What this browser remembers for good of this chatbot: the visitor's choices. */
  readonly local: Store;
  /** Answers that the page before this one left unseen. */
  readonly unread: number;
  /** Dispatch `chatwright:<name>` on the element and tell listeners of `on`. */
  emit(name: string, detail: unknown): void;
  /** Answers not seen yet: the launcher's badge. */
  setUnread(count: number): void;
  /** Whether an answer is still to come: then the next page connects at once, and otherwise when it is asked to. */
  setWaiting(isWaiting: boolean): void;
  /** The visitor asked to close (Escape, the close button). */
  close(): void;
}

/** What the chat chunk's default export `mountPanel(host)` resolves to. */
export interface Panel {
  /** `focus` false: opened by the page, not by the visitor (after a reload, inline): leave the focus where it is. */
  open(focus?: boolean): void;
  close(): void;
  send(text: string): string;
  setUser(user: User | null): void;
  setLocale(locale: string): Promise<void>;
  setMetadata(metadata: Readonly<Record<string, unknown>>): void;
  /** Show an animation now. */
  play(name: string): void;
  setTier(tier: string): void;
  /** The page changed an attribute: accent, avatar's colours, position … `config` has them worked in. */
  restyle?(config: WidgetConfig): void;
  reset(): void;
  dispose(): void;
}

export type MountPanel = (host: PanelHost) => Promise<Panel>;

/** `window.chatwright`, and the same methods on the element. */
export interface WidgetApi {
  open(): void;
  close(): void;
  toggle(): void;
  send(text: string): void;
  setUser(user: User | null): void;
  setLocale(locale: string): void;
  setMetadata(metadata: Readonly<Record<string, unknown>>): void;
  play(name: string): void;
  reset(): void;
  /** open, close, ready, sent, answered, failed, action, animation, tier, unread. Returns the way to stop it. */
  on(name: string, listener: (detail: unknown) => void): () => void;
}

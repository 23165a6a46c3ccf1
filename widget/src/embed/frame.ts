/**
 * The panel in an iframe of the server, for pages whose styles or policies get in the way of a shadow root.
 *
 * The page's end (`mountFrame`) stands in for the panel; the frame's end (`joinFrame`) drives the element in there. The
 * frame says that it is there, and nothing else; the page, if that came from its own frame and the server's exact origin,
 * answers with one half of a message channel, posted to that origin. The frame takes it from its parent only, and from
 * then on from that origin only. Everything else goes through the channel, where nobody else can listen or speak. Which
 * pages may hold the frame is said by its `frame-ancestors`. Loaded by the launcher when it is wanted (`extras.ts`).
 */

import type { WidgetConfig } from "../config.ts";
import type { User } from "../core/types.ts";
import { html } from "./dom.ts";
import type { Unavailable } from "./settings.ts";
import type { Panel, PanelHost } from "./types.ts";

const HERE = "chatwright:here";
const HELLO = "chatwright:hello";
const READY_WITHIN_MS = 20_000;
const TOKEN_WITHIN_MS = 15_000;
/** How long the frame waits for a page that speaks to it; after that it was put in by hand and shows itself. */
const GREETED_WITHIN_MS = 1_500;

type Attributes = Readonly<Record<string, string | null>>;
interface SentUser {
  readonly id: string | undefined;
  readonly traits: User["traits"];
  /** Null: the page cannot be asked for a token. Another number: another function of the page's, perhaps another person. */
  readonly voucher: number | null;
}

type ToFrame =
  | ["dress", Attributes]
  | ["open", boolean]
  | ["close"]
  | ["send", string]
  | ["user", SentUser | null]
  | ["metadata", Readonly<Record<string, unknown>>]
  | ["play", string]
  | ["reset"]
  /** "": the page has none; null: it could not be asked. */
  | ["token", number, string | null];
type ToPage = ["ready"] | ["failed", boolean] | ["close"] | ["emit", string, unknown] | ["token", number];

// The page's end -----------------------------------------------------------------------------------------------------

/** An iframe in the element's shadow root, as a panel. Rejects when it does not report in time. */
export function mountFrame(host: PanelHost): Promise<Panel> {
  const { element, base } = host;
  const id = encodeURIComponent(host.config.widget_id);
  const frame = html("iframe", {
    class: "cw-frame",
    part: "panel",
    hidden: "",
    title: host.config.texts.title ?? host.config.name,
    allow: "clipboard-write",
    src: `${base}/widget/frame/${id}`,
  });
  let port: MessagePort | null = null;
  let config = host.config;
  let user = host.user;
  let voucher = 0;
  let metadata: Readonly<Record<string, unknown>> = {};
  let opened: boolean | null = null;
  // Before it has reported there is nobody to hear it; the greeting says how things stand.
  const say = (message: ToFrame): void => port?.postMessage(message);
  const dress = (): void => say(["dress", dressOf(element, config)]);
  const sayUser = (one: User | null): void =>
    say(["user", one && { id: one.id, traits: one.traits, voucher: one.token ? voucher : null }]);
  const observer = new MutationObserver(dress);

  return new Promise<Panel>((resolve, reject) => {
    const end = (): void => {
      clearTimeout(timer);
      observer.disconnect();
      removeEventListener("message", greet);
      port?.close();
      frame.remove();
    };
    const giveUp = (message: string, refused: boolean): void => {
      end();
      reject(Object.assign(new Error(message), { refused }));
    };
    const timer = setTimeout(() => giveUp(`the frame of ${base} did not report`, false), READY_WITHIN_MS);

    const hear = ({ data }: MessageEvent<ToPage>): void => {
      if (data[0] === "ready") {
        clearTimeout(timer);
        resolve(panel);
      } else if (data[0] === "failed") giveUp("the frame could not show the chat", data[1]);
      else if (data[0] === "close") host.close();
      else if (data[0] === "token") void vouch(data[1]);
      else if (data[1] === "unread") host.setUnread(Number(data[2]) || 0);
      else if (data[1] === "waiting") host.setWaiting(data[2] === true);
      else host.emit(data[1], data[2]);
    };

    const vouch = async (asked: number): Promise<void> => {
      const given = Promise.resolve().then(() => user?.token?.()); // it may throw at once, too
      say(["token", asked, await given.then((token) => token ?? "", () => null)]);
    };

    // Each time it reports it is a new page in there (an element that is moved loads its frames again): greet it afresh.
    const greet = (event: MessageEvent): void => {
      const { origin } = new URL(base);
      if (event.source !== frame.contentWindow || event.origin !== origin || event.data !== HERE) return;
      const channel = new MessageChannel();
      port?.close();
      port = channel.port1;
      port.onmessage = hear;
      frame.contentWindow?.postMessage([HELLO, dressOf(element, config), opened], origin, [channel.port2]);
      if (user !== undefined) sayUser(user);
      say(["metadata", metadata]);
    };

    const panel: Panel = {
      open(focus = true) {
        opened = true;
        frame.hidden = false;
        if (focus) frame.focus();
        say(["open", focus]);
      },
      close() {
        opened = false;
        frame.hidden = true;
        say(["close"]);
      },
      send(text) {
        say(["send", text]);
        return "";
      },
      setUser(next) {
        if (next?.token !== user?.token) voucher += 1;
        user = next;
        sayUser(next);
      },
      setMetadata(more) {
        metadata = { ...metadata, ...more };
        say(["metadata", more]);
      },
      play: (name) => say(["play", name]),
      reset: () => say(["reset"]),
      setTier: dress,
      async setLocale() {
        dress();
      },
      restyle(next) {
        config = next;
        dress();
      },
      dispose: end,
    };
    addEventListener("message", greet);
    observer.observe(element, { attributeFilter: ["data-scheme", "locale", "avatar", "clips", "tier"] });
    host.root.append(frame);
  });
}

/** The attributes that the page has a say in. Another server or chatbot would be a way around whom that one lets in. */
const DRESS = /^(locale|avatar|clips|tier|shell|glass|glow|accent|scheme)$/;

/** Of what a page said, what it has a say in. */
export function dressable(said: unknown): [name: string, value: string | null][] {
  return Object.entries(said ?? {}).flatMap(([name, value]) => (DRESS.test(name) ? [[name, value === null ? null : String(value)]] : []));
}

/** How the frame's element is to look: the page's attributes, with the colours that its styles brought about. */
function dressOf(element: HTMLElement, config: WidgetConfig): Attributes {
  const { shell, glass, glow } = config.avatar.colors;
  const given = Object.fromEntries(["locale", "avatar", "clips", "tier"].map((name) => [name, element.getAttribute(name)]));
  return { ...given, shell, glass, glow, accent: config.theme.accent, scheme: element.dataset.scheme ?? null };
}

// The frame's end ----------------------------------------------------------------------------------------------------

/** What the frame's end does with its element. */
export interface Framed extends HTMLElement {
  send(text: string): void;
  setUser(user: User | null): void;
  setMetadata(metadata: Readonly<Record<string, unknown>>): void;
  play(name: string): void;
  reset(): void;
}

export interface FrameHooks {
  /** Nobody out there says when to open: be a chat in a page. */
  alone(): void;
  setOpen(open: boolean, focus: boolean): void;
  /** Bring the panel in; rejects when it cannot. */
  mount(): Promise<unknown>;
}

/** What the element tells the page out there. */
export interface FrameLink {
  emit(name: string, detail: unknown): void;
  /** The visitor closed the panel in here. */
  closed(): void;
  dispose(): void;
}

/** Drive `element`, which is alone in the server's frame page, as the page that holds the frame says. */
export function joinFrame(element: Framed, hooks: FrameHooks): FrameLink {
  return new FrameEnd(element, hooks);
}

class FrameEnd implements FrameLink {
  readonly #element: Framed;
  readonly #hooks: FrameHooks;
  readonly #tokens = new Map<number, (token: string | null) => void>();
  #port: MessagePort | null = null;
  #origin: string | null = null;
  #voucher: { readonly number: number | null; readonly token: () => Promise<string> } = { number: null, token: () => this.#ask() };
  #asked = 0;
  #told = false;
  #lonely: ReturnType<typeof setTimeout> | undefined;

  constructor(element: Framed, hooks: FrameHooks) {
    this.#element = element;
    this.#hooks = hooks;
    const fill = new CSSStyleSheet();
    fill.replaceSync("html,body{margin:0;height:100%;overflow:hidden;background:transparent}");
    document.adoptedStyleSheets = [...document.adoptedStyleSheets, fill];
    addEventListener("message", this.#greet);
    this.#lonely = setTimeout(hooks.alone, GREETED_WITHIN_MS);
    window.parent.postMessage(HERE, "*"); // to whoever it is: the answer tells, and `frame-ancestors` has chosen
  }

  emit(name: string, detail: unknown): void {
    if (name !== "open" && name !== "close") this.#say(["emit", name, detail]);
  }

  closed(): void {
    if (!this.#told) this.#say(["close"]);
  }

  dispose(): void {
    clearTimeout(this.#lonely);
    removeEventListener("message", this.#greet);
    this.#port?.close();
  }

  readonly #greet = (event: MessageEvent): void => {
    const data: unknown = event.data;
    const port = event.ports[0];
    if (event.source !== window.parent || !Array.isArray(data) || data[0] !== HELLO || !port) return;
    if (this.#origin !== null && event.origin !== this.#origin) return;
    clearTimeout(this.#lonely);
    this.#origin = event.origin;
    this.#port = port;
    port.onmessage = ({ data: message }: MessageEvent<ToFrame>) => this.#obey(message);
    this.#dress(data[1] as Attributes);
    if (typeof data[2] === "boolean") this.#hooks.setOpen(data[2], false);
    this.#hooks.mount().then(
      () => this.#say(["ready"]),
      (error: unknown) => {
        this.#say(["failed", (error as Partial<Unavailable>).refused === true]);
      },
    );
  };

  #obey(message: ToFrame): void {
    const element = this.#element;
    switch (message[0]) {
      case "dress":
        return this.#dress(message[1]);
      case "open":
        return this.#hooks.setOpen(true, message[1]);
      case "close":
        this.#told = true; // the page knows
        this.#hooks.setOpen(false, false);
        this.#told = false;
        return;
      case "send":
        return element.send(message[1]);
      case "user":
        return element.setUser(message[1] && this.#user(message[1]));
      case "metadata":
        return element.setMetadata(message[1]);
      case "play":
        return element.play(message[1]);
      case "reset":
        return element.reset();
      case "token":
        this.#tokens.get(message[1])?.(message[2]);
        this.#tokens.delete(message[1]);
    }
  }

  #dress(attributes: Attributes): void {
    for (const [name, value] of dressable(attributes)) {
      if (value === null) this.#element.removeAttribute(name);
      else this.#element.setAttribute(name, value);
    }
  }

  /** A user whose token is fetched by the page out there. */
  #user(sent: SentUser): User {
    // The same function for the same one out there: another would look like another person.
    if (sent.voucher !== this.#voucher.number) this.#voucher = { number: sent.voucher, token: () => this.#ask() };
    return {
      ...(sent.id === undefined ? {} : { id: sent.id }),
      ...(sent.traits ? { traits: sent.traits } : {}),
      ...(sent.voucher === null ? {} : { token: this.#voucher.token }),
    };
  }

  #ask(): Promise<string> {
    return new Promise((resolve, reject) => {
      const asked = (this.#asked += 1);
      const timer = setTimeout(() => {
        this.#tokens.delete(asked);
        reject(new Error("the page gave no token in time"));
      }, TOKEN_WITHIN_MS);
      this.#tokens.set(asked, (given) => {
        clearTimeout(timer);
        if (given === null) reject(new Error("the page could not be asked for a token"));
        else resolve(given);
      });
      this.#say(["token", asked]);
    });
  }

  #say(message: ToPage): void {
    this.#port?.postMessage(message);
  }
}

/**
 * `<chatwright-chat>`: a launcher over the page (or a chat in it) that brings the panel in when it is wanted.
 *
 * It owns what happens when: config at idle, panel at the first opening, reopening after a reload, disposal when taken out.
 * `view.ts` draws, `look.ts` works attributes into the config, `frame.ts` stands in for the panel where it runs in a frame.
 */

import type { WidgetConfig } from "../config.ts";
import type { User } from "../core/types.ts";
import { hear } from "./api.ts";
import type * as Extras from "./extras.ts";
import type { FrameLink } from "./frame.ts";
import { pickLanguage } from "./labels.ts";
import css from "./launcher.css?inline";
import { loadChat, loadExtras } from "./load.ts";
import { LOOKS, variables, work } from "./look.ts";
import { fetchConfig, storedConfig, type Unavailable, warn } from "./settings.ts";
import { createStore, type Store } from "./store.ts";
import type { Mode, MountPanel, Panel, PanelHost, WidgetApi } from "./types.ts";
import { View } from "./view.ts";
import { idle, mayReopen, near } from "./visit.ts";

const SHOW_AFTER_MS = 2_500;
const TEASE_AFTER_MS = 3_000;

/** Where elements without a `base` of their own find the server; set by the launcher before it defines the element. */
let defaultBase = "";

let sheet: CSSStyleSheet | null = null;

export class ChatwrightChat extends HTMLElement implements WidgetApi {
  static readonly observedAttributes = ["chatbot", "mode", "locale", "open", ...LOOKS];

  readonly #root = this.attachShadow({ mode: "open" });
  readonly #variables = new CSSStyleSheet();
  readonly #dark = matchMedia("(prefers-color-scheme: dark)");
  #view: View | null = null;
  #local: Store | null = null;
  #tab: Store | null = null;
  #config: WidgetConfig | null = null;
  #fetching: Promise<WidgetConfig> | null = null;
  #panel: Panel | null = null;
  #mounting: Promise<Panel> | null = null;
  /** Counts the lives of the element: what began in an earlier one must not touch this one. */
  #life = 0;
  #open = false;
  #unread = 0;
  #user: User | null | undefined;
  #metadata: Readonly<Record<string, unknown>> | undefined;
  /** The way to the page out there, in the server's frame page. */
  #end: FrameLink | null = null;
  #framed = false;
  #hush: (() => void) | null = null;
  #leaveNear: (() => void) | null = null;

  connectedCallback(): void {
    if (this.#view) return; // moved within the page: nothing was given up
    const id = this.getAttribute("chatbot");
    if (!id) return;
    if (!sheet) (sheet = new CSSStyleSheet()).replaceSync(css);
    this.#root.adoptedStyleSheets = [sheet, this.#variables];
    this.#local = createStore("localStorage", id);
    this.#tab = createStore("sessionStorage", id);
    this.#life += 1;
    this.#begin(this.#life);
  }

  disconnectedCallback(): void {
    // An element that is moved is taken out and put in at once: wait and see.
    queueMicrotask(() => {
      if (!this.isConnected) this.#leave();
    });
  }

  attributeChangedCallback(name: string, before: string | null, now: string | null): void {
    if (before === now || !this.isConnected) return;
    if (name === "chatbot" || name === "mode") {
      this.#leave();
      this.connectedCallback();
    } else if (!this.#view) return;
    else if (name === "open") {
      if ((now !== null) !== this.#open) this.#setOpen(now !== null, true);
    } else if (name === "locale") this.#relocate();
    else {
      this.#dress();
      if (name === "tier") this.#panel?.setTier(now ?? "auto");
      else this.#redress();
    }
  }

  // What the page may ask for ----------------------------------------------------------------------------------------

  open(): void {
    this.#setOpen(true, true);
  }

  close(): void {
    this.#setOpen(false, true);
  }

  toggle(): void {
    this.#setOpen(!this.#open, true);
  }

  send(text: string): void {
    this.#setOpen(true, true);
    this.#withPanel((panel) => panel.send(String(text)));
  }

  setUser(user: User | null): void {
    this.#user = user;
    this.#panel?.setUser(user);
  }

  setMetadata(metadata: Readonly<Record<string, unknown>>): void {
    this.#metadata = { ...this.#metadata, ...metadata };
    this.#panel?.setMetadata(metadata);
  }

  setLocale(locale: string): void {
    this.setAttribute("locale", locale);
  }

  play(name: string): void {
    this.#panel?.play(name);
  }

  reset(): void {
    this.#withPanel((panel) => panel.reset());
  }

  on(name: string, listener: (detail: unknown) => void): () => void {
    return hear(this, name, listener);
  }

  // The life of the element ------------------------------------------------------------------------------------------

  get #base(): string {
    return (this.getAttribute("base") ?? defaultBase).replace(/\/+$/, "");
  }

  get #mode(): Mode {
    const mode = this.getAttribute("mode");
    return mode === "inline" || mode === "frame" ? mode : "floating";
  }

  get #locale(): string {
    return this.getAttribute("locale") || this.#config?.locale || pickLanguage(navigator.languages);
  }

  #begin(life: number): void {
    const floating = this.#mode !== "inline";
    const view = new View(
      {
        toggle: () => this.toggle(),
        close: () => this.close(),
        retry: () => this.#show(true),
        intend: () => this.#warmUp(),
      },
      floating,
    );
    this.#view = view;
    this.#root.append(view.frame);
    this.#dark.addEventListener("change", this.#dress);
    this.#framed = !floating && window.parent !== window && location.href.startsWith(`${this.#base}/widget/frame/`);
    if (this.#framed) this.#join(life);
    this.#dress();
    view.setUnread((this.#unread = Number(this.#tab?.get("unread")) || 0));
    const stored = storedConfig(this.#tab!, this.getAttribute("locale"));
    if (stored) this.#learn(stored.config);
    else setTimeout(() => this.#view?.appear(), SHOW_AFTER_MS);
    const again = this.hasAttribute("open") || (floating && this.#tab!.get("open") === "1" && mayReopen());
    idle(() => {
      if (life !== this.#life || !this.#view) return;
      if (!stored?.fresh) this.#refresh().catch(warn);
      if (this.#framed) return; // the page out there says when
      if (again) this.#setOpen(true, false);
      else if (!floating) this.#leaveNear = near(this, () => this.#setOpen(true, false));
      else if (this.#tab?.get("waiting") === "1") this.#mount().catch(warn);
      else this.#teaseLater(life);
    });
  }

  /** Give everything up: the panel with its socket, the drawing, the listeners. What is remembered stays. */
  #leave(): void {
    this.#life += 1;
    this.#leaveNear?.();
    this.#dark.removeEventListener("change", this.#dress);
    this.#panel?.dispose();
    this.#end?.dispose();
    this.#hush?.();
    this.#view?.frame.remove();
    this.#view = this.#panel = this.#mounting = this.#fetching = this.#config = this.#end = this.#hush = null;
    this.#open = false;
  }

  #teaseLater(life: number): void {
    const words = this.getAttribute("teaser");
    if (words === null || this.#local?.get("teaser")) return;
    const tease = ({ tease }: typeof Extras): void => {
      if (life !== this.#life || this.#open) return;
      this.#hush = tease(this.#root, words || this.#config?.greeting, this.#locale, this.#local!, () => this.open());
    };
    setTimeout(() => loadExtras(this.#base).then(tease, warn), TEASE_AFTER_MS);
  }

  #join(life: number): void {
    loadExtras(this.#base).then(({ joinFrame }) => {
      if (life !== this.#life) return;
      this.#end = joinFrame(this, {
        setOpen: (open, focus) => this.#setOpen(open, focus),
        mount: () => this.#mount(),
        alone: () => {
          this.#framed = false;
          this.#setOpen(true, false);
        },
      });
    }, warn);
  }

  // Config and look --------------------------------------------------------------------------------------------------

  #refresh(): Promise<WidgetConfig> {
    const base = this.#base;
    const id = this.getAttribute("chatbot")!;
    if (this.#fetching) return this.#fetching;
    const mine = fetchConfig(base, id, this.getAttribute("locale"), this.#tab!)
      .then(
        (config) => {
          if (this.#fetching === mine) this.#learn(config);
          return config;
        },
        async (error: Unavailable) => {
          error.refused = (await loadExtras(base)).explain(base, id, error.status);
          throw error;
        },
      )
      .finally(() => {
        if (this.#fetching === mine) {
          this.#fetching = null;
          this.#view?.appear();
        }
      });
    return (this.#fetching = mine);
  }

  #learn(config: WidgetConfig): void {
    this.#config = config;
    this.#dress();
    this.#redress();
    this.#view?.appear();
  }

  readonly #dress = (): void => {
    const look = this.#config ? work(this.#config, this) : work(null, this);
    this.#variables.replaceSync(variables(look));
    const { scheme, position } = look.theme;
    this.dataset.scheme = scheme === "auto" ? (this.#dark.matches ? "dark" : "light") : scheme;
    this.dataset.position = position;
    this.dataset.mode = this.#mode;
    this.#view?.setLocale(pickLanguage([this.#locale]), this.#config?.texts.launcher ?? null);
  };

  #relocate(): void {
    this.#fetching = null; // whatever is on its way is of another language
    this.#refresh()
      .catch(warn)
      .finally(() => {
        if (this.#fetching) return; // there is a later wish
        this.#dress();
        this.#panel?.setLocale(this.#locale).catch(warn);
      });
  }

  #redress(): void {
    if (this.#config) this.#panel?.restyle?.(work(this.#config, this));
  }

  // Open and close ---------------------------------------------------------------------------------------------------

  #setOpen(open: boolean, byVisitor: boolean): void {
    const view = this.#view;
    if (!view || open === this.#open) return;
    this.#open = open;
    this.toggleAttribute("open", open);
    this.#tab?.set("open", open ? "1" : null);
    view.setOpen(open);
    if (open) {
      this.#hush?.();
      this.#setUnread(0);
      this.#show(byVisitor);
    } else {
      const inside = this.#root.activeElement !== null || document.activeElement === this;
      view.done();
      this.#panel?.close();
      this.#end?.closed();
      if (inside) view.focus();
    }
    this.#emit(open ? "open" : "close", null);
  }

  /** The panel, or its box until it is there, or what went wrong. */
  #show(focus: boolean): void {
    const life = this.#life;
    if (!this.#panel) this.#view?.wait();
    this.#mount().then(
      (panel) => {
        if (life !== this.#life || !this.#open) return;
        panel.open(focus);
        this.#view?.done();
      },
      (error: unknown) => {
        warn(error);
        if (life === this.#life && this.#open) this.#view?.fail(!(error as Partial<Unavailable>).refused);
      },
    );
  }

  #warmUp(): void {
    if (this.#mode === "floating") loadChat(this.#base).catch(() => undefined); // told when it is wanted
  }

  #withPanel(use: (panel: Panel) => void): void {
    this.#mount().then(use, warn);
  }

  #mount(): Promise<Panel> {
    const life = this.#life;
    this.#mounting ??= this.#make(life).catch((error: unknown) => {
      if (life === this.#life) this.#mounting = null;
      throw error;
    });
    return this.#mounting;
  }

  async #make(life: number): Promise<Panel> {
    const chat: Promise<MountPanel> =
      this.#mode === "frame" ? loadExtras(this.#base).then((extras) => extras.mountFrame) : loadChat(this.#base);
    const [first, mountPanel] = await Promise.all([this.#config ?? this.#refresh(), chat]);
    if (life !== this.#life) throw new Error("the element was taken out of the page");
    const config = this.#config ?? first; // there may be a later one, in another language
    const host = this.#host(work(config, this));
    const panel = await mountPanel(host);
    if (life !== this.#life) {
      panel.dispose();
      throw new Error("the element was taken out of the page");
    }
    this.#panel = panel;
    // What the page said while the panel was on its way.
    if (this.#user !== undefined) panel.setUser(this.#user);
    if (this.#metadata) panel.setMetadata(this.#metadata);
    this.#redress();
    if (this.#config !== config || host.locale !== this.#locale) panel.setLocale(this.#locale).catch(warn);
    return panel;
  }

  #host(config: WidgetConfig): PanelHost {
    return {
      element: this,
      root: this.#root,
      base: this.#base,
      mode: this.#framed ? "frame" : this.#mode,
      config,
      locale: this.#locale,
      user: this.#user,
      local: this.#local!,
      unread: this.#unread,
      emit: (name, detail) => this.#emit(name, detail),
      setUnread: (count) => this.#setUnread(count),
      setWaiting: (isWaiting) => {
        this.#tab!.set("waiting", isWaiting ? "1" : null);
        this.#end?.emit("waiting", isWaiting);
      },
      close: () => this.close(),
    };
  }

  #setUnread(count: number): void {
    if (count === this.#unread || (this.#open && count > 0)) return;
    this.#unread = count;
    this.#tab?.set("unread", count ? String(count) : null);
    this.#view?.setUnread(count);
    this.#emit("unread", count);
  }

  #emit(name: string, detail: unknown): void {
    this.#end?.emit(name, detail);
    this.dispatchEvent(new CustomEvent(`chatwright:${name}`, { detail, bubbles: true, composed: true }));
  }
}

export function defineElement(base: string): void {
  defaultBase = base;
  if (!customElements.get("chatwright-chat")) customElements.define("chatwright-chat", ChatwrightChat);
}

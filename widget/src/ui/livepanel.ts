/**
 * The panel as it lives: its nodes over one chat, what the launcher and the page ask of it, what the chat tells. The nodes are
 * there at once and can be written into; the avatar, the renderer of answers and what is rarely used come after them. A
 * change of the language makes the nodes anew over the same chat. Made by `panel.ts`.
 */

import type { TierSetting, WidgetConfig } from "../config.ts";
import { createChat } from "../core/client.ts";
import type { Chat, ChatEvent, ChatState, Turn, User } from "../core/types.ts";
import type { Panel, PanelHost } from "../embed/types.ts";
import { loadTexts, pickLocale } from "../locales/index.ts";
import { loadAnswers } from "./answers.ts";
import { Composer } from "./composer.ts";
import { copyText, html, iconButton } from "./dom.ts";
import type { Drawer } from "./drawer.ts";
import { loadMore } from "./later.ts";
import { fitting } from "./fitting.ts";
import { Log } from "./log.ts";
import { Menu } from "./menu.ts";
import { Notice } from "./notice.ts";
import css from "./panel.css?inline";
import { Reading } from "./reading.ts";
import { variables } from "./shades.ts";
import { Stage } from "./stage.ts";
import { type Deeds, isOpen, type MakeMarkdown } from "./turn.ts";
import { Words } from "./words.ts";

let sheet: CSSStyleSheet | null = null;

export class LivePanel implements Panel {
  readonly #host: PanelHost;
  readonly #chat: Chat;
  readonly #stage: Stage;
  readonly #node: HTMLElement;
  readonly #live = html("div", { class: "sr", "aria-live": "polite" });
  readonly #resized: ResizeObserver;
  readonly #unlisten: (() => void)[] = [];
  #config: WidgetConfig;
  #words: Words;
  /** Not there before the nodes are. */
  readonly #fit: (() => void) | undefined;
  #log!: Log;
  #composer!: Composer;
  #notice!: Notice;
  #menu!: Menu;
  #drawer: Drawer | null = null;
  #make: MakeMarkdown | null = null;
  #isMaking = false;
  #reading!: Reading;
  #avatarShown = true;
  #isDescribed = false; // the page says itself where the visitor is
  #isCutOff = false; // the browser said that the network went: sooner than a socket notices
  #isOpen = false;
  #wasOpened = false;
  #unread = 0;
  #frame = 0;
  #disposed = false;

  constructor(host: PanelHost, words: Words) {
    this.#host = host;
    this.#config = host.config;
    this.#words = words;
    this.#chat = createChat({ base: host.base, widgetId: host.config.widget_id, locale: words.locale });
    this.#stage = new Stage({ emit: (name, detail) => host.emit(name, detail), changed: () => this.#fit?.() });
    if (!sheet) (sheet = new CSSStyleSheet()).replaceSync(css);
    if (!host.root.adoptedStyleSheets.includes(sheet)) host.root.adoptedStyleSheets = [...host.root.adoptedStyleSheets, sheet];
    this.#node = html("section", { class: "panel", part: "panel", tabindex: -1, hidden: "" });
    this.#node.dataset["mode"] = host.mode;
    this.#node.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || event.isComposing || event.defaultPrevented || host.mode === "inline") return;
      event.stopPropagation();
      host.close();
    });
    this.#stage.reserve(host.config.avatar);
    this.#draw();
    host.root.append(this.#node);
    this.#fit = fitting(this.#node, () => ({
      content: this.#log.height,
      hasTurns: this.#chat.state.turns.length > 0,
      isAvatarShown: this.#stage.isShown,
    }));
    this.restyle(host.config);
    this.#resized = new ResizeObserver(() => this.#fit?.());
    this.#resized.observe(this.#node);
    this.#unlisten.push(
      this.#chat.subscribe(() => this.#changed()),
      this.#chat.on((event) => this.#hear(event)),
    );
    const seen = (): void => this.#stage.setActive(this.#isOpen && !document.hidden);
    this.#listen(document, "visibilitychange", seen);
    const fit = (): void => this.#fit?.();
    for (const name of ["resize", "scroll"]) if (visualViewport) this.#listen(visualViewport, name, fit);
    const cut = ({ type }: Event): void => {
      this.#isCutOff = type === "offline";
      if (this.#isCutOff) this.#stage.cue("idle"); // nothing to think about before it is back
      this.#changed();
    };
    for (const name of ["online", "offline"]) this.#listen(window, name, cut);
    this.#describePage();
    this.#chat.start();
    this.#show(this.#chat.state);
  }

  // What the launcher and the page ask for ---------------------------------------------------------------------------

  open(focus = true): void {
    if (this.#disposed) return;
    this.#isOpen = true;
    this.#node.hidden = false;
    this.#setUnread(0);
    this.#fit?.();
    this.#show(this.#chat.state);
    this.#composer.grow();
    // On a touch screen the keyboard would hide the greeting.
    if (focus) (matchMedia("(hover: none) and (pointer: coarse)").matches ? this.#node : this.#composer).focus();
    this.#stage.setActive(!document.hidden);
    this.#chat.wake();
    if (this.#wasOpened) return;
    this.#wasOpened = true;
    this.#host.emit("ready", { locale: this.#words.locale });
    // After the first picture: until then the visitor can write already.
    requestAnimationFrame(() => setTimeout(() => void this.#stage.mount(this.#config.avatar, this.#host.base), 0));
  }

  close(): void {
    this.#isOpen = false;
    this.#node.hidden = true;
    this.#stage.setActive(false);
    this.#menu.close();
    this.#reading.stop();
  }

  send(text: string): string {
    this.#reading.stop();
    this.#describePage();
    this.#think();
    return this.#chat.send(text);
  }

  setUser(user: User | null): void {
    this.#chat.setUser(user);
  }

  async setLocale(locale: string): Promise<void> {
    const picked = pickLocale([locale]);
    const texts = await loadTexts(picked);
    if (this.#disposed) return;
    this.#words = new Words(texts, picked, this.#config.name, this.#config.texts);
    this.#chat.setMetadata({ locale: picked });
    this.#draw();
    this.#show(this.#chat.state);
    this.#fit?.();
  }

  setMetadata(metadata: Readonly<Record<string, unknown>>): void {
    this.#isDescribed ||= "current_page" in metadata;
    this.#chat.setMetadata(metadata);
  }

  play(name: string): void {
    this.#stage.play(name);
  }

  setTier(tier: string): void {
    this.#stage.setTier(tier as TierSetting);
  }

  restyle(config: WidgetConfig): void {
    this.#config = config;
    for (const [name, value] of Object.entries(variables(config.theme.accent))) this.#node.style.setProperty(name, value);
    this.#stage.restyle(config.avatar);
  }

  reset(): void {
    this.#reading.stop();
    this.#drawer?.close();
    this.#chat.reset();
    this.#stage.cue("wave");
    if (this.#isOpen) this.#composer.focus();
  }

  dispose(): void {
    this.#disposed = true;
    cancelAnimationFrame(this.#frame);
    for (const stop of this.#unlisten) stop();
    this.#resized.disconnect();
    this.#reading.stop();
    this.#stage.dispose();
    this.#log.dispose();
    this.#notice.dispose();
    this.#chat.dispose();
    this.#node.remove();
  }

  #listen(target: EventTarget, name: string, hear: (event: Event) => void): void {
    target.addEventListener(name, hear);
    this.#unlisten.push(() => target.removeEventListener(name, hear));
  }

  // Nodes ------------------------------------------------------------------------------------------------------------

  /** All nodes in the panel's language; those of an earlier one go, the avatar stays. */
  #draw(): void {
    const words = this.#words;
    const root = this.#host.root;
    const hadFocus = this.#node.contains(root.activeElement);
    const written = this.#composer?.text ?? "";
    this.#log?.dispose();
    this.#notice?.dispose();
    this.#drawer = null;
    const floats = this.#host.mode !== "inline";
    this.#node.lang = words.locale;
    this.#node.dir = words.direction;
    this.#node.setAttribute("role", floats ? "dialog" : "region");
    this.#node.setAttribute("aria-label", words.say("panel"));
    this.#reading?.stop();
    this.#reading = new Reading(words.locale, (level) => this.#stage.speak(level));
    this.#notice = new Notice(words, () => this.#chat.wake());
    this.#menu = new Menu(words.say("menu"), (list, leave) => this.#fillMenu(list, leave));
    const header = html("div", { class: "header", part: "header" }, html("div", { class: "who" }, html("h2", {}, html("bdi", {}, words.title)), this.#notice.status), this.#menu.node);
    if (floats) header.append(iconButton("close", words.say("close"), () => this.#host.close()));
    this.#log = new Log(words, this.#deeds(), { greeting: this.#config.greeting, questions: this.#config.suggested_questions });
    if (this.#make) this.#log.setMarkdown(this.#make);
    this.#composer = new Composer(words, {
      send: (text) => this.send(text),
      stop: () => this.#stop(),
      typing: () => this.#stage.watchWriting(),
    });
    this.#composer.take(written);
    this.#node.replaceChildren(
      html("div", { class: "top" }, header, this.#stage.node),
      this.#log.node,
      this.#notice.node,
      this.#composer.node,
      html("p", { class: "powered" }, words.say("powered_by", { name: "chatwright" })),
      this.#live,
    );
    if (hadFocus) this.#composer.focus();
  }

  #deeds(): Deeds {
    const { feedback, read_aloud } = this.#config.features;
    return {
      ask: (text) => {
        this.send(text);
        this.#composer.focus();
      },
      act: (action) => this.#host.emit("action", action),
      retry: (key) => {
        this.#think();
        this.#chat.retry(key);
        this.#composer.focus();
      },
      drop: (key) => {
        this.#chat.drop(key);
        this.#composer.focus();
      },
      copy: copyText,
      tell: (text) => this.#announce(text),
      rate: (key, rating, comment) => this.#chat.rate(key, rating, comment),
      openSource: (key, n, opener) => void this.#openSource(key, n, opener).catch(() => this.#announce(this.#words.say("error"))),
      more: () => loadMore(this.#host.root),
      read: read_aloud && Reading.isPossible ? (turn) => this.#reading.read(turn) : null,
      rates: feedback,
      base: this.#host.base,
    };
  }

  // The chat ---------------------------------------------------------------------------------------------------------

  /** Draw once a frame; a page that is not seen has no frames, and catches up when it is. */
  #changed(): void {
    if (this.#frame) return;
    const draw = (): void => {
      this.#frame = 0;
      if (!this.#disposed) this.#show(this.#chat.state);
    };
    this.#frame = document.hidden ? Number(setTimeout(draw, 200)) : requestAnimationFrame(draw);
  }

  #show(state: ChatState): void {
    if (this.#isCutOff && state.connection !== "refused") state = { ...state, connection: "offline" };
    this.#log.update(state);
    this.#notice.update(state);
    this.#composer.setStoppable(state.turns.some((turn) => isOpen(turn) && turn.phase !== "sending"));
    this.#composer.setRefused(state.connection === "refused");
    this.#fit?.();
    const last = state.turns.at(-1);
    if (last && !this.#isMaking) void this.#loadMarkdown();
    if (last?.phase === "streaming" && this.#isOpen) this.#reading.follow(last, false);
  }

  #hear(event: ChatEvent): void {
    const { emit } = this.#host;
    switch (event.type) {
      case "cue":
        this.#stage.cue(event.animation);
        break;
      case "delta":
        if (!this.#reading.isOn) this.#stage.hear(event.text);
        break;
      case "sent":
        emit("sent", { text: event.text, client_message_id: event.clientId });
        break;
      case "answered":
        this.#answered(event.turn);
        emit("answered", { message_id: event.turn.messageId, text: event.turn.answer.text });
        break;
      case "failed":
        if (event.turn.failure) {
          this.#announce(this.#words.failure(event.turn.failure));
          this.#stage.cue("confused");
        }
        emit("failed", { message_id: event.turn.messageId, code: event.turn.failure?.code ?? "unavailable" });
        break;
      case "conversation":
        this.#drawer?.close();
        break;
    }
  }

  #answered(turn: Turn): void {
    if (this.#frame) {
      // What the page is told of is what it sees.
      cancelAnimationFrame(this.#frame);
      this.#frame = 0;
    }
    this.#show(this.#chat.state);
    const shown = this.#log.view(turn.key)?.body.innerText || turn.answer.text;
    this.#announce(`${this.#words.say("name_said")} ${shown}`);
    if (this.#isOpen) this.#reading.follow(turn, true);
    if (!this.#chat.state.turns.some(isOpen)) this.#stage.rest();
    if (!this.#isOpen) this.#setUnread(this.#unread + 1);
  }

  /** Screen readers hear an answer once, whole. */
  #announce(text: string): void {
    if (this.#isOpen) this.#live.textContent = text;
  }

  #setUnread(count: number): void {
    this.#unread = count;
    this.#host.setUnread(count);
  }

  /** At once: the visitor is heard. */
  #think(): void {
    this.#stage.hush();
    this.#stage.play("thinking");
  }

  #stop(): void {
    this.#reading.stop();
    this.#stage.hush();
    this.#stage.cue("idle");
    for (const turn of this.#chat.state.turns) if (isOpen(turn)) this.#chat.cancel(turn.key);
  }

  #describePage(): void {
    if (!this.#isDescribed) this.#chat.setMetadata({ current_page: location.href.slice(0, 500) });
  }

  // What comes when it is wanted -------------------------------------------------------------------------------------

  /** With the first message, or the history: who only looks in does not need it. */
  async #loadMarkdown(): Promise<void> {
    this.#isMaking = true;
    const make = await loadAnswers(() => this.#words, this.#config.features.images, this.#host.base).catch(() => null);
    this.#isMaking = make !== null; // without a network now, the next change of the chat tries again
    if (make && !this.#disposed) this.#log.setMarkdown((this.#make = make));
  }

  async #openSource(key: string, n: number, opener: HTMLElement): Promise<void> {
    const { Drawer: Made } = await loadMore(this.#host.root);
    const turn = this.#chat.state.turns.find((one) => one.key === key);
    if (this.#disposed || !turn) return;
    this.#drawer ??= new Made(this.#node, this.#words, this.#host.base, (last) => (last?.isConnected ? last.focus() : this.#composer.focus()));
    this.#drawer.open(turn.answer.sources, n, opener);
  }

  async #fillMenu(list: HTMLElement, leave: () => void): Promise<void> {
    const { fillMenu, menuEntries } = await loadMore(this.#host.root);
    const { features, avatar } = this.#config;
    const sorry = (): void => this.#announce(this.#words.say("error"));
    const entries = menuEntries(this.#words, { ...features, read_aloud: features.read_aloud && Reading.isPossible }, avatar.kind !== "none", {
      reset: () => this.reset(),
      save: () => void import("./save.ts").then(({ saveTranscript }) => saveTranscript(this.#chat.state, this.#words)).catch(sorry),
      toggleReading: () => this.#reading.toggle(),
      toggleAvatar: () => this.setTier((this.#avatarShown = !this.#avatarShown) ? avatar.tier : "text"),
      hasTurns: () => this.#chat.state.turns.length > 0,
      reads: () => this.#reading.isOn,
      showsAvatar: () => this.#avatarShown,
    });
    fillMenu(list, entries, leave);
  }
}

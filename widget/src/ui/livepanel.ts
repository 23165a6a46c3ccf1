/**
 * The panel as it lives: its nodes over one chat, what the launcher and the page ask of it, what the chat tells. The nodes are
 * there at once and can be written into; the avatar, the renderer of answers and what is rarely used come after them. A
 * change of the language makes the nodes anew over the same chat. Made by `panel.ts`.
 */

import type { TierSetting, WidgetConfig } from "../config.ts";
import { createChat } from "../core/client.ts";
import type { Chat, ChatEvent, ChatState, Turn, User } from "../core/types.ts";
import type { Panel, PanelHost } from "../embed/types.ts";
import { T } from "../locales/keys.ts";
import answerCss from "./answer.css?inline";
import { loadAnswers } from "./answers.ts";
import { Composer } from "./composer.ts";
import { copyText, html, iconButton } from "./dom.ts";
import { fitting } from "./fitting.ts";
import { loadMore } from "./later.ts";
import { Log } from "./log.ts";
import { Menu } from "./menu.ts";
import { Notice } from "./notice.ts";
import css from "./panel.css?inline";
import type { Reading } from "./reading.ts";
import { Redraw } from "./redraw.ts";
import { variables } from "./shades.ts";
import { adopt } from "./sheets.ts";
import { Stage } from "./stage.ts";
import { type Deeds, isOpen, type MakeMarkdown } from "./turn.ts";
import { Wanted } from "./wanted.ts";
import { loadWords, type Words } from "./words.ts";

const canRead = (): boolean => "speechSynthesis" in window;

export class LivePanel implements Panel {
  readonly #host: PanelHost;
  readonly #chat: Chat;
  readonly #stage: Stage;
  readonly #node: HTMLElement;
  readonly #live = html("div", { class: "sr", "aria-live": "polite" });
  readonly #resized: ResizeObserver;
  /** Ends what listens to the page. */
  readonly #life = new AbortController();
  #config: WidgetConfig;
  #words: Words;
  /** Not there before the nodes are. */
  readonly #fit: (() => void) | undefined;
  #log!: Log;
  #composer!: Composer;
  #notice!: Notice;
  #menu!: Menu;
  #wanted!: Wanted;
  #make: MakeMarkdown | null = null;
  #isMaking = false;
  /** Not there before the visitor wants to hear. */
  #reading: Reading | null = null;
  /** The last language asked for: texts come in any order. */
  #asked: string | null = null;
  #isDescribed = false; // the page says itself where the visitor is
  #isCutOff = false; // the browser said that the network went: sooner than a socket notices
  #isOpen = false;
  #wasOpened = false;
  #unread: number;
  readonly #redraw = new Redraw(() => this.#disposed || this.#show(this.#chat.state));
  #disposed = false;

  constructor(host: PanelHost, words: Words) {
    this.#host = host;
    this.#config = host.config;
    this.#words = words;
    this.#unread = host.unread;
    this.#chat = createChat({ base: host.base, widgetId: host.config.widget_id, locale: words.locale });
    if (host.user !== undefined) this.#chat.setUser(host.user);
    this.#stage = new Stage(host.config.avatar, host.local, { emit: (name, detail) => host.emit(name, detail), changed: () => this.#fit?.() });
    adopt(host.root, answerCss + css); // what fingers need is said last
    this.#node = html("section", { class: "panel", part: "panel", tabindex: -1, hidden: "" });
    this.#node.dataset["mode"] = host.mode;
    this.#node.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || event.isComposing || event.defaultPrevented || host.mode === "inline") return;
      event.stopPropagation();
      host.close();
    });
    this.#draw();
    this.#composer.take(this.#chat.draft);
    host.root.append(this.#node);
    this.#fit = fitting(this.#node, () => ({
      content: this.#log.height,
      hasTurns: this.#chat.state.turns.length > 0,
      isAvatarShown: this.#stage.isShown,
    }));
    this.restyle(host.config);
    this.#resized = new ResizeObserver(() => this.#fit?.());
    this.#resized.observe(this.#node);
    this.#chat.subscribe(() => this.#redraw.ask());
    this.#chat.on((event) => this.#hear(event));
    const { signal } = this.#life;
    document.addEventListener("visibilitychange", () => this.#stage.setActive(this.#isOpen && !document.hidden), { signal });
    for (const name of ["resize", "scroll"]) visualViewport?.addEventListener(name, () => this.#fit?.(), { signal });
    const cut = ({ type }: Event): void => {
      this.#isCutOff = type === "offline";
      if (this.#isCutOff) this.#stage.cue("idle"); // nothing to think about before it is back
      this.#redraw.ask();
    };
    for (const name of ["online", "offline"]) addEventListener(name, cut, { signal });
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
    requestAnimationFrame(() => setTimeout(() => this.#stage.mount(this.#host.base), 0));
  }

  close(): void {
    this.#isOpen = false;
    this.#node.hidden = true;
    this.#stage.setActive(false);
    this.#menu.close();
    this.#reading?.stop();
  }

  send(text: string): string {
    this.#reading?.stop();
    this.#describePage();
    this.#think();
    return this.#chat.send(text);
  }

  setUser(user: User | null): void {
    this.#chat.setUser(user);
    this.#composer.take(this.#chat.draft);
  }

  /** Whether the page has asked for a language since this was made. */
  get wasToldLocale(): boolean {
    return this.#asked !== null;
  }

  async setLocale(locale: string): Promise<void> {
    this.#asked = locale;
    const words = await loadWords(locale, this.#config);
    if (this.#disposed || this.#asked !== locale) return;
    this.#words = words;
    this.#chat.setMetadata({ locale: words.locale });
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
    this.#reading?.stop();
    this.#wanted.closeSource();
    this.#chat.reset();
    this.#composer.take(this.#chat.draft);
    this.#stage.cue("wave");
    if (this.#isOpen) this.#composer.focus();
  }

  dispose(): void {
    this.#disposed = true;
    this.#redraw.cancel();
    this.#menu.close();
    this.#life.abort();
    this.#resized.disconnect();
    this.#reading?.stop();
    this.#stage.dispose();
    this.#log.dispose();
    this.#notice.dispose();
    this.#chat.dispose();
    this.#node.remove();
  }

  // Nodes ------------------------------------------------------------------------------------------------------------

  /** All nodes in the panel's language; those of an earlier one go, the avatar stays. */
  #draw(): void {
    const words = this.#words;
    const root = this.#host.root;
    const hadFocus = this.#node.contains(root.activeElement);
    const written = this.#composer?.text ?? "";
    this.#reading?.setLocale(words.locale);
    this.#log?.dispose();
    this.#notice?.dispose();
    this.#menu?.close();
    this.#wanted = new Wanted({
      root,
      panel: this.#node,
      words,
      base: this.#host.base,
      focus: () => this.#composer.focus(),
      sorry: () => this.#sorry(),
    });
    const floats = this.#host.mode !== "inline";
    this.#node.lang = words.locale;
    this.#node.dir = words.direction;
    this.#node.setAttribute("role", floats ? "dialog" : "region");
    this.#node.setAttribute("aria-label", words.say(T.panel));
    this.#notice = new Notice(words, () => this.#chat.wake());
    this.#menu = new Menu(words.say(T.menu), (list, leave) => this.#fillMenu(list, leave));
    const header = html("div", { class: "header", part: "header" }, html("div", { class: "who" }, html("h2", {}, html("bdi", {}, words.title)), this.#notice.status), this.#menu.node);
    if (floats) header.append(iconButton("close", words.say(T.close), () => this.#host.close()));
    this.#log = new Log(words, this.#deeds(), { greeting: this.#config.greeting, questions: this.#config.suggested_questions });
    if (this.#make) this.#log.setMarkdown(this.#make);
    this.#composer = new Composer(words, {
      send: (text) => this.send(text),
      stop: () => this.#stop(),
      written: (text) => this.#chat.setDraft(text),
      typing: () => this.#stage.watchWriting(),
    });
    this.#composer.take(written);
    this.#node.replaceChildren(
      html("div", { class: "top" }, header, this.#stage.node),
      this.#log.node,
      this.#notice.node,
      this.#composer.node,
      html("p", { class: "powered" }, words.say(T.powered_by, { name: "chatwright" })),
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
      openSource: (turn, n, opener) => void this.#wanted.openSource(turn.answer.sources, n, opener),
      more: () => loadMore(this.#host.root),
      read: read_aloud && canRead() ? (turn) => void this.#withReading((reading) => reading.read(turn)) : null,
      rates: feedback,
      base: this.#host.base,
    };
  }

  // The chat ---------------------------------------------------------------------------------------------------------

  #show(state: ChatState): void {
    if (this.#isCutOff && state.connection !== "refused") state = { ...state, connection: "offline" };
    this.#log.update(state);
    this.#notice.update(state);
    this.#composer.setStoppable(state.turns.some((turn) => isOpen(turn) && turn.phase !== "sending"));
    this.#composer.setRefused(state.connection === "refused");
    this.#fit?.();
    const last = state.turns.at(-1);
    if (last && !this.#isMaking) void this.#loadMarkdown();
    if (last?.phase === "streaming" && this.#isOpen) this.#reading?.follow(last, false);
    if (state.loaded) this.#host.setWaiting(state.turns.some(isOpen));
  }

  #hear(event: ChatEvent): void {
    const { emit } = this.#host;
    switch (event.type) {
      case "cue":
        this.#stage.cue(event.animation);
        break;
      case "delta":
        if (!this.#reading?.isOn) this.#stage.hear(event.text);
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
        this.#wanted.closeSource();
        break;
    }
  }

  #answered(turn: Turn): void {
    this.#redraw.cancel(); // what the page is told of is what it sees
    this.#show(this.#chat.state);
    const shown = this.#log.view(turn.key)?.body.innerText || turn.answer.text;
    this.#announce(`${this.#words.say(T.name_said)} ${shown}`);
    if (this.#isOpen) this.#reading?.follow(turn, true);
    if (!this.#chat.state.turns.some(isOpen)) this.#stage.rest();
    if (!this.#isOpen) this.#setUnread(this.#unread + 1);
  }

  /** Screen readers hear an answer once, whole. */
  #announce(text: string): void {
    if (!this.#isOpen) return;
    // The same again is told again: to those who listen it is news only where it differs.
    this.#live.textContent = this.#live.textContent === text ? `${text}\u00a0` : text;
  }

  /** Something could not be had now. */
  #sorry(): void {
    this.#announce(this.#words.say(T.error));
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
    this.#reading?.stop();
    this.#stage.hush();
    this.#stage.cue("idle");
    for (const turn of this.#chat.state.turns) if (isOpen(turn)) this.#chat.cancel(turn.key);
  }

  #describePage(): void {
    if (!this.#isDescribed) this.#chat.setMetadata({ current_page: location.href.slice(0, 500) });
  }

  /** With the first message, or the history: who only looks in does not need it. */
  async #loadMarkdown(): Promise<void> {
    this.#isMaking = true;
    const make = await loadAnswers(() => this.#words, this.#config.features.images, this.#host.base).catch(() => null);
    this.#isMaking = make !== null; // without a network now, the next change of the chat tries again
    if (make && !this.#disposed) this.#log.setMarkdown((this.#make = make));
  }

  #fillMenu(list: HTMLElement, leave: () => void): Promise<void> {
    const { features } = this.#config;
    const possible = { ...features, read_aloud: features.read_aloud && canRead() };
    return this.#wanted.fillMenu(list, leave, possible, this.#stage.isOffered, {
      reset: () => this.reset(),
      state: () => this.#chat.state,
      sorry: () => this.#sorry(),
      toggleReading: () => void this.#withReading((reading) => reading.toggle()),
      toggleAvatar: () => this.#stage.toggle(),
      reads: () => this.#reading?.isOn === true,
      showsAvatar: () => this.#stage.isWanted,
    });
  }

  async #withReading(act: (reading: Reading) => void): Promise<void> {
    const module = await import("./reading.ts").catch(() => this.#sorry());
    if (!module || this.#disposed) return;
    this.#reading ??= new module.Reading(this.#words.locale, (level) => this.#stage.speak(level));
    act(this.#reading);
  }
}

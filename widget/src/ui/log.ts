/** The conversation: turns in order, days between them, the greeting above, always at its end unless the visitor reads on high. */

import type { ChatState, Turn } from "../core/types.ts";
import { T } from "../locales/keys.ts";
import { group, html, icon, setText, textButton } from "./dom.ts";
import { type Deeds, isOpen, type MakeMarkdown, TurnView } from "./turn.ts";
import { endOf, follows } from "./room.ts";
import type { Words } from "./words.ts";

export interface Opening {
  readonly greeting: string;
  readonly questions: readonly string[];
}

export class Log {
  /** The frame with the button; the log itself scrolls inside. */
  readonly node: HTMLElement;
  readonly #log: HTMLElement;
  readonly #turns = html("div", { class: "turns" });
  readonly #loading: HTMLElement;
  readonly #choices: HTMLElement;
  readonly #jump: HTMLButtonElement;
  readonly #jumpText = html("span");
  readonly #words: Words;
  readonly #deeds: Deeds;
  readonly #views = new Map<string, TurnView>();
  readonly #days = new Map<string, HTMLElement>();
  readonly #resized: ResizeObserver;
  #make: MakeMarkdown | null = null;
  #sticks = true;
  #lastTop = 0;
  #unseen = 0;
  #state: ChatState | null = null;

  constructor(words: Words, deeds: Deeds, opening: Opening) {
    this.#words = words;
    this.#deeds = deeds;
    this.#log = html("div", { class: "log", part: "log", role: "log", "aria-live": "off", "aria-label": words.say(T.log), tabindex: 0 });
    const greeting = html("div", { class: "answer greeting" }, html("span", { class: "sr" }, words.say(T.name_said)), html("div", { class: "answer-text", dir: "auto" }, opening.greeting || words.say(T.greeting_default)));
    this.#loading = html("p", { class: "loading" }, words.say(T.loading));
    this.#choices = group("choices first", words.say(T.suggestions));
    for (const question of opening.questions) {
      const choice = textButton("choice", question, () => deeds.ask(question));
      choice.dir = "auto";
      this.#choices.append(choice);
    }
    this.#log.append(greeting, this.#loading, this.#turns, this.#choices);
    // Its name holds what is to be seen on it: who speaks to a computer says that.
    this.#jump = html("button", { type: "button", class: "jump", hidden: "" }, icon("bottom"), this.#jumpText, html("i", { class: "sr" }, words.say(T.jump_to_end)));
    this.#jump.addEventListener("click", () => this.toEnd());
    this.node = html("div", { class: "log-frame" }, this.#log, this.#jump);
    this.#log.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.#resized = new ResizeObserver(() => this.#keep());
    this.#resized.observe(this.#turns);
    this.#resized.observe(this.#log);
  }

  /** The renderer of answers, once it is loaded; until then they are plain text. */
  setMarkdown(make: MakeMarkdown): void {
    this.#make = make;
    for (const [key, view] of this.#views) view.update(view.turn, this.#state?.turns.at(-1)?.key === key, this.#state?.connection === "online", make);
    this.#keep();
  }

  update(state: ChatState): void {
    const before = this.#state;
    this.#state = state;
    const { turns } = state;
    const isLoading = !state.loaded && state.conversationId !== null;
    this.#loading.hidden = !isLoading;
    this.#choices.hidden = turns.length > 0 || isLoading || this.#choices.childElementCount === 0;
    const known = new Set(turns.map((turn) => turn.key));
    for (const [key, view] of this.#views) if (!known.has(key)) this.#remove(key, view);
    const isOnline = state.connection === "online";
    const same = before !== null && before.connection === state.connection;
    let at: Element | null = this.#turns.firstElementChild;
    let day = "";
    turns.forEach((turn, index) => {
      let view = this.#views.get(turn.key);
      const isNew = view === undefined;
      if (view === undefined) {
        view = new TurnView(turn, this.#words, this.#deeds);
        this.#views.set(turn.key, view);
        if (before?.loaded && turn.phase === "sending") this.#sticks = true; // who writes looks at the end
      }
      at = this.#separate(turn, index, day, at);
      day = dayOf(turn);
      if (at === view.node) at = at.nextElementSibling;
      else this.#turns.insertBefore(view.node, at);
      const isLast = index === turns.length - 1;
      const wasOpen = !isNew && isOpen(view.turn);
      const wasLast = before !== null && before.turns.at(-1)?.key === turn.key;
      if (isNew || view.turn !== turn || isLast !== wasLast || !same) view.update(turn, isLast, isOnline, this.#make);
      if (wasOpen && !isOpen(turn) && !this.#sticks) this.#unseen += 1;
    });
    this.#log.setAttribute("aria-busy", String(turns.some(isOpen)));
    this.#keep();
  }

  view(key: string): TurnView | undefined {
    return this.#views.get(key);
  }

  /** Height of all that was said, CSS pixels. */
  get height(): number {
    return this.#turns.offsetHeight;
  }

  toEnd(): void {
    this.#sticks = true;
    this.#unseen = 0;
    this.#keep();
    this.#log.focus({ preventScroll: true });
  }

  dispose(): void {
    this.#resized.disconnect();
    for (const view of this.#views.values()) view.dispose();
  }

  #remove(key: string, view: TurnView): void {
    view.dispose();
    this.#views.delete(key);
    this.#days.get(key)?.remove();
    this.#days.delete(key);
  }

  /** The name of the day above its first turn. Returns where the turn itself belongs. */
  #separate(turn: Turn, index: number, day: string, at: Element | null): Element | null {
    const known = this.#days.get(turn.key);
    const now = new Date();
    const here = dayOf(turn);
    // A conversation of today needs no date.
    if (here === day || (index === 0 && here === now.toDateString())) {
      const next = at === known && known ? known.nextElementSibling : at;
      known?.remove();
      this.#days.delete(turn.key);
      return next;
    }
    const node = known ?? html("p", { class: "day" });
    setText(node, this.#words.day(new Date(turn.createdAt), now));
    this.#days.set(turn.key, node);
    if (at === node) return node.nextElementSibling;
    this.#turns.insertBefore(node, at);
    return at;
  }

  #scrolled(): void {
    this.#sticks = follows(this.#sticks, this.#lastTop, this.#log);
    this.#lastTop = this.#log.scrollTop;
    if (this.#sticks) this.#unseen = 0;
    this.#showJump();
  }

  #keep(): void {
    if (this.#sticks) {
      const turn = this.#state?.turns.at(-1);
      this.#log.scrollTop = endOf(this.#log, turn && !isOpen(turn) ? this.#views.get(turn.key)?.body : null);
      this.#lastTop = this.#log.scrollTop;
    }
    this.#showJump();
  }

  #showJump(): void {
    this.#jump.hidden = this.#sticks;
    setText(this.#jumpText, this.#unseen ? this.#words.count(T.new_messages, this.#unseen) : "");
  }
}

function dayOf(turn: Turn): string {
  return new Date(turn.createdAt).toDateString();
}

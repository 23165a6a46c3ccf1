/** One message of the visitor with its answer, kept in step with its `Turn`. Made and ordered by `log.ts`. */

import type { Failure, Rating, Source, SuggestedAction, Turn } from "../core/types.ts";
import { T } from "../locales/keys.ts";
import { group, html, icon, iconButton, safeLink, setText, textButton } from "./dom.ts";
import type { Markdown } from "./markdown.ts";
import type * as More from "./more.ts";
import type { Words } from "./words.ts";

/** What can be done in the log; `livepanel.ts` does it. */
export interface Deeds {
  ask(text: string): void;
  /** Tell the page that a suggested action was chosen. */
  act(action: SuggestedAction): void;
  retry(key: string): void;
  drop(key: string): void;
  copy(text: string): Promise<void>;
  /** For those who listen. */
  tell(text: string): void;
  rate(key: string, rating: Rating | null, comment?: string): Promise<void>;
  openSource(turn: Turn, n: number, opener: HTMLElement): void;
  /** Read an answer aloud, or stop doing so; null: this browser has no voice or the chatbot does not want one. */
  readonly read: ((turn: Turn) => void) | null;
  readonly rates: boolean;
  /** What is seldom wanted. */
  more(): Promise<typeof More>;
  /** The server: paths in sources and actions are its own. */
  readonly base: string;
}

/** Makes the renderer of one answer; `cite` gives the mark of a source, or null where there is none of that number. */
export type MakeMarkdown = (cite: (n: number) => Node | null) => Promise<Markdown>;

const COPIED_MS = 1_600;
const OPEN = new Set(["sending", "waiting", "streaming"]);

export function isOpen(turn: Turn): boolean {
  return OPEN.has(turn.phase);
}

export class TurnView {
  readonly node = html("div", { class: "turn" });
  readonly body = html("div", { class: "answer-text", dir: "auto" });
  readonly #words: Words;
  readonly #deeds: Deeds;
  readonly #mine = html("div", { class: "mine" });
  readonly #text = html("p", { class: "bubble", dir: "auto" });
  readonly #state = html("p", { class: "state" });
  readonly #answer = html("div", { class: "answer" });
  readonly #typing: HTMLElement;
  readonly #notes = html("p", { class: "state" });
  readonly #sources: HTMLElement;
  readonly #tools = html("div", { class: "tools" });
  readonly #comment = html("div", { class: "comment" });
  readonly #trouble = html("div", { class: "trouble" });
  readonly #actions: HTMLElement;
  #turn: Turn;
  #shownTrouble: Failure | null = null;
  /** Ends what counts down in the trouble. */
  #calm: (() => void) | undefined;
  #thumbs: readonly HTMLButtonElement[] = [];
  #isRating = false;
  #markdown: Markdown | null = null;
  #isMade = false;
  /** What stands there, to be made anew only where it differs: what has the focus keeps it. */
  #shownSources = "";
  #shownActions = "";

  constructor(turn: Turn, words: Words, deeds: Deeds) {
    this.#turn = turn;
    this.#words = words;
    this.#deeds = deeds;
    this.#typing = html("div", { class: "typing", role: "img", "aria-label": words.say(T.thinking) }, html("i"), html("i"), html("i"));
    this.#sources = group("sources", words.say(T.sources));
    this.#actions = group("choices", words.say(T.actions));
    this.#mine.append(html("span", { class: "sr" }, words.say(T.you_said)), this.#text, this.#state);
    this.#answer.append(html("span", { class: "sr" }, words.say(T.name_said)), this.body, this.#typing, this.#notes, this.#sources, this.#tools, this.#comment);
    this.node.append(this.#mine, this.#answer, this.#trouble, this.#actions);
  }

  get turn(): Turn {
    return this.#turn;
  }

  /** `isLast`: of the conversation; only there follow-ups are offered. `isOnline`: whether what waits is on its way. */
  update(turn: Turn, isLast: boolean, isOnline: boolean, make: MakeMarkdown | null): void {
    this.#turn = turn;
    const ended = !isOpen(turn);
    this.node.classList.toggle("unsent", turn.phase === "sending");
    this.#mine.hidden = !turn.text;
    setText(this.#text, turn.text);
    setText(this.#state, this.#stateOf(turn, isOnline));
    const { text } = turn.answer;
    this.#answer.hidden = !text && !(turn.phase === "waiting" || turn.phase === "streaming") && turn.phase !== "handed_off" && turn.phase !== "stopped";
    this.#typing.hidden = !!text || ended;
    this.body.hidden = !text;
    if (make && text) void this.#render(make);
    if (!this.#markdown) setText(this.body, text);
    else if (text) this.#markdown.update(this.body, text, ended);
    this.body.classList.toggle("open", !ended && !!text);
    setText(this.#notes, this.#notesOf(turn, ended));
    this.#showSources(ended ? turn.answer.sources : []);
    this.#showTools(ended && !!text);
    this.#showTrouble(turn);
    this.#showActions(isLast && ended ? turn.answer.actions : []);
  }

  dispose(): void {
    this.#calm?.();
    this.#shownTrouble = null;
    this.node.remove();
  }

  #stateOf(turn: Turn, isOnline: boolean): string {
    if (turn.phase === "sending") return this.#words.say(isOnline ? T.sending : T.queued);
    if (turn.phase === "refused") return this.#words.say(T.not_sent);
    if (turn.phase === "merged") return this.#words.say(T.merged);
    return this.#words.time(new Date(turn.createdAt));
  }

  #notesOf(turn: Turn, ended: boolean): string {
    if (turn.phase === "handed_off") return this.#words.own("handoff", T.handoff);
    if (turn.phase === "stopped") return this.#words.say(T.stopped);
    return ended && turn.answer.partial ? this.#words.say(T.partial) : "";
  }

  #showSources(sources: readonly Source[]): void {
    this.#sources.hidden = sources.length === 0;
    const key = JSON.stringify(sources);
    if (this.#shownSources === key) return;
    this.#shownSources = key;
    this.#sources.replaceChildren(
      ...sources.map((source) => {
        const title = source.title || this.#words.say(T.source_untitled);
        const before = html("span", { class: "sr" }, this.#words.say(T.source_n, { n: source.n, title: "" }));
        const number = html("b", { "aria-hidden": "true" }, String(source.n));
        const chip = html("button", { type: "button", class: "chip", title }, before, number, html("span", { dir: "auto" }, title));
        chip.addEventListener("click", () => this.#deeds.openSource(this.#turn, source.n, chip));
        return chip;
      }),
    );
  }

  async #render(make: MakeMarkdown): Promise<void> {
    if (this.#isMade) return;
    this.#isMade = true;
    const markdown = await make((n) => this.#cite(n)).catch(() => null);
    this.#isMade = markdown !== null; // without a network now, the next change tries again
    if (!markdown) return;
    this.#markdown = markdown;
    this.body.replaceChildren();
    markdown.update(this.body, this.#turn.answer.text, !isOpen(this.#turn));
  }

  #cite(n: number): Node | null {
    if (!this.#turn.answer.sources.some((source) => source.n === n)) return null;
    const mark = html("button", { type: "button", class: "cite", "aria-label": this.#words.say(T.footnote, { n }) }, String(n));
    mark.addEventListener("click", () => this.#deeds.openSource(this.#turn, n, mark));
    return mark;
  }

  #showTools(shown: boolean): void {
    this.#tools.hidden = !shown;
    if (!shown) return;
    if (!this.#tools.firstChild) this.#tools.append(...this.#makeTools());
    const [up, down] = this.#thumbs;
    up?.setAttribute("aria-pressed", String(this.#turn.rating === "up"));
    down?.setAttribute("aria-pressed", String(this.#turn.rating === "down"));
  }

  #makeTools(): HTMLElement[] {
    const words = this.#words;
    const copy = iconButton("copy", words.say(T.copy_answer), () => void this.#copy(copy));
    const tools = [copy];
    if (this.#deeds.read) tools.push(iconButton("speak", words.say(T.read_this), () => this.#deeds.read?.(this.#turn)));
    if (this.#deeds.rates && this.#turn.messageId) {
      this.#thumbs = (["up", "down"] as const).map((rating) => {
        const thumb = iconButton(rating, words.say(rating === "up" ? T.rate_up : T.rate_down), () => void this.#rate(rating, thumb));
        return thumb;
      });
      tools.push(...this.#thumbs);
    }
    return tools;
  }

  async #copy(button: HTMLButtonElement): Promise<void> {
    const done = await this.#deeds.copy(this.#turn.answer.text).then(
      () => true,
      () => false,
    );
    button.replaceChildren(icon(done ? "done" : "close"));
    button.title = this.#words.say(done ? T.copied : T.copy_failed);
    this.#deeds.tell(button.title);
    setTimeout(() => {
      button.replaceChildren(icon("copy"));
      button.title = this.#words.say(T.copy_answer);
    }, COPIED_MS);
  }

  async #rate(rating: Rating, thumb: HTMLElement): Promise<void> {
    if (this.#isRating) return;
    this.#isRating = true;
    try {
      const { rate } = await this.#deeds.more();
      const keep = (kept: Rating | null, comment?: string): Promise<void> => this.#deeds.rate(this.#turn.key, kept, comment);
      await rate({ words: this.#words, place: this.#comment, thumb, keep }, this.#turn.rating === rating ? null : rating);
    } catch {
      const sorry = this.#words.say(T.rate_failed);
      setText(this.#comment, sorry);
      this.#deeds.tell(sorry);
    } finally {
      this.#isRating = false;
    }
  }

  #showTrouble({ failure, phase }: Turn): void {
    const shown = phase === "failed" || phase === "refused" ? failure : null;
    this.#trouble.hidden = !shown;
    if (this.#shownTrouble === shown) return;
    this.#shownTrouble = shown;
    this.#calm?.();
    this.#trouble.replaceChildren();
    if (shown) void this.#explain(shown);
  }

  /** What went wrong at once; what can be done about it when that is there. */
  async #explain(failure: Failure): Promise<void> {
    const line = html("p", { role: "status" }, this.#words.failure(failure));
    this.#trouble.append(line);
    const more = await this.#deeds.more().catch(() => null);
    if (this.#shownTrouble !== failure) return;
    if (more) this.#calm = more.offerMending(this.#trouble, line, this.#turn, failure, this.#words, this.#deeds);
    else this.#shownTrouble = null; // without a network now, the next change tries again
  }

  #showActions(actions: readonly SuggestedAction[]): void {
    this.#actions.hidden = actions.length === 0;
    const key = JSON.stringify(actions);
    if (this.#shownActions === key) return;
    this.#shownActions = key;
    this.#actions.replaceChildren(...actions.map((action) => this.#choice(action)).filter((node) => node !== null));
  }

  #choice(action: SuggestedAction): HTMLElement | null {
    const { kind, label, value } = action;
    const href = safeLink(kind === "handoff" || kind === "form" || kind === "link" ? value : "", this.#deeds.base);
    if (href) {
      const link = html("a", { class: "choice", href, target: "_blank", rel: "noopener noreferrer nofollow" }, icon("link"), html("span", { dir: "auto" }, label));
      link.append(html("span", { class: "sr" }, ` (${this.#words.say(T.new_tab)})`));
      return link;
    }
    if (kind === "link") return null; // an address that may not be opened
    const button = textButton("choice", "", () => {
      this.#deeds.act(action);
      // A form is the page's. Of a handoff no more is known than that a person is wished for: it is said, as the visitor would.
      if (kind !== "form") this.#deeds.ask(kind === "handoff" ? label : value || label);
    });
    if (kind === "handoff") button.append(icon("person"));
    button.append(html("span", { dir: "auto" }, label));
    return button;
  }
}

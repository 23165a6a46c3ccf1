/** One message of the visitor with its answer, kept in step with its `Turn`. Made and ordered by `log.ts`. */

import type { Rating, Source, SuggestedAction, Turn } from "../core/types.ts";
import { html, icon, iconButton, safeLink, setText, textButton } from "./dom.ts";
import type { Markdown } from "./markdown.ts";
import type * as More from "./more.ts";
import type { Words } from "./words.ts";

/** What can be done in the log; `panel.ts` does it. */
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
  openSource(key: string, n: number, opener: HTMLElement): void;
  /** Read an answer aloud, or stop; null: this browser has no voice or the chatbot does not want one. */
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
  readonly #sources = html("div", { class: "sources" });
  readonly #tools = html("div", { class: "tools" });
  readonly #comment = html("div", { class: "comment" });
  readonly #trouble = html("div", { class: "trouble" });
  readonly #actions = html("div", { class: "choices" });
  #turn: Turn;
  #until_ms = 0;
  #timer: ReturnType<typeof setInterval> | undefined;
  #thumbs: readonly HTMLButtonElement[] = [];
  #isRating = false;
  #markdown: Markdown | null = null;
  #isMade = false;

  constructor(turn: Turn, words: Words, deeds: Deeds) {
    this.#turn = turn;
    this.#words = words;
    this.#deeds = deeds;
    this.#typing = html("div", { class: "typing", role: "img", "aria-label": words.say("thinking") }, html("i"), html("i"), html("i"));
    this.#mine.append(html("span", { class: "sr" }, words.say("you_said")), this.#text, this.#state);
    this.#answer.append(html("span", { class: "sr" }, words.say("name_said")), this.body, this.#typing, this.#notes, this.#sources, this.#tools, this.#comment);
    this.node.append(this.#mine, this.#answer, this.#trouble, this.#actions);
    this.#sources.setAttribute("role", "group");
    this.#sources.setAttribute("aria-label", words.say("sources"));
    this.#actions.setAttribute("role", "group");
    this.#actions.setAttribute("aria-label", words.say("actions"));
  }

  get turn(): Turn {
    return this.#turn;
  }

  /** `isLast`: of the conversation; only there follow-ups are offered. `isOnline`: whether what waits is on its way. */
  update(turn: Turn, isLast: boolean, isOnline: boolean, make: MakeMarkdown | null): void {
    const before = this.#turn;
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
    if (before === turn || before.answer.sources !== turn.answer.sources || ended !== !isOpen(before)) this.#showSources(ended ? turn.answer.sources : []);
    this.#showTools(ended && !!text);
    this.#showTrouble(turn);
    this.#showActions(isLast && ended ? turn.answer.actions : []);
  }

  dispose(): void {
    clearInterval(this.#timer);
    this.node.remove();
  }

  #stateOf(turn: Turn, isOnline: boolean): string {
    if (turn.phase === "sending") return this.#words.say(isOnline ? "sending" : "queued");
    if (turn.phase === "refused") return this.#words.say("not_sent");
    if (turn.phase === "merged") return this.#words.say("merged");
    return this.#words.time(new Date(turn.createdAt));
  }

  #notesOf(turn: Turn, ended: boolean): string {
    if (turn.phase === "handed_off") return this.#words.own("handoff");
    if (turn.phase === "stopped") return this.#words.say("stopped");
    return ended && turn.answer.partial ? this.#words.say("partial") : "";
  }

  #showSources(sources: readonly Source[]): void {
    this.#sources.hidden = sources.length === 0;
    this.#sources.replaceChildren(
      ...sources.map((source) => {
        const title = source.title || this.#words.say("source_untitled");
        const before = html("span", { class: "sr" }, this.#words.say("source_n", { n: source.n, title: "" }));
        const number = html("b", { "aria-hidden": "true" }, String(source.n));
        const chip = html("button", { type: "button", class: "chip", title }, before, number, html("span", { dir: "auto" }, title));
        chip.addEventListener("click", () => this.#deeds.openSource(this.#turn.key, source.n, chip));
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
    const mark = html("button", { type: "button", class: "cite", "aria-label": this.#words.say("footnote", { n }) }, String(n));
    mark.addEventListener("click", () => this.#deeds.openSource(this.#turn.key, n, mark));
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
    const copy = iconButton("copy", words.say("copy_answer"), () => void this.#copy(copy));
    const tools = [copy];
    if (this.#deeds.read) tools.push(iconButton("speak", words.say("read_this"), () => this.#deeds.read?.(this.#turn)));
    if (this.#deeds.rates && this.#turn.messageId) {
      this.#thumbs = [
        iconButton("up", words.say("rate_up"), () => void this.#rate("up")),
        iconButton("down", words.say("rate_down"), () => void this.#rate("down")),
      ];
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
    button.title = this.#words.say(done ? "copied" : "copy_failed");
    this.#deeds.tell(button.title);
    setTimeout(() => {
      button.replaceChildren(icon("copy"));
      button.title = this.#words.say("copy_answer");
    }, COPIED_MS);
  }

  async #rate(rating: Rating): Promise<void> {
    const wanted = this.#turn.rating === rating ? null : rating;
    this.#comment.replaceChildren();
    if (this.#isRating) return;
    this.#isRating = true;
    try {
      await this.#deeds.rate(this.#turn.key, wanted);
      if (wanted === "down") void this.#askWhy().catch(() => this.#thank("rate_thanks"));
      else if (wanted) this.#thank("rate_thanks");
    } catch {
      this.#thank("rate_failed");
    } finally {
      this.#isRating = false;
    }
  }

  #thank(what: "rate_thanks" | "rate_failed"): void {
    const line = html("p", { class: "state", role: "status" });
    this.#comment.replaceChildren(line);
    line.textContent = this.#words.say(what);
    if (what === "rate_thanks") setTimeout(() => line.remove(), 4_000);
  }

  async #askWhy(): Promise<void> {
    const { commentForm } = await this.#deeds.more();
    const form = commentForm(this.#words, (comment) => {
      const inside = form.contains((form.getRootNode() as ShadowRoot).activeElement);
      form.remove();
      if (inside) this.#thumbs[1]?.focus();
      if (!comment) return;
      void this.#deeds.rate(this.#turn.key, "down", comment).then(
        () => this.#thank("rate_thanks"),
        () => this.#thank("rate_failed"),
      );
    });
    this.#comment.replaceChildren(form);
    form.querySelector("textarea")?.focus();
  }

  #showTrouble(turn: Turn): void {
    const { failure } = turn;
    const shown = failure !== null && (turn.phase === "failed" || turn.phase === "refused");
    this.#trouble.hidden = !shown;
    if (!shown) {
      clearInterval(this.#timer);
      this.#trouble.replaceChildren();
      return;
    }
    if (this.#trouble.firstChild) return;
    const words = this.#words;
    const wait = html("span", { class: "wait" });
    const line = html("p", { role: "status" }, words.failure(failure), " ", wait);
    const row = html("div", { class: "row" });
    const again = textButton("pill strong", words.say("retry"), () => this.#deeds.retry(this.#turn.key));
    if (failure.retriable || turn.phase === "failed") row.append(again);
    if (turn.phase === "refused") row.append(textButton("pill", words.say("discard"), () => this.#deeds.drop(this.#turn.key)));
    this.#trouble.append(line, row);
    this.#until_ms = Date.now() + failure.retryAfterS * 1000;
    const count = (): void => {
      const left = Math.ceil((this.#until_ms - Date.now()) / 1000);
      setText(wait, words.wait(left));
      again.disabled = left > 0;
      if (left <= 0) clearInterval(this.#timer);
    };
    clearInterval(this.#timer);
    if (failure.retryAfterS > 0) this.#timer = setInterval(count, 1000);
    count();
  }

  #showActions(actions: readonly SuggestedAction[]): void {
    const key = JSON.stringify(actions);
    if (this.#actions.dataset["shown"] === key) return;
    this.#actions.dataset["shown"] = key;
    this.#actions.hidden = actions.length === 0;
    this.#actions.replaceChildren(...actions.map((action) => this.#choice(action)).filter((node) => node !== null));
  }

  #choice(action: SuggestedAction): HTMLElement | null {
    const { kind, label, value } = action;
    const href = safeLink(kind === "handoff" || kind === "form" || kind === "link" ? value : "", this.#deeds.base);
    if (href) {
      const link = html("a", { class: "choice", href, target: "_blank", rel: "noopener noreferrer nofollow" }, icon("link"), html("span", { dir: "auto" }, label));
      link.append(html("span", { class: "sr" }, ` (${this.#words.say("new_tab")})`));
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

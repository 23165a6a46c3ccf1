/** The sources of one answer, one at a time, over the conversation. Loaded when the first one is opened. */

import type { Source } from "../core/types.ts";
import { T } from "../locales/keys.ts";
import { html, icon, iconButton, safeLink, setText } from "./dom.ts";
import type { Words } from "./words.ts";

const LEFT = "M14.500 6l-6 6 6 6";
const RIGHT = "M9.500 6l6 6-6 6";
const PAGE = "M7 3.500h7l4 4v13H7zM14 3.500v4h4M10 12h5M10 16h5";

export class Drawer {
  readonly #node: HTMLElement;
  readonly #veil = html("div", { class: "veil", hidden: "" });
  readonly #parent: HTMLElement;
  readonly #base: string;
  readonly #words: Words;
  readonly #kicker = html("p", { class: "state" });
  readonly #title = html("h2", { tabindex: -1, dir: "auto" });
  readonly #quote = html("blockquote", { dir: "auto" });
  readonly #link: HTMLAnchorElement;
  readonly #left: HTMLButtonElement;
  readonly #right: HTMLButtonElement;
  readonly #done: (opener: HTMLElement | null) => void;
  #sources: readonly Source[] = [];
  #at = 0;
  #opener: HTMLElement | null = null;

  /** `base`: the server; paths are its own. `done` gets what the focus goes back to. */
  constructor(parent: HTMLElement, words: Words, base: string, done: (opener: HTMLElement | null) => void) {
    this.#words = words;
    this.#parent = parent;
    this.#base = base;
    this.#done = done;
    this.#left = iconButton(LEFT, words.say(T.source_previous), () => this.#show(this.#at - 1));
    this.#right = iconButton(RIGHT, words.say(T.source_next), () => this.#show(this.#at + 1));
    const open = words.say(T.source_open);
    this.#link = html("a", { class: "pill strong", target: "_blank", rel: "noopener noreferrer nofollow" }, icon("link"), open, html("span", { class: "sr" }, ` (${words.say(T.new_tab)})`));
    const close = iconButton("close", words.say(T.source_close), () => this.close());
    this.#node = html(
      "section",
      { class: "drawer", role: "dialog", "aria-modal": "true", "aria-label": words.say(T.sources), hidden: "" },
      html("div", { class: "row" }, icon(PAGE), this.#kicker, this.#left, this.#right, close),
      html("div", { class: "drawer-body", "aria-live": "polite" }, this.#title, this.#quote),
      html("div", { class: "row" }, this.#link),
    );
    this.#node.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      this.close();
    });
    this.#veil.addEventListener("click", () => this.close());
    parent.append(this.#veil, this.#node);
  }

  open(sources: readonly Source[], n: number, opener: HTMLElement | null): void {
    this.#sources = sources;
    this.#opener = opener;
    this.#setShown(true);
    this.#show(Math.max(0, sources.findIndex((source) => source.n === n)));
    this.#title.focus({ preventScroll: true });
  }

  close(): void {
    if (this.#node.hidden) return;
    this.#setShown(false);
    this.#done(this.#opener);
  }

  /** While it is there, nothing else in the panel can be reached. */
  #setShown(shown: boolean): void {
    this.#node.hidden = this.#veil.hidden = !shown;
    for (const other of this.#parent.children) {
      const isHeard = other.hasAttribute("aria-live"); // an answer may end meanwhile
      if (other !== this.#node && other !== this.#veil && !isHeard) (other as HTMLElement).inert = shown;
    }
  }

  #show(at: number): void {
    const source = this.#sources[at];
    if (!source) return;
    this.#at = at;
    const only = this.#sources.length === 1;
    this.#left.hidden = this.#right.hidden = only;
    this.#left.disabled = at === 0;
    this.#right.disabled = at === this.#sources.length - 1;
    // A button that cannot be pressed hears no key either: not Escape.
    const { activeElement } = this.#node.getRootNode() as ShadowRoot;
    if (activeElement?.matches(":disabled")) this.#title.focus({ preventScroll: true });
    setText(this.#kicker, only ? this.#words.count(T.sources_count, 1) : `${source.n} / ${this.#sources.length}`);
    setText(this.#title, source.title || this.#words.say(T.source_untitled));
    setText(this.#quote, source.quote);
    const href = safeLink(source.url ?? "", this.#base);
    this.#link.hidden = !href;
    if (href) this.#link.href = href;
    else this.#link.removeAttribute("href");
  }
}

/** Where the visitor writes: grows with the text, sends with Enter, stops an answer. */

import { T } from "../locales/keys.ts";
import { html, iconButton, setText } from "./dom.ts";
import type { Words } from "./words.ts";

/** What the server takes, in characters. */
export const LONGEST = 32_000;
/** From here on what is left is told. */
const NEAR = 1_000;

export interface ComposerActs {
  send(text: string): void;
  stop(): void;
  /** What stands in the field now, for the next page; "" after it was sent. */
  written(text: string): void;
  /** The visitor writes: the avatar looks. */
  typing(): void;
}

export class Composer {
  readonly node: HTMLFormElement;
  readonly #box: HTMLTextAreaElement;
  readonly #send: HTMLButtonElement;
  readonly #stop: HTMLButtonElement;
  readonly #hint = html("p", { class: "hint", role: "status" });
  readonly #words: Words;
  readonly #acts: ComposerActs;

  constructor(words: Words, acts: ComposerActs) {
    this.#words = words;
    this.#acts = acts;
    this.#box = html("textarea", {
      class: "box", rows: 1, dir: "auto", autocomplete: "off", enterkeyhint: "send",
      "aria-label": words.say(T.composer), placeholder: words.own("placeholder", T.placeholder),
    });
    this.#send = iconButton("send", words.say(T.send), () => undefined, "round");
    this.#send.type = "submit";
    this.#stop = iconButton("stop", words.say(T.stop), () => acts.stop(), "round stop");
    this.#stop.hidden = true;
    this.node = html("form", { class: "composer", part: "composer" }, html("div", { class: "field" }, this.#box, this.#stop, this.#send), this.#hint);
    this.node.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.#box.addEventListener("keydown", (event) => {
      // Enter also ends what an input method composes: that one is not ours (229: Safari says so after the end).
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
      event.preventDefault();
      this.#submit();
    });
    this.#box.addEventListener("input", () => {
      this.#changed();
      acts.written(this.#box.value);
      acts.typing();
    });
    this.#changed();
  }

  get text(): string {
    return this.#box.value;
  }

  /** What was being written: before another language, before a reload. */
  take(text: string): void {
    this.#box.value = text;
    this.#changed();
  }

  focus(): void {
    this.#box.focus({ preventScroll: true });
  }

  /** Whether an answer is being written that can be stopped. */
  setStoppable(stoppable: boolean): void {
    if (this.#stop.hidden !== stoppable) return;
    const root = this.node.getRootNode() as ShadowRoot;
    const hadFocus = root.activeElement === this.#stop;
    this.#stop.hidden = !stoppable;
    if (hadFocus) this.focus();
  }

  /** Nothing can be said here (the chat is refused). */
  setRefused(refused: boolean): void {
    this.#box.disabled = refused;
    this.#send.disabled = refused;
  }

  /** Its own content says how high the field has to be; CSS bounds it. Nothing is to be seen of that while hidden. */
  grow(): void {
    const { style } = this.#box;
    if (CSS.supports("field-sizing", "content")) return;
    style.height = "auto";
    const { scrollHeight } = this.#box;
    if (scrollHeight > 0) style.height = `${scrollHeight}px`;
  }

  #submit(): void {
    const text = this.#box.value.trim();
    if (!text || lengthOf(text) > LONGEST || this.#box.disabled) {
      this.focus();
      return;
    }
    this.#box.value = "";
    this.#changed();
    this.#acts.written("");
    this.#acts.send(text);
  }

  #changed(): void {
    const length = lengthOf(this.#box.value.trim());
    const left = LONGEST - length;
    // Empty, the placeholder's direction counts; "auto" knows the value's only.
    this.#box.dir = this.#box.value ? "auto" : this.#words.direction;
    this.#send.classList.toggle("idle", length === 0);
    this.#send.setAttribute("aria-disabled", String(length === 0 || left < 0));
    const hint = left < 0 ? this.#words.count(T.too_long, -left) : left < NEAR ? this.#words.count(T.characters_left, left) : "";
    setText(this.#hint, hint);
    this.#hint.classList.toggle("over", left < 0);
    this.grow();
  }
}

/** In characters as the server counts them: an emoji is one. Only near the limit is that worth the counting. */
function lengthOf(text: string): number {
  return text.length < LONGEST - NEAR ? text.length : [...text].length;
}

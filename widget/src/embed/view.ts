/** What the launcher draws: its button with badge and face, and the panel's box until the panel is there. */

import { html, icon, tinyFace } from "./dom.ts";
import type { Locale } from "../config.ts";
import { label } from "./labels.ts";

const CROSS = "M6 6l12 12M18 6L6 18";
const CHEVRON = "M5.500 9.500l6.500 6.500 6.500-6.500";

/** What the visitor did; the element decides what follows. */
export interface Actions {
  toggle(): void;
  close(): void;
  retry(): void;
  /** The visitor is about to click. */
  intend(): void;
}

export class View {
  readonly frame = html("div", { class: "cw" });
  readonly #button: HTMLButtonElement;
  readonly #badge = html("span", { class: "cw-badge", "aria-hidden": "true" });
  readonly #actions: Actions;
  #wait: HTMLElement | null = null;
  #locale: Locale = "en";
  #words: string | null = null;
  #unread = 0;
  #open = false;

  constructor(actions: Actions, floating: boolean) {
    this.#actions = actions;
    this.#button = html("button", { type: "button", class: "cw-launcher", part: "launcher", "aria-haspopup": "dialog" }, tinyFace(), icon(CHEVRON), this.#badge);
    this.#button.addEventListener("click", actions.toggle);
    for (const name of ["pointerenter", "focus"]) this.#button.addEventListener(name, actions.intend, { passive: true, once: true });
    if (floating) {
      this.frame.append(this.#button);
      this.frame.addEventListener("keydown", (event) => {
        if (event.key === "Escape" && this.#open) actions.close(); // a chat in a page has no button that would open it again
      });
    }
    this.#name();
  }

  /** Show the button; before that it has no colours yet. */
  appear(): void {
    this.#button.classList.add("ready");
  }

  focus(): void {
    this.#button.focus({ preventScroll: true });
  }

  /** `words`: the operator's own for the button, in place of "Open chat". */
  setLocale(locale: Locale, words: string | null): void {
    this.#locale = locale;
    this.#words = words;
    this.frame.lang = locale;
    this.frame.dir = locale === "ar" ? "rtl" : "ltr";
    this.#name();
  }

  setUnread(count: number): void {
    this.#unread = count;
    this.#badge.textContent = count > 9 ? "9+" : count ? String(count) : "";
    this.#name();
  }

  setOpen(open: boolean): void {
    this.#open = open;
    this.#name();
  }

  /** The panel's box at once: a face and three grey lines. */
  wait(): void {
    this.#box(html("div", { class: "cw-lines" }, html("i"), html("i"), html("i")));
  }

  /** The same box saying what is wrong; `again` offers another try. */
  fail(again: boolean): void {
    const inner = html("div", { class: "cw-lines", role: "alert" }, html("p", {}, label("failed", this.#locale)));
    if (again) {
      const button = html("button", { type: "button", class: "cw-again" }, label("again", this.#locale));
      button.addEventListener("click", this.#actions.retry);
      inner.append(button);
    }
    this.#box(inner);
  }

  /** The panel is there, or closed. */
  done(): void {
    this.#wait?.remove();
    this.#wait = null;
  }

  #box(inner: HTMLElement): void {
    const box = html("div", { class: "cw-wait", part: "panel" }, html("div", { class: "cw-stage" }, tinyFace()), inner);
    if (this.#button.isConnected) {
      const shut = html("button", { type: "button", class: "cw-shut", "aria-label": label("close", this.#locale) }, icon(CROSS));
      shut.addEventListener("click", this.#actions.close);
      box.append(shut);
    }
    this.done();
    this.#wait = box;
    this.frame.append(box);
  }

  #name(): void {
    const opening = this.#words ?? label("open", this.#locale);
    const unread = this.#unread ? ` (${this.#unread})` : "";
    this.#button.setAttribute("aria-label", this.#open ? label("close", this.#locale) : opening + unread);
    this.#button.setAttribute("aria-expanded", String(this.#open));
  }
}

/** What else can be done with a conversation. A disclosure rather than a menu: its entries are plain buttons in tab order. */

import { html, icon } from "./dom.ts";

export class Menu {
  readonly node: HTMLElement;
  readonly #button: HTMLButtonElement;
  readonly #list = html("div", { class: "menu", hidden: "" });
  readonly #fill: (list: HTMLElement, leave: () => void) => Promise<void>;
  #isWanted = false;

  /** `fill` puts the entries in, once they are there; `leave` shuts the menu. */
  constructor(label: string, fill: (list: HTMLElement, leave: () => void) => Promise<void>) {
    this.#fill = fill;
    this.#button = html("button", { type: "button", class: "tool", "aria-label": label, title: label, "aria-expanded": "false" }, icon("menu"));
    this.#button.addEventListener("click", () => void this.#show(!this.#isWanted));
    this.node = html("div", { class: "menu-frame" }, this.#button, this.#list);
    this.node.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.#isWanted) return;
      event.stopPropagation();
      this.#leave();
    });
    this.node.addEventListener("focusout", (event) => {
      if (event.relatedTarget instanceof Node && !this.node.contains(event.relatedTarget)) this.close();
    });
  }

  close(): void {
    void this.#show(false);
  }

  #leave(): void {
    this.close();
    this.#button.focus();
  }

  /** Not every press elsewhere moves the focus. */
  readonly #pressed = (event: Event): void => {
    if (!event.composedPath().includes(this.node)) this.close();
  };

  async #show(wanted: boolean): Promise<void> {
    this.#isWanted = wanted;
    document.removeEventListener("pointerdown", this.#pressed);
    if (wanted) document.addEventListener("pointerdown", this.#pressed);
    this.#button.setAttribute("aria-expanded", String(wanted));
    if (wanted) await this.#fill(this.#list, () => this.#leave()).catch(() => (this.#isWanted = false));
    this.#list.hidden = !this.#isWanted;
    this.#button.setAttribute("aria-expanded", String(this.#isWanted));
  }
}

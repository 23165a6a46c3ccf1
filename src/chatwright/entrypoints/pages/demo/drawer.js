// The drawer that shows one source of an answer: title, quote, link, and the way to its neighbours.

import { safeHref } from "./markdown.js";

const $ = (id) => document.getElementById(id);

export class Drawer {
  #shown = { sources: [], index: 0 };

  constructor() {
    const drawer = $("drawer");
    $("drawer-close").addEventListener("click", () => drawer.close());
    $("drawer-previous").addEventListener("click", () => this.#turnTo(this.#shown.index - 1));
    $("drawer-next").addEventListener("click", () => this.#turnTo(this.#shown.index + 1));
    drawer.addEventListener("click", (event) => {
      if (event.target !== drawer) return; // the backdrop counts as the dialog itself
      const box = drawer.getBoundingClientRect();
      const inside = event.clientX >= box.left && event.clientX <= box.right && event.clientY >= box.top && event.clientY <= box.bottom;
      if (!inside) drawer.close();
    });
    drawer.addEventListener("keydown", (event) => {
      if (event.key === "ArrowLeft") this.#turnTo(this.#shown.index - 1);
      if (event.key === "ArrowRight") this.#turnTo(this.#shown.index + 1);
    });
  }

  /** Show `sources[index]`. The dialog keeps the focus inside and gives it back on closing. */
  open(sources, index) {
    this.#shown = { sources, index };
    $("drawer").showModal();
    this.#turnTo(index);
    $("drawer-title").focus();
  }

  #turnTo(index) {
    const { sources } = this.#shown;
    if (index < 0 || index >= sources.length) return;
    this.#shown.index = index;
    const source = sources[index];
    $("drawer-kicker").textContent = `Source ${source.n} of ${sources.length}`;
    $("drawer-title").textContent = source.title || "Untitled";
    $("drawer-quote").textContent = source.quote ?? "";
    $("drawer-quote").hidden = !source.quote;
    const score = Number(source.score);
    $("drawer-match").textContent = Number.isFinite(score) && source.score != null ? `Relevance ${Math.round(score * 100)} %` : "";
    const link = $("drawer-link");
    const href = source.url ? safeHref(source.url, location.href) : null;
    link.hidden = !href;
    if (href) link.href = href;
    $("drawer-previous").disabled = index === 0;
    $("drawer-next").disabled = index === sources.length - 1;
  }
}

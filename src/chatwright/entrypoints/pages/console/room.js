// What every room of the console has: its section of the page, its choice of a chatbot, loading that a later choice overtakes,
// and words for what fails. A room is made when it is entered and closed when it is left.

import { Refused } from "./api.js";
import { make } from "./dom.js";

const PER_PAGE = 25;

export class Room {
  /** `desk`: {api, chatbots, chatbot (slug, the last one chosen), refused(error)}, the same for all rooms. */
  constructor(section, desk) {
    this.section = section;
    this.desk = desk;
    this.loading = new AbortController();
    this.closing = new AbortController();
    this.chooser = section.querySelector("select[name=chatbot]");
    const all = [...this.chooser.options].filter((option) => option.value === "");
    this.chooser.replaceChildren(...all, ...desk.chatbots.map((one) => make("option", { value: one.slug }, one.name)));
    section.querySelector(".filters").reset();
    if (desk.chatbot) this.chooser.value = desk.chatbot;
    this.clear();
    this.on(section.querySelector(".filters"), "change", () => {
      desk.chatbot = this.chooser.value;
      this.load();
    });
    this.on(section.querySelector(".filters"), "submit", (event) => event.preventDefault());
  }

  /** The element of this room that is called so in the page. */
  part(name) {
    return this.section.querySelector(`[data-part="${name}"]`);
  }

  /** Listen until the room is left. */
  on(target, type, listener) {
    target.addEventListener(type, listener, { signal: this.closing.signal });
  }

  nameOf(chatbotId) {
    return this.desk.chatbots.find((one) => one.id === chatbotId)?.name ?? "A deleted chatbot";
  }

  /** Forget what was shown: the next one at this desk may not be allowed to read it. */
  close() {
    this.loading.abort();
    this.closing.abort();
    this.clear();
  }

  clear() {
    for (const element of this.section.querySelectorAll("[data-filled]")) element.replaceChildren();
    for (const element of this.section.querySelectorAll("[data-hidden]")) element.hidden = true;
  }

  /** Ask anew for all that the filters say. A later choice takes the place of one that is still on its way. */
  async load() {
    this.loading.abort();
    const { signal } = (this.loading = new AbortController());
    this.section.setAttribute("aria-busy", "true");
    try {
      await this.fill(signal);
    } catch (error) {
      this.fail(error);
    } finally {
      if (!signal.aborted) this.section.removeAttribute("aria-busy");
    }
  }

  /** Say what failed, at the head of the room. */
  fail(error) {
    if (!this.isTold(error)) return;
    const again = make("button", { class: "button", type: "button" }, "Try again");
    again.addEventListener("click", () => this.load());
    this.part("fault").replaceChildren(make("p", {}, error.message), again);
    this.part("fault").hidden = false;
  }

  /** Do what a button says, once at a time; what fails is said below it. True if it was done. */
  async act(button, work) {
    const row = button.closest(".acts");
    row.querySelector(".notice")?.remove();
    button.disabled = true;
    try {
      await work(this.closing.signal);
      return true;
    } catch (error) {
      if (this.isTold(error)) row.append(make("p", { class: "notice", role: "alert" }, error.message));
      return false;
    } finally {
      button.disabled = false;
    }
  }

  /** Whether somebody in this room has to hear of an error; one of the key ends the visit. */
  isTold(error) {
    if (error.name === "AbortError") return false;
    if (!(error instanceof Refused)) throw error;
    if (error.isOfKey) this.desk.refused(error);
    return !error.isOfKey;
  }

  say(words) {
    this.part("status").textContent = words;
  }
}

/** A room with a list that grows by its button. `askPage(cursor, signal)` gives {items, next_cursor}, `draw(item)` an element. */
export class ListRoom extends Room {
  constructor(section, desk) {
    super(section, desk);
    this.on(this.part("more"), "click", () => this.more());
  }

  /** Show the first page. What is long is measured, so the list has to be in sight by then. */
  begin(page) {
    this.part("list").replaceChildren();
    this.append(page);
    this.part("none").hidden = page.items.length > 0;
  }

  append({ items, next_cursor }) {
    this.part("list").append(...items.map((item) => this.draw(item)));
    foldLong(this.part("list"));
    this.cursor = next_cursor;
    this.part("more").hidden = next_cursor === null;
  }

  async more() {
    const before = this.part("list").children.length;
    this.part("more").disabled = true;
    try {
      this.append(await this.askPage(this.cursor, this.loading.signal));
      this.part("list").children[before]?.focus(); // the button may be gone, and one reads on here
    } catch (error) {
      this.fail(error);
    } finally {
      this.part("more").disabled = false;
    }
  }

  /** A page of what `path` lists. */
  page(path, query, cursor, signal) {
    return this.desk.api.get(path, { ...query, limit: PER_PAGE, cursor }, signal);
  }
}

/** Long texts are cut off, each with a button that shows the rest. */
function foldLong(parent) {
  for (const text of parent.querySelectorAll(".long:not([data-measured])")) {
    if (text.clientHeight === 0) continue; // in something closed
    text.dataset.measured = "";
    if (text.scrollHeight <= text.clientHeight + 2) continue;
    const button = make("button", { class: "whole", type: "button", "aria-expanded": "false" }, "Show all of it");
    button.addEventListener("click", () => {
      const open = text.classList.toggle("open");
      button.setAttribute("aria-expanded", String(open));
      button.textContent = open ? "Show less" : "Show all of it";
    });
    text.after(button);
  }
}

// The room "Feedback": figures, a chart by day, and the answers that visitors rated. All that visitors and models wrote is text
// in text nodes, never markup.

import { Refused } from "./api.js";
import { chartOf, daysFrom, tableOf } from "./chart.js";
import { icon, make } from "./dom.js";

const PER_PAGE = 25;
const CACHES = ["exact", "semantic"]; // other values say why none gave the answer
const DAY_MS = 86_400_000;
const WORDS = { up: "Thumb up", down: "Thumb down" };
const count = new Intl.NumberFormat("en");
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const $ = (id) => document.getElementById(id);

export class FeedbackRoom {
  /** `refused` is called when the server takes the key no more. */
  constructor(api, chatbots, { refused }) {
    this.api = api;
    this.refused = refused;
    this.names = new Map(chatbots.map((one) => [one.id, one.name]));
    this.cursor = null;
    this.shown = 0;
    this.commented = 0;
    this.loading = new AbortController();
    this.closing = new AbortController();
    const choice = $("filters").elements.chatbot;
    choice.replaceChildren(choice.options[0], ...chatbots.map((one) => make("option", { value: one.slug }, one.name)));
    $("filters").reset();
    this.clear();
    const { signal } = this.closing;
    $("filters").addEventListener("change", () => this.load(), { signal });
    $("more").addEventListener("click", () => this.more(), { signal });
  }

  /** Forget what was shown: the next one at this desk may not be allowed to read it. */
  close() {
    this.loading.abort();
    this.closing.abort();
    this.clear();
  }

  clear() {
    for (const id of ["figures", "chart", "table", "said", "fault", "status"]) $(id).replaceChildren();
    for (const id of ["report", "empty", "none", "more", "fault"]) $(id).hidden = true;
  }

  wanted() {
    const { chatbot, rating, days } = $("filters").elements;
    const since = new Date(Date.now() - (Number(days.value) - 1) * DAY_MS);
    return { chatbot: chatbot.value, rating: rating.value, from: since.toISOString().slice(0, 10) };
  }

  /** Ask anew for all that the filters say. A later choice takes the place of one that is still on its way. */
  async load() {
    this.loading.abort();
    const { signal } = (this.loading = new AbortController());
    const { rating, ...both } = (this.filter = this.wanted());
    $("feedback").setAttribute("aria-busy", "true");
    try {
      const [summary, page] = await Promise.all([
        this.api.get("/api/v1/feedback/summary", both, signal),
        this.api.get("/api/v1/feedback", { ...both, rating, limit: PER_PAGE }, signal),
      ]);
      this.clear();
      this.shown = this.commented = 0;
      this.report(summary, both.from, page);
    } catch (error) {
      this.fail(error);
    } finally {
      if (!signal.aborted) $("feedback").removeAttribute("aria-busy");
    }
  }

  async more() {
    const { signal } = this.loading;
    $("more").disabled = true;
    try {
      const page = await this.api.get("/api/v1/feedback", { ...this.filter, limit: PER_PAGE, cursor: this.cursor }, signal);
      const before = this.shown;
      this.append(page);
      $("said").children[before]?.focus(); // the button may be gone, and one reads on here
    } catch (error) {
      this.fail(error);
    } finally {
      $("more").disabled = false;
    }
  }

  fail(error) {
    if (error.name === "AbortError") return;
    if (!(error instanceof Refused)) throw error;
    if ([401, 403].includes(error.status)) {
      this.refused(error);
      return;
    }
    const again = make("button", { class: "button", type: "button" }, "Try again");
    again.addEventListener("click", () => this.load());
    $("fault").replaceChildren(make("p", {}, error.message), again);
    $("fault").hidden = false;
  }

  report(summary, from, page) {
    const { up, down, share } = summary;
    $("empty").hidden = up + down > 0;
    $("report").hidden = up + down === 0;
    $("status").textContent = up + down === 0 ? "No ratings" : `${count.format(up)} up, ${count.format(down)} down`;
    if (up + down === 0) return;
    const days = daysFrom(summary.days, from, summary.time_zone);
    $("chart").replaceChildren(chartOf(days), make("p", { class: "ends", "aria-hidden": "true" }, make("span", {}, days[0].day), make("span", {}, days.at(-1).day)));
    $("table").replaceChildren(tableOf(days));
    this.comments = make("dd");
    $("figures").replaceChildren(
      figure("Ratings", make("dd", {}, count.format(up + down))),
      figure("Thumbs up", make("dd", {}, `${Math.round(share * 100)} %`, make("small", {}, `${count.format(up)} up, ${count.format(down)} down`))),
      figure("Comments", this.comments),
    );
    this.append(page);
    $("none").hidden = page.items.length > 0;
  }

  append({ items, next_cursor }) {
    $("said").append(...items.map((item) => this.item(item)));
    for (const answer of $("said").querySelectorAll(".answer:not([data-measured])")) clamp(answer);
    this.shown += items.length;
    this.commented += items.filter((item) => item.comment).length;
    this.comments.replaceChildren(count.format(this.commented), make("small", {}, `with the ${count.format(this.shown)} shown below`));
    this.cursor = next_cursor;
    $("more").hidden = next_cursor === null;
  }

  item(said) {
    const from = CACHES.includes(said.cached) ? `${said.cached} cache` : [said.provider, said.model].filter(Boolean).join(" · ");
    const sources = said.sources.map((one) => one.title || one.url).filter(Boolean);
    return make(
      "li",
      { class: "sheet", tabindex: "-1" },
      make(
        "p",
        { class: "facts" },
        make("strong", { class: `rating ${said.rating}` }, icon(`thumb-${said.rating}`), WORDS[said.rating]),
        make("span", {}, this.names.get(said.chatbot_id) ?? "A deleted chatbot"),
        from ? make("span", {}, from) : "",
        make("time", { datetime: said.created_at }, moment.format(new Date(said.created_at))),
      ),
      said.comment ? make("blockquote", {}, make("span", { class: "visually-hidden" }, "Comment: "), said.comment) : "",
      make("h3", {}, make("span", { class: "visually-hidden" }, "Question: "), said.question),
      make("p", { class: "answer" }, make("span", { class: "visually-hidden" }, "Answer: "), said.answer),
      sources.length ? make("p", { class: "sources" }, `Sources: ${[...new Set(sources)].join(", ")}`) : "",
    );
  }
}

function figure(name, value) {
  return make("div", { class: "sheet" }, make("dt", {}, name), value);
}

/** A long answer is cut off, with a button that shows the rest. */
function clamp(answer) {
  answer.dataset.measured = "";
  if (answer.scrollHeight <= answer.clientHeight + 2) return;
  const button = make("button", { class: "whole", type: "button", "aria-expanded": "false" }, "Show the whole answer");
  button.addEventListener("click", () => {
    const open = answer.classList.toggle("open");
    button.setAttribute("aria-expanded", String(open));
    button.textContent = open ? "Show less" : "Show the whole answer";
  });
  answer.after(button);
}

// The room "Feedback": figures, a chart by day, and the answers that visitors rated. All that visitors and models wrote is text
// in text nodes, never markup.

import { chartOf, dayIn, daysFrom, tableOf } from "./chart.js";
import { figure, icon, make, number, percent, unseen, when } from "./dom.js";
import { ListRoom } from "./room.js";

const CACHES = ["exact", "semantic"]; // other values say why none gave the answer
const WORDS = { up: "Thumb up", down: "Thumb down" };

export class FeedbackRoom extends ListRoom {
  constructor(section, desk) {
    super(section, desk);
    this.part("rating").value = "";
    this.on(this.part("rating"), "change", () => this.loadList());
  }

  get filter() {
    const { chatbot, days } = this.section.querySelector(".filters").elements;
    return { chatbot: chatbot.value, days: days.value };
  }

  askPage(cursor, signal) {
    return this.page("/api/v1/feedback", { ...this.filter, rating: this.part("rating").value }, cursor, signal);
  }

  async fill(signal) {
    const [summary, page] = await Promise.all([
      this.desk.api.get("/api/v1/feedback/summary", this.filter, signal),
      this.askPage("", signal),
    ]);
    this.clear();
    this.report(summary);
    this.begin(page);
  }

  /** Another rating narrows the list; what stands above it stays. */
  async loadList() {
    this.loading.abort();
    const { signal } = (this.loading = new AbortController());
    try {
      this.begin(await this.askPage("", signal));
    } catch (error) {
      this.fail(error);
    }
  }

  report({ up, down, share, comments, days: counted, since, time_zone: zone }) {
    this.part("empty").hidden = up + down > 0;
    this.part("report").hidden = up + down === 0;
    this.say(up + down === 0 ? "No ratings" : `${number(up)} up, ${number(down)} down`);
    if (up + down === 0) return;
    const days = daysFrom(counted, dayIn(zone, new Date(since)), dayIn(zone, new Date()));
    const ends = [days[0].day, days.at(-1).day].map((day) => make("span", {}, day));
    this.part("chart").replaceChildren(chartOf(days), make("p", { class: "ends", "aria-hidden": "true" }, ...ends));
    this.part("table").replaceChildren(tableOf(days));
    this.part("figures").replaceChildren(
      figure("Ratings", number(up + down)),
      figure("Thumbs up", percent(share), `${number(up)} up, ${number(down)} down`),
      figure("Comments", number(comments)),
    );
  }

  draw(said) {
    const from = CACHES.includes(said.cached) ? `${said.cached} cache` : [said.provider, said.model].filter(Boolean).join(" · ");
    const sources = said.sources.map((one) => one.title || one.url).filter(Boolean);
    return make(
      "li",
      { class: "sheet", tabindex: "-1" },
      make(
        "p",
        { class: "facts" },
        make("strong", { class: `pill ${said.rating === "up" ? "good" : "bad"}` }, icon(`thumb-${said.rating}`), WORDS[said.rating]),
        make("span", {}, this.nameOf(said.chatbot_id)),
        from ? make("span", {}, from) : "",
        when(said.created_at),
      ),
      said.comment ? make("blockquote", {}, unseen("Comment: "), said.comment) : "",
      make("h3", {}, unseen("Question: "), said.question),
      make("p", { class: "answer long" }, unseen("Answer: "), said.answer),
      sources.length ? make("p", { class: "sources" }, `Sources: ${[...new Set(sources)].join(", ")}`) : "",
    );
  }
}

// The room "Guard": what the guard found, what of it was no attack, and a text tried. Excerpts are strangers' words: text, never
// markup.

import { button, figure, make, number, percent, several, unseen, when } from "./dom.js";
import { ListRoom } from "./room.js";

const DAYS = 30; // the log keeps as many, unless it is told otherwise
const PLACES = { input: "Visitor's message", metadata: "Page's own words", document: "Document", output: "Answer", leak: "Leak in an answer" };
const ANSWERS = ["output", "leak"];
const VERDICTS = { flag: "Noted", advise: "Model was warned", block: "Refused", mask: "Masked", stop: "Answer was stopped" };
const TRIED = { allow: "It passes", flag: "It passes, and is noted", advise: "It passes, with a warning to the model", block: "It is refused" };
const MODEL = "model";

export class GuardRoom extends ListRoom {
  constructor(section, desk) {
    super(section, desk);
    this.on(this.part("allowed"), "toggle", () => this.part("allowed").open && this.showAllowed());
    this.on(this.part("try"), "submit", (event) => {
      event.preventDefault();
      this.act(event.submitter, (signal) => this.tryText(signal));
    });
  }

  clear() {
    super.clear();
    this.part("allowed").open = false;
    this.part("try").reset();
  }

  get filter() {
    const { chatbot, direction, verdict } = this.section.querySelector(".filters").elements;
    return { chatbot: chatbot.value, direction: direction.value, verdict: verdict.value };
  }

  askPage(cursor, signal) {
    return this.page("/api/v1/guard/events", this.filter, cursor, signal);
  }

  async fill(signal) {
    const [stats, page] = await Promise.all([this.askStats(signal), this.askPage("", signal)]);
    this.part("fault").hidden = true;
    this.report(stats);
    const { direction, verdict } = this.filter;
    const isEmpty = page.items.length === 0 && !direction && !verdict;
    this.part("empty").hidden = !isEmpty;
    this.part("found").hidden = isEmpty;
    this.begin(page);
    this.part("rest").hidden = false;
  }

  askStats(signal) {
    return this.desk.api.get("/api/v1/guard/stats", { days: DAYS, chatbot: this.filter.chatbot }, signal);
  }

  report({ events, wrong, wave }) {
    const lately = wave === null ? figure("Last ten minutes", "–", "cannot be asked now") : figure("Last ten minutes", number(wave.lately), `usually ${number(Math.round(wave.usual))}`);
    this.part("figures").replaceChildren(
      figure(`Findings in ${DAYS} days`, number(events)),
      figure("Of them no attacks", number(wrong), "as somebody said here"),
      lately,
    );
    this.part("figures").hidden = false;
    this.part("wave").hidden = !wave?.began_at;
    if (wave?.began_at) this.part("wave").replaceChildren("An attack wave is under way since ", when(wave.began_at), ".");
    this.say(several(events, "finding"));
  }

  draw(event) {
    const rules = event.rules.filter((rule) => rule !== MODEL);
    const found = [rules.length ? `Rules: ${rules.join(", ")}` : "", event.score === null ? "" : `the model is ${percent(event.score)} sure`];
    const item = make(
      "li",
      { class: "sheet", tabindex: "-1" },
      make(
        "p",
        { class: "facts" },
        make("strong", { class: `pill ${event.wrong_at ? "" : "bad"}` }, VERDICTS[event.verdict] ?? event.verdict),
        make("span", {}, PLACES[event.direction] ?? event.direction),
        event.chatbot_id ? make("span", {}, this.nameOf(event.chatbot_id)) : "",
        when(event.created_at),
      ),
      make("blockquote", {}, unseen("Excerpt: "), event.excerpt || "(nothing to be seen)"),
      make("p", { class: "sources" }, found.filter(Boolean).join("; ") || "No rule"),
    );
    item.append(make("div", { class: "acts" }, ...this.acts(event, item)));
    return item;
  }

  acts(event, item) {
    if (event.wrong_at) return [make("p", { class: "hint" }, "Marked as no attack, ", when(event.wrong_at))];
    const mark = (covers) => (pressed) =>
      this.act(pressed, async (signal) => {
        const marked = await this.desk.api.call("POST", `/api/v1/guard/events/${event.id}/wrong`, { covers }, signal);
        const drawn = this.draw(marked);
        item.replaceWith(drawn);
        drawn.focus();
        this.report(await this.askStats(signal));
        this.say("Marked as no attack");
        if (this.part("allowed").open) await this.showAllowed();
      });
    if (ANSWERS.includes(event.direction)) return [button("This was wrong", mark("text"))];
    const buttons = [button("No attack: let this text pass", mark("text"))];
    if (event.rule !== MODEL && event.span[1] > event.span[0]) buttons.push(button(`Let these words pass “${event.rule}” in any text`, mark("span"), "plain"));
    return buttons;
  }

  async showAllowed() {
    const { signal } = this.closing;
    try {
      const { items, next_cursor } = await this.desk.api.get("/api/v1/guard/allow", { limit: 200 }, signal);
      this.part("allow-list").replaceChildren(...items.map((entry) => this.drawAllowed(entry)));
      this.part("allow-none").hidden = items.length > 0;
      this.part("allow-more").hidden = next_cursor === null;
    } catch (error) {
      this.fail(error);
    }
  }

  drawAllowed(entry) {
    const covers = entry.rule === "*" ? "This text" : `These words, under “${entry.rule}”`;
    const remove = (pressed) =>
      this.act(pressed, async (signal) => {
        await this.desk.api.call("DELETE", `/api/v1/guard/allow/${entry.id}`, undefined, signal);
        await this.showAllowed();
        this.part("allowed").querySelector("summary").focus();
        this.say("Taken off the allow list");
      });
    return make(
      "li",
      {},
      make("p", {}, entry.excerpt),
      make("p", { class: "facts" }, covers, when(entry.created_at)),
      make("div", { class: "acts" }, button("Take off the list", remove, "plain")),
    );
  }

  async tryText(signal) {
    const text = this.part("try").elements.text.value;
    const asked = { text, ...(this.filter.chatbot ? { chatbot: this.filter.chatbot } : {}) };
    const tried = await this.desk.api.call("POST", "/api/v1/guard/test", asked, signal);
    const findings = tried.findings.map((one) => make("li", {}, make("strong", {}, one.rule), one.excerpt ? `: “${one.excerpt}”` : ""));
    const how = [
      tried.score === null ? "" : `The model is ${percent(tried.score)} sure that it is an attack.`,
      tried.allowed ? "It is on the allow list." : "",
      tried.input === "off" ? "The guard is switched off here." : "",
    ];
    this.part("tried").replaceChildren(
      make("p", {}, make("strong", {}, `${TRIED[tried.verdict] ?? tried.verdict}.`), ` ${how.filter(Boolean).join(" ")}`),
      findings.length ? make("ul", {}, ...findings) : make("p", {}, "No rule finds anything in it."),
    );
  }
}

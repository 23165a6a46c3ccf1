// The room "Cache": a chatbot's kept answers with where they came from. An operator takes out what is wrong: one answer, all its
// kin, or the question with all that was learned of it.

import { confirmed } from "./confirm.js";
import { button, figure, make, number, percent, several, unseen, when } from "./dom.js";
import { ListRoom } from "./room.js";

const TEXT_AT_MOST = 2_000;
const STATES = {
  stricter: "The learned answers have been wrong too often of late: they are given only where it is surer.",
  suspended: "The learned answers have been wrong too often: none is given until checks find them right again.",
  off: "Learned answers are switched off for this chatbot.",
};
const MODES = { off: "The caches are switched off for this chatbot.", "read-only": "The caches give answers and keep no new ones.", "write-only": "The caches keep answers and give none." };
const DROP = { sure: "It goes from both caches, in all processes, within a second. The question stays learned, and is answered anew when it is next asked.", verb: "Take it out" };

export class CacheRoom extends ListRoom {
  constructor(section, desk) {
    super(section, desk);
    this.on(this.section.querySelector(".filters"), "submit", () => this.load());
    this.on(this.part("everything"), "click", () => this.purgeEverything());
  }

  get path() {
    return `/api/v1/chatbots/${encodeURIComponent(this.chooser.value)}/cache`;
  }

  get filter() {
    const { tier, text } = this.section.querySelector(".filters").elements;
    return { tier: tier.value, text: text.value.trim() };
  }

  askPage(cursor, signal) {
    return this.page(`${this.path}/entries`, this.filter, cursor, signal);
  }

  async fill(signal) {
    if (!this.chooser.value) {
      this.part("no-chatbot").hidden = false;
      return;
    }
    const [stats, page] = await Promise.all([this.desk.api.get(this.path, {}, signal), this.askPage("", signal)]);
    for (const name of ["fault", "gone"]) this.part(name).hidden = true;
    this.report(stats);
    const isEmpty = page.items.length === 0 && page.next_cursor === null && !this.filter.text;
    this.part("empty").hidden = !isEmpty;
    this.part("found").hidden = isEmpty;
    this.begin(page);
  }

  report({ mode, exact, semantic, false_hits: measured }) {
    const { rate, low, high, max_error: bound } = measured;
    const range = `${percent(low ?? 0, 1)} to ${percent(high ?? 0, 1)} with 95 % confidence; at most ${percent(bound, 1)} are let pass`;
    this.part("figures").replaceChildren(
      figure("Learned answers", number(semantic.live), `to ${several(semantic.classes, "question")}; ${several(exact.entries, "exact copy").replace("copys", "copies")}`),
      figure("Given again", number(semantic.hits), "by what was learned"),
      rate === null ? figure("Measured wrong", "–", "no check so far") : figure("Measured wrong", percent(rate, 1), range),
    );
    this.part("figures").hidden = false;
    const state = MODES[mode] ?? STATES[semantic.state] ?? "";
    this.part("state").textContent = state;
    this.part("state").hidden = state === "";
    this.say(`${several(semantic.live, "learned answer")}`);
  }

  draw(item) {
    return item.answers ? this.drawClass(item) : this.drawExact(item);
  }

  drawExact(item) {
    return make(
      "li",
      { class: "sheet", tabindex: "-1" },
      make("p", { class: "facts" }, make("span", {}, `Kept for ${several(Math.max(1, Math.round(item.ttl_s / 60)), "more minute")}`), when(item.provenance.made_at)),
      make("h3", {}, unseen("Question: "), item.question),
      ...this.answer(item, { answer_id: item.provenance.answer_id }),
    );
  }

  drawClass(item) {
    const asked = item.answers[0]?.question ?? item.phrasings.find((one) => one.verdict === "verified")?.text ?? "A question";
    const checks = item.agreed + item.disagreed;
    const said = [...new Map(item.answers.map((one) => [one.text, one])).values()]; // the same one may be kept for several contexts
    const answers = said.flatMap((one) => this.answer(one, said.length > 1 ? { class_id: item.id, ...named(one) } : { class_id: item.id }));
    const acts = answers.length === 0 ? make("div", { class: "acts" }) : answers.at(-1);
    acts.append(button("Forget the question", (pressed) => this.forget(pressed, item.id), "plain"));
    return make(
      "li",
      { class: "sheet", tabindex: "-1" },
      make(
        "p",
        { class: "facts" },
        make("span", {}, `Given ${several(item.hits, "time")}`),
        checks ? make("span", {}, `${item.agreed} of ${several(checks, "check")} agreed`) : "",
        when(item.used_at),
      ),
      make("h3", {}, unseen("Question: "), asked),
      item.phrasings.length > 1 ? phrasings(item.phrasings) : "",
      ...(answers.length ? answers : [make("p", { class: "hint" }, "No answer is kept. The question is answered anew when it is next asked."), acts]),
    );
  }

  /** An answer, where it came from, and how it goes: `wanted` names it. */
  answer(kept, wanted) {
    const from = kept.live === false ? "Out of date: it is made anew when it is next asked for." : "";
    const wrong = button("This answer is wrong", (pressed) => this.purge(pressed, { ...wanted, kin: false }, { title: "Take this answer out?", ...DROP }));
    const kin = button("Take it out with its kin", (pressed) => this.purge(pressed, { ...wanted, kin: true }, {
      title: "Take this answer out, with its kin?",
      sure: "With it go all answers to the same question, and all that were made with a document that it was made with.",
      verb: "Take them out",
    }), "plain");
    return [
      make("p", { class: "answer long" }, unseen("Answer: "), kept.text),
      from ? make("p", { class: "hint" }, from) : "",
      provenance(kept),
      wanted.answer_id || wanted.class_id ? make("div", { class: "acts" }, wrong, kin) : "",
    ];
  }

  async purge(pressed, wanted, words) {
    if (!(await confirmed(words))) return;
    await this.act(pressed, async (signal) => this.tell(await this.desk.api.call("POST", `${this.path}/purge`, wanted, signal)));
  }

  forget(pressed, classId) {
    return this.purge(pressed, { class_id: classId, kin: false, forget: true }, {
      title: "Forget this question?",
      sure: "Its answers go, and so does all that was learned of how people ask it.",
      verb: "Forget it",
    });
  }

  purgeEverything() {
    return this.purge(this.part("everything"), { everything: true }, {
      title: "Take out every kept answer of this chatbot?",
      sure: "Each question is answered anew when it is next asked. What was learned of the questions stays.",
      verb: "Take all out",
    });
  }

  /** Say what went, and show what is left. */
  async tell({ exact, answers, classes }) {
    const gone = [several(answers, "learned answer"), several(exact, "exact copy").replace("copys", "copies"), ...(classes ? [several(classes, "question")] : [])];
    await this.load();
    this.part("gone").textContent = `Gone: ${gone.join(", ")}.`;
    this.part("gone").hidden = false;
    this.part("gone").focus();
  }
}

/** What tells one of several answers to a question from the others. */
function named({ text, provenance: { answer_id: id } }) {
  return id ? { answer_id: id } : { text: text.slice(0, TEXT_AT_MOST) };
}

function phrasings(all) {
  const rows = all.map((one) => make("li", {}, one.text, one.verdict === "verified" ? "" : make("small", {}, ` ${one.verdict}`)));
  return make("details", {}, make("summary", {}, `${several(all.length, "way")} to ask it`), make("ul", {}, ...rows));
}

function provenance({ provider, model, cost_nano: cost, sources, provenance: made }) {
  const rows = [
    ["Made by", provider === "seed" ? "a seed that somebody gave" : [provider, model].filter(Boolean).join(" · ")],
    ["At", when(made.made_at)],
    ["Sources", sources.map((one) => one.title || one.url).filter(Boolean).join(", ")],
    ["Documents", made.document_ids.join(", ")],
    ["Cost", cost ? `${(cost / 1e9).toFixed(6)} USD` : ""],
    ["Chatbot's revision", String(made.revision)],
    ["Knowledge's version", made.knowledge_version === null ? "" : String(made.knowledge_version)],
    ["Answer", made.answer_id ?? ""],
  ];
  const shown = rows.filter(([, value]) => value !== "").flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]);
  return make("details", {}, make("summary", {}, "Where it came from"), make("dl", { class: "origin" }, ...shown));
}

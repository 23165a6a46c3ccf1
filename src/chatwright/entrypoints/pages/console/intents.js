// The room "Intents": a chatbot's own intents with their examples, how well they are told apart, and a sentence tried. A worker
// trains the model as soon as something is saved; the room waits for it and shows what came of it.

import { confirmed } from "./confirm.js";
import { button, figure, make, number, percent, several, when } from "./dom.js";
import { Room } from "./room.js";

const LOOK_AGAIN_MS = 1_000;
const LOOKS_AT_MOST = 120;
const STATES = { none: "No model", training: "Training …", trained: "Trained" };

export class IntentsRoom extends Room {
  constructor(section, desk) {
    super(section, desk);
    this.on(this.part("new"), "submit", (event) => {
      event.preventDefault();
      this.act(event.submitter, (signal) => this.add(signal));
    });
    this.on(this.part("try"), "submit", (event) => {
      event.preventDefault();
      this.act(event.submitter, (signal) => this.tryText(signal));
    });
  }

  clear() {
    super.clear();
    this.part("new").reset();
    this.part("try").reset();
  }

  get path() {
    return `/api/v1/chatbots/${encodeURIComponent(this.chooser.value)}/intents`;
  }

  async fill(signal) {
    if (!this.chooser.value) {
      this.part("no-chatbot").hidden = false;
      return;
    }
    const shown = await this.desk.api.get(this.path, {}, signal);
    this.clear();
    this.part("report").hidden = false;
    this.show(shown);
    this.watch(shown, signal).catch((error) => this.fail(error));
  }

  /** Look again until the model is trained. Another load, or leaving the room, ends it. */
  async watch(shown, signal) {
    let { state } = shown;
    for (let looks = 0; state === "training" && looks < LOOKS_AT_MOST; looks += 1) {
      await pause(LOOK_AGAIN_MS, signal);
      const now = await this.desk.api.get(this.path, {}, signal);
      state = now.state;
      this.report(now);
      if (state === "trained") this.say("The model is trained");
    }
  }

  /** What is there now. A card that stays keeps what somebody is writing in it. */
  show(shown) {
    this.report(shown);
    const cards = new Map([...this.part("list").children].map((card) => [card.dataset.name, card]));
    for (const one of shown.intents) {
      const card = cards.get(one.name) ?? this.part("list").appendChild(this.draw(one));
      card.querySelector(".hint").textContent = ` ${several(one.examples.length, "example")}`;
      cards.delete(one.name);
    }
    for (const card of cards.values()) card.remove();
    this.part("empty").hidden = shown.intents.length > 0;
    this.part("try").hidden = shown.intents.length === 0;
  }

  report({ intents, state, trained_at: trained, quality }) {
    const examples = intents.reduce((all, one) => all + one.examples.length, 0);
    this.part("figures").replaceChildren(
      figure("Intents", number(intents.length), several(examples, "example")),
      figure("Model", STATES[state] ?? state, trained && state === "trained" ? when(trained) : ""),
      quality?.accuracy == null
        ? figure("Told apart", "–", "after the first training")
        : figure("Told apart", percent(quality.accuracy), `of the examples, unseen; ${percent(quality.named)} named, ${percent(quality.right_of_named)} of these right`),
    );
    const pairs = quality?.confusions ?? [];
    this.part("confusions").hidden = pairs.length === 0;
    this.part("pairs").replaceChildren(...pairs.map((one) => make("li", {}, `${one.intent} is read as ${one.read_as}: ${several(one.count, "example")}`)));
  }

  draw({ name, examples }) {
    const area = make("textarea", { rows: String(Math.min(12, examples.length + 2)), spellcheck: "false" });
    area.value = examples.join("\n");
    const save = button("Save", (pressed) => this.act(pressed, (signal) => this.save(name, area.value, signal)), "main");
    const remove = button("Delete", (pressed) => this.remove(pressed, name), "plain");
    return make(
      "li",
      { class: "sheet", "data-name": name },
      make(
        "details",
        {},
        make("summary", {}, make("strong", {}, name), make("span", { class: "hint" })),
        make("label", {}, `What visitors say who mean ${name}, one a line`, area),
        make("div", { class: "acts" }, save, remove),
      ),
    );
  }

  async add(signal) {
    const { name, examples } = this.part("new").elements;
    await this.save(name.value.trim(), examples.value, signal);
    this.part("new").reset();
    name.focus();
  }

  async save(name, text, signal) {
    const examples = [...new Set(text.split("\n").map((line) => line.trim()).filter(Boolean))];
    this.changed(await this.desk.api.call("PUT", `${this.path}/${encodeURIComponent(name)}`, { examples }, signal), `${name} is saved`);
  }

  async remove(pressed, name) {
    const words = { title: `Delete the intent ${name}?`, sure: "Its examples go with it, and the model is trained anew.", verb: "Delete it" };
    if (!(await confirmed(words))) return;
    await this.act(pressed, async (signal) => {
      this.changed(await this.desk.api.call("DELETE", `${this.path}/${encodeURIComponent(name)}`, undefined, signal), `${name} is deleted`);
      this.section.querySelector("h2[tabindex]").focus();
    });
  }

  /** Show what is there now, and wait for the training. */
  changed(shown, words) {
    this.show(shown);
    this.say(words);
    this.loading.abort();
    const { signal } = (this.loading = new AbortController());
    this.watch(shown, signal).catch((error) => this.fail(error));
  }

  async tryText(signal) {
    const text = this.part("try").elements.text.value.trim();
    const { results } = await this.desk.api.call("POST", `${this.path}/test`, { texts: [text] }, signal);
    const [{ intent, likeliest, confidence }] = results;
    const sure = `${percent(confidence)} sure`;
    this.part("tried").replaceChildren(intent ? make("strong", {}, intent) : "None of them", intent ? `, ${sure}` : `: the likeliest is ${likeliest}, ${sure}`);
  }
}

function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

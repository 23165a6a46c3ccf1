// A chatbot's demo page: colours it like the chatbot, wires the playground to the widget that the page's own line brought.

import { ANIMATIONS, ATTRIBUTES, changed, choicesOf, command, inkOn, LANGUAGES, PRESETS, snippet, TIERS } from "./playground.js";

const { slug, widget: widgetId } = document.body.dataset;
const $ = (id) => document.getElementById(id);

/** An element with attributes and children. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function complain(text) {
  $("notice").textContent = text;
  $("notice").hidden = false;
}

/** The widget's element, which its script has made by the time the page is loaded; null when it did not come. */
async function widget() {
  if (document.readyState !== "complete") await new Promise((resolve) => addEventListener("load", resolve, { once: true }));
  return customElements.get("chatwright-chat") ? document.querySelector("chatwright-chat[chatbot]") : null;
}

async function config() {
  const reply = await fetch(`/api/v1/widget/config?widget_id=${encodeURIComponent(widgetId)}`, { signal: AbortSignal.timeout(10_000) });
  if (!reply.ok) throw new Error(`HTTP ${reply.status}`);
  return reply.json();
}

/** One of several, as radio buttons that look like a switch. */
function segments(name, title, values, choose) {
  const group = make("span", { class: "segments", role: "radiogroup", "aria-label": title });
  for (const [value, words] of values) {
    const input = make("input", { type: "radio", name, value });
    input.addEventListener("change", () => choose(name, value));
    group.append(make("label", {}, input, words));
  }
  return make("div", { class: "row" }, make("span", {}, title), group);
}

function colorInput(name, title, choose) {
  const input = make("input", { type: "color", id: `color-${name}`, name });
  input.addEventListener("input", () => choose(name, input.value));
  return make("label", { class: "row", for: `color-${name}` }, make("span", {}, title), input);
}

function swatch([name, accent, shell, glow], choose) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 36 36");
  for (const [d, fill] of [
    ["M0 0h36v36H0z", accent],
    ["M10 11h16a4 4 0 0 1 4 4v7a4 4 0 0 1-4 4H10a4 4 0 0 1-4-4v-7a4 4 0 0 1 4-4z", shell],
    ["M13 16h3v5h-3zM20 16h3v5h-3z", glow],
  ]) {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", d);
    path.setAttribute("fill", fill);
    svg.append(path);
  }
  const button = make("button", { class: "swatch", type: "button", "aria-label": name, title: name, "aria-pressed": "false" }, svg);
  button.addEventListener("click", () => choose({ accent, shell, glow }));
  return button;
}

function copyButtons() {
  for (const button of document.querySelectorAll(".copy")) {
    button.addEventListener("click", async () => {
      const text = $(button.dataset.copy).textContent;
      try {
        await navigator.clipboard.writeText(text);
      } catch {
        getSelection().selectAllChildren($(button.dataset.copy)); // no clipboard here: the visitor's own keys do it
        return;
      }
      button.textContent = "Copied";
      $("copied").textContent = "Copied to the clipboard";
      setTimeout(() => {
        button.textContent = "Copy";
        $("copied").textContent = "";
      }, 2000);
    });
  }
}

/** The page's own theme counts for the widget, too, as long as its scheme is left to chance. */
function pageScheme() {
  return document.documentElement.dataset.theme ?? "auto";
}

class Playground {
  constructor(element, known) {
    this.element = element;
    this.own = choicesOf(known);
    this.choices = { ...this.own };
    this.tiles = new Map();
    this.build();
    this.show();
  }

  build() {
    const choose = (name, value) => this.set({ [name]: value });
    for (const name of ANIMATIONS) {
      const tile = make("button", { class: "tile", type: "button", "aria-pressed": "false" }, name.replaceAll("_", " "));
      tile.addEventListener("click", () => this.play(name));
      this.tiles.set(name, tile);
    }
    $("animations").append(...this.tiles.values());
    $("presets").append(...PRESETS.map((preset) => swatch(preset, (values) => this.set(values))));
    $("colors").append(
      colorInput("accent", "Accent", choose),
      colorInput("shell", "Robot", choose),
      colorInput("glow", "Eyes", choose),
    );
    $("choices").append(
      segments("mode", "Mode", [["floating", "Floating"], ["inline", "Inline"], ["frame", "Frame"]], choose),
      segments("position", "Position", [["left", "Left"], ["right", "Right"]], choose),
      segments("scheme", "Scheme", [["auto", "Auto"], ["light", "Light"], ["dark", "Dark"]], choose),
    );
    $("tiers").append(segments("tier", "Tier", TIERS.map((tier) => [tier, tier]), choose));
    $("locale").append(...Object.entries(LANGUAGES).map(([value, words]) => make("option", { value }, words)));
    $("locale").addEventListener("change", () => this.set({ locale: $("locale").value }));
    $("restore").addEventListener("click", () => this.set(this.own));
    $("open").addEventListener("click", () => {
      this.element.open();
      if (this.choices.mode === "inline") $("slot").scrollIntoView({ block: "center" });
    });
    window.chatwright.on("animation", (detail) => this.playing(typeof detail === "string" ? detail : detail?.animation));
    window.chatwright.on("tier", (detail) => {
      $("tier").textContent = `Now: ${typeof detail === "string" ? detail : detail?.tier}.`;
    });
    new MutationObserver(() => this.dress()).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  }

  play(name) {
    const first = !this.element.hasAttribute("open");
    if (first) this.element.open();
    this.element.play(name);
    this.playing(name);
  }

  playing(name) {
    if (!this.tiles.has(name)) return;
    for (const [one, tile] of this.tiles) tile.setAttribute("aria-pressed", String(one === name));
    $("playing").textContent = `Now: ${name.replaceAll("_", " ")}.`;
  }

  set(values) {
    const before = this.choices.mode;
    this.choices = { ...this.choices, ...values };
    if (this.choices.mode !== before) this.move();
    this.show();
  }

  /** Inline, the widget lives in a frame of the page; else anywhere. */
  move() {
    const inline = this.choices.mode === "inline";
    this.element.close();
    $("slot").hidden = !inline;
    (inline ? $("slot") : document.body).append(this.element);
    this.element.setAttribute("mode", this.choices.mode);
    if (inline) $("slot").scrollIntoView({ block: "center", behavior: "smooth" });
    else this.element.open();
  }

  /** Give the widget the attributes that differ from its config. */
  dress() {
    const attributes = changed(this.choices, this.own);
    if (this.choices.scheme === "auto" && pageScheme() !== "auto") attributes.scheme = pageScheme();
    for (const name of ATTRIBUTES) {
      if (name === "mode") continue;
      if (name in attributes && attributes[name] !== "") this.element.setAttribute(name, attributes[name]);
      else this.element.removeAttribute(name);
    }
  }

  show() {
    this.dress();
    const { choices } = this;
    const root = document.body.style;
    root.setProperty("--brand", choices.accent);
    root.setProperty("--brand-ink", inkOn(choices.accent));
    for (const name of ["mode", "position", "scheme", "tier"]) {
      for (const input of document.getElementsByName(name)) input.checked = input.value === choices[name];
    }
    for (const name of ["accent", "shell", "glow"]) $(`color-${name}`).value = choices[name];
    $("locale").value = choices.locale;
    for (const [at, [, accent, shell, glow]] of PRESETS.entries()) {
      const same = accent === choices.accent && shell === choices.shell && glow === choices.glow;
      $("presets").children[at].setAttribute("aria-pressed", String(same));
    }
    const attributes = changed(choices, this.own);
    $("line").textContent = snippet(location.origin, widgetId, attributes);
    const said = command(slug, attributes);
    $("command").textContent = said ?? "Change a colour, the scheme, the position or the drawing first.";
    document.querySelector(".copy[data-copy=command]").disabled = said === null;
  }
}

function questions(known) {
  const asked = known.suggested_questions.slice(0, 4);
  $("ask").hidden = asked.length === 0;
  for (const question of asked) {
    const button = make("button", { type: "button" }, question);
    button.addEventListener("click", () => window.chatwright.send(question));
    $("questions").append(make("li", {}, button));
  }
}

async function main() {
  $("mark").textContent = (document.querySelector(".brand-name").textContent.trim()[0] ?? "·").toUpperCase();
  $("line").textContent = snippet(location.origin, widgetId, {});
  $("allow").textContent = `chatwright chatbot set ${slug} 'allowed_origins=["https://www.example.com"]'`;
  copyButtons();
  const [element, known] = await Promise.all([widget(), config().catch(() => null)]);
  if (element === null) {
    complain("The widget's script did not load. Its files are part of the released package; in a checkout they are made by “make widget”.");
  } else if (known === null) complain("The server does not say how this chat looks. Is it running? Reload the page to try again.");
  else {
    new Playground(element, known);
    questions(known);
  }
}

main();

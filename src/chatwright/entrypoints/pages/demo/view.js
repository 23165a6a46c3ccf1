// Draws turns and the drawer, reports what the visitor does through callbacks. Knows no network and no frames.

import { outcome } from "./actions.js";
import { explain } from "./conversation.js";
import { Drawer } from "./drawer.js";
import { parse, render } from "./markdown.js";

const SVG = "http://www.w3.org/2000/svg";
const NEAR_BOTTOM_PX = 90;
const QUESTION_MARGIN_PX = 16;
const LONG_SHARE = 0.9;

const $ = (id) => document.getElementById(id);

function make(name, className, ...children) {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `/assets/icons.svg#${name}`);
  svg.append(use);
  return svg;
}

function button(className, label, ...children) {
  const element = make("button", className, ...children);
  element.type = "button";
  if (label) element.setAttribute("aria-label", label);
  return element;
}

function timeOf(stamp) {
  const at = new Date(stamp ?? Date.now());
  return Number.isNaN(at.getTime()) ? "" : at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}

/** What made the answer, in a visitor's words. */
export function origin({ provider, model, cached }) {
  if (cached === "exact" || cached === "semantic") return { icon: "spark", text: "Answered from an earlier answer" };
  if (provider === "extractive") return { icon: "book", text: "Answered from the knowledge base, no LLM" };
  if (model || provider) return { icon: "spark", text: model ? `Answered by ${model}` : `Answered by ${provider}` };
  return null;
}

export class View {
  #handlers;
  #name = "Chatbot";
  #drawn = new Map(); // turn -> its elements
  #dirty = new Set();
  #frame = 0;
  #stick = true;
  #drawer = new Drawer();
  #countdowns = new Map(); // turn -> interval
  #state = "connecting";
  #retryTimer = null;

  /** `handlers`: send(text), stop(), retry(turn), startOver(). */
  constructor(handlers) {
    this.#handlers = handlers;
    const form = $("form");
    const text = $("text");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit(text.value);
    });
    text.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        this.#submit(text.value);
      }
    });
    text.addEventListener("input", () => this.#grow());
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !$("drawer").open && !$("stop").hidden) this.#handlers.stop();
    });
    $("stop").addEventListener("click", () => {
      this.#handlers.stop();
      text.focus();
    });
    $("new").addEventListener("click", () => {
      this.#handlers.startOver();
      text.focus();
    });
    const scroll = $("scroll");
    scroll.addEventListener("scroll", () => {
      this.#stick = scroll.scrollTop > this.#place() - NEAR_BOTTOM_PX;
      this.#offerJump();
    }, { passive: true });
    new ResizeObserver(() => this.#follow()).observe(scroll);
    $("jump").addEventListener("click", () => {
      scroll.scrollTop = scroll.scrollHeight;
      text.focus();
    });
  }

  /** Name, greeting and first questions of the chatbot. */
  introduce({ name, greeting, suggested_questions: questions = [], max_text_chars: most }) {
    this.#name = name;
    if (most > 0) $("text").maxLength = most;
    document.title = name;
    $("name").textContent = name;
    $("greeting").textContent = greeting || `Ask ${name} anything`;
    $("text").placeholder = `Ask ${name}…`;
    $("suggestions").replaceChildren(
      ...questions.slice(0, 6).map((question) => {
        const choice = button("suggestion", null, make("span", "", question), icon("right"));
        choice.addEventListener("click", () => this.#submit(question));
        return make("li", "", choice);
      }),
    );
    $("text").disabled = false;
    $("new").disabled = false;
    this.#grow();
    if (matchMedia("(hover: hover)").matches) $("text").focus(); // on a phone the keyboard would hide the greeting
  }

  /** "connecting" | "online" | "reconnecting" | "offline" | "fatal", with the time to the next try. */
  status(state, { retryInMs = 0, text = null } = {}) {
    clearInterval(this.#retryTimer);
    this.#state = state;
    const line = $("status");
    line.dataset.state = state;
    const words = { connecting: "Connecting…", online: "Online", reconnecting: "Reconnecting…", offline: "Offline", fatal: "Not available" };
    $("status-text").textContent = text ?? words[state];
    if (state === "reconnecting" && retryInMs > 3000) {
      let left = Math.round(retryInMs / 1000);
      const tick = () => {
        $("status-text").textContent = left > 0 ? `Reconnecting in ${left} s` : "Reconnecting…";
        left -= 1;
        if (left < -1) clearInterval(this.#retryTimer);
      };
      tick();
      line.setAttribute("aria-live", "off"); // the first word was enough: no countdown read aloud
      this.#retryTimer = setInterval(tick, 1000);
    } else {
      line.setAttribute("aria-live", "polite");
    }
    this.notice(state === "offline" ? "You are offline. Messages you send are kept and go out when the network is back." : null);
  }

  notice(text) {
    const line = $("notice");
    line.hidden = !text;
    line.textContent = text ?? "";
  }

  /** The page cannot work (unknown chatbot, wrong origin). */
  fatal(text) {
    this.status("fatal");
    this.notice(text);
    $("text").disabled = true;
    $("send").disabled = true;
    for (const choice of $("suggestions").querySelectorAll("button")) choice.disabled = true;
  }

  /** Draw the whole conversation anew, without announcing what is old. */
  reset(turns) {
    const log = $("log");
    log.setAttribute("aria-busy", "true");
    for (const turn of this.#drawn.keys()) this.#stopCountdown(turn);
    this.#drawn.clear();
    log.replaceChildren();
    for (const turn of turns) this.#draw(turn, false);
    this.#chrome(turns);
    this.#stick = true;
    this.#follow();
    requestAnimationFrame(() => log.removeAttribute("aria-busy"));
  }

  /** Draw changed turns, at most once per picture. */
  update(changed, turns) {
    for (const turn of changed) this.#dirty.add(turn);
    if (this.#frame) return;
    const draw = () => {
      this.#frame = 0;
      for (const turn of this.#dirty) if (turns().includes(turn)) this.#draw(turn, true);
      this.#dirty.clear();
      this.#chrome(turns());
      this.#follow();
    };
    // A hidden tab gets no animation frames, but its title and text should be right when it is seen again.
    this.#frame = document.hidden ? setTimeout(draw, 50) : requestAnimationFrame(draw);
  }

  #chrome(turns) {
    $("empty").hidden = turns.length > 0;
    $("stop").hidden = !turns.some((turn) => ["sending", "waiting", "streaming"].includes(turn.phase));
    this.#grow();
  }

  #submit(value) {
    const text = value.trim();
    if (!text || $("text").disabled) return;
    this.#stick = true;
    this.#handlers.send(text);
    $("text").value = "";
    this.#grow();
    $("text").focus();
  }

  #grow() {
    const text = $("text");
    if (!CSS.supports("field-sizing", "content")) {
      text.style.height = "auto";
      text.style.height = `${Math.min(text.scrollHeight, 176)}px`;
    }
    $("send").disabled = text.disabled || !text.value.trim();
    const count = $("count");
    count.hidden = text.value.length < LONG_SHARE * text.maxLength;
    count.textContent = `${text.value.length} of ${text.maxLength} characters`;
  }

  /** Where to scroll while an answer grows: to its end, but never past its question, so that reading starts at the top. */
  #place() {
    const scroll = $("scroll");
    const last = $("log").lastElementChild;
    const end = scroll.scrollHeight - scroll.clientHeight;
    return last ? Math.min(end, last.offsetTop - QUESTION_MARGIN_PX) : end;
  }

  #follow() {
    const scroll = $("scroll");
    if (this.#stick) scroll.scrollTop = Math.max(scroll.scrollTop, this.#place());
    this.#offerJump();
  }

  #offerJump() {
    const scroll = $("scroll");
    $("jump").hidden = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < NEAR_BOTTOM_PX;
  }

  #draw(turn, fresh) {
    let parts = this.#drawn.get(turn);
    if (!parts) {
      parts = this.#newTurn(turn, fresh);
      this.#drawn.set(turn, parts);
      $("log").append(parts.root);
    }
    this.#drawVisitor(turn, parts);
    this.#drawAnswer(turn, parts, fresh);
  }

  #newTurn(turn, fresh) {
    const said = make("div", "bubble");
    const under = make("p", "under");
    const me = make("article", `message me${fresh ? " fresh" : ""}`, make("span", "visually-hidden", "You: "), said, under);
    const body = make("div", "bubble prose");
    const sources = make("ul", "sources");
    sources.setAttribute("aria-label", "Sources");
    const actions = make("div", "actions");
    actions.setAttribute("role", "group");
    actions.setAttribute("aria-label", "What you can do next");
    const trouble = make("div", "trouble");
    const meta = make("div", "meta");
    const stack = make("div", "stack", make("span", "visually-hidden", `${this.#name}: `), body, trouble, sources, actions, meta);
    const face = make("img", "");
    face.src = "/assets/icon.svg";
    face.alt = "";
    const them = make("article", `message them${fresh ? " fresh" : ""}`, face, stack);
    const root = make("div", "turn", me, them);
    root.dataset.key = turn.key;
    return { root, me, said, under, them, body, sources, actions, trouble, meta, phase: null };
  }

  #drawVisitor(turn, { me, said, under }) {
    me.hidden = !turn.text;
    said.textContent = turn.text;
    me.classList.toggle("unsent", turn.phase === "sending");
    const waiting = turn.phase === "sending" && this.#state !== "online";
    under.hidden = !waiting;
    under.textContent = waiting ? "Goes out when the connection is back" : "";
  }

  #drawAnswer(turn, parts, fresh) {
    const { answer, phase } = turn;
    const live = phase === "waiting" || phase === "streaming" || (phase === "sending" && this.#state === "online");
    parts.them.hidden = !live && !answer.text && !turn.error && phase !== "stopped";
    parts.them.dataset.phase = phase;
    parts.body.hidden = !live && !answer.text;
    // While text streams in, screen readers get it once, whole, at the end (announcer below), not word by word.
    parts.body.setAttribute("aria-live", "off");
    if (answer.text) {
      const tree = parse(answer.text);
      const cite = (n) => this.#citation(answer, n, live);
      parts.body.replaceChildren(render(document, tree, { cite }));
      if (live) lastTextHolder(parts.body).append(make("span", "caret"));
    } else if (live) {
      const dots = make("span", "dots", make("i"), make("i"), make("i"));
      dots.setAttribute("aria-hidden", "true");
      parts.body.replaceChildren(dots, make("span", "visually-hidden", "The answer is being written"));
    }
    this.#drawSources(answer, parts, live);
    this.#drawActions(answer, parts, live);
    this.#drawTrouble(turn, parts);
    this.#drawMeta(turn, parts, live);
    if (fresh && parts.phase !== phase && !live && parts.phase !== null) {
      if (phase === "done" && answer.text) $("announcer").textContent = `${this.#name}: ${parts.body.textContent}`;
      else if (turn.error) $("announcer").textContent = explain(turn.error.code, turn.error.message);
      else if (phase === "stopped") $("announcer").textContent = "Stopped";
    }
    parts.phase = phase;
  }

  #citation(answer, n, live) {
    const index = answer.sources.findIndex((source) => source.n === n);
    if (index < 0) return live ? make("span", "cite", String(n)) : null;
    const mark = button("cite", `Source ${n}: ${answer.sources[index].title}`, String(n));
    mark.addEventListener("click", () => this.#drawer.open(answer.sources, index));
    return mark;
  }

  #drawSources(answer, { sources }, live) {
    sources.hidden = live || answer.sources.length === 0;
    if (sources.hidden) return;
    sources.replaceChildren(
      ...answer.sources.map((source, index) => {
        const title = source.title || "Untitled"; // "page › section › heading": the last says most, and a chip is short
        const chip = button("chip", null, make("b", "", String(source.n)), make("span", "", title.split(" › ").at(-1)));
        chip.title = title;
        chip.setAttribute("aria-haspopup", "dialog");
        chip.addEventListener("click", () => this.#drawer.open(answer.sources, index));
        return make("li", "", chip);
      }),
    );
  }

  #drawActions(answer, { actions }, live) {
    const list = Array.isArray(answer.actions) ? answer.actions : [];
    const drawn = live ? [] : list.slice(0, 5).flatMap((action) => this.#action(action, actions) ?? []);
    actions.hidden = drawn.length === 0;
    actions.replaceChildren(...drawn);
  }

  #action(action, actions) {
    const does = outcome(action, location.href);
    if (!does) return null;
    const mark = { link: "link", handoff: "person", form: "form" }[action.kind];
    const content = [...(mark ? [icon(mark)] : []), make("span", "", action.label)];
    if (does.href) {
      const link = make("a", "action", ...content);
      link.href = does.href;
      link.target = "_blank";
      link.rel = "noopener noreferrer";
      return link;
    }
    const control = button("action", null, ...content);
    control.addEventListener("click", () => {
      if (does.send) {
        this.#submit(does.send);
        return;
      }
      actions.querySelector(".action-note")?.remove();
      actions.append(make("p", "action-note", does.note));
      $("announcer").textContent = does.note;
      this.#follow();
    });
    return control;
  }

  #drawTrouble(turn, { trouble }) {
    const { error } = turn;
    trouble.hidden = !error;
    this.#stopCountdown(turn);
    if (!error) return;
    const text = make("p", "", explain(error.code, error.message));
    trouble.replaceChildren(icon("warn"), text);
    if (!error.retriable || !turn.text) return;
    const label = make("span", "", "Try again");
    const retry = button("small-button", null, icon("retry"), label);
    retry.addEventListener("click", () => this.#handlers.retry(turn));
    trouble.append(retry);
    if (error.retryAfterS > 0) {
      error.until ??= Date.now() + error.retryAfterS * 1000;
      const tick = () => {
        const left = Math.ceil((error.until - Date.now()) / 1000);
        retry.disabled = left > 0;
        label.textContent = left > 0 ? `Try again in ${left} s` : "Try again";
        if (left <= 0) this.#stopCountdown(turn);
      };
      this.#countdowns.set(turn, setInterval(tick, 500));
      tick();
    }
  }

  #stopCountdown(turn) {
    clearInterval(this.#countdowns.get(turn));
    this.#countdowns.delete(turn);
  }

  #drawMeta(turn, { meta }, live) {
    const { answer, phase } = turn;
    meta.hidden = live || (!answer.text && phase !== "stopped");
    if (meta.hidden) return;
    meta.replaceChildren();
    if (answer.text) {
      const copy = button("icon-button copy", "Copy the answer", icon("copy"));
      copy.addEventListener("click", () => this.#copy(copy, answer.text));
      meta.append(copy);
    }
    if (phase === "stopped") meta.append(make("span", "badge", icon("stop"), "Stopped"));
    const from = phase === "done" ? origin(answer) : null;
    if (from) meta.append(make("span", "badge origin", icon(from.icon), from.text));
    if (turn.createdAt) {
      const time = make("time", "", timeOf(turn.createdAt));
      time.dateTime = turn.createdAt;
      meta.append(time);
    }
  }

  async #copy(control, text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // No clipboard on plain http: the old way still works there.
      const field = make("textarea", "visually-hidden");
      field.value = text;
      document.body.append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
      control.focus();
    }
    control.replaceChildren(icon("check"));
    $("announcer").textContent = "Copied";
    setTimeout(() => control.replaceChildren(icon("copy")), 1600);
  }
}

/** The element that holds the end of the text, so that the caret stands right behind the last word. */
function lastTextHolder(root) {
  let at = root;
  while (at.lastElementChild && at.lastChild === at.lastElementChild && !["BUTTON", "BR", "HR"].includes(at.lastElementChild.tagName)) {
    at = at.lastElementChild;
  }
  return at;
}

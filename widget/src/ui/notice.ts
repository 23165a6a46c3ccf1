/** How the connection stands, where there is something to tell: in a line above the composer and a word in the header. */

import type { ChatState } from "../core/types.ts";
import { T } from "../locales/keys.ts";
import { html, setText, textButton } from "./dom.ts";
import type { Words } from "./words.ts";

const STATUS = {
  idle: T.status_connecting,
  connecting: T.status_connecting,
  online: T.status_online,
  reconnecting: T.status_reconnecting,
  offline: T.status_offline,
  refused: T.status_refused,
};
/** A short break is nobody's business. */
const QUIET_MS = 1_200;

export class Notice {
  readonly node = html("div", { class: "notice", hidden: "" });
  readonly status = html("p", { class: "status" });
  readonly #text = html("p", { role: "status" });
  readonly #again: HTMLButtonElement;
  readonly #words: Words;
  #state: ChatState | null = null;
  #since_ms = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(words: Words, wake: () => void) {
    this.#words = words;
    this.#again = textButton("pill", words.say(T.retry_now), wake);
    this.node.append(this.#text, this.#again);
  }

  update(state: ChatState): void {
    const isSame = this.#state?.connection === state.connection;
    if (!isSame && !(this.#isBroken(this.#state) && this.#isBroken(state))) this.#since_ms = Date.now();
    this.#state = state;
    this.#draw();
  }

  dispose(): void {
    clearTimeout(this.#timer);
  }

  #isBroken(state: ChatState | null): boolean {
    return state?.connection === "reconnecting" || state?.connection === "connecting";
  }

  #draw(): void {
    clearTimeout(this.#timer);
    const state = this.#state;
    if (!state) return;
    const { connection } = state;
    const left = Math.max(0, Math.ceil(((state.retryAt ?? 0) - Date.now()) / 1000));
    const words = this.#words;
    const shown = this.#isBroken(state) && connection === "reconnecting" && Date.now() - this.#since_ms > QUIET_MS;
    const short =
      connection === "reconnecting" && left > 0
        ? words.count(T.status_reconnecting_in, left)
        : words.say(STATUS[connection]);
    setText(this.status, short);
    this.status.dataset["state"] = connection;
    const text =
      connection === "offline" ? words.own("offline", T.offline) : connection === "refused" ? this.#refusal(state) : shown ? words.say(T.server_away) : "";
    this.node.hidden = !text;
    setText(this.#text, text);
    this.#again.hidden = !(shown || connection === "offline" || this.#isSignedOut(state));
    if (this.#isBroken(state)) this.#timer = setTimeout(() => this.#draw(), 1000);
  }

  /** The page may have logged its visitor in again meanwhile. */
  #isSignedOut(state: ChatState): boolean {
    return state.connection === "refused" && state.failure?.code === "unauthenticated";
  }

  #refusal(state: ChatState): string {
    if (state.failure?.code === "forbidden") return this.#words.say(T.refused_origin);
    return this.#words.say(this.#isSignedOut(state) ? T.signed_out : T.refused_unknown);
  }
}

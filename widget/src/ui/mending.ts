/** What a visitor can do about a message that failed: wait, try again, take it away. Loaded with the first that did. */

import type { Failure, Turn } from "../core/types.ts";
import { T } from "../locales/keys.ts";
import { html, setText, textButton } from "./dom.ts";
import type { Deeds } from "./turn.ts";
import type { Words } from "./words.ts";

/** Puts buttons into `place`, and the time there is to wait into `line`. Returns the way to stop counting. */
export function offerMending(place: HTMLElement, line: HTMLElement, turn: Turn, failure: Failure, words: Words, deeds: Deeds): () => void {
  const wait = html("span", { class: "wait" });
  const row = html("div", { class: "row" });
  const again = textButton("pill strong", words.say(T.retry), () => deeds.retry(turn.key));
  if (failure.retriable || turn.phase === "failed") row.append(again);
  if (turn.phase === "refused") row.append(textButton("pill", words.say(T.discard), () => deeds.drop(turn.key)));
  line.append(" ", wait);
  place.append(row);
  const until_ms = Date.now() + failure.retryAfterS * 1000;
  let timer: ReturnType<typeof setInterval> | undefined;
  const stop = (): void => clearInterval(timer);
  const count = (): void => {
    const left = Math.ceil((until_ms - Date.now()) / 1000);
    setText(wait, waitOf(left, words));
    again.disabled = left > 0;
    if (left <= 0) stop();
  };
  if (failure.retryAfterS > 0) timer = setInterval(count, 1000);
  count();
  return stop;
}

/** How long until it is worth trying again; "" when it is now. */
function waitOf(seconds: number, words: Words): string {
  if (seconds <= 0) return "";
  return seconds < 90 ? words.count(T.over_limit_in, Math.ceil(seconds)) : words.count(T.over_limit_in_minutes, Math.ceil(seconds / 60));
}

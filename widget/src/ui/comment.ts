/** What the visitor may add to a thumb down. */

import { T } from "../locales/keys.ts";
import { html, textButton } from "./dom.ts";
import type { Words } from "./words.ts";

/** `done` gets the comment, "" for none; the form is the caller's to take away. */
export function commentForm(words: Words, done: (comment: string) => void): HTMLFormElement {
  const box = html("textarea", { rows: 2, maxlength: 2000, "aria-label": words.say(T.rate_comment), placeholder: words.say(T.rate_comment), dir: "auto" });
  const send = html("button", { type: "submit", class: "pill strong" }, words.say(T.rate_send));
  const skip = textButton("pill", words.say(T.rate_skip), () => done(""));
  const form = html("form", {}, html("p", { class: "state" }, words.say(T.rate_why)), box, html("div", { class: "row" }, skip, send));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    done(box.value.trim());
  });
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    done("");
  });
  return form;
}

/** A thumb on an answer: kept, thanked for, and after a thumb down the visitor is asked why. Loaded with the first one. */

import type { Rating } from "../core/types.ts";
import { T } from "../locales/keys.ts";
import { commentForm } from "./comment.ts";
import { html } from "./dom.ts";
import type { TextKey } from "../locales/index.ts";
import type { Words } from "./words.ts";

const THANKS_MS = 4_000;

export interface Rated {
  readonly words: Words;
  /** Below the answer, for what there is to say. */
  readonly place: HTMLElement;
  /** Gets the focus back from the form. */
  readonly thumb: HTMLElement;
  keep(rating: Rating | null, comment?: string): Promise<void>;
}

/** `rating`: null takes the one before back. */
export async function rate({ words, place, thumb, keep }: Rated, rating: Rating | null): Promise<void> {
  const say = (what: TextKey): void => {
    const line = html("p", { class: "state", role: "status" });
    place.replaceChildren(line);
    line.textContent = words.say(what);
    if (what === T.rate_thanks) setTimeout(() => line.remove(), THANKS_MS);
  };
  const kept = (comment?: string): Promise<boolean> =>
    keep(rating, comment).then(
      () => true,
      () => false,
    );
  place.replaceChildren();
  if (!(await kept())) return say(T.rate_failed);
  if (rating === "up") say(T.rate_thanks);
  if (rating !== "down") return;
  const form = commentForm(words, (comment) => {
    const inside = form.contains((form.getRootNode() as ShadowRoot).activeElement);
    form.remove();
    if (inside) thumb.focus();
    if (comment) void kept(comment).then((done) => say(done ? T.rate_thanks : T.rate_failed));
  });
  place.replaceChildren(form);
  form.querySelector("textarea")?.focus();
}

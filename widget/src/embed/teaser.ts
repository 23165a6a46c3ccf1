/** A bubble beside the launcher that greets before anybody has asked; goes away for good when it is waved off. */

import { pickLanguage } from "./labels.ts";
import { html, icon } from "./dom.ts";
import type { Store } from "./store.ts";
import css from "./teaser.css?inline";

const LETTERS_AT_MOST = 180;
const HUSH: Readonly<Record<string, string>> = {
  en: "Dismiss",
  de: "Ausblenden",
  fr: "Masquer",
  es: "Descartar",
  it: "Ignora",
  pt: "Dispensar",
  nl: "Verbergen",
  pl: "Ukryj",
  ar: "إخفاء",
  zh: "忽略",
};

/** Say `text`, if there is one, beside the launcher in `root`. Waved off it is not said again, as `local` remembers. Returns the way to take it away. */
export function tease(root: ShadowRoot, text: string | undefined, locale: string, local: Store, open: () => void): () => void {
  if (!text) return () => undefined;
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(css);
  root.adoptedStyleSheets.push(sheet);
  const shown = text.length > LETTERS_AT_MOST ? `${text.slice(0, LETTERS_AT_MOST - 1)}…` : text;
  const say = html("button", { type: "button", class: "cw-say", dir: "auto" }, shown);
  const hush = html("button", { type: "button", class: "cw-hush" }, icon("M6 6l12 12M18 6L6 18"));
  hush.setAttribute("aria-label", HUSH[pickLanguage([locale])] ?? HUSH.en!);
  const teaser = html("div", { class: "cw-teaser" }, say, hush);
  const leave = (): void => {
    teaser.remove();
    root.adoptedStyleSheets = root.adoptedStyleSheets.filter((one) => one !== sheet);
  };
  say.addEventListener("click", open);
  hush.addEventListener("click", () => {
    local.set("teaser", "dismissed");
    leave();
  });
  root.querySelector(".cw")?.append(teaser);
  return leave;
}

/**
 * Which languages the panel speaks, and how its texts are loaded, filled in and counted. English is part of the chat chunk;
 * every other locale is a chunk of its own, fetched when wanted. Read by `ui/`. No DOM.
 */

import { LOCALES, type Locale } from "../config.ts";
import { texts as en } from "./en.ts";

export type TextKey = keyof typeof en;
export type Texts = Readonly<Record<TextKey, string>>;

interface TextsModule {
  readonly texts: Texts;
}

const LAZY: Readonly<Record<Exclude<Locale, "en">, () => Promise<TextsModule>>> = {
  de: () => import("./de.ts"),
  fr: () => import("./fr.ts"),
  es: () => import("./es.ts"),
  it: () => import("./it.ts"),
  pt: () => import("./pt.ts"),
  nl: () => import("./nl.ts"),
  pl: () => import("./pl.ts"),
  ar: () => import("./ar.ts"),
  zh: () => import("./zh.ts"),
};

/** The English texts, at hand without waiting. */
export const englishTexts: Texts = en;

/** The first of LOCALES that fits one of the wanted language tags ("pt-BR", "zh_Hans"), in their order; "en" if none. */
export function pickLocale(wanted: readonly string[]): Locale {
  for (const tag of wanted) {
    const language = tag.trim().toLowerCase().split(/[-_]/, 1)[0];
    const found = LOCALES.find((locale) => locale === language);
    if (found !== undefined) return found;
  }
  return "en";
}

/** The texts of a language tag. Falls back to English when the locale's chunk cannot be had. */
export async function loadTexts(locale: string): Promise<Texts> {
  const picked = pickLocale([locale]);
  if (picked === "en") return en;
  try {
    return (await LAZY[picked]()).texts;
  } catch {
    return en; // a chat in English is better than none
  }
}

/** The direction in which a language tag's script runs. */
export function direction(locale: string): "ltr" | "rtl" {
  return pickLocale([locale]) === "ar" ? "rtl" : "ltr";
}

/** Put values in the place of `{name}`. Unknown names stay as they are. */
export function fill(text: string, values: Readonly<Record<string, string | number>>): string {
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => (Object.hasOwn(values, name) ? String(values[name]) : whole));
}

/** A text with plural forms for `n`: "one:{n} source|other:{n} sources". `{n}` becomes the number as the locale writes it. */
export function count(text: string, n: number, locale: string, values: Readonly<Record<string, string | number>> = {}): string {
  const forms = new Map<string, string>();
  for (const part of text.split("|")) {
    const colon = part.indexOf(":");
    forms.set(part.slice(0, colon), part.slice(colon + 1));
  }
  const form = forms.get(new Intl.PluralRules(locale).select(n)) ?? forms.get("other") ?? text;
  return fill(form, { n: new Intl.NumberFormat(locale).format(n), ...values });
}

/** The texts of one panel in its language, with the operator's own words in their place. */

import type { TextsConfig, WidgetConfig } from "../config.ts";
import type { Failure } from "../core/types.ts";
import { count, direction, englishTexts, fill, loadTexts, pickLocale, type TextKey, type Texts } from "../locales/index.ts";
import { T } from "../locales/keys.ts";

const LIMITED = new Set(["rate_limit_exceeded", "budget_exceeded", "concurrency_exceeded"]);

/** The words of a language for a chatbot; English where they cannot be had. */
export async function loadWords(locale: string, { name, texts: own }: WidgetConfig): Promise<Words> {
  const texts = await loadTexts(locale);
  // Words are counted and read aloud by the language that they are in.
  return new Words(texts, texts === englishTexts ? "en" : pickLocale([locale]), name, own);
}

export class Words {
  readonly locale: string;
  readonly name: string;
  readonly #texts: Texts;
  readonly #own: TextsConfig;

  constructor(texts: Texts, locale: string, name: string, own: TextsConfig) {
    this.#texts = texts;
    this.locale = locale;
    this.name = name;
    this.#own = own;
  }

  get texts(): Texts {
    return this.#texts;
  }

  get direction(): "ltr" | "rtl" {
    return direction(this.locale);
  }

  say(key: TextKey, values: Readonly<Record<string, string | number>> = {}): string {
    return fill(this.#texts[key], { name: this.name, ...values });
  }

  count(key: TextKey, n: number): string {
    return count(this.#texts[key], n, this.locale, { name: this.name });
  }

  /** The operator's own words, else the language's. */
  own(name: keyof TextsConfig, key: TextKey): string {
    return this.#own[name] || this.say(key);
  }

  get title(): string {
    return this.#own.title || this.name || this.say(T.title_default);
  }

  /** What went wrong, for a visitor: never what a server said of itself. */
  failure(failure: Failure): string {
    if (LIMITED.has(failure.code)) return this.#own.over_limit || this.say(failure.code === "budget_exceeded" ? T.budget : T.over_limit);
    if (failure.code === "content_blocked") return this.say(T.blocked);
    if (failure.code === "payload_too_large" || failure.code === "message_too_long") return this.say(T.message_too_long);
    return this.own("error", T.error);
  }

  time(at: Date): string {
    return new Intl.DateTimeFormat(this.locale, { hour: "numeric", minute: "2-digit" }).format(at);
  }

  day(at: Date, now: Date): string {
    const days = Math.round((midnight(now) - midnight(at)) / 86_400_000);
    if (days === 0) return this.say(T.today);
    if (days === 1) return this.say(T.yesterday);
    const year = at.getFullYear() === now.getFullYear() ? {} : ({ year: "numeric" } as const);
    return new Intl.DateTimeFormat(this.locale, { weekday: "long", day: "numeric", month: "long", ...year }).format(at);
  }
}

function midnight(at: Date): number {
  return new Date(at.getFullYear(), at.getMonth(), at.getDate()).getTime();
}

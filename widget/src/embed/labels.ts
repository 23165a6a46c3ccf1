/** The launcher's own words, few enough to come with it. The panel's are in `locales/`. */

import { LOCALES, type Locale } from "../config.ts";

type Label = "open" | "close" | "failed" | "again";

const ORDER: readonly Label[] = ["open", "close", "failed", "again"];

// One line a language, in the order above: cheaper than forty keys.
const WORDS: Readonly<Record<Locale, string>> = {
  en: "Open chat|Close chat|The chat is not available right now.|Try again",
  de: "Chat öffnen|Chat schließen|Der Chat ist gerade nicht verfügbar.|Erneut versuchen",
  fr: "Ouvrir le chat|Fermer le chat|Le chat n’est pas disponible pour le moment.|Réessayer",
  es: "Abrir el chat|Cerrar el chat|El chat no está disponible en este momento.|Reintentar",
  it: "Apri la chat|Chiudi la chat|La chat non è disponibile al momento.|Riprova",
  pt: "Abrir o chat|Fechar o chat|O chat não está disponível de momento.|Tentar de novo",
  nl: "Chat openen|Chat sluiten|De chat is nu niet beschikbaar.|Opnieuw proberen",
  pl: "Otwórz czat|Zamknij czat|Czat jest teraz niedostępny.|Spróbuj ponownie",
  ar: "فتح المحادثة|إغلاق المحادثة|المحادثة غير متاحة الآن.|إعادة المحاولة",
  zh: "打开聊天|关闭聊天|聊天暂时无法使用。|重试",
};

/** The best of our languages for `wanted` (BCP 47, most wanted first): "pt-BR" finds "pt". English if none fits. */
export function pickLanguage(wanted: readonly string[]): Locale {
  for (const tag of wanted) {
    const found = LOCALES.find((locale) => locale === tag.toLowerCase().split(/[-_]/)[0]);
    if (found) return found;
  }
  return "en";
}

export function label(name: Label, locale: Locale): string {
  return WORDS[locale].split("|")[ORDER.indexOf(name)] ?? "";
}

/**
 * The conversation as a Markdown file for the visitor to keep: who said what and when, with the sources of each answer, in the
 * panel's language. Pure; the menu makes a download of it. Loaded when asked for.
 */

import type { ChatState, Source, Turn } from "../core/types.ts";
import { fill, type Texts } from "../locales/index.ts";
import { T } from "../locales/keys.ts";
import { safeHref } from "./markdown-links.ts";

export interface TranscriptOptions {
  /** The chatbot's name. */
  readonly name: string;
  /** For dates; what `texts` are written in. */
  readonly locale: string;
  readonly now?: Date;
  /** Time zone of the dates; the visitor's own when left out. */
  readonly timeZone?: string;
}

/** The name of a file and its text. */
export function transcript(state: ChatState, texts: Texts, options: TranscriptOptions): { name: string; text: string } {
  const now = options.now ?? new Date();
  const zone = options.timeZone === undefined ? {} : { timeZone: options.timeZone };
  const moment = new Intl.DateTimeFormat(options.locale, { dateStyle: "long", timeStyle: "short", ...zone });
  const title = fill(texts[T.transcript_title], { name: options.name });
  const saved = fill(texts[T.transcript_saved], { date: moment.format(now) });
  const turns = state.turns.filter((turn) => turn.text !== "" || turn.answer.text !== "");
  const parts = turns.map((turn) => turnText(turn, texts, options.name, moment));
  const day = new Intl.DateTimeFormat("en-CA", { dateStyle: "short", ...zone }).format(now);
  return { name: `${texts[T.transcript_file]}-${day}.md`, text: `${[`# ${oneLine(title)}`, saved, ...parts].join("\n\n")}\n` };
}

function turnText(turn: Turn, texts: Texts, name: string, moment: Intl.DateTimeFormat): string {
  const at = new Date(turn.createdAt);
  const when = Number.isNaN(at.getTime()) ? "" : ` (${moment.format(at)})`;
  const asked = turn.text === "" ? [] : [`## ${texts[T.you]}${when}`, turn.text.trim()];
  return [...asked, `## ${oneLine(name)}`, ...answerText(turn, texts)].join("\n\n");
}

function answerText(turn: Turn, texts: Texts): string[] {
  const { text, sources, partial } = turn.answer;
  if (text.trim() === "") return [turn.phase === "merged" ? `(${texts[T.merged]})` : texts[T.transcript_no_answer]];
  const parts = [text.trim()];
  if (partial || turn.phase === "stopped" || turn.phase === "failed") parts.push(texts[T.transcript_incomplete]);
  if (sources.length > 0) parts.push(`${texts[T.sources]}:\n\n${sources.map((source) => sourceLine(source, texts)).join("\n")}`);
  return parts;
}

function sourceLine(source: Source, texts: Texts): string {
  const href = source.url === null ? null : safeHref(source.url);
  const title = oneLine(source.title) || texts[T.source_untitled];
  return `- [${source.n}] ${title}${href === null ? "" : ` <${href}>`}`;
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, " ").trim();
}

/** The conversation as a file for the visitor. Loaded when asked for. */

import type { ChatState } from "../core/types.ts";
import { html } from "./dom.ts";
import { transcript } from "./transcript.ts";
import type { Words } from "./words.ts";

const KEPT_MS = 10_000;

export function saveTranscript(state: ChatState, words: Words): void {
  const { name, text } = transcript(state, words.texts, { name: words.title, locale: words.locale });
  const url = URL.createObjectURL(new Blob([text], { type: "text/markdown;charset=utf-8" }));
  html("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), KEPT_MS);
}

import assert from "node:assert/strict";
import { test } from "node:test";

import type { Answer, ChatState, Turn } from "../../src/core/types.ts";
import { englishTexts, loadTexts } from "../../src/locales/index.ts";
import { transcript } from "../../src/ui/transcript.ts";

const answer: Answer = { id: "m2", text: "", sources: [], actions: [], provider: null, model: null, cached: null, partial: false };
const turn: Turn = {
  key: "1",
  clientId: null,
  messageId: "m1",
  text: "Where is my order?",
  createdAt: "2026-03-05T09:07:00Z",
  phase: "done",
  failure: null,
  rating: null,
  answer: { ...answer, text: "On its way [1].\n" },
};
const state: ChatState = { connection: "online", retryAt: null, failure: null, conversationId: "c", turns: [turn], loaded: true };
const options = { name: "Ada", locale: "en", now: new Date("2026-03-06T00:30:00Z"), timeZone: "UTC" };

test("says who said what and when, and names the file by the day", () => {
  const { name, text } = transcript(state, englishTexts, options);
  assert.equal(name, "conversation-2026-03-06.md");
  assert.match(text, /^# Conversation with Ada\n\nSaved on March 6, 2026 at 12:30.AM\n/);
  assert.match(text, /## You \(March 5, 2026 at 9:07.AM\)\n\nWhere is my order\?\n\n## Ada\n\nOn its way \[1\]\.\n$/);
});

test("lists sources; addresses that are no links are left out", () => {
  const source = { n: 1, document_id: "d", title: "Shipping\n› Times", url: "https://shop.example/a b", score: 1, quote: "" };
  const sources = [source, { ...source, n: 2, title: "", url: "javascript:alert(1)" }];
  const { text } = transcript({ ...state, turns: [{ ...turn, answer: { ...turn.answer, sources } }] }, englishTexts, options);
  assert.ok(text.endsWith("Sources:\n\n- [1] Shipping › Times <https://shop.example/a%20b>\n- [2] Untitled\n"), text);
});

test("says when an answer is missing or not whole", () => {
  const turns: Turn[] = [
    { ...turn, phase: "stopped" },
    { ...turn, phase: "failed", answer },
    { ...turn, text: "", answer },
  ];
  const { text } = transcript({ ...state, turns }, englishTexts, options);
  assert.equal(text.match(/\(incomplete\)/g)?.length, 1);
  assert.equal(text.match(/\(no answer\)/g)?.length, 1);
  assert.equal(text.match(/## You/g)?.length, 2);
});

test("speaks the visitor's language", async () => {
  const { name, text } = transcript(state, await loadTexts("de"), { ...options, locale: "de" });
  assert.equal(name, "unterhaltung-2026-03-06.md");
  assert.match(text, /^# Unterhaltung mit Ada\n\nGespeichert am 6\. März 2026/);
});

test("a date that cannot be read is left out", () => {
  assert.match(transcript({ ...state, turns: [{ ...turn, createdAt: "soon" }] }, englishTexts, options).text, /## You\n/);
});

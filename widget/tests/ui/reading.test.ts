/** Answers read aloud: by their button or as they come, in the language that the panel has. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import type { Turn } from "../../src/core/types.ts";
import { Reading } from "../../src/ui/reading.ts";

interface Said {
  text: string;
  lang: string;
  onend(): void;
}

const scope = globalThis as unknown as Record<string, unknown>;
let said: Said[] = [];

beforeEach(() => {
  said = [];
  scope["speechSynthesis"] = { getVoices: () => [], speak: (one: Said) => said.push(one), cancel() {}, resume() {}, speaking: true, pending: false };
  scope["SpeechSynthesisUtterance"] = function (this: Said, text: string) {
    this.text = text;
  };
});

afterEach(() => {
  delete scope["speechSynthesis"];
  delete scope["SpeechSynthesisUtterance"];
});

const turn = (key: string): Turn => ({ key, answer: { text: `Answer ${key}.` } }) as unknown as Turn;
function made(): Reading {
  return new Reading("de", () => undefined);
}

test("the button of an answer reads it, and pressed again no longer", () => {
  const reading = made();
  reading.read(turn("a"));
  assert.deepEqual(said.map((one) => one.text), ["Answer a."]);
  reading.read(turn("a"));
  assert.equal(said.length, 1, "that was to stop it");
  reading.read(turn("a"));
  assert.equal(said.length, 2);
  reading.read(turn("b"));
  assert.equal(said.at(-1)?.text, "Answer b.");
  said.at(-1)?.onend();
  reading.read(turn("b"));
  assert.equal(said.length, 4, "it had ended: once more from its beginning");
  reading.stop();
});

test("another language changes the voice and not what is read", () => {
  const reading = made();
  reading.toggle();
  reading.setLocale("fr");
  assert.ok(reading.isOn);
  reading.follow(turn("a"), true);
  assert.deepEqual(said.map((one) => one.lang), ["fr"]);
  reading.toggle();
});

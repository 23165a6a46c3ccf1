import assert from "node:assert/strict";
import { test } from "node:test";

import { createSpeech, sentences, speakable, voiceFor, type SpeechPorts } from "../../src/ui/speech.ts";

interface Said {
  text: string;
  lang: string;
  voice: { name: string } | null;
  onend(): void;
  onboundary(): void;
}

function stage(voices: unknown[] = []) {
  const said: Said[] = [];
  const seen = { cancelled: 0, levels: [] as number[], speaking: [] as boolean[], timers: 0 };
  const synthesis = {
    getVoices: () => voices,
    speak: (one: Said) => said.push(one),
    cancel: () => (seen.cancelled += 1),
    resume() {},
  };
  const ports = {
    synthesis,
    utterance: (text: string) => ({ text, lang: "", voice: null }),
    every(run: () => void) {
      seen.timers += 1;
      run();
      return () => (seen.timers -= 1);
    },
  } as unknown as SpeechPorts;
  const onLevel = (level: number) => void seen.levels.push(level);
  const speech = createSpeech({ locale: "de", onLevel, onSpeaking: (on) => void seen.speaking.push(on), ports });
  return { speech, said, seen };
}

test("reads whole sentences while the text grows, each once", () => {
  const { speech, said } = stage();
  speech.speak("Hello th", false);
  assert.equal(said.length, 0);
  speech.speak("Hello there. How are", false);
  speech.speak("Hello there. How are you? I am", false);
  assert.deepEqual(said.map((one) => one.text), ["Hello there."]);
  said[0]?.onend();
  said[1]?.onend();
  speech.speak("Hello there. How are you? I am fine", true);
  assert.deepEqual(said.map((one) => one.text), ["Hello there.", "How are you?", "I am fine"]);
});

test("another text stops the one before", () => {
  const { speech, said, seen } = stage();
  speech.speak("One. Two. ", false);
  speech.speak("Other text.", true);
  assert.equal(seen.cancelled, 1);
  assert.deepEqual(said.map((one) => one.text), ["One.", "Other text."]);
});

test("stop ends the voice, the mouth and everything waiting", () => {
  const { speech, said, seen } = stage();
  speech.speak("One. Two. Three.", true);
  speech.stop();
  said[0]?.onend(); // browsers report the end of what was cancelled
  assert.equal(said.length, 1);
  assert.equal(seen.timers, 0);
  assert.equal(seen.levels.at(-1), 0);
  assert.deepEqual(seen.speaking, [true, false]);
});

test("words move the mouth, the end closes it", () => {
  const { speech, said, seen } = stage();
  speech.speak("One.", true);
  said[0]?.onboundary();
  assert.equal(seen.levels.at(-1), 0.9);
  said[0]?.onend();
  assert.equal(seen.levels.at(-1), 0);
  assert.ok(seen.levels.every((level) => level >= 0 && level <= 1));
});

test("code blocks are not read, not even while they are open", () => {
  const { speech, said } = stage();
  speech.speak("Look. \n```js\nlet a = 1. \n", false);
  speech.speak("Look. \n```js\nlet a = 1. \nb. \n```\nDone.\n", true);
  for (let at = 0; at < said.length; at += 1) said[at]?.onend();
  assert.deepEqual(said.map((one) => one.text), ["Look.", "Done."]);
});

test("Markdown is not said", () => {
  const text = "## Title\n- **Bold** and _slanted_ `code` [docs](https://a.b/c) [1][2, 3] [4](https://x.y)\n| a | b |\n|---|---|\nsnake_case see https://a.example/x?y=1";
  assert.deepEqual(sentences(speakable(text)), ["Title", "Bold and slanted code docs", ", a , b ,", "snake_case see a.example"]);
});

test("long sentences are cut, nothing is lost", () => {
  const words = Array.from({ length: 200 }, (_, index) => `w${index}`).join(" ");
  const pieces = sentences(words);
  assert.ok(pieces.every((piece) => piece.length <= 220));
  assert.equal(pieces.join(" "), words);
});

test("the best voice of the language", () => {
  const voice = (name: string, lang: string, localService = true) => ({ name, lang, localService, default: false }) as SpeechSynthesisVoice;
  const voices = [voice("us", "en-US"), voice("net", "de-DE", false), voice("at", "de_AT"), voice("de", "de-DE")];
  assert.equal(voiceFor(voices, "de-DE")?.name, "de");
  assert.equal(voiceFor(voices, "de")?.name, "at");
  assert.equal(voiceFor(voices, "fr"), null);
});

test("without the browser's voices nothing happens", () => {
  const ports = { synthesis: undefined } as unknown as SpeechPorts;
  const speech = createSpeech({ locale: "en", onLevel: () => assert.fail(), ports });
  assert.equal(speech.available, false);
  speech.speak("Hello.");
  speech.stop();
});

test("a voice that forgets to report its end does not stop the rest, nor leave the mouth moving", () => {
  const said: string[] = [];
  const state = { speaking: true, pending: false };
  let tick = (): void => undefined;
  const ports = {
    synthesis: { getVoices: () => [], speak: (one: { text: string }) => said.push(one.text), cancel() {}, resume() {}, get speaking() { return state.speaking; }, get pending() { return state.pending; } },
    utterance: (text: string) => ({ text }),
    every(run: () => void) {
      tick = run;
      return () => (tick = () => undefined);
    },
  } as unknown as SpeechPorts;
  let level = 1;
  const speech = createSpeech({ locale: "en", onLevel: (now) => void (level = now), ports });
  speech.speak("One. Two.", true);
  for (let at = 0; at < 300; at += 1) tick();
  assert.deepEqual(said, ["One."], "it speaks still");
  state.speaking = false;
  for (let at = 0; at < 40; at += 1) tick();
  assert.deepEqual(said, ["One.", "Two."]);
  for (let at = 0; at < 40; at += 1) tick();
  assert.equal(level, 0);
});

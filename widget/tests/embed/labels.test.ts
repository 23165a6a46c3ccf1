import assert from "node:assert/strict";
import { test } from "node:test";

import { LOCALES } from "../../src/config.ts";
import { label, pickLanguage } from "../../src/embed/labels.ts";

test("the first language that we have is taken, by its main tag", () => {
  assert.equal(pickLanguage(["pt-BR", "en"]), "pt");
  assert.equal(pickLanguage(["sv", "zh-Hant-TW"]), "zh");
  assert.equal(pickLanguage(["DE_at"]), "de");
  assert.equal(pickLanguage(["sv", ""]), "en");
  assert.equal(pickLanguage([]), "en");
});

test("every language has every word, and they differ", () => {
  for (const name of ["open", "close", "failed", "again"] as const) {
    const words = LOCALES.map((locale) => label(name, locale));
    assert.ok(words.every((one) => one.length > 1));
    assert.equal(new Set(words).size, LOCALES.length, name);
  }
});

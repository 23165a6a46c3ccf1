import assert from "node:assert/strict";
import { test } from "node:test";

import { LOCALES } from "../../src/config.ts";
import { count, direction, englishTexts, fill, loadTexts, pickLocale, type TextKey } from "../../src/locales/index.ts";

const keys = Object.keys(englishTexts) as TextKey[];

function placeholders(text: string): string[] {
  return [...new Set([...text.matchAll(/\{\w+\}/g)].map((found) => found[0]))].sort();
}

/** The plural forms of a text, or null for one without. */
function forms(text: string): Map<string, string> | null {
  const parts = text.split("|").map((part) => /^(zero|one|two|few|many|other):(.*)$/s.exec(part));
  if (parts.some((part) => part === null)) return null;
  return new Map(parts.map((part) => [part?.[1] ?? "", part?.[2] ?? ""]));
}

for (const locale of LOCALES) {
  test(`${locale} has exactly the keys, placeholders and plural texts of en`, async () => {
    const texts = await loadTexts(locale);
    assert.deepEqual(Object.keys(texts).sort(), [...keys].sort());
    for (const key of keys) {
      const [ours, english] = [texts[key], englishTexts[key]];
      assert.notEqual(ours.trim(), "", key);
      const counted = forms(english);
      assert.equal(forms(ours) === null, counted === null, `${locale}.${key}: plural forms`);
      if (counted === null) {
        assert.deepEqual(placeholders(ours), placeholders(english), `${locale}.${key}`);
        continue;
      }
      const wanted = new Intl.PluralRules(locale).resolvedOptions().pluralCategories;
      assert.deepEqual([...(forms(ours)?.keys() ?? [])].sort(), [...wanted].sort(), `${locale}.${key}: its language's categories`);
      for (const form of forms(ours)?.values() ?? []) assert.ok(form.includes("{n}"), `${locale}.${key}: ${form}`);
    }
  });

  test(`${locale} is translated`, async () => {
    if (locale === "en") return;
    const texts = await loadTexts(locale);
    const same = keys.filter((key) => texts[key] === englishTexts[key]);
    assert.ok(same.length < 10, `the same as in English: ${same.join(", ")}`);
  });
}

test("a locale is picked by language, in the order of wishes", () => {
  assert.equal(pickLocale(["pt-BR", "en"]), "pt");
  assert.equal(pickLocale(["xx", "zh_Hans_CN", "de"]), "zh");
  assert.equal(pickLocale(["DE-at"]), "de");
  assert.equal(pickLocale([]), "en");
  assert.equal(pickLocale(["toString", "__proto__", ""]), "en");
});

test("texts of an unknown locale are English", async () => {
  assert.equal(await loadTexts("tlh"), englishTexts);
});

test("Arabic runs from right to left, the others do not", () => {
  assert.deepEqual(LOCALES.map(direction), LOCALES.map((locale) => (locale === "ar" ? "rtl" : "ltr")));
});

test("values are put in once and as they are", () => {
  assert.equal(fill("{name} and {name}, {other}", { name: "{other} $& x" }), "{other} $& x and {other} $& x, {other}");
});

test("plurals follow the language", () => {
  const sources = "one:{n} źródło|few:{n} źródła|many:{n} źródeł|other:{n} źródła";
  assert.deepEqual([1, 2, 5, 22, 12].map((n) => count(sources, n, "pl")), ["1 źródło", "2 źródła", "5 źródeł", "22 źródła", "12 źródeł"]);
  assert.equal(count("one:{n} second|other:{n} seconds", 1500, "en"), "1,500 seconds");
});

/**
 * The keys of the texts, for `words.say(T.close)`. In the sources a key is its name; the build (`build.mjs`) puts the text's place in
 * the list of its language there, so that no visitor loads names. Only ever written as `T.name`.
 */

import { texts } from "./en.ts";

type Keys = { readonly [Key in keyof typeof texts]: Key };

export const T = Object.fromEntries(Object.keys(texts).map((key) => [key, key])) as Keys;

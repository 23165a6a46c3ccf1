/**
 * Which clip of a stranger's model stands for an animation. Pure.
 *
 * The operator's map first, then a clip of that name (models write "Thumbs Up", "robot|wave" …), then an expression of the
 * face, then the nearest clip by meaning, then idle.
 */

import type { AnimationName } from "./types.ts";

export type Source =
  | { readonly kind: "clip"; readonly name: string }
  | { readonly kind: "expression"; readonly name: string }
  | { readonly kind: "none" };

/** Words that models use for the same. */
const WORDS: Readonly<Record<AnimationName, readonly string[]>> = {
  idle: ["idle", "stand", "standing", "breathe", "breathing", "rest"],
  wave: ["wave", "waving", "hello", "greet", "greeting", "hi"],
  happy: ["happy", "joy", "dance", "cheer", "celebrate", "excited", "jump", "laugh"],
  thumbs_up: ["thumbsup", "thumb", "approve", "yes", "ok"],
  nod: ["nod", "nodding", "yes", "agree", "acknowledge"],
  thinking: ["thinking", "think", "ponder", "search", "look"],
  confused: ["confused", "shrug", "no", "doubt", "dontknow", "headshake", "sad"],
  talk_calm: ["talkcalm", "talk", "talking", "speak", "speaking"],
  talk_explain: ["talkexplain", "explain", "talk", "talking", "speak", "gesture"],
};

/** When nothing is called so: what looks most like it. */
const NEAREST: Readonly<Record<AnimationName, readonly AnimationName[]>> = {
  idle: [],
  wave: ["happy", "nod"],
  happy: ["wave", "thumbs_up"],
  thumbs_up: ["nod", "happy"],
  nod: ["thumbs_up"],
  thinking: ["idle"],
  confused: ["thinking"],
  talk_calm: ["talk_explain"],
  talk_explain: ["talk_calm"],
};

/** VRM's preset expressions (and what face-tracking models call them) by animation. */
export const EXPRESSIONS: Readonly<Record<AnimationName, readonly string[]>> = {
  idle: [],
  wave: ["happy", "joy", "smile"],
  happy: ["happy", "joy", "fun", "smile"],
  thumbs_up: ["relaxed", "happy", "joy", "smile"],
  nod: ["relaxed", "fun"],
  thinking: ["lookUp"],
  confused: ["surprised", "sad", "sorrow"],
  talk_calm: [],
  talk_explain: [],
};

function wordsOf(name: string): string[] {
  return name
    .replace(/([a-z0-9])([A-Z])/g, "$1 $2")
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .filter((word) => word !== "");
}

/** The clip that is called `animation`, exactly or with a word or two around it; null if none is. */
function named(animation: AnimationName, clips: readonly string[]): string | null {
  const exact = clips.find((clip) => clip === animation) ?? clips.find((clip) => clip.toLowerCase() === animation);
  if (exact !== undefined) return exact;
  for (const word of WORDS[animation]) {
    const found = clips.find((clip) => {
      const words = wordsOf(clip);
      return words.includes(word) || (word.length > 6 && words.join("").endsWith(word));
    });
    if (found !== undefined) return found;
  }
  return null;
}

/** Where `animation` comes from, given the names of the model's clips and expressions. */
export function findSource(
  animation: AnimationName,
  clips: readonly string[],
  expressions: readonly string[],
  map: Readonly<Record<string, string>>,
): Source {
  const wanted = map[animation];
  if (wanted !== undefined && clips.includes(wanted)) return { kind: "clip", name: wanted };
  const own = named(animation, clips);
  if (own !== null) return { kind: "clip", name: own };
  if (wanted !== undefined && expressions.includes(wanted)) return { kind: "expression", name: wanted };
  for (const name of EXPRESSIONS[animation]) {
    if (expressions.includes(name)) return { kind: "expression", name };
  }
  for (const near of NEAREST[animation]) {
    const mapped = map[near];
    const found = mapped !== undefined && clips.includes(mapped) ? mapped : named(near, clips);
    if (found !== null) return { kind: "clip", name: found };
  }
  if (animation === "idle" && clips.length === 1) return { kind: "clip", name: clips[0] as string };
  return animation === "idle" ? { kind: "none" } : findSource("idle", clips, expressions, map);
}

/** What the panel's menu offers. */

import type { FeaturesConfig } from "../config.ts";
import type { Entry } from "./menulist.ts";
import type { Words } from "./words.ts";

export interface MenuActs {
  reset(): void;
  save(): void;
  toggleReading(): void;
  toggleAvatar(): void;
  /** There is something that a new conversation would take out of sight. */
  hasTurns(): boolean;
  reads(): boolean;
  showsAvatar(): boolean;
}

/** `features`: what there is here; read_aloud only where the browser has a voice. */
export function menuEntries(words: Words, features: FeaturesConfig, hasAvatar: boolean, acts: MenuActs): Entry[] {
  const asked = { question: words.say("new_conversation_confirm"), yes: words.say("confirm"), no: words.say("cancel") };
  const entries: (Entry | false)[] = [
    { icon: "retry", label: () => words.say("new_conversation"), act: acts.reset, ask: () => (acts.hasTurns() ? asked : null) },
    features.transcript && { icon: "save", label: () => words.say("download_transcript"), act: acts.save },
    features.read_aloud && { icon: "speak", label: () => words.say(acts.reads() ? "read_aloud_off" : "read_aloud_on"), act: acts.toggleReading },
    hasAvatar && { icon: "person", label: () => words.say(acts.showsAvatar() ? "avatar_hide" : "avatar_show"), act: acts.toggleAvatar },
  ];
  return entries.filter((entry) => entry !== false);
}

/** What the panel's menu offers. */

import type { FeaturesConfig } from "../config.ts";
import type { ChatState } from "../core/types.ts";
import { T } from "../locales/keys.ts";
import type { Entry } from "./menulist.ts";
import type { Words } from "./words.ts";

const RETRY = "M5 12a7 7 0 1 1 2.200 5.100M5 20v-5h5";
const SAVE = "M12 4v11M7 11l5 5 5-5M5 20h14";

export interface MenuActs {
  reset(): void;
  /** As it is now. */
  state(): ChatState;
  /** Something could not be had. */
  sorry(): void;
  toggleReading(): void;
  toggleAvatar(): void;
  reads(): boolean;
  showsAvatar(): boolean;
}

/** `features`: what there is here; read_aloud only where the browser has a voice. */
export function menuEntries(words: Words, features: FeaturesConfig, hasAvatar: boolean, acts: MenuActs): Entry[] {
  const asked = { question: words.say(T.new_conversation_confirm), yes: words.say(T.confirm), no: words.say(T.cancel) };
  const save = async (): Promise<void> => (await import("./save.ts")).saveTranscript(acts.state(), words);
  const entries: (Entry | false)[] = [
    { icon: RETRY, label: () => words.say(T.new_conversation), act: acts.reset, ask: () => (acts.state().turns.length > 0 ? asked : null) },
    features.transcript && { icon: SAVE, label: () => words.say(T.download_transcript), act: () => void save().catch(acts.sorry) },
    features.read_aloud && { icon: "speak", label: () => words.say(acts.reads() ? T.read_aloud_off : T.read_aloud_on), act: acts.toggleReading },
    hasAvatar && { icon: "person", label: () => words.say(acts.showsAvatar() ? T.avatar_hide : T.avatar_show), act: acts.toggleAvatar },
  ];
  return entries.filter((entry) => entry !== false);
}

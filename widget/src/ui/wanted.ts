/** What comes when it is wanted first: the menu's entries and the drawer with sources. Their code is `more.ts`. Owned by `livepanel.ts`. */

import type { FeaturesConfig } from "../config.ts";
import type { Source } from "../core/types.ts";
import type { Drawer } from "./drawer.ts";
import type { MenuActs } from "./entries.ts";
import { loadMore } from "./later.ts";
import type { Words } from "./words.ts";

export interface WantedOptions {
  readonly root: ShadowRoot;
  /** The panel, which the drawer lies over. */
  readonly panel: HTMLElement;
  readonly words: Words;
  readonly base: string;
  /** Where the focus goes when what had it is gone. */
  focus(): void;
  /** It cannot be had now. */
  sorry(): void;
}

export class Wanted {
  readonly #options: WantedOptions;
  #drawer: Drawer | null = null;

  constructor(options: WantedOptions) {
    this.#options = options;
  }

  /** Show the source `n` of `sources`; the focus goes back to `opener`. */
  async openSource(sources: readonly Source[], n: number, opener: HTMLElement): Promise<void> {
    const { root, panel, words, base, focus, sorry } = this.#options;
    const more = await loadMore(root).catch(sorry);
    if (!more || !opener.isConnected) return;
    this.#drawer ??= new more.Drawer(panel, words, base, (last) => (last?.isConnected ? last.focus() : focus()));
    this.#drawer.open(sources, n, opener);
  }

  closeSource(): void {
    this.#drawer?.close();
  }

  /** Rejects where the entries cannot be had now. */
  async fillMenu(list: HTMLElement, leave: () => void, features: FeaturesConfig, hasAvatar: boolean, acts: MenuActs): Promise<void> {
    const { root, words, sorry } = this.#options;
    try {
      const { fillMenu, menuEntries } = await loadMore(root);
      fillMenu(list, menuEntries(words, features, hasAvatar, acts), leave);
    } catch (error) {
      sorry();
      throw error;
    }
  }
}

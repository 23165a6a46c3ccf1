/** The chat chunk's entry: the panel (header with the avatar, conversation, composer), mounted by the launcher when wanted first. */

import type { Panel, PanelHost } from "../embed/types.ts";
import { englishTexts } from "../locales/index.ts";
import { LivePanel } from "./livepanel.ts";
import { loadWords, Words } from "./words.ts";

/** A language that takes longer than this comes in later. */
const TEXTS_WITHIN_MS = 1_500;

export default async function mountPanel(host: PanelHost): Promise<Panel> {
  const { config, locale } = host;
  const loading = loadWords(locale, config);
  const late = new Promise<null>((resolve) => setTimeout(resolve, TEXTS_WITHIN_MS, null));
  const words = await Promise.race([loading, late]);
  if (words) return new LivePanel(host, words);
  const panel = new LivePanel(host, new Words(englishTexts, "en", config.name, config.texts));
  void loading.then(() => (panel.wasToldLocale ? undefined : panel.setLocale(locale)));
  return panel;
}

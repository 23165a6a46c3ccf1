/** The chat chunk's entry: the panel (header with the avatar, conversation, composer), mounted by the launcher when wanted first. */

import type { Panel, PanelHost } from "../embed/types.ts";
import { englishTexts, loadTexts, pickLocale } from "../locales/index.ts";
import { LivePanel } from "./livepanel.ts";
import { Words } from "./words.ts";

/** A language that takes longer than this comes in later. */
const TEXTS_WITHIN_MS = 1_500;

export default async function mountPanel(host: PanelHost): Promise<Panel> {
  const locale = pickLocale([host.locale]);
  const { name, texts: own } = host.config;
  const loading = loadTexts(locale);
  const late = new Promise<null>((resolve) => setTimeout(resolve, TEXTS_WITHIN_MS, null));
  const texts = await Promise.race([loading, late]);
  if (texts) return new LivePanel(host, new Words(texts, locale, name, own));
  const panel = new LivePanel(host, new Words(englishTexts, "en", name, own));
  void loading.then(() => panel.setLocale(locale));
  return panel;
}

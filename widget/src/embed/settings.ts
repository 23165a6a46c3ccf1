/** The chatbot's widget config: fetched once, kept for the tab, and that it could not be had. */

import type { WidgetConfig } from "../config.ts";
import type { Store } from "./store.ts";

/** What went wrong, as far as the launcher can see it; `explain.ts` says what to do about it. */
export class Unavailable extends Error {
  /** The HTTP status; 0: no answer that the browser lets us read. */
  readonly status: number;
  /** Trying again does not mend it. Known once `explain` was asked. */
  refused = false;

  constructor(message: string, status = 0) {
    super(message);
    this.status = status;
  }
}

/** Tell the site's owner what `explain` has not told. */
export const warn = (error: unknown): void => {
  if (!(error instanceof Unavailable || (error as Partial<Unavailable>).refused)) console.warn("[chatwright]", error);
};

const TIMEOUT_MS = 10_000;
const FRESH_MS = 5 * 60_000;
const KEY = "config";

/** What this tab has had before, with whether it is young enough to be used unasked. Null: nothing for this locale. */
export function storedConfig(store: Store, locale: string | null): { config: WidgetConfig; fresh: boolean } | null {
  try {
    const [at, asked, config] = JSON.parse(store.get(KEY)!) as [number, string | null, WidgetConfig];
    return asked === locale && config.theme.accent && config.avatar.kind ? { config, fresh: Date.now() - at < FRESH_MS } : null;
  } catch {
    return null; // nothing there, or of another release
  }
}

/**
 * Ask the server at `base` for the config of `widgetId` in `locale` (null: the browser's languages). The browser's own
 * cache asks with the ETag. Raises Unavailable.
 */
export async function fetchConfig(base: string, widgetId: string, locale: string | null, store: Store): Promise<WidgetConfig> {
  const query = new URLSearchParams({ widget_id: widgetId, ...(locale ? { locale } : {}) });
  let status = 0;
  try {
    const reply = await fetch(`${base}/api/v1/widget/config?${query}`, { credentials: "omit", signal: AbortSignal.timeout(TIMEOUT_MS) });
    status = reply.status;
    const config = (await reply.json()) as WidgetConfig;
    if (reply.ok && config.theme && config.avatar) {
      store.set(KEY, JSON.stringify([Date.now(), locale, config]));
      return config;
    }
  } catch (error) {
    if ((error as Error).name === "TimeoutError") status = 504; // else: no answer, or one that cannot be read
  }
  throw new Unavailable("no config", status);
}

/** Bringing in `more.ts` with its styles, once. */

import type * as More from "./more.ts";

let sheet: CSSStyleSheet | null = null;

/** Rejects where it cannot be had now; the next wish tries again. */
export async function loadMore(root: ShadowRoot): Promise<typeof More> {
  const more = await import("./more.ts");
  if (!sheet) (sheet = new CSSStyleSheet()).replaceSync(more.css);
  if (!root.adoptedStyleSheets.includes(sheet)) root.adoptedStyleSheets = [...root.adoptedStyleSheets, sheet];
  return more;
}

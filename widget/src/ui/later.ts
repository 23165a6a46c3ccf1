/** Bringing in `more.ts` with its styles. */

import type * as More from "./more.ts";
import { adopt } from "./sheets.ts";

/** Rejects where it cannot be had now; the next wish tries again. */
export async function loadMore(root: ShadowRoot): Promise<typeof More> {
  const more = await import("./more.ts");
  adopt(root, more.css);
  return more;
}

/** DOMPurify as the fence of browsers without a Sanitizer of their own. Loaded by `fence.ts` there. */

import purify from "dompurify";
import type { Fence } from "./fence.ts";

/** Lets through `elements` with `attributes`, of which href and src lead to an address that `address` allows. */
export function purifier(elements: readonly string[], attributes: readonly string[], address: RegExp): Fence {
  const settings = {
    IN_PLACE: true,
    ALLOWED_TAGS: [...elements, "#text"],
    ALLOWED_ATTR: [...attributes],
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
    ALLOWED_URI_REGEXP: address,
    // DOMPurify holds every attribute against the pattern above, but for these.
    ADD_URI_SAFE_ATTR: attributes.filter((name) => name !== "href" && name !== "src"),
  };
  return (built) => {
    purify.sanitize(built, settings);
    return built;
  };
}

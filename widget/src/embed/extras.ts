/** What the launcher needs only at times, as a chunk of its own: the panel in an iframe, the teaser, what went wrong. */

export { explain } from "./explain.ts";
export { joinFrame, mountFrame } from "./frame.ts";
export { tease } from "./teaser.ts";

/** What of the panel is seldom wanted, as one chunk: sources, the menu's list, the comment on a rating. Brought in by `later.ts`. */

export { commentForm } from "./comment.ts";
export { Drawer } from "./drawer.ts";
export { menuEntries } from "./entries.ts";
export { fillMenu } from "./menulist.ts";
export { default as css } from "./more.css?inline";

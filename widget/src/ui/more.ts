/** What of the panel is seldom wanted, as one chunk: sources, the menu's list, ratings, what to do about failures. Brought in by `later.ts`. */

export { Drawer } from "./drawer.ts";
export { menuEntries } from "./entries.ts";
export { fillMenu } from "./menulist.ts";
export { offerMending } from "./mending.ts";
export { rate } from "./rating.ts";
export { default as css } from "./more.css?inline";

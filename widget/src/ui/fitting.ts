/** The panel in the room there is: as high as a phone's keyboard leaves it, with as much of the avatar as fits. */

import { sizeOf, type Room, type StageSize } from "./room.ts";

/** Sets `data-stage` and the height that can be seen on the panel's node. Returns how to do it again, now. */
export function fitting(node: HTMLElement, measure: () => Omit<Room, "height">): () => void {
  let size: StageSize = "hero";
  return () => {
    if (node.hidden) return;
    const view = visualViewport;
    // Pinched in, the page is looked at through a smaller hole: that is no keyboard.
    const seen = view && view.scale < 1.01 ? view : null;
    node.style.setProperty("--seen", seen ? `${seen.height}px` : "100dvh");
    node.style.setProperty("--seen-top", seen ? `${seen.offsetTop}px` : "0px");
    node.dataset["stage"] = size = sizeOf({ ...measure(), height: node.clientHeight }, size);
  };
}

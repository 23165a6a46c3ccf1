/** What the browser says of its machine, for `tiers.ts`; and the choice that is kept for the next visit. Called by `index.ts`. */

import type { Machine } from "./tiers.ts";

/** One choice for the whole machine: not under a chatbot's prefix. */
const SAVED_KEY = "chatwright:avatar-tier";

interface Hints {
  readonly deviceMemory?: number;
  readonly connection?: { readonly saveData?: boolean };
}

/** Asks WebGL 2 for its renderer with a context that is given back at once; null if there is none. */
export function findRenderer(document: Document): string | null {
  try {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 1;
    const gl = canvas.getContext("webgl2", { antialias: false, depth: false, powerPreference: "low-power" });
    if (gl === null || gl.isContextLost()) return null;
    const info = gl.getExtension("WEBGL_debug_renderer_info");
    const name: unknown = gl.getParameter(info === null ? gl.RENDERER : info.UNMASKED_RENDERER_WEBGL);
    gl.getExtension("WEBGL_lose_context")?.loseContext();
    return typeof name === "string" ? name : "";
  } catch {
    return null;
  }
}

export function readMachine(view: Window, renderer: string | null): Machine {
  const hints = view.navigator as Navigator & Hints;
  return {
    renderer,
    memoryGib: hints.deviceMemory ?? 0,
    saveData: hints.connection?.saveData === true,
    saved: readSaved(view),
    nowMs: Date.now(),
  };
}

/** Storage may be blocked: then every visit measures anew. */
function readSaved(view: Window): string | null {
  try {
    return view.localStorage.getItem(SAVED_KEY);
  } catch {
    return null;
  }
}

export function keepSaved(view: Window, text: string): void {
  try {
    view.localStorage.setItem(SAVED_KEY, text);
  } catch {
    // See readSaved.
  }
}

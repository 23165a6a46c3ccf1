/**
 * The second fence around answers: what `markdown-inline.ts` built goes through the browser's own sanitizer, or through
 * DOMPurify where there is none, before it is attached. One closed list for both. The first fence is that nothing of an
 * answer is parsed as HTML to begin with.
 */

/** A harmless copy of an element, or the element itself made harmless. */
export type Fence = (built: HTMLElement) => HTMLElement;

const ELEMENTS = ["a", "br", "code", "del", "em", "img", "span", "strong"];
const ATTRIBUTES = ["alt", "class", "decoding", "dir", "href", "loading", "referrerpolicy", "rel", "src", "target", "title"];
const MARKER = "data-cite";
const ADDRESS = /^(?:https?|mailto|tel):/i;

/** Of the Sanitizer API, what is used here; not in TypeScript's DOM library yet. */
interface Sanitizing {
  setHTML?(html: string, options: { sanitizer: unknown }): void;
}
declare const Sanitizer: new (allowed: { elements: string[]; attributes: string[]; comments: boolean; dataAttributes: boolean }) => unknown;

export async function loadFence(document: Document): Promise<Fence> {
  const clean = native(document) ?? (await import("./purify.ts")).purifier(ELEMENTS, [...ATTRIBUTES, MARKER], ADDRESS);
  return (built) => {
    const made = clean(built);
    // Neither of the two can be told which addresses are harmless as narrowly as this.
    for (const element of [made, ...made.querySelectorAll("*")]) {
      for (const name of ["href", "src"]) if (!ADDRESS.test(element.getAttribute(name) ?? "tel:")) element.removeAttribute(name);
    }
    return made;
  };
}

function native(document: Document): Fence | null {
  const box: Element & Sanitizing = document.createElement("div");
  if (typeof box.setHTML !== "function") return null;
  let sanitizer: unknown;
  try {
    sanitizer = new Sanitizer({ elements: ELEMENTS, attributes: [...ATTRIBUTES, MARKER], comments: false, dataAttributes: false });
  } catch {
    return null; // an earlier draft of it, with other settings
  }
  return (built) => {
    box.setHTML?.(built.outerHTML, { sanitizer });
    const made = box.firstElementChild ?? document.createElement("span");
    made.remove();
    return made as HTMLElement;
  };
}

/** Making the panel's nodes, always from values and never from markup. */

export { html, svg } from "../embed/dom.ts";
import { html, svg } from "../embed/dom.ts";
import { safeHref } from "./markdown-links.ts";

/** Paths of the panel's icons, 24 by 24, drawn with a stroke. */
const ICONS = {
  close: "M6 6l12 12M18 6L6 18",
  menu: "M12 5.500h.01M12 12h.01M12 18.500h.01",
  send: "M12 19V5M5.500 11.500L12 5l6.500 6.500",
  stop: "M8 8h8v8H8z",
  copy: "M9 9h10v11H9zM15 9V5H5v10h4",
  done: "M5 12.500l4.500 4.500L19 7.500",
  up: "M7 11v9H4v-9zM7 11l4-7c1.500 0 2.300 1 2 2.600L12.400 10H18c1.300 0 2.200 1.200 1.900 2.500l-1.400 6A2 2 0 0 1 16.600 20H7",
  down: "M17 13V4h3v9zM17 13l-4 7c-1.500 0-2.300-1-2-2.600l.6-3.400H6c-1.300 0-2.200-1.200-1.900-2.500l1.400-6A2 2 0 0 1 7.400 4H17",
  link: "M14 5h5v5M19 5l-8 8M10 6H6v12h12v-4",
  bottom: "M12 5v14M6 13l6 6 6-6",
  speak: "M5 10v4h3l4 4V6L8 10zM15.500 9.500a3.500 3.500 0 0 1 0 5M18 7a7 7 0 0 1 0 10",
  person: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM4.500 20.500c1.200-4 4-5.500 7.500-5.500s6.300 1.500 7.500 5.500",
} as const;

/** One of the panel's own, or a path: what is seldom shown brings it along. */
export type IconName = keyof typeof ICONS | `M${string}`;

export function icon(name: IconName): SVGSVGElement {
  return svg("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" }, svg("path", { d: ICONS[name as keyof typeof ICONS] ?? name }));
}

/** A button with an icon alone: its label is for those who cannot see it, and for those who rest on it. */
export function iconButton(name: IconName, label: string, act: (event: Event) => void, className = "tool"): HTMLButtonElement {
  const button = html("button", { type: "button", class: className, "aria-label": label, title: label }, icon(name));
  button.addEventListener("click", act);
  return button;
}

export function textButton(className: string, label: string, act: (event: Event) => void): HTMLButtonElement {
  const button = html("button", { type: "button", class: className }, label);
  button.addEventListener("click", act);
  return button;
}

export function group(className: string, label: string): HTMLElement {
  return html("div", { class: className, role: "group", "aria-label": label });
}

/** Set a text only where it differs: what did not change is not announced, and a selection in it stays. */
export function setText(node: Node, text: string): void {
  if (node.textContent !== text) node.textContent = text;
}

/** An address that may stand behind a link, or "". Paths ("/guide/start") are the server's own, at `base`. */
export function safeLink(value: string, base: string): string {
  return /^(?:[a-z]+:|\/(?![/\\]))/i.test(value.trim()) ? (safeHref(value, base) ?? "") : "";
}

/** A model's address: a path that the chatbot names is the server's own, not the page's. */
export function modelAddress(url: string | null, base: string): string | null {
  return url?.startsWith("/") ? base + url : url;
}

/** Take a text along. Pages without https have no clipboard but the old way. Rejects when neither works. */
export async function copyText(text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    let focused = document.activeElement;
    while (focused?.shadowRoot?.activeElement) focused = focused.shadowRoot.activeElement;
    const box = html("textarea", { readonly: "" });
    box.value = text;
    box.style.cssText = "position:fixed;opacity:0";
    document.body.append(box);
    box.select();
    const done = document.execCommand("copy");
    box.remove();
    (focused as HTMLElement | null)?.focus({ preventScroll: true });
    if (!done) throw new Error("there is no clipboard");
  }
}

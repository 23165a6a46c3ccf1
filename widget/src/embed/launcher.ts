/**
 * Entry of `widget.js`, a classic script: defines `<chatwright-chat>`, puts `window.chatwright` there, and makes the element
 * that `<script async src="https://HOST/widget.js" data-chatbot="cw_pub_…">` asks for.
 */

import { installApi } from "./api.ts";
import { defineElement } from "./element.ts";

/** The script's own tag; null where it was not loaded by one (a module, a bundle). */
const script = (document.currentScript ?? document.querySelector('script[data-chatbot][src*="/widget.js"]')) as HTMLScriptElement | null;

function baseOf(tag: HTMLScriptElement | null): string {
  const said = tag?.dataset.base;
  if (said) return said.replace(/\/+$/, "");
  // Below whatever path a proxy may have put before it.
  return tag?.src ? tag.src.replace(/\/widget\.js([?#].*)?$/, "") : location.origin;
}

function start(): void {
  const api = installApi();
  const base = baseOf(script);
  defineElement(base);
  api.flush();
  const chatbot = script?.dataset.chatbot;
  if (!script || !chatbot) return;

  const place = (): void => {
    // The same line twice, or a page that was swapped in with the same line: one element.
    const there = [...document.querySelectorAll("chatwright-chat")].some((one) => one.getAttribute("chatbot") === chatbot);
    if (there) return;
    if (element.getAttribute("mode") === "inline" && document.body.contains(script)) script.after(element);
    else document.body.append(element);
    api.flush();
  };
  const element = document.createElement("chatwright-chat");
  element.setAttribute("base", base);
  for (const name in script.dataset) element.setAttribute(name, script.dataset[name] ?? ""); // data-accent -> accent
  if (document.body) place();
  else document.addEventListener("DOMContentLoaded", place, { once: true });
  // Turbo and its like put another body in the place of this one.
  new MutationObserver(() => {
    if (document.body && !element.isConnected) place();
  }).observe(document.documentElement, { childList: true });
}

start();

/** `window.chatwright`: the page's handle on the widget, usable before it is there (`chatwright.push(["open"])`). */

import type { ChatwrightChat } from "./element.ts";
import type { WidgetApi } from "./types.ts";

/** One call put aside: the method's name and its arguments. */
export type Call = readonly [name: string, ...args: unknown[]];

interface PageApi extends WidgetApi {
  push(...calls: Call[]): void;
}

const METHODS = ["open", "close", "toggle", "send", "setUser", "setLocale", "setMetadata", "play", "reset"] as const;
type Method = (typeof METHODS)[number];
const QUEUE_AT_MOST = 100;

/** Call `listener` with what each `chatwright:<name>` on `target` (or below it) brings. Returns the way to stop it. */
export function hear(target: EventTarget, name: string, listener: (detail: unknown) => void): () => void {
  const tell = (event: Event): void => listener((event as CustomEvent<unknown>).detail);
  target.addEventListener(`chatwright:${name}`, tell);
  return () => target.removeEventListener(`chatwright:${name}`, tell);
}

/**
 * The API over whatever element the page has: the first one. Calls before there is one wait for it (`flush`); listeners of
 * `on` hear all elements, also those that come later.
 */
function createApi(): PageApi & { flush(): void } {
  const waiting: Call[] = [];

  const element = (): ChatwrightChat | null => {
    const found = document.querySelector("chatwright-chat[chatbot]");
    return found && "setUser" in found ? (found as ChatwrightChat) : null;
  };
  const run = (call: Call): void => {
    const [name, ...args] = call;
    if (name === "on") return void api.on(args[0] as string, args[1] as (detail: unknown) => void);
    if (!METHODS.includes(name as Method)) return console.warn("[chatwright] unknown:", name);
    const there = element();
    if (there) (there[name as Method] as (...args: unknown[]) => void)(...args);
    else if (waiting.length < QUEUE_AT_MOST) waiting.push(call);
  };

  const api = {
    on: (name: string, listener: (detail: unknown) => void) => hear(document, name, listener),
    push: (...calls: Call[]): void => calls.forEach(run),
    flush: (): void => waiting.splice(0).forEach(run),
  } as PageApi & { flush(): void };
  for (const name of METHODS) api[name] = (...args: unknown[]) => run([name, ...args]);
  return api;
}

/** Put the API on the window, once, and run what the page put aside. Returns it. */
export function installApi(): PageApi & { flush(): void } {
  const scope = window as unknown as { chatwright?: unknown };
  const before = scope.chatwright;
  if (before && typeof before === "object" && "flush" in before) return before as PageApi & { flush(): void };
  const api = createApi();
  scope.chatwright = api;
  if (Array.isArray(before)) api.push(...(before as Call[]));
  return api;
}

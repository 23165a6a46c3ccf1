/** What the launcher remembers: for the tab (open, unread, a waiting answer, the config) or for good (a dismissed teaser). */

export interface Store {
  get(name: string): string | null;
  /** null forgets. */
  set(name: string, value: string | null): void;
}

/** `kind` of the browser's storages under `chatwright:<widgetId>:`; where it is blocked or full, this page's memory. */
export function createStore(kind: "localStorage" | "sessionStorage", widgetId: string): Store {
  const memory: Record<string, string | null> = {};
  const prefix = `chatwright:${widgetId}:`;
  return {
    get(name) {
      try {
        return window[kind].getItem(prefix + name) ?? memory[name] ?? null;
      } catch {
        return memory[name] ?? null;
      }
    },
    set(name, value) {
      memory[name] = value;
      try {
        if (value === null) window[kind].removeItem(prefix + name);
        else window[kind].setItem(prefix + name, value);
      } catch {
        // Blocked or full: memory has it for as long as the page lives.
      }
    },
  };
}

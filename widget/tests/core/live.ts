/**
 * Visitors in Node with the real core, its real fetch, WebSocket, locks and channels, against a server at `base`. Run by
 * tests/e2e/test_widget_core.py, whose proxy cuts the lines. The visitors ask until a line on stdin says that it has cut enough;
 * then one JSON value tells for each visitor the conversation, what each tab shows in the end and what it was told live.
 */

import { createChat } from "../../src/core/client.ts";
import { browserPorts, type KeyStore, type Ports } from "../../src/core/ports.ts";
import type { Chat, ChatState } from "../../src/core/types.ts";

interface Config {
  readonly base: string;
  readonly widgetId: string;
  /** Node sends no Origin header, so tokens are asked for with the tenant's key. */
  readonly tenantKey: string;
  readonly visitors: readonly string[];
  readonly tabs: number;
}

interface Tab {
  readonly chat: Chat;
  /** Text of an answer as it was told live, by message. */
  readonly told: Map<string, string>;
}

const config = JSON.parse(process.argv[2] ?? "") as Config;
const defaults = browserPorts();
let drops = 0;

function newStorage(): KeyStore {
  const values = new Map<string, string>();
  return {
    get length() {
      return values.size;
    },
    key: (index) => [...values.keys()][index] ?? null,
    getItem: (key) => values.get(key) ?? null,
    setItem: (key, value) => void values.set(key, value),
    removeItem: (key) => void values.delete(key),
  };
}

function open(visitor: string, storage: KeyStore): Tab {
  const ports: Partial<Ports> = {
    storage,
    // A tenth of the jitter: the test is about what is lost, not about how long a visitor waits.
    random: () => Math.random() / 10,
    fetch: (address, options) => {
      const headers = { ...(options.headers as Record<string, string>) };
      if (address.endsWith("/widget/token")) headers["authorization"] = `Bearer ${config.tenantKey}`;
      return fetch(address, { ...options, headers });
    },
    socket: (address) => {
      const socket = defaults.socket(address);
      (socket as unknown as WebSocket).addEventListener("close", () => {
        drops += 1;
      });
      return socket;
    },
  };
  const chat = createChat({ base: config.base, widgetId: config.widgetId, ports });
  chat.setUser({ id: visitor });
  const told = new Map<string, string>();
  chat.on((event) => {
    if (event.type === "delta") told.set(event.messageId, (told.get(event.messageId) ?? "") + event.text);
  });
  chat.start();
  return { chat, told };
}

function until(chat: Chat, isSo: (state: ChatState) => boolean, withinMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const end = (is: boolean): void => {
      clearTimeout(late);
      stop();
      resolve(is);
    };
    const late = setTimeout(() => end(false), withinMs);
    const stop = chat.subscribe((state) => {
      if (isSo(state)) end(true);
    });
    if (isSo(chat.state)) end(true);
  });
}

const isDone = (count: number) => (state: ChatState) =>
  state.turns.length === count && state.turns.every((turn) => turn.phase === "done");

async function visit(visitor: string, isEnough: () => boolean): Promise<{ tabs: Tab[]; sent: string[] }> {
  const storage = newStorage();
  const tabs = Array.from({ length: config.tabs }, () => open(visitor, storage));
  const sent: string[] = [];
  while (!isEnough()) {
    const text = `question ${sent.length} of ${visitor}`;
    sent.push(text);
    tabs[sent.length % tabs.length]?.chat.send(text);
    // Now and then the next one is written before the answer is there.
    if (sent.length % 4 !== 0) await Promise.all(tabs.map((tab) => until(tab.chat, isDone(sent.length), 15_000)));
  }
  return { tabs, sent };
}

let isCalm = false;
process.stdin.once("data", () => {
  isCalm = true;
});
const visits = await Promise.all(config.visitors.map((visitor) => visit(visitor, () => isCalm)));
const result = await Promise.all(
  visits.map(async ({ tabs, sent }) => {
    await Promise.all(tabs.map((tab) => until(tab.chat, isDone(sent.length), 60_000)));
    return {
      conversation: tabs[0]?.chat.state.conversationId,
      sent,
      tabs: tabs.map(({ chat, told }) => ({
        turns: chat.state.turns.map((turn) => [turn.messageId, turn.text, turn.answer.text, turn.phase]),
        told: Object.fromEntries(told),
        connection: chat.state.connection,
      })),
    };
  }),
);
for (const { tabs } of visits) for (const { chat } of tabs) chat.dispose();
// Nothing is left that would keep the process: it ends by itself, or the test says so.
process.stdin.destroy();
console.log(JSON.stringify({ drops, visits: result }));

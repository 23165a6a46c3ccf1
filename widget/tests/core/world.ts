/** What the tests of the core have in common: one clock, one browser, one server, and chats that are opened in it. */

import { createChat } from "../../src/core/client.ts";
import type { Ports } from "../../src/core/ports.ts";
import type { Chat, ChatEvent } from "../../src/core/types.ts";
import { Browser } from "./browser.ts";
import { Clock, seeded } from "./clock.ts";
import { type Line, Server } from "./server.ts";

export const MINUTE = 60_000;

export interface World {
  readonly clock: Clock;
  readonly server: Server;
  readonly browser: Browser;
  open(ports?: Partial<Ports>): { chat: Chat; events: ChatEvent[] };
}

export function world(seed = 7): World {
  const clock = new Clock();
  const server = new Server(clock, seeded(seed));
  const browser = new Browser(clock);
  return {
    clock,
    server,
    browser,
    open: (ports = {}) => {
      const chat = createChat({ base: "http://server", widgetId: "w", locale: "de", ports: { ...server.ports(browser), ...ports } });
      const events: ChatEvent[] = [];
      chat.on((event) => events.push(event));
      return { chat, events };
    },
  };
}

export const phases = (chat: Chat): string[] => chat.state.turns.map((turn) => turn.phase);
export const allDone = (chat: Chat) => (): boolean => chat.state.turns.length > 0 && phases(chat).every((phase) => phase === "done");
export const line = (server: Server): Line => [...server.lines][0] as Line;

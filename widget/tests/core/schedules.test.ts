/** Random schedules: whatever a line does, in the end each tab shows the server's texts, each once. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { createChat } from "../../src/core/client.ts";
import type { Chat, ChatEvent } from "../../src/core/types.ts";
import { Browser } from "./browser.ts";
import { Clock, seeded } from "./clock.ts";
import { Server, type Chaos } from "./server.ts";

const SCHEDULES = Number(process.env["SCHEDULES"] ?? 60);
const MINUTES = 60_000;
/** Texts that were shown and are no beginning of their answer. A listener's exception would not fail the test. */
const faults: string[] = [];

function chatOf(server: Server, browser: Browser): { chat: Chat; events: ChatEvent[] } {
  const chat = createChat({ base: "http://server", widgetId: "cw_pub_1", ports: server.ports(browser) });
  chat.subscribe((state) => {
    // At no moment is a piece missing, doubled or out of place.
    for (const { messageId, answer } of state.turns) {
      const whole = [...server.talks.values()].flatMap((talk) => talk.messages).find((one) => one.id === messageId)?.answer;
      if (!(whole?.startsWith(answer.text) ?? answer.text === "")) faults.push(answer.text);
    }
  });
  const events: ChatEvent[] = [];
  chat.on((event) => events.push(event));
  return { chat, events };
}

/** Everything the server has, as the visitor should see it. */
function expected(server: Server): [string, string][] {
  return [...server.talks.values()].flatMap((talk) => talk.messages.map((one): [string, string] => [one.text, one.answer]));
}

function shown(chat: Chat): [string, string][] {
  return chat.state.turns.map((turn) => [turn.text, turn.answer.text]);
}

async function play(seed: number, chaos: Chaos, tabs: number, hasLocks: boolean): Promise<void> {
  const random = seeded(seed);
  const clock = new Clock();
  const server = new Server(clock, random);
  server.chaos = chaos;
  const browser = new Browser(clock);
  browser.hasLocks = hasLocks;
  if (seed % 2 === 0) browser.lagMs = 40;
  if (seed % 4 === 0) browser.hasChannels = false; // then storage events must do
  const open = Array.from({ length: tabs }, () => chatOf(server, browser));
  for (const { chat } of open) chat.start();
  const sent: string[] = [];
  for (let index = 0; index < 6; index += 1) {
    const at = Math.floor(random() * open.length);
    const text = `q${seed}.${index}`;
    sent.push(text);
    open[at]?.chat.send(text);
    await clock.run(random() * 600);
    // Sometimes a tab is closed in the middle and opened again.
    if (random() < 0.15) {
      open[at]?.chat.dispose();
      open[at] = chatOf(server, browser);
      open[at]?.chat.start();
    }
  }
  const isQuiet = (): boolean =>
    open.every(
      ({ chat }) =>
        chat.state.turns.length === sent.length &&
        chat.state.turns.every((turn) => turn.phase === "done") &&
        JSON.stringify(shown(chat)) === JSON.stringify(expected(server)),
    );
  const isDone = await clock.run(10 * MINUTES, isQuiet);
  const told = `seed ${seed}, ${tabs} tabs, locks ${hasLocks}, ${server.drops} drops`;
  assert.equal(server.talks.size, 1, `${told}: one conversation`);
  assert.deepEqual(expected(server).map(([text]) => text).toSorted(), sent.toSorted(), `${told}: each text once at the server`);
  for (const { chat } of open) {
    assert.ok(isDone, `${told}: ${JSON.stringify(chat.state.turns.map((turn) => [turn.text, turn.phase]))} ${chat.state.connection}`);
    assert.deepEqual(shown(chat), expected(server), told);
  }
  if (tabs === 1) assert.equal(sent.join(), expected(server).map(([text]) => text).join(), `${told}: in the order of writing`);
  assert.deepEqual(faults, [], told);
  for (const { chat } of open) chat.dispose();
}

const KINDS: Record<string, Chaos> = {
  quiet: {},
  drops: { drop: 0.12 },
  repeats: { repeat: 0.3 },
  "mixed-up frames": { swap: 0.2, repeat: 0.1 },
  everything: { drop: 0.08, repeat: 0.1, swap: 0.08, reset: 0.3, lose: 0.05 },
};

for (const [name, chaos] of Object.entries(KINDS)) {
  for (const tabs of [1, 2, 3]) {
    test(`${name}, ${tabs} tabs: the server's texts in the end`, async () => {
      for (let seed = 1; seed <= SCHEDULES / 5; seed += 1) await play(seed * 31 + tabs, chaos, tabs, seed % 3 !== 0);
    });
  }
}

test("what is said of a stream live is the stream: deltas join to the answer, one end", async () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    const random = seeded(seed);
    const clock = new Clock();
    const server = new Server(clock, random);
    server.chaos = { drop: 0.05, repeat: 0.2, swap: seed % 2 === 0 ? 0.2 : 0 };
    const { chat, events } = chatOf(server, new Browser(clock));
    chat.send("one");
    assert.ok(await clock.run(5 * MINUTES, () => chat.state.turns.every((turn) => turn.phase === "done")));
    const answer = expected(server)[0]?.[1];
    assert.equal(events.map((event) => (event.type === "delta" ? event.text : "")).join(""), answer);
    assert.equal(events.filter((event) => event.type === "answered").length, 1);
    assert.equal(events.filter((event) => event.type === "sent").length, 1);
    const cues = events.flatMap((event) => (event.type === "cue" ? [event.animation] : []));
    assert.deepEqual(cues, ["thinking", "explaining", "happy"]);
    chat.dispose();
  }
});

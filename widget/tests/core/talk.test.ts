/** Conversations: begun anew, and shared by the tabs of a visitor. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { allDone, MINUTE, phases, world } from "./world.ts";

test("reset: a new conversation; what still comes of the old one is nobody's", async () => {
  const { clock, server, open } = world();
  server.pieces = 100;
  const { chat } = open();
  chat.send("old");
  await clock.run(20_000, () => (chat.state.turns[0]?.answer.text.length ?? 0) > 50);
  chat.reset();
  assert.deepEqual([chat.state.turns.length, chat.state.conversationId], [0, null]);
  await clock.run(10_000);
  assert.deepEqual(chat.state.turns, []);
  server.pieces = 3;
  chat.send("new");
  assert.ok(await clock.run(MINUTE, allDone(chat)));
  assert.equal(chat.state.turns.length, 1);
  assert.equal(server.talks.size, 2);
  assert.equal([...server.talks.values()][0]?.messages[0]?.state, "cancelled", "nobody pays for an answer that nobody reads");
  chat.dispose();
});

test("reset while the first text is on its way does not bring its conversation back", async () => {
  const { clock, server, open } = world();
  const { chat } = open();
  chat.start();
  await clock.run(1_000);
  let sent = false;
  server.onMessage = () => {
    sent = true;
    return true;
  };
  chat.send("old");
  await clock.run(1_000, () => sent);
  chat.reset();
  await clock.run(10_000);
  assert.deepEqual([chat.state.turns.length, chat.state.conversationId], [0, null]);
  chat.dispose();
});

test("two tabs that open and send at once are one visitor in one conversation, with locks and without", async () => {
  for (const hasLocks of [true, false]) {
    const { clock, server, browser, open } = world();
    browser.hasLocks = hasLocks;
    const one = open();
    const two = open();
    one.chat.send("from one");
    two.chat.send("from two");
    const isDone = (): boolean => [one, two].every(({ chat }) => phases(chat).join() === "done,done");
    assert.ok(await clock.run(MINUTE, isDone), `locks: ${hasLocks}`);
    assert.equal(server.talks.size, 1);
    assert.equal(server.tokens, 2);
    assert.equal(new Set([...server.talks.values()].map((talk) => talk.visitor)).size, 1);
    const shown = [one, two].map(({ chat }) => chat.state.turns.map((turn) => [turn.key, turn.text, turn.answer.text]));
    assert.deepEqual(shown[0], shown[1]);
    assert.deepEqual([one, two].map(({ events }) => events.filter((event) => event.type === "sent").length).reduce((a, b) => a + b), 2);
    one.chat.reset();
    await clock.run(1_000);
    assert.deepEqual(two.chat.state.turns, []);
    two.chat.send("anew");
    const isAnew = (): boolean => [one, two].every(({ chat }) => phases(chat).join() === "done");
    assert.ok(await clock.run(MINUTE, isAnew));
    assert.equal(server.talks.size, 2);
    one.chat.dispose();
    two.chat.dispose();
  }
});

test("a tab that dies in the middle of sending leaves its text to the other, once", async () => {
  for (const hasLocks of [true, false]) {
    const { clock, server, browser, open } = world();
    browser.hasLocks = hasLocks;
    const dying = open();
    const other = open();
    dying.chat.start();
    other.chat.start();
    await clock.run(2_000);
    let sent = false;
    server.onMessage = () => {
      sent = true;
      return true;
    };
    dying.chat.send("my last words");
    await clock.run(1_000, () => sent);
    dying.chat.dispose();
    assert.ok(await clock.run(2 * MINUTE, allDone(other.chat)), `locks: ${hasLocks}`);
    assert.deepEqual([...server.talks.values()].map((talk) => talk.messages.map((one) => one.text)), [["my last words"]]);
    other.chat.dispose();
  }
});

test("a conversation that the server has no more is begun anew with the texts not sent", async () => {
  const { clock, server, open } = world();
  const first = open();
  first.chat.send("one");
  assert.ok(await clock.run(MINUTE, allDone(first.chat)));
  server.talks.clear();
  server.receipts.clear();
  first.chat.send("two");
  assert.ok(await clock.run(MINUTE, () => [...server.talks.values()][0]?.messages[0]?.state === "answered"));
  await clock.run(1_000);
  assert.deepEqual(first.chat.state.turns.map((turn) => [turn.text, turn.phase]), [["two", "done"]]);
  first.chat.dispose();
  server.talks.clear();
  const second = open();
  second.chat.start();
  assert.ok(await clock.run(MINUTE, () => second.chat.state.loaded));
  assert.deepEqual([second.chat.state.turns.length, second.chat.state.conversationId], [0, null]);
  second.chat.dispose();
});

test("a tab whose talk becomes another one while its history is on the way shows the other's", async () => {
  const { clock, server, open } = world();
  const other = open().chat;
  other.send("old");
  assert.ok(await clock.run(MINUTE, allDone(other)));
  let release = (): void => undefined;
  const isHeld = new Promise<void>((resolve) => (release = resolve));
  let isAsked = false;
  server.onFetch = async (path) => {
    if (path.includes("/messages") && !isAsked) {
      isAsked = true;
      await isHeld;
    }
    return null as unknown as Response;
  };
  const late = open({ channel: () => null }).chat;
  late.start();
  assert.ok(await clock.run(1_000, () => isAsked));
  other.reset();
  other.send("new");
  assert.ok(await clock.run(MINUTE, allDone(other)));
  late.send("mine"); // nobody tells it: it finds out when it looks
  release();
  assert.ok(await clock.run(MINUTE, () => phases(late).join() === "done,done"), JSON.stringify(late.state.turns));
  assert.deepEqual(late.state.turns.map((turn) => turn.text), ["new", "mine"]);
  assert.equal(late.state.loaded, true);
  for (const chat of [late, other]) chat.dispose();
});

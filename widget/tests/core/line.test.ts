/** The line to the server: refused, away, silent, back. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { allDone, line, MINUTE, phases, world } from "./world.ts";

test("wrong origin: refused, and waking by hand asks again", async () => {
  const { clock, server, open } = world();
  server.onFetch = () => Response.json({ error: { code: "forbidden", message: "origin" } }, { status: 403 });
  const { chat } = open();
  chat.start();
  await clock.run(MINUTE);
  assert.equal(chat.state.connection, "refused");
  assert.equal(chat.state.failure?.code, "forbidden");
  assert.equal(server.fetches.length, 1, "not asked again and again");
  server.onFetch = null;
  chat.wake();
  assert.ok(await clock.run(MINUTE, () => chat.state.connection === "online"));
  chat.dispose();
});

test("Retry-After is obeyed, and nothing in the page shortens it but a person", async () => {
  const { clock, server, open } = world();
  const listeners = new Map<string, () => void>();
  server.onFetch = () => Response.json({}, { status: 429, headers: { "retry-after": "40" } });
  const { chat } = open({
    listen: (type, work) => {
      listeners.set(type, () => work({}));
      return () => listeners.delete(type);
    },
  });
  chat.start();
  await clock.run(39_000);
  listeners.get("online")?.();
  await clock.run(500);
  assert.equal(server.fetches.length, 1);
  chat.wake();
  await clock.run(500);
  assert.equal(server.fetches.length, 2);
  chat.dispose();
});

test("at once on `online`", async () => {
  const { clock, server, open } = world();
  const listeners = new Map<string, () => void>();
  let isUp = false;
  server.onFetch = () => {
    if (!isUp) throw new TypeError("network");
    return null;
  };
  const { chat } = open({
    isOnline: () => isUp,
    random: () => 0.99,
    listen: (type, work) => {
      listeners.set(type, () => work({}));
      return () => listeners.delete(type);
    },
  });
  chat.start();
  await clock.run(5 * MINUTE);
  assert.equal(chat.state.connection, "offline");
  isUp = true;
  listeners.get("online")?.();
  assert.ok(await clock.run(100, () => chat.state.connection === "online"));
  chat.dispose();
});

test("nothing waits for ever: each thing that does not come is a state with an end", async () => {
  // No reply to the request for a token.
  const hung = world();
  hung.server.onFetch = () => new Promise(() => undefined);
  const one = hung.open().chat;
  one.send("a");
  await hung.clock.run(20_000, () => one.state.retryAt !== null);
  assert.equal(one.state.connection, "reconnecting");
  one.dispose();

  // No `ready`.
  const silent = world();
  silent.server.onAuth = () => false;
  const two = silent.open().chat;
  two.start();
  assert.ok(await silent.clock.run(12_000, () => two.state.retryAt !== null));
  two.dispose();

  // No receipt: tried again, then given back to the visitor.
  const deaf = world();
  deaf.server.onMessage = () => false;
  const three = deaf.open().chat;
  three.send("a");
  assert.ok(await deaf.clock.run(10 * MINUTE, () => phases(three)[0] === "refused"));
  assert.equal(three.state.turns[0]?.failure?.retriable, true);
  three.dispose();

  // No answer: looked up, then given up; shown if it comes after all.
  const slow = world();
  slow.server.isAnswering = false;
  const four = slow.open();
  four.chat.send("a");
  assert.ok(await slow.clock.run(3 * MINUTE, () => phases(four.chat)[0] === "failed"));
  assert.equal(four.chat.state.turns[0]?.failure?.code, "deadline_exceeded");
  const talk = [...slow.server.talks.values()][0];
  const id = talk?.messages[0]?.id;
  if (talk) slow.server.append(talk, { type: "stream_complete", message_id: id, text: "late", state: "answered" });
  await slow.clock.run(1_000);
  assert.deepEqual(four.chat.state.turns.map((turn) => [turn.phase, turn.answer.text, turn.failure]), [["done", "late", null]]);
  four.chat.dispose();
});

test("a line that is dead without saying so is found out by the heartbeat", async () => {
  const { clock, server, open } = world();
  const { chat } = open();
  chat.send("one");
  assert.ok(await clock.run(MINUTE, allDone(chat)));
  line(server).isMute = true;
  assert.ok(await clock.run(36_000, () => chat.state.connection !== "online"));
  assert.ok(await clock.run(MINUTE, () => chat.state.connection === "online"));
  chat.dispose();
});

test("close codes: 4401 asks for a new token, 4403 stops, 1012 and 1013 come back", async () => {
  const { clock, server, open } = world();
  const { chat } = open();
  chat.start();
  const isOnline = (): boolean => chat.state.connection === "online";
  await clock.run(MINUTE, isOnline);
  for (const code of [1012, 1013, 4408, 1011]) {
    line(server).cut(code);
    assert.equal(isOnline(), false);
    assert.ok(await clock.run(MINUTE, isOnline), String(code));
  }
  assert.equal(server.tokens, 1);
  line(server).cut(4401);
  assert.ok(await clock.run(MINUTE, isOnline));
  assert.equal(server.tokens, 2);
  line(server).cut(4403);
  await clock.run(MINUTE);
  assert.equal(chat.state.connection, "refused");
  assert.equal(server.lines.size, 0);
  chat.dispose();
});

test("stop closes the line and keeps what is unsent; start goes on", async () => {
  const { clock, server, open } = world();
  const { chat } = open();
  chat.start();
  await clock.run(1_000);
  chat.stop();
  assert.equal(chat.state.connection, "idle");
  assert.equal(server.lines.size, 0);
  await clock.run(MINUTE);
  assert.equal(server.lines.size, 0);
  chat.start();
  assert.ok(await clock.run(MINUTE, () => chat.state.connection === "online"));
  chat.dispose();
});

test("a fault of our own or of the page's policy is told in the console, not only tried again", async (context) => {
  const { clock, open } = world();
  const told: unknown[] = [];
  context.mock.method(console, "error", (error: unknown) => told.push(String(error)));
  const { chat } = open({
    socket: () => {
      throw new Error("SecurityError");
    },
  });
  chat.start();
  await clock.run(1_000);
  assert.match(String(told[0]), /SecurityError/);
  assert.equal(chat.state.connection, "reconnecting");
  chat.dispose();
});

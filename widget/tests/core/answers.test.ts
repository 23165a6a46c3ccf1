/** Answers: over reloads, stopped, failed, rated, and of all ends. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { allDone, line, MINUTE, phases, world } from "./world.ts";

test("a reload in the middle of an answer shows all of it, under the same key, and says nothing twice", async () => {
  const { clock, server, open } = world();
  const first = open();
  const id = first.chat.send("long");
  await clock.run(10_000, () => (first.chat.state.turns[0]?.answer.text.length ?? 0) > 20);
  first.chat.dispose();
  await clock.run(5_000);
  const second = open();
  second.chat.start();
  assert.equal(second.chat.state.loaded, false);
  assert.ok(await clock.run(MINUTE, allDone(second.chat)));
  assert.equal(second.chat.state.loaded, true);
  const talk = [...server.talks.values()][0];
  assert.deepEqual(second.chat.state.turns.map((turn) => [turn.key, turn.text, turn.answer.text]), [[id, "long", talk?.messages[0]?.answer]]);
  await clock.run(5_000);
  assert.deepEqual(second.events.filter((event) => event.type !== "conversation"), [], "what had ended before is history");
  second.chat.dispose();
});

test("a reload in the middle of an answer does not begin in its middle", async () => {
  const { clock, server, open } = world();
  server.pieces = 60;
  const first = open();
  first.chat.send("long");
  await clock.run(10_000, () => (first.chat.state.turns[0]?.answer.text.length ?? 0) > 80);
  first.chat.dispose();
  const second = open();
  second.chat.start();
  assert.ok(await clock.run(MINUTE, () => phases(second.chat)[0] === "streaming"));
  const whole = String([...server.talks.values()][0]?.messages[0]?.answer);
  await clock.run(300);
  const text = String(second.chat.state.turns[0]?.answer.text);
  assert.ok(text.length > 80 && text.length < whole.length && whole.startsWith(text), text);
  second.chat.dispose();
});

test("stop: at once here, at the server when it can be told", async () => {
  const { clock, server, open } = world();
  server.pieces = 200;
  const { chat, events } = open();
  const id = chat.send("long");
  await clock.run(20_000, () => (chat.state.turns[0]?.answer.text.length ?? 0) > 50);
  line(server).cut();
  chat.cancel(id);
  assert.deepEqual(phases(chat), ["stopped"]);
  const text = chat.state.turns[0]?.answer.text;
  await clock.run(MINUTE);
  assert.equal([...server.talks.values()][0]?.messages[0]?.state, "cancelled");
  assert.deepEqual([phases(chat)[0], chat.state.turns[0]?.answer.text], ["stopped", text]);
  assert.equal(events.filter((event) => event.type === "failed").length, 0);
  chat.dispose();
});

test("an answer that failed is asked anew as a new message; what came of it stays", async () => {
  const { clock, server, open } = world();
  server.isAnswering = false;
  const { chat, events } = open();
  const id = chat.send("again");
  await clock.run(5_000, () => phases(chat)[0] === "waiting");
  const talk = [...server.talks.values()][0];
  const message = talk?.messages[0];
  if (!talk || !message) throw new Error("no message");
  server.append(talk, { type: "stream_start", message_id: message.id });
  server.append(talk, { type: "stream_chunk", message_id: message.id, chunk: "half of", index: 0 });
  message.state = "failed";
  server.append(talk, { type: "stream_error", message_id: message.id, code: "provider_unavailable", message: "later", retriable: true, partial: true, state: "failed" });
  await clock.run(1_000);
  assert.deepEqual([phases(chat)[0], chat.state.turns[0]?.answer.text], ["failed", "half of"]);
  assert.equal(events.filter((event) => event.type === "failed").length, 1);
  server.isAnswering = true;
  chat.retry(id);
  assert.ok(await clock.run(MINUTE, () => phases(chat).join() === "failed,done"));
  assert.equal(chat.state.turns[0]?.failure?.retriable, false, "no second button for the same question");
  assert.equal(talk.messages.length, 2);
  chat.dispose();
});

test("ends of all kinds: merged, handed off, refused by the worker, replaced", async () => {
  const { clock, server, open } = world();
  server.isAnswering = false;
  const { chat } = open();
  for (const text of ["a", "b", "c", "d", "e"]) chat.send(text);
  await clock.run(10_000, () => phases(chat).every((phase) => phase === "waiting"));
  const talk = [...server.talks.values()][0];
  if (!talk) throw new Error("no talk");
  const id = (index: number): string | undefined => talk.messages[index]?.id;
  server.append(talk, { type: "stream_complete", message_id: id(0), state: "merged_into", merged_into: id(1) });
  server.append(talk, { type: "stream_complete", message_id: id(1), text: "a person comes", state: "handed_off" });
  server.append(talk, { type: "stream_error", message_id: id(2), code: "budget_exceeded", message: "", retriable: false, state: "refused" });
  server.append(talk, { type: "message_replace", message_id: id(3), text: "so far", state: "accepted", final: false, sources: [] });
  server.append(talk, { type: "message_replace", message_id: id(4), text: "whole", state: "answered", final: true, sources: [{ n: 1, title: "T", document_id: "d" }, 7] });
  await clock.run(1_000);
  assert.deepEqual(
    chat.state.turns.map((turn) => [turn.phase, turn.answer.text, turn.failure?.code ?? null]),
    [
      ["merged", "", null],
      ["handed_off", "a person comes", null],
      ["refused", "", "budget_exceeded"],
      ["streaming", "so far", null],
      ["done", "whole", null],
    ],
  );
  assert.equal(chat.state.turns[4]?.answer.sources.length, 1);
  chat.dispose();
});

test("a rating is shown at once, taken back when the server does not take it, and seen in the other tab", async () => {
  const { clock, server, open } = world();
  const one = open();
  const two = open();
  one.chat.send("hello");
  two.chat.start();
  assert.ok(await clock.run(MINUTE, () => [one, two].every(({ chat }) => phases(chat).join() === "done")));
  const key = String(one.chat.state.turns[0]?.key);
  let status = 200;
  const bodies: unknown[] = [];
  server.onFetch = (path, options) => {
    if (!path.endsWith("/feedback")) return null;
    bodies.push(JSON.parse(String(options.body)));
    return Response.json(status === 200 ? { rating: "up" } : { error: { code: "unavailable", message: "" } }, { status });
  };
  const rated = one.chat.rate(key, "up", "nice");
  assert.equal(one.chat.state.turns[0]?.rating, "up");
  await clock.run(100);
  await rated;
  assert.equal(two.chat.state.turns[0]?.rating, "up");
  status = 503;
  const refused = assert.rejects(one.chat.rate(key, "down"));
  await clock.run(100);
  await refused;
  assert.equal(one.chat.state.turns[0]?.rating, "up");
  assert.deepEqual(bodies, [{ rating: "up", comment: "nice" }, { rating: "down" }]);
  one.chat.dispose();
  two.chat.dispose();
});

test("a long conversation is bounded: the newest stay, and a reload reads near the end", async () => {
  const { clock, server, open } = world();
  server.pieces = 1;
  server.everyMs = 1;
  const first = open();
  for (let round = 0; round < 16; round += 1) {
    for (let index = 0; index < 25; index += 1) first.chat.send(`m${round * 25 + index}`);
    assert.ok(await clock.run(5 * MINUTE, allDone(first.chat)));
  }
  assert.equal(first.chat.state.turns.length, 300);
  assert.equal(first.chat.state.turns.at(-1)?.text, "m399");
  first.chat.dispose();
  const second = open();
  second.chat.start();
  assert.ok(await clock.run(MINUTE, () => second.chat.state.loaded));
  second.chat.dispose();
  server.fetches = [];
  const third = open();
  third.chat.start();
  assert.ok(await clock.run(MINUTE, () => third.chat.state.loaded));
  assert.equal(third.chat.state.turns.at(-1)?.text, "m399");
  assert.equal(server.fetches.filter((path) => path.includes("/messages")).length, 2);
  third.chat.dispose();
});

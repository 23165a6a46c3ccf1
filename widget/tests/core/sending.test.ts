/** Texts on their way: shown at once, sent once, refused in sight. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { createChat } from "../../src/core/client.ts";
import { allDone, MINUTE, phases, world } from "./world.ts";

test("a text is shown at once, keeps its key, and is sent with what the page says of itself", async () => {
  const { clock, server, open } = world();
  const { chat, events } = open();
  chat.setMetadata({ current_page: "/prices" });
  const id = chat.send("Hello");
  assert.deepEqual(phases(chat), ["sending"]);
  assert.equal(chat.state.turns[0]?.key, id);
  assert.ok(await clock.run(MINUTE, allDone(chat)));
  assert.equal(chat.state.turns[0]?.key, id);
  const [talk] = server.talks.values();
  assert.deepEqual(talk?.messages[0]?.metadata, { locale: "de", current_page: "/prices", client_message_id: id });
  assert.equal(events.find((event) => event.type === "conversation")?.conversationId, talk?.id);
  chat.dispose();
  assert.equal(clock.size, 0, "nothing is left that waits");
});

test("an outbox survives a reload, offline, and is sent once", async () => {
  const { clock, server, browser, open } = world();
  server.onFetch = () => Response.json({}, { status: 502 });
  const first = open();
  first.chat.send("kept");
  await clock.run(30_000);
  assert.deepEqual(phases(first.chat), ["sending"]);
  assert.equal(first.chat.state.connection, "reconnecting");
  assert.ok(first.chat.state.retryAt !== null && first.chat.state.retryAt > clock.now());
  first.chat.dispose();
  server.onFetch = null;
  const second = createChat({ base: "http://server", widgetId: "w", ports: server.ports(browser) });
  assert.deepEqual(second.state.turns.map((turn) => [turn.text, turn.phase]), [["kept", "sending"]]);
  second.start();
  assert.ok(await clock.run(MINUTE, allDone(second)));
  assert.equal([...server.talks.values()][0]?.messages.length, 1);
  second.dispose();
});

test("a text that was tried is sent again as the same request, even when a conversation came up since", async () => {
  const { clock, server, browser, open } = world();
  const entry = { clientId: "tried", text: "hello", createdAt: new Date(clock.now()).toISOString(), epoch: "0", order: 1, conversationId: null, faults: 1, failure: null };
  browser.storage.values.set("chatwright:w:visitor:out:tried", JSON.stringify({ v: 1, value: entry }));
  browser.storage.values.set("chatwright:w:visitor:visitor", JSON.stringify({ v: 1, value: "v" }));
  const talk = { epoch: "0", conversationId: "conv-old", seq: 0, ordinal: 0 };
  browser.storage.values.set("chatwright:w:visitor:talk", JSON.stringify({ v: 1, value: talk }));
  server.talks.set("conv-old", { id: "conv-old", visitor: "v", messages: [], log: [], seq: 0 });
  const { chat } = open();
  chat.start();
  let frame: Record<string, unknown> = {};
  server.onMessage = (heard) => {
    frame = heard;
    return true;
  };
  await clock.run(2_000, () => Boolean(frame["text"]));
  assert.equal("conversation_id" in frame, false);
  chat.dispose();
});

test("a refusal stays in sight, over a reload too, and retry sends it under the same id", async () => {
  const { clock, server, open } = world();
  server.onMessage = (frame, on) => {
    on.say({ type: "error", code: "rate_limit_exceeded", message: "slow down", client_message_id: frame["client_message_id"], retry_after_s: 7.5 });
    return false;
  };
  const first = open();
  const id = first.chat.send("fast");
  await clock.run(MINUTE, () => phases(first.chat)[0] === "refused");
  assert.deepEqual(first.chat.state.turns[0]?.failure, { code: "rate_limit_exceeded", message: "slow down", retriable: true, retryAfterS: 7.5 });
  assert.equal(first.events.filter((event) => event.type === "failed").length, 1);
  first.chat.dispose();
  const { chat } = open();
  assert.deepEqual(chat.state.turns.map((turn) => [turn.key, turn.phase]), [[id, "refused"]]);
  chat.start();
  await clock.run(5_000);
  assert.deepEqual(phases(chat), ["refused"], "not sent again by itself");
  server.onMessage = null;
  chat.retry(id);
  assert.ok(await clock.run(MINUTE, allDone(chat)));
  assert.deepEqual([...server.talks.values()][0]?.messages.map((one) => one.clientId), [id]);
  chat.dispose();
});

test("a text that is too long for a frame is refused here", async () => {
  const { clock, server, open } = world();
  const { chat } = open();
  const id = chat.send("漢".repeat(25_000));
  await clock.run(MINUTE, () => phases(chat)[0] === "refused");
  assert.equal(chat.state.turns[0]?.failure?.code, "payload_too_large");
  assert.equal(chat.state.turns[0]?.failure?.retriable, false);
  chat.drop(id);
  assert.equal(chat.state.turns.length, 0);
  assert.equal(server.receipts.size, 0);
  chat.dispose();
});

test("a text without a letter is none", async () => {
  const { clock, server, open } = world();
  const { chat } = open();
  for (const nothing of ["", " \n\t", "\0"]) assert.equal(chat.send(nothing), "");
  assert.deepEqual(chat.state.turns, []);
  await clock.run(MINUTE);
  assert.equal(server.talks.size, 0);
  chat.dispose();
});

test("an unsent text is taken back without a trace; one on its way is stopped when it arrives", async () => {
  const { clock, server, open } = world();
  server.onFetch = () => Response.json({}, { status: 502 });
  const { chat } = open();
  const id = chat.send("never mind");
  await clock.run(1_000);
  chat.cancel(id);
  assert.deepEqual(chat.state.turns, []);
  server.onFetch = null;
  await clock.run(MINUTE, () => chat.state.connection === "online");
  server.isAnswering = false;
  let sent = false;
  server.onMessage = () => {
    sent = true;
    return true;
  };
  const second = chat.send("too late");
  await clock.run(1_000, () => sent);
  chat.cancel(second);
  await clock.run(5_000);
  assert.deepEqual(phases(chat), ["stopped"]);
  assert.deepEqual([...server.talks.values()].map((talk) => talk.messages.map((one) => [one.text, one.state])), [[["too late", "cancelled"]]]);
  chat.dispose();
});

test("PostgreSQL is away for a while: the text waits and goes out, Retry-After obeyed", async () => {
  const { clock, server, open } = world();
  let tries = 0;
  server.onMessage = (frame, on) => {
    tries += 1;
    if (tries > 3) return true;
    on.say({ type: "error", code: "unavailable", message: "", client_message_id: frame["client_message_id"], retry_after_s: 2 });
    return false;
  };
  const { chat, events } = open();
  const began = clock.now();
  chat.send("patience");
  assert.ok(await clock.run(MINUTE, allDone(chat)));
  assert.ok(clock.now() - began >= 6_000);
  assert.equal(tries, 4);
  assert.equal(events.filter((event) => event.type === "failed").length, 0);
  chat.dispose();
});

test("more unsent texts than are kept: the surplus is refused in sight", async () => {
  const { clock, server, open } = world();
  server.onFetch = () => Response.json({}, { status: 502 });
  const { chat } = open();
  for (let index = 0; index < 51; index += 1) chat.send(`m${index}`);
  assert.deepEqual([phases(chat)[49], phases(chat)[50]], ["sending", "refused"]);
  await clock.run(1_000);
  chat.dispose();
});

test("a refusal is told once, however often the other tabs have something to say", async () => {
  const { clock, server, open } = world();
  server.onMessage = (frame, on) => {
    if (frame["text"] !== "fast") return true;
    on.say({ type: "error", code: "rate_limit_exceeded", message: "", client_message_id: frame["client_message_id"] });
    return false;
  };
  const one = open();
  const two = open();
  one.chat.send("fast");
  two.chat.start();
  assert.ok(await clock.run(MINUTE, () => [one, two].every(({ chat }) => phases(chat)[0] === "refused")));
  for (const text of ["a", "b", "c"]) two.chat.send(text);
  assert.ok(await clock.run(MINUTE, () => phases(one.chat).join() === "refused,done,done,done"));
  for (const { events } of [one, two]) assert.equal(events.filter((event) => event.type === "failed").length, 1);
  one.chat.dispose();
  two.chat.dispose();
});

test("a text that is asked anew after a day leaves the other tab, too", async () => {
  const { clock, server, open } = world();
  server.onMessage = (frame, on) => {
    on.say({ type: "error", code: "rate_limit_exceeded", message: "", client_message_id: frame["client_message_id"] });
    return false;
  };
  const one = open();
  const two = open();
  const id = one.chat.send("later");
  two.chat.start();
  assert.ok(await clock.run(MINUTE, () => [one, two].every(({ chat }) => phases(chat)[0] === "refused")));
  await clock.run(24 * 60 * MINUTE);
  server.onMessage = null;
  one.chat.retry(id);
  const isAnswered = (): boolean => [one, two].every(({ chat }) => phases(chat).includes("done"));
  assert.ok(await clock.run(MINUTE, isAnswered));
  for (const { chat } of [one, two]) assert.deepEqual(chat.state.turns.map((turn) => [turn.text, turn.phase]), [["later", "done"]]);
  one.chat.dispose();
  two.chat.dispose();
});

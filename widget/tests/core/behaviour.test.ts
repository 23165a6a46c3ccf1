/** What the core promises, one by one, on a clock turned by hand. */

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";

import { createChat } from "../../src/core/client.ts";
import type { Ports } from "../../src/core/ports.ts";
import type { Chat, ChatEvent } from "../../src/core/types.ts";
import { Browser, Clock, seeded, Server } from "./world.ts";

const MINUTE = 60_000;

interface World {
  readonly clock: Clock;
  readonly server: Server;
  readonly browser: Browser;
  open(ports?: Partial<Ports>): { chat: Chat; events: ChatEvent[] };
}

function world(seed = 7): World {
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

const phases = (chat: Chat): string[] => chat.state.turns.map((turn) => turn.phase);
const allDone = (chat: Chat) => (): boolean => chat.state.turns.length > 0 && phases(chat).every((phase) => phase === "done");
const line = (server: Server) => [...server.lines][0] as NonNullable<(typeof server.lines extends Set<infer L> ? L : never)>;

test("no DOM in the core", () => {
  const folder = new URL("../../src/core/", import.meta.url);
  for (const name of readdirSync(folder)) {
    const code = readFileSync(new URL(name, folder), "utf8").replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, "");
    assert.doesNotMatch(code, /\b(document|window|HTMLElement|Element|Node)\b/, name);
    assert.doesNotMatch(code, /from "three|from "\.\.\//, `${name} stays by itself`);
    assert.ok(code.split("\n").length < 400, `${name} is short`);
  }
});

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

test("listeners are told once a microtask, and each change is a new object", async () => {
  const { clock, open } = world();
  const { chat } = open();
  let calls = 0;
  chat.subscribe(() => {
    calls += 1;
  });
  chat.send("one");
  chat.send("two");
  assert.equal(calls, 0);
  await Promise.resolve();
  assert.equal(calls, 1);
  const before = chat.state.turns[0];
  await clock.run(MINUTE, allDone(chat));
  assert.notEqual(chat.state.turns[0], before);
  assert.equal(chat.state, chat.state, "the same object while nothing changes");
  chat.dispose();
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

test("storage that is blocked, full or full of rubbish costs the memory, not the chat", async () => {
  for (const harm of ["blocked", "full", "rubbish"]) {
    const { clock, browser, open } = world();
    if (harm === "blocked") browser.storage.isBlocked = true;
    if (harm === "full") browser.storage.isFull = true;
    if (harm === "rubbish") {
      for (const name of ["talk", "visitor", "out:x", "out:y"]) browser.storage.values.set(`chatwright:w:visitor:${name}`, "{]");
      browser.storage.values.set("chatwright:w:visitor:out:z", '{"v":1,"value":{"clientId":"other","text":5}}');
      browser.storage.values.set("chatwright:w:visitor:talk", '{"v":99,"value":{"epoch":"e","conversationId":"old"}}');
    }
    const { chat } = open();
    chat.send("one");
    assert.ok(await clock.run(MINUTE, allDone(chat)), harm);
    chat.send("two");
    assert.ok(await clock.run(MINUTE, () => phases(chat).join() === "done,done"), harm);
    chat.dispose();
  }
});

test("a sandboxed frame, where storage, locks and channels all refuse, chats all the same", async () => {
  const { clock, browser, open } = world();
  browser.storage.isBlocked = true;
  browser.hasChannels = false;
  const locks = { request: () => Promise.reject(new Error("SecurityError")) };
  const { chat } = open({ locks });
  chat.send("one");
  assert.ok(await clock.run(MINUTE, allDone(chat)));
  chat.dispose();
});

test("storage cleared in the middle (site data deleted) does not end the chat", async () => {
  const { clock, server, browser, open } = world();
  const { chat } = open();
  chat.send("one");
  assert.ok(await clock.run(MINUTE, allDone(chat)));
  browser.storage.values.clear();
  chat.send("two");
  assert.ok(await clock.run(MINUTE, () => phases(chat).join() === "done,done"));
  assert.equal(server.talks.size, 1);
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

test("a token is renewed over the living line before it ends", async () => {
  const { clock, server, open } = world();
  const { chat } = open();
  chat.start();
  await clock.run(31 * MINUTE);
  assert.equal(server.tokens, 3);
  assert.equal(server.drops, 0);
  assert.equal(line(server).heard.filter((frame) => frame["type"] === "auth").length, 3);
  chat.dispose();
});

test("the page's own token is used, a broken one is asked for again", async () => {
  const { clock, server, open } = world();
  const { chat } = open();
  let asked = 0;
  const token = async (): Promise<string> => {
    asked += 1;
    if (asked === 1) throw new Error("the page's server is away");
    return "t:vouched-7";
  };
  chat.setUser({ id: "vouched-7", token });
  chat.send("hello");
  assert.ok(await clock.run(MINUTE, allDone(chat)));
  assert.equal(asked, 2);
  assert.equal(server.tokens, 0);
  assert.equal([...server.talks.values()][0]?.visitor, "vouched-7");
  chat.dispose();
});

test("another user has another storage and another conversation; the first one's comes back with them", async () => {
  const { clock, server, open } = world();
  const { chat, events } = open();
  chat.send("anonymous");
  assert.ok(await clock.run(MINUTE, allDone(chat)));
  const first = chat.state.conversationId;
  chat.setUser({ id: "anna", traits: { plan: "pro" } });
  assert.deepEqual(chat.state.turns, []);
  assert.equal(chat.state.conversationId, null);
  const id = chat.send("mine");
  assert.ok(await clock.run(MINUTE, allDone(chat)));
  assert.equal(server.talks.size, 2);
  const hers = [...server.talks.values()][1];
  assert.equal(hers?.visitor, "anna");
  assert.deepEqual(hers?.messages[0]?.metadata, { locale: "de", user: { id: "anna", traits: { plan: "pro" } }, client_message_id: id });
  chat.setUser(null);
  assert.ok(await clock.run(MINUTE, () => chat.state.turns[0]?.text === "anonymous"));
  assert.equal(chat.state.conversationId, first);
  assert.equal(events.at(-1)?.type, "conversation");
  chat.dispose();
});

test("two people whom the page vouches for without a name: the second does not send what the first left unsent", async () => {
  const { clock, server, open } = world();
  const { chat: first } = open();
  first.setUser({ token: async () => "t:anna" });
  first.send("hello");
  assert.ok(await clock.run(MINUTE, allDone(first)));
  first.stop();
  first.send("a secret of Anna's");
  first.dispose();
  await clock.run(1_000);
  const { chat: second } = open();
  second.setUser({ token: async () => "t:berta" });
  second.send("hello from Berta");
  assert.ok(await clock.run(MINUTE, () => second.state.turns.length === 1 && allDone(second)()));
  const theirs = [...server.talks.values()].filter((talk) => talk.visitor === "berta").flatMap((talk) => talk.messages.map((one) => one.text));
  assert.deepEqual(theirs, ["hello from Berta"]);
  assert.deepEqual(second.state.turns.map((turn) => turn.text), ["hello from Berta"]);
  second.dispose();
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

test("more unsent texts than are kept: the surplus is refused in sight", async () => {
  const { clock, server, open } = world();
  server.onFetch = () => Response.json({}, { status: 502 });
  const { chat } = open();
  for (let index = 0; index < 51; index += 1) chat.send(`m${index}`);
  assert.deepEqual([phases(chat)[49], phases(chat)[50]], ["sending", "refused"]);
  await clock.run(1_000);
  chat.dispose();
});

test("an error of a listener is the listener's", async (context) => {
  const { clock, open } = world();
  const { chat } = open();
  const thrown: unknown[] = [];
  context.mock.method(console, "error", (error: unknown) => thrown.push(error));
  chat.on(() => {
    throw new Error("mine");
  });
  chat.send("hello");
  assert.ok(await clock.run(MINUTE, allDone(chat)));
  assert.ok(thrown.length > 0);
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

// Rules of the chat page's scripts, run by Node: Markdown, conversation state, and the connection over a scripted socket.

import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const pages = new URL("../../src/chatwright/entrypoints/pages/demo/", import.meta.url);
const { parse, inline, safeHref } = await import(fileURLToPath(new URL("markdown.js", pages)));
const { Conversation, explain } = await import(fileURLToPath(new URL("conversation.js", pages)));
const { ChatConnection } = await import(fileURLToPath(new URL("socket.js", pages)));
const { outcome } = await import(fileURLToPath(new URL("actions.js", pages)));
const { backoffMs, retryAfterMs } = await import(fileURLToPath(new URL("backoff.js", pages)));

// Markdown -----------------------------------------------------------------------------------------------------------

test("links lead to http, https and mailto only", () => {
  for (const href of ["javascript:alert(1)", "data:text/html,x", "vbscript:x", "JAVASCRIPT:x", "/relative", "//host", " "]) {
    assert.equal(safeHref(href), null, href);
  }
  assert.equal(safeHref("https://a.example/x"), "https://a.example/x");
  assert.equal(safeHref("mailto:a@example.com"), "mailto:a@example.com");
  assert.equal(safeHref("/guide/x", "https://a.example/"), "https://a.example/guide/x");
});

test("a suggested action sends, opens or says what would happen", () => {
  const base = "https://site.example/demo/x";
  const of = (kind, value, label = "Label") => outcome({ label, kind, value }, base);
  assert.deepEqual(of("reply", "How do I pay?"), { send: "How do I pay?" });
  assert.deepEqual(of("reply", ""), { send: "Label" });
  assert.deepEqual(of("link", "https://a.example/x"), { href: "https://a.example/x" });
  assert.deepEqual(of("link", "/guide/x"), { href: "https://site.example/guide/x" });
  assert.deepEqual(of("handoff", "mailto:help@a.example"), { href: "mailto:help@a.example" });
  assert.deepEqual(of("handoff", "tel:+43 1 23456"), { href: "tel:+43 1 23456" });
  assert.match(of("handoff", "handoff").note, /person was asked for/);
  assert.match(of("form", "contact").note, /opens its form/);
  for (const value of ["javascript:alert(1)", "data:text/html,x", "mailto:a@b.example", ""]) assert.equal(of("link", value), null);
  assert.match(of("handoff", "javascript:alert(1)").note, /person/);
  for (const wrong of [undefined, {}, { label: " ", kind: "reply", value: "x" }, { label: "x", kind: "run", value: "x" }]) {
    assert.equal(outcome(wrong, base), null);
  }
});

test("markup of a model stays text", () => {
  const [paragraph] = parse("<img src=x onerror=alert(1)><script>alert(1)</script>");
  assert.deepEqual(paragraph.c, ["<img src=x onerror=alert(1)><script>alert(1)</script>"]);
});

test("blocks are told apart", () => {
  const tree = parse("# Head\n\ntext\nmore\n\n- a\n  - b\n- c\n\n3. x\n4. y\n\n```py\nx = 1\n```\n\n> quote\n\n| a | b |\n| - | - |\n| 1 | `x|y` |\n\n---");
  assert.deepEqual(tree.map((block) => block.t), ["h", "p", "ul", "ol", "pre", "quote", "table", "hr"]);
  assert.equal(tree[2].items.length, 2);
  assert.equal(tree[2].items[0][1].t, "ul");
  assert.equal(tree[3].start, 3);
  assert.deepEqual(tree[4], { t: "pre", lang: "py", text: "x = 1" });
  assert.deepEqual(tree[6].rows, [[["1"], [{ t: "code", text: "x|y" }]]]);
});

test("a half-streamed fence is code already", () => {
  assert.deepEqual(parse("```\nx = 1"), [{ t: "pre", lang: "", text: "x = 1" }]);
});

test("spans", () => {
  assert.deepEqual(inline("a **b *c*** `d` [1] [e](https://x.example/(y))"), [
    "a ",
    { t: "b", c: ["b ", { t: "i", c: ["c"] }] },
    " ",
    { t: "code", text: "d" },
    " ",
    { t: "cite", n: 1 },
    " ",
    { t: "a", href: "https://x.example/(y)", c: ["e"] },
  ]);
  assert.deepEqual(inline("snake_case_name and 2 * 3 * 4"), ["snake_case_name and 2 * 3 * 4"]);
  assert.deepEqual(inline("\\*no\\*"), ["*no*"]);
});

test("hostile texts are read in bounded time", () => {
  const started = performance.now();
  for (const piece of ["*", "_", "[", "![", "`", "<", "> ", "- ", "| ", "**a ", "[a](", "http://", "~~"]) {
    parse(piece.repeat(8000));
    parse(`${piece}\n`.repeat(4000));
  }
  assert.ok(performance.now() - started < 10_000);
});

// Conversation -------------------------------------------------------------------------------------------------------

const play = (...events) => {
  const conversation = new Conversation();
  for (const event of events) conversation.apply(event);
  return conversation;
};
const pending = { type: "pending", client_message_id: "c1", text: "Hi", created_at: "2026-01-01T00:00:00Z" };
const accepted = { type: "message_accepted", client_message_id: "c1", message_id: "m1", conversation_id: "k" };
const start = { type: "stream_start", message_id: "m1" };
const chunk = (text) => ({ type: "stream_chunk", message_id: "m1", chunk: text });

test("a reset forgets the text so far, on the same turn", () => {
  const { turns } = play(pending, accepted, start, chunk("old"), { type: "stream_reset", message_id: "m1" }, chunk("new"));
  assert.equal(turns.length, 1);
  assert.equal(turns[0].answer.text, "new");
});

test("a replacement is the whole truth", () => {
  const replace = { type: "message_replace", message_id: "m1", text: "all of it", state: "answered", final: true, sources: [{ n: 1 }] };
  const { turns } = play(pending, accepted, start, chunk("part"), replace);
  assert.equal(turns[0].answer.text, "all of it");
  assert.equal(turns[0].phase, "done");
  assert.equal(turns[0].answer.sources.length, 1);
});

test("an event and a receipt of one message make one turn, in either order", () => {
  const replayed = { ...accepted, text: "Hi" };
  assert.equal(play(pending, accepted, replayed).turns.length, 1);
  assert.equal(play(replayed, pending, accepted).turns.length, 1);
});

test("the history and a replayed stream do not double an answer", () => {
  const history = {
    type: "history",
    items: [
      { id: "m1", role: "visitor", text: "Hi", state: "answered", created_at: "2026-01-01T00:00:00Z" },
      { id: "a1", role: "assistant", message_id: "m1", text: "Hello", state: "answered" },
    ],
  };
  const { turns } = play(history, accepted, start, chunk("Hel"), chunk("lo"), { type: "stream_complete", message_id: "m1", provider: "extractive" });
  assert.equal(turns.length, 1);
  assert.equal(turns[0].answer.text, "Hello");
  assert.equal(turns[0].answer.provider, "extractive");
});

test("a text that was not sent yet outlives the history", () => {
  const { turns } = play(pending, { type: "history", items: [{ id: "m0", role: "visitor", text: "Before", state: "answered" }] });
  assert.deepEqual(turns.map((turn) => turn.text), ["Before", "Hi"]);
});

test("a stop is no error, a failure is one", () => {
  const stopped = play(pending, accepted, start, chunk("x"), { type: "stream_error", message_id: "m1", code: "cancelled" }).turns[0];
  assert.equal(stopped.phase, "stopped");
  assert.equal(stopped.error, null);
  const failed = play(pending, accepted, { type: "stream_error", message_id: "m1", code: "provider_unavailable", retriable: true }).turns[0];
  assert.equal(failed.phase, "failed");
  assert.ok(explain(failed.error.code).length > 10);
});

// Connection ---------------------------------------------------------------------------------------------------------

test("backoff stays between 0 and the cap", () => {
  for (let attempt = 0; attempt < 40; attempt += 1) {
    assert.equal(backoffMs(attempt, () => 0), 0);
    assert.ok(backoffMs(attempt, () => 0.999999) <= 15_000);
  }
  assert.equal(backoffMs(0, () => 1), 400);
  assert.equal(retryAfterMs("7"), 7000);
  assert.equal(retryAfterMs(null), 0);
  assert.equal(retryAfterMs("nonsense"), 0);
});

/** A page's surroundings: storage, fetch and a socket that the test speaks through. */
function world(stored = {}) {
  const items = new Map(Object.entries(stored));
  const storage = { getItem: (key) => items.get(key) ?? null, setItem: (key, value) => items.set(key, value) };
  const sockets = [];
  globalThis.WebSocket = class {
    readyState = 0;
    sent = [];
    constructor() {
      sockets.push(this);
      queueMicrotask(() => {
        this.readyState = 1;
        this.onopen?.();
      });
    }
    send(text) {
      const frame = JSON.parse(text);
      this.sent.push(frame);
      if (frame.type === "auth") this.say({ type: "ready", visitor_id: "v" });
    }
    say(frame) {
      this.onmessage?.({ data: JSON.stringify(frame) });
    }
    close(code = 1000) {
      this.readyState = 3;
      this.onclose?.({ code });
    }
  };
  const history = [];
  globalThis.fetch = async (url) => ({
    ok: true,
    json: async () =>
      url.includes("token")
        ? { token: "t", visitor_id: "v", expires_at: new Date(Date.now() + 900_000).toISOString() }
        : { items: history, next_cursor: null },
  });
  const events = [];
  const open = () => {
    const connection = new ChatConnection({ slug: "demo", widgetId: "w", base: "http://x", storage, emit: (event) => events.push(event) });
    connection.run();
    return connection;
  };
  const key = "chatwright:chat:w";
  return { open, sockets, events, history, memory: () => JSON.parse(items.get(key)) };
}
const settle = () => new Promise((resolve) => setTimeout(resolve, 20));
const frame = (type, seq, more = {}) => ({ type, seq, conversation_id: "k", message_id: "m1", stream_id: "m1", ...more });

test("an unsent text survives a reload under the same id", async () => {
  const place = world();
  const first = place.open();
  const id = first.send("Hi");
  first.close(); // the page goes before anything was sent
  const second = place.open();
  await settle();
  const sent = place.sockets.at(-1).sent.find((one) => one.type === "message");
  assert.equal(sent.client_message_id, id);
  assert.equal(sent.conversation_id, undefined);
  place.sockets.at(-1).say({ ...accepted, client_message_id: id });
  assert.deepEqual(place.memory().outbox, []);
  assert.equal(place.memory().conversation_id, "k");
  second.close();
});

test("frames seen already are dropped, and a drop resumes after the last one", async () => {
  const place = world();
  const connection = place.open();
  await settle();
  connection.send("Hi");
  const [socket] = place.sockets;
  socket.say({ ...accepted, client_message_id: place.memory().outbox[0].client_message_id });
  for (const seq of [2, 3, 3, 2]) socket.say(frame("stream_chunk", seq, { chunk: String(seq) }));
  assert.deepEqual(place.events.filter((event) => event.type === "stream_chunk").map((event) => event.chunk), ["2", "3"]);
  socket.close(1006);
  connection.wake();
  await settle();
  connection.wake();
  await settle();
  assert.deepEqual(place.sockets.at(-1).sent.find((one) => one.type === "resume"), { type: "resume", conversation_id: "k", after_seq: 3 });
  connection.close();
});

test("a reload in the middle of an answer resumes before its beginning, after it at its end", async () => {
  const place = world();
  const connection = place.open();
  await settle();
  connection.send("Hi");
  const [socket] = place.sockets;
  socket.say({ ...accepted, client_message_id: place.memory().outbox[0].client_message_id });
  socket.say(frame("message_accepted", 1, { client_message_id: "c1" }));
  socket.say(frame("stream_start", 2));
  socket.say(frame("stream_chunk", 3, { chunk: "x" }));
  assert.equal(place.memory().last_seq, 0);
  socket.say(frame("stream_complete", 4));
  assert.equal(place.memory().last_seq, 4);
  connection.close();
});

test("messages go out one after the other, the second one into the conversation of the first", async () => {
  const place = world();
  const connection = place.open();
  await settle();
  const first = connection.send("one");
  connection.send("two");
  const [socket] = place.sockets;
  const sent = () => socket.sent.filter((one) => one.type === "message");
  assert.deepEqual(sent().map((one) => one.text), ["one"]);
  socket.say({ ...accepted, client_message_id: first });
  assert.deepEqual(sent().map((one) => [one.text, one.conversation_id]), [["one", undefined], ["two", "k"]]);
  connection.close();
});

test("a refusal leaves the outbox and lets the next text go", async () => {
  const place = world();
  const connection = place.open();
  await settle();
  const first = connection.send("one");
  connection.send("two");
  const [socket] = place.sockets;
  socket.say({ type: "error", code: "rate_limit_exceeded", message: "slow down", client_message_id: first, retry_after_s: 3 });
  const refused = place.events.find((event) => event.type === "refused");
  assert.equal(refused.client_message_id, first);
  assert.equal(refused.retry_after_s, 3);
  assert.equal(socket.sent.filter((one) => one.type === "message").length, 2);
  connection.close();
});

test("a stop before the receipt is sent with the receipt", async () => {
  const place = world();
  const connection = place.open();
  await settle();
  const id = connection.send("one");
  connection.cancel({ messageId: null, clientMessageId: id });
  const [socket] = place.sockets;
  socket.say({ ...accepted, client_message_id: id });
  assert.deepEqual(socket.sent.at(-1), { type: "cancel", message_id: "m1" });
  connection.close();
});

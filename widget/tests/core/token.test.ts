/** Who the visitor is: the token, and other users at the same browser. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { allDone, line, MINUTE, world } from "./world.ts";

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

test("a clock that is years behind asks for a token as often as a right one", async () => {
  const { clock, server, open } = world();
  server.onFetch = (path) =>
    path.endsWith("/token") ? Response.json({ token: "t:v", visitor_id: "v", expires_at: `${2026 + ++server.tokens}-01-01T00:00:00Z` }) : null;
  const { chat } = open();
  chat.start();
  await clock.run(31 * MINUTE);
  assert.equal(server.tokens, 3);
  chat.dispose();
});

test("signed out on the page: asked three times, then said so, and asked again by a person or by another token", async () => {
  for (const given of [async () => "", async () => "t:old"]) {
    const { clock, server, open } = world();
    server.onAuth = (line) => {
      line.cut(4401);
      return false;
    };
    let asked = 0;
    const token = (): Promise<string> => {
      asked += 1;
      return given();
    };
    const { chat } = open();
    chat.setUser({ id: "anna", token });
    chat.start();
    await clock.run(10 * MINUTE);
    assert.deepEqual([chat.state.connection, chat.state.failure?.code, asked], ["refused", "unauthenticated", 3]);
    chat.wake();
    await clock.run(10 * MINUTE);
    assert.deepEqual([chat.state.connection, asked], ["refused", 6]);
    server.onAuth = null;
    chat.setUser({ id: "anna", token: async () => "t:anna" });
    assert.ok(await clock.run(MINUTE, () => chat.state.connection === "online"));
    chat.dispose();
  }
});

test("a page whose server is away is not signed out", async () => {
  const { clock, open } = world();
  let asked = 0;
  const { chat } = open();
  chat.setUser({
    id: "anna",
    token: () => {
      asked += 1;
      return asked < 9 ? Promise.reject(new TypeError("network")) : Promise.resolve("t:anna");
    },
  });
  chat.start();
  assert.ok(await clock.run(5 * MINUTE, () => chat.state.connection === "online"));
  chat.dispose();
});

test("the same user again, with other traits and another function for the token, keeps the line", async () => {
  const { clock, server, open } = world();
  const { chat } = open();
  const user = (plan: string, token: string) => ({ id: "anna", traits: { plan }, token: async () => token });
  chat.setUser(user("free", "t:anna"));
  chat.send("one");
  assert.ok(await clock.run(MINUTE, allDone(chat)));
  const before = line(server);
  chat.setUser(user("pro", "t:anna"));
  chat.send("two");
  assert.ok(await clock.run(MINUTE, allDone(chat)));
  assert.equal(line(server), before);
  const talk = [...server.talks.values()][0];
  assert.deepEqual(talk?.messages.map((one) => (one.metadata as { user: unknown }).user), [{ id: "anna", traits: { plan: "free" } }, { id: "anna", traits: { plan: "pro" } }]);
  chat.dispose();
});

test("a visit that is over asks for no token, though its turn comes later", async () => {
  const { clock, server, open } = world();
  const { chat } = open();
  chat.start();
  chat.setUser({ id: "anna", token: async () => "t:anna" });
  assert.ok(await clock.run(MINUTE, () => chat.state.connection === "online"));
  assert.equal(server.tokens, 0, "nobody is made a visitor who is somebody else");
  chat.dispose();
});

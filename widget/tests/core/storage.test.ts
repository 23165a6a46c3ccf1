/** What the browser does to storage costs the memory, not the chat. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { allDone, MINUTE, phases, world } from "./world.ts";

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

test("storage cleared after a reset, and for longer than a token lasts: the same visitor in the same conversation", async () => {
  const { clock, server, browser, open } = world();
  const { chat } = open();
  chat.reset();
  chat.send("one");
  assert.ok(await clock.run(MINUTE, allDone(chat)));
  browser.storage.values.clear();
  await clock.run(16 * MINUTE);
  chat.send("two");
  assert.ok(await clock.run(MINUTE, () => phases(chat).join() === "done,done"));
  assert.deepEqual([...server.talks.values()].map((talk) => talk.messages.map((one) => one.text)), [["one", "two"]]);
  chat.dispose();
});

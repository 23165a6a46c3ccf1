/** What was written and not sent: there again after a reload of the tab, and nobody else's. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeStorage } from "./browser.ts";
import { allDone, MINUTE, world } from "./world.ts";

test("a draft survives a reload of its tab, in its conversation, and is not seen in another tab", async () => {
  const { clock, open } = world();
  const tabStorage = new FakeStorage();
  const first = open({ tabStorage }).chat;
  assert.equal(first.draft, "");
  first.setDraft("Do you");
  first.send("hello"); // the page's: not what is in the box
  assert.ok(await clock.run(MINUTE, allDone(first)));
  first.setDraft("Do you deliver");
  first.dispose();
  const second = open({ tabStorage }).chat;
  assert.equal(second.draft, "Do you deliver");
  assert.equal(open().chat.draft, "");
  second.setDraft("");
  second.dispose();
  assert.equal(open({ tabStorage }).chat.draft, "");
  assert.equal(tabStorage.length, 0, "nothing is left");
});

test("a reset forgets the draft, here and where another tab began anew", async () => {
  const { clock, open } = world();
  const [one, two] = [new FakeStorage(), new FakeStorage()];
  const first = open({ tabStorage: one }).chat;
  const second = open({ tabStorage: two }).chat;
  first.setDraft("mine");
  second.setDraft("old");
  first.reset();
  assert.equal(first.draft, "");
  await clock.run(1_000);
  assert.equal(second.draft, "", "of a conversation that is over");
  second.setDraft("new");
  assert.equal(second.draft, "new");
  for (const chat of [first, second]) chat.dispose();
});

test("a draft goes along into the conversation that takes the place of one that the server has no more", async () => {
  const { clock, server, open } = world();
  const { chat } = open();
  chat.send("one");
  assert.ok(await clock.run(MINUTE, allDone(chat)));
  chat.setDraft("Do you deliver");
  server.talks.clear();
  server.receipts.clear();
  chat.send("two");
  assert.ok(await clock.run(MINUTE, () => server.talks.size === 1));
  assert.equal(chat.draft, "Do you deliver");
  chat.dispose();
});

test("each user has their own draft, and who leaves takes it along", () => {
  const { open } = world();
  const tabStorage = new FakeStorage();
  const { chat } = open({ tabStorage });
  chat.setDraft("anonymous");
  chat.setUser({ id: "anna" });
  assert.equal(chat.draft, "");
  chat.setDraft("Anna's");
  chat.setUser({ id: "anna", token: async () => "t:anna" });
  assert.equal(chat.draft, "Anna's", "the same person");
  chat.dispose();
  const again = open({ tabStorage }).chat;
  assert.equal(again.draft, "anonymous", "until the page has said who it is");
  again.setUser({ id: "anna" });
  assert.equal(again.draft, "Anna's");
  again.setUser({ id: "berta" });
  assert.equal(again.draft, "");
  again.setUser({ id: "anna" });
  assert.equal(again.draft, "");
  again.dispose();
});

test("a draft of whom the page does not name lasts while it says that they are the same, and no longer than the page", () => {
  const { open } = world();
  const tabStorage = new FakeStorage();
  const { chat } = open({ tabStorage });
  const token = async (): Promise<string> => "t:whoever";
  chat.setUser({ token });
  chat.setDraft("whose?");
  assert.equal(tabStorage.length, 0);
  chat.setUser({ token, traits: { plan: "pro" } });
  assert.equal(chat.draft, "whose?", "the same person: what is being written stays");
  chat.setUser({ token: async () => "t:another" });
  assert.equal(chat.draft, "", "perhaps another person");
  chat.setUser({ token });
  assert.equal(chat.draft, "");
  chat.setDraft("whose?");
  chat.dispose();
  const again = open({ tabStorage }).chat;
  again.setUser({ token });
  assert.equal(again.draft, "");
  again.dispose();
});

test("a draft is bounded, and one that no storage takes lasts as long as the page", () => {
  const { open } = world();
  const tabStorage = new FakeStorage();
  tabStorage.isFull = true;
  const { chat } = open({ tabStorage });
  chat.setDraft("x".repeat(100_000));
  assert.equal(chat.draft.length, 32_000);
  chat.dispose();
  const { chat: bare } = open({ tabStorage: null });
  bare.setDraft("kept");
  assert.equal(bare.draft, "kept");
  bare.dispose();
});

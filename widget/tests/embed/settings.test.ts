import assert from "node:assert/strict";
import { test } from "node:test";

import type { WidgetConfig } from "../../src/config.ts";
import { fetchConfig, storedConfig, Unavailable } from "../../src/embed/settings.ts";
import type { Store } from "../../src/embed/store.ts";

const CONFIG = { theme: { accent: "#112233" }, avatar: { kind: "robot" }, name: "Bot" } as unknown as WidgetConfig;

function store(): Store & { kept: Map<string, string> } {
  const kept = new Map<string, string>();
  return { kept, get: (name) => kept.get(name) ?? null, set: (name, value) => void (value === null ? kept.delete(name) : kept.set(name, value)) };
}

async function answering<T>(reply: () => Promise<Response>, work: () => Promise<T>): Promise<T> {
  const before = globalThis.fetch;
  globalThis.fetch = reply as typeof fetch;
  try {
    return await work();
  } finally {
    globalThis.fetch = before;
  }
}

test("a config is kept for the locale it was asked for", async () => {
  const kept = store();
  await answering(async () => Response.json(CONFIG), () => fetchConfig("https://chat.example.com", "cw_pub_x", "de", kept));
  assert.deepEqual(storedConfig(kept, "de"), { config: CONFIG, fresh: true });
  assert.equal(storedConfig(kept, null), null);
});

test("an old config is still used, but not for fresh", () => {
  const kept = store();
  kept.set("config", JSON.stringify([Date.now() - 6 * 60_000, null, CONFIG]));
  assert.equal(storedConfig(kept, null)?.fresh, false);
});

test("what is stored by others, or cut off, is no config", () => {
  for (const text of ["", "{", "null", "[]", '[1,null,{"theme":{}}]', '"x"']) {
    const kept = store();
    kept.set("config", text);
    assert.equal(storedConfig(kept, null), null, text);
  }
});

test("no config is told with the status, and an unread reply with 0", async () => {
  const status = async (reply: () => Promise<Response>): Promise<number> => {
    const kept = store();
    const error = await answering(reply, () => fetchConfig("https://chat.example.com", "cw_pub_x", null, kept)).catch((e: unknown) => e);
    assert.ok(error instanceof Unavailable);
    assert.equal(kept.kept.size, 0);
    return error.status;
  };
  assert.equal(await status(async () => Response.json({ error: {} }, { status: 404 })), 404);
  assert.equal(await status(async () => new Response("<html>", { status: 200 })), 200);
  assert.equal(await status(async () => Response.json({ theme: null })), 200);
  assert.equal(await status(() => Promise.reject(new TypeError("failed"))), 0);
  assert.equal(await status(() => Promise.reject(new DOMException("late", "TimeoutError"))), 504);
});

import assert from "node:assert/strict";
import { test } from "node:test";

import { explain } from "../../src/embed/explain.ts";

test("the owner is told the cause, and only a refusal is final", (context) => {
  const told: string[] = [];
  context.mock.method(console, "warn", (text: string) => void told.push(text));
  const scope = globalThis as { location?: unknown };
  scope.location = { origin: "https://shop.example" };
  context.after(() => delete scope.location);
  for (const [status, final, words] of [
    [403, true, /allowed_origins=\["https:\/\/shop\.example"\]/],
    [404, true, /no chatbot cw_pub_x/],
    [0, false, /could not be reached/], // the network, which comes back
    [502, false, /HTTP 502/],
    [504, false, /HTTP 504/],
  ] as const) {
    assert.equal(explain("https://chat.example", "cw_pub_x", status), final, String(status));
    assert.match(told.pop() ?? "", words);
  }
});

/** Requests to the server, each with a bound on its time, and what went wrong with them as two kinds of errors. */

import { retryAfterMs } from "./backoff.ts";
import { within } from "./bounded.ts";
import { isRecord } from "./memory.ts";
import type { Ports } from "./ports.ts";

const REQUEST_WITHIN_MS = 15_000;

/** A fault. `status` 0: no reply at all; `retryAfterMs`: at least so long until the next try. */
export class Fault extends Error {
  readonly status: number;
  readonly code: string;
  readonly retryAfterMs: number;

  constructor(code: string, message: string, status = 0, waitMs = 0) {
    super(message);
    this.code = code;
    this.status = status;
    this.retryAfterMs = waitMs;
  }
}

export class Api {
  readonly base: string;
  readonly #ports: Ports;

  constructor(base: string, ports: Ports) {
    this.base = base.replace(/\/+$/, "");
    this.#ports = ports;
  }

  get socketAddress(): string {
    return `${this.base.replace(/^http/, "ws")}/api/v1/ws`;
  }

  /** Send JSON (POST when there is a body) and read JSON. Raises Fault; never waits longer than 15 s. */
  async request(path: string, options: { token?: string; body?: unknown } = {}): Promise<unknown> {
    const headers: Record<string, string> = {};
    if (options.token) headers["authorization"] = `Bearer ${options.token}`;
    if (options.body !== undefined) headers["content-type"] = "application/json";
    const stop = new AbortController();
    const init: RequestInit = {
      headers,
      method: options.body === undefined ? "GET" : "POST",
      ...(options.body === undefined ? {} : { body: JSON.stringify(options.body) }),
      signal: stop.signal,
      credentials: "omit",
      cache: "no-store",
    };
    try {
      // The body may hang, too: the bound holds until it is read.
      return await within(this.#ports.timers, REQUEST_WITHIN_MS, this.#exchange(path, init));
    } catch (error) {
      if (error instanceof Fault) throw error;
      throw new Fault("unavailable", String(error));
    } finally {
      stop.abort();
    }
  }

  async #exchange(path: string, init: RequestInit): Promise<unknown> {
    const response = await this.#ports.fetch(this.base + path, init);
    const reply: unknown = await response.json().catch(() => null);
    if (response.ok) {
      if (reply === null) throw new Fault("unavailable", "the reply is no JSON");
      return reply;
    }
    const error = isRecord(reply) && isRecord(reply["error"]) ? reply["error"] : {};
    const waitMs = retryAfterMs(response.headers.get("retry-after"), this.#ports.timers.now());
    const code = typeof error["code"] === "string" ? error["code"] : `http_${response.status}`;
    throw new Fault(code, String(error["message"] ?? `HTTP ${response.status}`), response.status, waitMs);
  }
}

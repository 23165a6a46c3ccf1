// Calls of the API with a tenant's key. The key lives in sessionStorage, for this tab only, and is sent to our own server only.

const KEPT_AS = "chatwright:console:key";
const WITHIN_MS = 15_000;
const CHATBOT_PAGES_AT_MOST = 5;

/** A call that the server refused, or that did not come through (`status` 0). */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }

  /** Whether it is the key that the server does not take. */
  get isOfKey() {
    return [401, 403].includes(this.status);
  }
}

export function keptKey() {
  try {
    return sessionStorage.getItem(KEPT_AS);
  } catch {
    return null; // storage is closed to us: one signs in again after each reload
  }
}

export function keepKey(key) {
  try {
    if (key === null) sessionStorage.removeItem(KEPT_AS);
    else sessionStorage.setItem(KEPT_AS, key);
  } catch {
    // As above.
  }
}

/** What to do about a refusal at the door, in words. */
export function adviceOn(refused, key) {
  if (key.startsWith("cw_admin_") && refused.isOfKey)
    return "This is an admin key. What is shown here belongs to a tenant: sign in with a tenant's key (cw_sk_…). It is in credentials.json too, or made by “chatwright key create”.";
  if (refused.status === 401)
    return "The server does not know this key. Look it up in credentials.json of the data directory, or make one with “chatwright key create”.";
  if (refused.status === 403) return "This key may not read what is shown here. Sign in with a tenant's key (cw_sk_…).";
  return refused.message;
}

export class Api {
  constructor(key) {
    this.key = key;
  }

  /** GET as JSON. `query`: empty values are left out. Raises Refused, or AbortError when `signal` says so. */
  get(path, query = {}, signal = undefined) {
    const wanted = new URLSearchParams(Object.entries(query).filter(([, value]) => value));
    return this.call("GET", `${path}?${wanted}`, undefined, signal);
  }

  /** One call; null where the reply has no body. Raises as `get` does. */
  async call(method, path, body = undefined, signal = undefined) {
    const limit = AbortSignal.timeout(WITHIN_MS);
    const headers = { authorization: `Bearer ${this.key}` };
    if (body !== undefined) headers["content-type"] = "application/json";
    let reply;
    let found;
    try {
      reply = await fetch(path, {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        credentials: "omit",
        cache: "no-store",
        signal: signal ? AbortSignal.any([signal, limit]) : limit,
      });
      found = reply.status === 204 ? null : await reply.json();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      if (!reply || limit.aborted) throw new Refused(0, "The server does not answer. Is it running?");
    }
    if (!reply.ok) throw new Refused(reply.status, found?.error?.message ?? `The server answered with HTTP ${reply.status}.`);
    if (found === undefined) throw new Refused(0, "The server's answer broke off. Try again.");
    return found;
  }

  /** The tenant's chatbots, at most a thousand. */
  async chatbots() {
    const found = [];
    let cursor = "";
    for (let page = 0; page < CHATBOT_PAGES_AT_MOST && cursor !== null; page += 1) {
      const { items, next_cursor } = await this.get("/api/v1/chatbots", { limit: 200, cursor });
      found.push(...items);
      cursor = next_cursor;
    }
    return found;
  }
}

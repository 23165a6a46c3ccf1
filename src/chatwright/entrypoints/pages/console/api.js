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
  if (key.startsWith("cw_admin_") && [401, 403].includes(refused.status))
    return "This is an admin key. Feedback belongs to a tenant: sign in with a tenant's key (cw_sk_…). It is in credentials.json too, or made by “chatwright key create”.";
  if (refused.status === 401)
    return "The server does not know this key. Look it up in credentials.json of the data directory, or make one with “chatwright key create”.";
  if (refused.status === 403) return "This key may not read feedback. Sign in with a tenant's key (cw_sk_…).";
  return refused.message;
}

export class Api {
  constructor(key) {
    this.key = key;
  }

  /** GET as JSON. `query`: empty values are left out. Raises Refused, or AbortError when `signal` says so. */
  async get(path, query = {}, signal = undefined) {
    const wanted = new URLSearchParams(Object.entries(query).filter(([, value]) => value));
    const limit = AbortSignal.timeout(WITHIN_MS);
    let reply;
    let body;
    try {
      reply = await fetch(`${path}?${wanted}`, {
        headers: { authorization: `Bearer ${this.key}` },
        credentials: "omit",
        cache: "no-store",
        signal: signal ? AbortSignal.any([signal, limit]) : limit,
      });
      body = await reply.json();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      if (!reply) throw new Refused(0, "The server does not answer. Is it running?");
    }
    if (!reply.ok || body === undefined) throw new Refused(reply.status, body?.error?.message ?? `The server answered with HTTP ${reply.status}.`);
    return body;
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

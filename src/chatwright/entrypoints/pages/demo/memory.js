// What the chat page keeps in the browser: visitor, conversation, place in the stream, unsent texts.

/** What a page must remember over a reload. Falls back to memory when storage is closed to us. */
export class Memory {
  constructor(key, storage) {
    this.key = key;
    this.storage = storage;
    this.value = { visitor_id: null, conversation_id: null, last_seq: 0, outbox: [] };
    try {
      const stored = JSON.parse(storage?.getItem(key) ?? "null");
      if (stored && typeof stored === "object" && Array.isArray(stored.outbox)) this.value = { ...this.value, ...stored };
    } catch {
      // Unreadable: start afresh.
    }
  }

  set(change) {
    this.value = { ...this.value, ...change };
    try {
      this.storage?.setItem(this.key, JSON.stringify(this.value));
    } catch {
      // Full or closed: this page goes on in memory.
    }
  }
}

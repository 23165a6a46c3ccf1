/**
 * What the core needs of its surroundings, so that it runs in a browser, in Node and under a test's own clock.
 * `browserPorts()` takes everything from the globals; a part that is missing there is null and done without.
 */

/** A timer that is set to more runs at once, in every browser. */
const LONGEST_MS = 2 ** 31 - 1;

export interface Timers {
  /** Unix ms. */
  now(): number;
  set(work: () => void, ms: number): unknown;
  clear(handle: unknown): void;
}

/** The part of `Storage` that is used. Any call may throw: blocked, full. */
export interface KeyStore {
  readonly length: number;
  key(index: number): string | null;
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

/** The part of `BroadcastChannel` that is used. */
export interface Channel {
  postMessage(message: unknown): void;
  onmessage: ((event: { data: unknown }) => void) | null;
  close(): void;
}

/** The part of `WebSocket` that is used. */
export interface SocketLike {
  readonly readyState: number;
  onopen: (() => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event: { code: number }) => void) | null;
  onerror: (() => void) | null;
  send(data: string): void;
  close(code?: number): void;
}

/** The part of `navigator.locks` that is used. */
export interface Locks {
  request<T>(name: string, options: { signal: AbortSignal }, work: () => Promise<T>): Promise<T>;
}

export interface Ports {
  fetch(address: string, options: RequestInit): Promise<Response>;
  socket(address: string): SocketLike;
  /** Of all tabs of this browser. */
  readonly storage: KeyStore | null;
  /** Of this tab, over its reloads. */
  readonly tabStorage: KeyStore | null;
  readonly timers: Timers;
  channel(name: string): Channel | null;
  readonly locks: Locks | null;
  /** 0 <= x < 1. */
  random(): number;
  newId(): string;
  /** False only when the browser knows that there is no network. */
  isOnline(): boolean;
  /** Hear of "online", "offline", "storage", "pageshow", "visibilitychange". Returns the way to stop it. */
  listen(type: string, work: (event: { readonly key?: string | null }) => void): () => void;
}

interface Globals {
  readonly localStorage?: KeyStore;
  readonly sessionStorage?: KeyStore;
  readonly navigator?: { readonly onLine?: boolean; readonly locks?: Locks };
  readonly BroadcastChannel?: new (name: string) => Channel;
  addEventListener?(type: string, work: (event: never) => void): void;
  removeEventListener?(type: string, work: (event: never) => void): void;
}

/** The globals of a page (or of Node, as far as they are there). */
export function browserPorts(): Ports {
  const globals = globalThis as unknown as Globals;
  return {
    fetch: (address, options) => fetch(address, options),
    socket: (address) => new WebSocket(address) as unknown as SocketLike,
    storage: openStorage(globals, "localStorage"),
    tabStorage: openStorage(globals, "sessionStorage"),
    timers: {
      now: () => Date.now(),
      set: (work, ms) => setTimeout(work, Math.min(ms, LONGEST_MS)),
      clear: (handle) => clearTimeout(handle as ReturnType<typeof setTimeout>),
    },
    channel: (name) => {
      try {
        return globals.BroadcastChannel ? new globals.BroadcastChannel(name) : null;
      } catch {
        return null; // a sandboxed frame
      }
    },
    locks: globals.navigator?.locks ?? null,
    random: Math.random,
    newId,
    isOnline: () => globals.navigator?.onLine !== false,
    listen: (type, work) => {
      globals.addEventListener?.(type, work);
      return () => globals.removeEventListener?.(type, work);
    },
  };
}

function openStorage(globals: Globals, name: "localStorage" | "sessionStorage"): KeyStore | null {
  try {
    return globals[name] ?? null; // the getter throws where site data are blocked
  } catch {
    return null;
  }
}

function newId(): string {
  // randomUUID needs a secure context; a page opened by a plain-http LAN address has none.
  if ("randomUUID" in crypto) return crypto.randomUUID();
  const bytes = (crypto as Crypto).getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Bringing in the chat chunk: with a time limit, tries, and a way out when a release has replaced the files. */

import type * as Extras from "./extras.ts";
import type { MountPanel } from "./types.ts";

const TRY_MS = 12_000;
const PAUSES_MS = [0, 500, 2_000];

const pause = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

const limited = <T>(work: Promise<T>): Promise<T> =>
  Promise.race([
    work,
    pause(TRY_MS).then(() => {
      throw new Error("took too long");
    }),
  ]);

const loaded = new Map<string, Promise<unknown>>();

/** The chat of the server at `base`. Rejects after three tries. */
export const loadChat = async (base: string): Promise<MountPanel> =>
  ((await load(base, __CHAT_FILE__)) as { default: MountPanel }).default;

/** What the launcher needs only at times. Rejects likewise. */
export const loadExtras = async (base: string): Promise<typeof Extras> => (await load(base, __EXTRAS_FILE__)) as typeof Extras;

/** A chunk, loaded once a page. */
function load(base: string, file: string): Promise<unknown> {
  const address = `${base}/widget/${file}`;
  const known =
    loaded.get(address) ??
    attempt(base, file).catch((error: unknown) => {
      loaded.delete(address); // the next click tries again
      throw error;
    });
  loaded.set(address, known);
  return known;
}

async function attempt(base: string, wanted: string): Promise<unknown> {
  let file = wanted;
  let last: unknown;
  for (const [tried, ms] of PAUSES_MS.entries()) {
    await pause(ms);
    try {
      // A failed module may be remembered by its address, so another try takes another.
      return await limited(import(`${base}/widget/${file}${tried ? `?try=${tried}` : ""}`));
    } catch (error) {
      last = error;
      file = (await limited(currentFile(base, wanted)).catch(() => null)) ?? file;
    }
  }
  throw last;
}

/** What the server calls the chunk now: this launcher may come from a cache and be older. */
async function currentFile(base: string, file: string): Promise<string | null> {
  const text = await (await fetch(`${base}/widget.js`, { cache: "reload" })).text();
  return new RegExp(file.replace(/[\w-]{8}\.js$/, "[\\w-]{8}\\.js")).exec(text)?.[0] ?? null;
}

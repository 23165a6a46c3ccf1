/**
 * Fetches a stranger's model within bounds and looks at its head before three.js reads it. Called by `model.ts`.
 *
 * Every failure is a `ModelError` whose message says in one sentence what is wrong; the robot stands in then.
 */

export const MAX_BYTES = 25 * 1024 * 1024;
export const TIMEOUT_MS = 20_000;

const MAGIC = 0x46546c67;
const JSON_CHUNK = 0x4e4f534a;
/** What needs a decoder that we do not ship. */
const UNREADABLE: Readonly<Record<string, string>> = {
  KHR_draco_mesh_compression: "Draco",
  EXT_meshopt_compression: "meshopt",
  KHR_meshopt_compression: "meshopt",
  KHR_texture_basisu: "KTX2",
};

export class ModelError extends Error {
  override name = "ModelError";
}

/** The parts of glTF's JSON that we look at. */
export interface Gltf {
  readonly extensionsUsed?: readonly string[];
  readonly extensionsRequired?: readonly string[];
  readonly buffers?: readonly { readonly uri?: string }[];
  readonly images?: readonly ImageEntry[];
}

export interface ImageEntry {
  readonly uri?: string;
  readonly bufferView?: number;
  readonly mimeType?: string;
}

export interface Download {
  readonly bytes: ArrayBuffer;
  readonly gltf: Gltf;
}

export async function fetchModel(url: string, signal: AbortSignal): Promise<Download> {
  const address = parseUrl(url);
  signal.throwIfAborted(); // of an abort that was before nobody is told
  const timed = new AbortController();
  const timer = setTimeout(() => timed.abort(), TIMEOUT_MS);
  const stop = (): void => timed.abort();
  signal.addEventListener("abort", stop);
  try {
    const reply = await fetch(address, { signal: timed.signal, credentials: "omit" });
    if (!reply.ok) throw new ModelError(`the server answered ${reply.status}`);
    const bytes = await readBounded(reply);
    return { bytes, gltf: checkGlb(bytes) };
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof ModelError) throw error;
    if (timed.signal.aborted) throw new ModelError(`it did not come within ${TIMEOUT_MS / 1000} s`);
    throw new ModelError("it could not be fetched (address, CORS or CSP)");
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
    timed.abort(); // what is not wanted of an answer is not downloaded
  }
}

function parseUrl(url: string): URL {
  try {
    const address = new URL(url, globalThis.document?.baseURI);
    if (address.protocol === "https:" || address.protocol === "http:") return address;
  } catch {
    // Said below.
  }
  throw new ModelError("its address is not an http address");
}

async function readBounded(reply: Response): Promise<ArrayBuffer> {
  const tooLarge = `it is larger than ${MAX_BYTES / 1024 / 1024} MB`;
  if (Number(reply.headers.get("content-length") ?? 0) > MAX_BYTES) throw new ModelError(tooLarge);
  const parts: Uint8Array[] = [];
  let size = 0;
  const reader = reply.body?.getReader();
  for (let part = await reader?.read(); part !== undefined && !part.done; part = await reader?.read()) {
    size += part.value.byteLength;
    if (size > MAX_BYTES) {
      await reader?.cancel();
      throw new ModelError(tooLarge);
    }
    parts.push(part.value);
  }
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.byteLength;
  }
  return bytes.buffer;
}

/** The JSON of a GLB file that is whole and that we can read. */
export function checkGlb(bytes: ArrayBuffer): Gltf {
  const view = new DataView(bytes);
  if (bytes.byteLength < 20 || view.getUint32(0, true) !== MAGIC) throw new ModelError("it is not a GLB file");
  if (view.getUint32(4, true) !== 2) throw new ModelError("it is not a glTF 2 file");
  if (view.getUint32(8, true) > bytes.byteLength) throw new ModelError("it is cut off");
  const length = view.getUint32(12, true);
  if (view.getUint32(16, true) !== JSON_CHUNK || 20 + length > bytes.byteLength) throw new ModelError("its head is broken");
  let gltf: Gltf;
  try {
    gltf = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 20, length))) as Gltf;
  } catch {
    throw new ModelError("its head is broken");
  }
  const unreadable = gltf.extensionsRequired?.map((name) => UNREADABLE[name]).find((name) => name !== undefined);
  if (unreadable !== undefined) throw new ModelError(`it is compressed with ${unreadable}, which the widget does not read`);
  if (gltf.buffers?.some((buffer) => buffer.uri !== undefined) === true) throw new ModelError("it needs further files");
  return gltf;
}

export function isVrm(gltf: Gltf): boolean {
  return gltf.extensionsUsed?.some((name) => name === "VRMC_vrm" || name === "VRM") === true;
}

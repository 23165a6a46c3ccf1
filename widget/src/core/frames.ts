/**
 * Frames of the server as the core reads them (docs/reference/websocket.md). Everything but `type` may be missing: a
 * newer or older server must not break a page, so readers check what they use.
 */

import { isRecord } from "./memory.ts";
import type { Failure, Source, SuggestedAction } from "./types.ts";
import type { ServerFrame } from "./wire.gen.ts";

export interface Frame {
  readonly type: string;
  readonly seq?: number;
  readonly conversation_id?: string;
  readonly message_id?: string;
  readonly client_message_id?: string;
  readonly replayed?: boolean;
  readonly ts?: string;
  readonly visitor_id?: string | null;
  readonly chunk?: string;
  readonly index?: number;
  readonly text?: string;
  readonly state?: string;
  readonly final?: boolean;
  readonly animation?: string | null;
  readonly answer_id?: string | null;
  readonly sources?: readonly unknown[];
  readonly suggested_actions?: readonly unknown[];
  readonly provider?: string | null;
  readonly model?: string | null;
  readonly cached?: string | null;
  readonly partial?: boolean;
  readonly merged_into?: string | null;
  readonly code?: string;
  readonly message?: string;
  readonly retriable?: boolean;
  readonly retry_after_s?: number | null;
  readonly error_code?: string | null;
  readonly error_message?: string | null;
}

/** Does not compile when a field that is read here is not on the wire any more. */
type Same<Missing extends never> = Missing;
type KeyOf<Any> = Any extends unknown ? keyof Any : never;
export type FieldsOnTheWire = Same<Exclude<keyof Frame, KeyOf<ServerFrame>>>;

const NUMBERS = /^(seq|index|retry_after_s)$/;
const LISTS = /^(sources|suggested_actions)$/;
const FLAGS = /^(replayed|final|partial|retriable)$/;

/** One frame; null for what is none. A field of the wrong type, or of one that nobody reads, is taken away. */
export function readFrame(data: unknown): Frame | null {
  if (typeof data !== "string") return null;
  let value: unknown;
  try {
    value = JSON.parse(data);
  } catch {
    return null;
  }
  if (!isRecord(value) || typeof value["type"] !== "string") return null;
  for (const [name, item] of Object.entries(value)) {
    const kind = NUMBERS.test(name) ? "number" : FLAGS.test(name) ? "boolean" : "string";
    if (LISTS.test(name) ? !Array.isArray(item) : typeof item !== kind) delete value[name];
  }
  return value as unknown as Frame;
}

/** Ask again by itself makes no sense for these, whatever the frame says. */
const FINAL_CODES = new Set(["content_blocked", "payload_too_large", "forbidden", "bad_request", "unprocessable"]);

/** Why a frame or a request was refused, for a visitor's eyes. */
export function readFailure(frame: Frame): Failure {
  const code = frame.code ?? "internal_error";
  return {
    code,
    message: frame.message ?? "",
    retriable: frame.retriable !== false && !FINAL_CODES.has(code),
    retryAfterS: Math.max(0, frame.retry_after_s ?? 0),
  };
}

/** Sources that can be shown; others are left out. */
export function readSources(values: readonly unknown[]): Source[] {
  return values.filter(isRecord).flatMap((value, index) => {
    if (typeof value["title"] !== "string" && typeof value["url"] !== "string") return [];
    return {
      n: typeof value["n"] === "number" ? value["n"] : index + 1,
      document_id: String(value["document_id"] ?? ""),
      title: typeof value["title"] === "string" ? value["title"] : "",
      url: typeof value["url"] === "string" ? value["url"] : null,
      score: typeof value["score"] === "number" ? value["score"] : 0,
      quote: typeof value["quote"] === "string" ? value["quote"] : "",
    };
  });
}

/** Actions that can be shown: a label with a kind ("reply", "link", "handoff", "form") and, most often, a value. */
export function readActions(values: readonly unknown[]): SuggestedAction[] {
  return values.filter(isRecord).flatMap(({ label, kind, value }) => {
    if (typeof label !== "string" || !label || typeof kind !== "string") return [];
    return { label, kind, value: typeof value === "string" ? value : "" };
  });
}

/** The transcript that the server keeps: fetched in pages, and merged into the turns that the page shows. */

import { type Api } from "./api.ts";
import { answerOf, changed, failureOf, isOpen, newTurn, phaseOf, type Change, type Kept } from "./conversation.ts";
import { readFrame, type Frame } from "./frames.ts";
import { isRecord } from "./memory.ts";
import type { ChatEvent, Rating } from "./types.ts";

/** Messages shown of an earlier visit; older ones stay with the server. */
const WINDOW = 200;
const PAGE = 100;
const PAGES_AT_MOST = 50;

/** An item of the transcript, its fields checked like a frame's. */
export interface Item extends Frame {
  readonly id: string;
  readonly role: "visitor" | "assistant";
  readonly ordinal: number;
  readonly created_at: string;
  readonly rating: Rating | null;
  readonly clientId: string | null;
}

/**
 * The last messages of a conversation with their answers, oldest first. `ordinal`: of the newest message known, where
 * the look-up begins (less the window). Raises what `Api.request` does.
 */
export async function fetchHistory(api: Api, token: string, conversationId: string, ordinal: number): Promise<Item[]> {
  const path = `/api/v1/conversations/${encodeURIComponent(conversationId)}/messages`;
  let items: Item[] = [];
  let cursor = String(Math.max(0, ordinal - WINDOW));
  for (let page = 0; page < PAGES_AT_MOST; page += 1) {
    const reply = await api.request(`${path}?limit=${PAGE}&cursor=${encodeURIComponent(cursor)}`, { token });
    if (!isRecord(reply) || !Array.isArray(reply["items"])) break;
    items = [...items, ...reply["items"].flatMap((item) => readItem(item) ?? [])].slice(-2 * WINDOW);
    const next = reply["next_cursor"];
    if (typeof next !== "string" || !next || next === cursor) break;
    cursor = next;
  }
  return items;
}

function readItem(value: unknown): Item | null {
  if (!isRecord(value)) return null;
  const { id, role, ordinal, created_at: createdAt, rating, metadata } = value;
  if (typeof id !== "string" || typeof ordinal !== "number") return null;
  if (role !== "visitor" && role !== "assistant") return null;
  const checked = readFrame(JSON.stringify({ ...value, type: "item" }));
  if (!checked) return null;
  const told = isRecord(metadata) ? metadata["client_message_id"] : null;
  return {
    ...checked,
    id,
    role,
    ordinal,
    created_at: typeof createdAt === "string" ? createdAt : "",
    rating: rating === "up" || rating === "down" ? rating : null,
    clientId: typeof told === "string" && told ? told : null,
  };
}

/**
 * Merge the transcript: finished answers become `settled`, texts not accepted yet and answers under way stay as they
 * are. Turns that did not change stay the same objects.
 */
export function merged(turns: readonly Kept[], items: readonly Item[]): Change {
  const rest = new Set(turns);
  const told: Kept[] = [];
  const events: ChatEvent[] = [];
  const first = items[0]?.ordinal ?? 0;
  for (const [messageId, pair] of pairs(items)) {
    const clientId = pair.visitor?.clientId ?? null;
    const byMessage = turns.find((turn) => turn.messageId === messageId);
    const byClient = clientId === null ? undefined : turns.find((turn) => turn.clientId === clientId);
    const known = byMessage ?? byClient;
    for (const one of [byMessage, byClient]) if (one) rest.delete(one);
    const turn = tell(known, messageId, clientId, pair);
    told.push(turn);
    // Looked up because the events stayed away: the page saw it begin, so it hears of the end.
    if (known?.messageId && isOpen(known) && turn.phase === "done") events.push({ type: "answered", turn });
    if (known?.messageId && isOpen(known) && turn.failure) events.push({ type: "failed", turn });
  }
  const older = [...rest].filter((turn) => turn.ordinal !== null && turn.ordinal < first);
  const newer = [...rest].filter((turn) => turn.ordinal === null || turn.ordinal >= first);
  const next = [...older, ...told, ...newer];
  const isSame = next.length === turns.length && next.every((turn, index) => turn === turns[index]);
  return changed(isSame ? turns : next, events);
}

interface Pair {
  visitor: Item | null;
  answer: Item | null;
}

function pairs(items: readonly Item[]): Map<string, Pair> {
  const found = new Map<string, Pair>();
  for (const item of items) {
    const messageId = item.message_id ?? item.id;
    const pair = found.get(messageId) ?? { visitor: null, answer: null };
    if (item.role === "visitor") pair.visitor = item;
    else pair.answer = item;
    found.set(messageId, pair);
  }
  return found;
}

function tell(known: Kept | undefined, messageId: string, clientId: string | null, { visitor, answer }: Pair): Kept {
  const item = visitor ?? answer;
  if (!item) throw new Error("a pair has at least one side");
  const before = known ?? newTurn({ key: clientId ?? messageId, phase: "waiting" });
  const phase = answer && (visitor?.state ?? "accepted") === "accepted" ? "done" : phaseOf(visitor ?? item);
  const turn: Kept = {
    ...before,
    clientId: clientId ?? before.clientId,
    messageId,
    text: visitor?.text ?? before.text,
    createdAt: item.created_at || before.createdAt,
    ordinal: item.ordinal,
    rating: answer ? answer.rating : before.rating,
  };
  if (phase === null) {
    // Still under way: its text comes with the events. Nothing here is older than what was shown of it.
    const wasUnsent = turn.phase === "sending" || (turn.phase === "refused" && before.messageId === null);
    return same(before, wasUnsent ? { ...turn, phase: "waiting", failure: null } : turn);
  }
  const isFailed = phase === "failed" || phase === "refused";
  const ended: Kept = {
    ...turn,
    phase,
    settled: true,
    failure: isFailed ? (turn.failure ?? failureOf(item)) : null,
    answer: answer ? answerOf(turn.answer, answer) : turn.answer,
  };
  return same(before, ended);
}

/** `before` itself when nothing changed. Small objects, and only when a history is read. */
function same(before: Kept, after: Kept): Kept {
  return JSON.stringify(before) === JSON.stringify(after) ? before : after;
}

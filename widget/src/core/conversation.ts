/**
 * The turns of one conversation: frames, history and the visitor's own doings in, new turns and events out. Pure: no
 * network, no clock, no storage; `visit.ts` calls it and keeps what it returns.
 *
 * The server numbers its frames and `place.ts` lets each in once, so a frame here is news. A turn that the history told
 * of as finished is `settled`: pieces of its answer that are replayed after a reload change nothing and are no events.
 */

import { readActions, readFailure, readSources, type Frame } from "./frames.ts";
import type { Answer, ChatEvent, Failure, Phase, Rating, Turn } from "./types.ts";

/** A turn with what the reducer itself must know. */
export interface Kept extends Turn {
  /** The history told how it ended. */
  readonly settled: boolean;
  /** The visitor pressed stop: pieces that still come are not shown, the end is. */
  readonly halted: boolean;
  /** Index of the next piece of the answer; -1: any. A later one means that pieces are lost: wait for the whole. */
  readonly nextIndex: number;
  /** The animation told last: each piece names the one of its sentence, and it is a cue only once. */
  readonly cue?: string | null | undefined;
  /** Place in the conversation, as the history counts; null until it told. */
  readonly ordinal: number | null;
  /** Number of the event by which it was accepted; null as long as unknown. Tells whose message was first. */
  readonly acceptedSeq: number | null;
}

export interface Change {
  readonly turns: readonly Kept[];
  readonly events: readonly ChatEvent[];
}

const TURNS_AT_MOST = 300;
const NO_ANSWER: Answer = {
  id: null,
  text: "",
  sources: [],
  actions: [],
  provider: null,
  model: null,
  cached: null,
  partial: false,
};

/** Phases of a message whose answer is still to come. */
export function isOpen(turn: Turn): boolean {
  return turn.phase === "sending" || turn.phase === "waiting" || turn.phase === "streaming";
}

export function newTurn(given: Partial<Kept> & Pick<Kept, "key" | "phase">): Kept {
  return {
    clientId: null,
    messageId: null,
    text: "",
    createdAt: "",
    failure: null,
    answer: NO_ANSWER,
    rating: null,
    settled: false,
    halted: false,
    nextIndex: 0,
    ordinal: null,
    acceptedSeq: null,
    ...given,
  };
}

/** A text of the outbox: shown at once, under the id that it keeps. */
export function pending(
  turns: readonly Kept[],
  entry: { readonly clientId: string; readonly text: string; readonly createdAt: string; readonly failure: Failure | null },
): Change {
  const { clientId, text, createdAt, failure } = entry;
  const phase: Phase = failure ? "refused" : "sending";
  const known = turns.find((turn) => turn.clientId === clientId);
  if (!known) return changed([...turns, newTurn({ key: clientId, clientId, text, createdAt, phase, failure })]);
  // Read from storage again and again: the same refusal is one event.
  if (known.messageId !== null || (known.phase === phase && known.failure?.code === failure?.code)) return changed(turns);
  const turn = { ...known, phase, failure };
  return changed(swap(turns, known, turn), phase === "refused" ? [{ type: "failed", turn }] : []);
}

interface Acceptance {
  readonly clientId: string | null;
  readonly messageId: string;
  /** Of its event; null for a receipt. */
  readonly seq: number | null;
  /** As this page knows it; "" if it does not: sent elsewhere, the history will tell. */
  readonly text: string;
  readonly createdAt: string;
}

/** The server stored a message. Told more than once, and by several: the second time changes nothing. */
export function accepted(turns: readonly Kept[], { clientId, messageId, seq, text, createdAt }: Acceptance): Change {
  const mine = clientId === null ? undefined : turns.find((turn) => turn.clientId === clientId);
  const told = turns.find((turn) => turn.messageId === messageId);
  // Where the history brought it already: its state, under the key that the page shows.
  const known = told ?? mine ?? newTurn({ key: clientId ?? messageId, phase: "waiting", createdAt });
  const rest = mine && told && mine !== told ? without(turns, mine) : turns;
  const wasUnsent = known.phase === "sending" || (known.phase === "refused" && known.messageId === null);
  const turn: Kept = {
    ...known,
    key: mine?.key ?? known.key,
    messageId,
    clientId: clientId ?? known.clientId,
    text: known.text || text,
    phase: wasUnsent ? "waiting" : known.phase,
    failure: wasUnsent ? null : known.failure,
    acceptedSeq: seq ?? known.acceptedSeq,
  };
  return changed(inOrder(told || mine ? swap(rest, known, turn) : [...rest, turn], turn));
}

/** Put a turn where the server has it: another tab's may have been accepted before it though it was seen later. */
function inOrder(turns: readonly Kept[], turn: Kept): readonly Kept[] {
  const seq = turn.acceptedSeq;
  if (seq === null) return turns;
  const at = turns.indexOf(turn);
  const isRight = turns.every(
    (one, index) => one === turn || one.acceptedSeq === null || one.acceptedSeq < seq === index < at,
  );
  if (isRight) return turns;
  const rest = without(turns, turn);
  const before = rest.findLastIndex((one) => one.acceptedSeq !== null && one.acceptedSeq < seq);
  const next = rest.findIndex((one) => one.acceptedSeq !== null && one.acceptedSeq > seq);
  return rest.toSpliced(before >= 0 ? before + 1 : next, 0, turn);
}

/** A text was not accepted. It stays in sight. */
export function refused(turns: readonly Kept[], clientId: string, failure: Failure): Change {
  const known = turns.find((turn) => turn.clientId === clientId && turn.messageId === null);
  if (!known) return changed(turns);
  const turn: Kept = { ...known, phase: "refused", failure };
  return changed(swap(turns, known, turn), [{ type: "failed", turn }]);
}

/** This page gives an answer up that was silent for too long. Should it come after all, it is shown. */
export function givenUp(turns: readonly Kept[], key: string, failure: Failure): Change {
  const known = turns.find((turn) => turn.key === key && isOpen(turn));
  if (!known) return changed(turns);
  const turn: Kept = { ...known, phase: "failed", failure };
  return changed(swap(turns, known, turn), [{ type: "failed", turn }]);
}

/** A failed or refused turn makes room for its repeat. What came of its answer stays in sight, to be asked below it. */
export function askedAnew(turns: readonly Kept[], turn: Kept, isNew: boolean): Change {
  if (!isNew || !turn.answer.text) return changed(without(turns, turn));
  const failure = turn.failure ? { ...turn.failure, retriable: false } : null;
  return changed(swap(turns, turn, { ...turn, failure }));
}

/** The visitor pressed stop: at once here, whatever the server still sends. */
export function halted(turns: readonly Kept[], key: string): Change {
  const known = turns.find((turn) => turn.key === key && isOpen(turn));
  if (!known) return changed(turns);
  return changed(swap(turns, known, { ...known, phase: "stopped", halted: true }));
}

export function rated(turns: readonly Kept[], messageId: string, rating: Rating | null): Change {
  const known = turns.find((turn) => turn.messageId === messageId);
  if (!known || known.rating === rating) return changed(turns);
  return changed(swap(turns, known, { ...known, rating }));
}

export function removed(turns: readonly Kept[], key: string): Change {
  const known = turns.find((turn) => turn.key === key);
  return changed(known ? without(turns, known) : turns);
}

/** Another tab took an unsent text away. */
export function droppedElsewhere(turns: readonly Kept[], clientId: string): Change {
  return changed(turns.filter((turn) => turn.clientId !== clientId || turn.messageId !== null));
}

/** A numbered frame about an answer. */
export function received(turns: readonly Kept[], frame: Frame): Change {
  const messageId = frame.message_id;
  if (!messageId) return changed(turns);
  const known = turns.find((turn) => turn.messageId === messageId);
  const before = known ?? newTurn({ key: messageId, messageId, phase: "waiting", createdAt: frame.ts ?? "" });
  const { animation } = frame;
  const cues: ChatEvent[] = animation && animation !== before.cue ? [{ type: "cue", animation, messageId }] : [];
  const { turn: next, events } = advance(before, frame, messageId, cues);
  const turn = cues[0] && events[0] ? { ...next, cue: animation } : next;
  if (turn === before) return { turns, events };
  return changed(known ? swap(turns, known, turn) : [...turns, turn], events);
}

interface Step {
  readonly turn: Kept;
  readonly events: readonly ChatEvent[];
}

function advance(turn: Kept, frame: Frame, messageId: string, cues: readonly ChatEvent[]): Step {
  const same: Step = { turn, events: [] };
  switch (frame.type) {
    case "animation":
      return isOver(turn) ? same : { turn, events: cues };
    case "stream_start":
    case "stream_reset":
      if (isOver(turn)) return same;
      return { turn: { ...turn, phase: "waiting", failure: null, nextIndex: 0, answer: NO_ANSWER }, events: cues };
    case "stream_chunk":
      return isOver(turn) ? same : chunk(turn, frame, messageId, cues);
    case "message_replace":
      return frame.final === false ? soFar(turn, frame) : ended(turn, frame, messageId, cues);
    case "stream_complete":
    case "stream_error":
      return ended(turn, frame, messageId, cues);
    default:
      return same;
  }
}

/** No piece of an answer changes this turn any more. A failed one may yet be answered: an operator ran it again. */
function isOver(turn: Kept): boolean {
  return turn.settled || turn.halted || !(isOpen(turn) || turn.phase === "failed");
}

function chunk(turn: Kept, frame: Frame, messageId: string, cues: readonly ChatEvent[]): Step {
  const text = frame.chunk ?? "";
  const index = frame.index;
  if (index !== undefined && turn.nextIndex >= 0 && index !== turn.nextIndex) {
    // Seen already; or a hole, after which nothing fits until the end brings the whole text.
    return { turn: index < turn.nextIndex || turn.phase === "streaming" ? turn : { ...turn, phase: "streaming" }, events: [] };
  }
  const answer = { ...turn.answer, text: turn.answer.text + text };
  return {
    turn: { ...turn, phase: "streaming", failure: null, answer, nextIndex: index === undefined ? turn.nextIndex : index + 1 },
    events: text ? [...cues, { type: "delta", text, messageId }] : cues,
  };
}

/** Events were lost while the answer is being written. What is shown stays unless the frame knows better. */
function soFar(turn: Kept, frame: Frame): Step {
  if (isOver(turn)) return { turn, events: [] };
  const text = frame.text ?? "";
  if (!text) return { turn: { ...turn, phase: turn.answer.text ? "streaming" : "waiting", failure: null }, events: [] };
  return {
    turn: { ...turn, phase: "streaming", failure: null, nextIndex: -1, answer: { ...turn.answer, text } },
    events: [],
  };
}

function ended(turn: Kept, frame: Frame, messageId: string, cues: readonly ChatEvent[]): Step {
  const state = endState(frame);
  // The history knew this end already, unless an answer has come since.
  const isStale = turn.settled && !(state === "done" && turn.phase !== "done");
  if (isStale) return { turn, events: [] };
  const failure = state === "failed" || state === "refused" ? failureOf(frame) : null;
  const answer = state === "merged" ? NO_ANSWER : answerOf(turn.answer, frame);
  // A failure that comes after "stop" was caused by it.
  const phase = turn.halted && (state === "failed" || state === "refused") ? "stopped" : state;
  const next: Kept = { ...turn, phase, failure: phase === "stopped" ? null : failure, answer, settled: false, nextIndex: -1 };
  return { turn: next, events: endEvents(turn, next, messageId, cues) };
}

function endState(frame: Frame): Phase {
  if (frame.merged_into || frame.state === "merged_into") return "merged";
  if (frame.state === "cancelled" || frame.code === "cancelled" || frame.error_code === "cancelled") return "stopped";
  if (frame.state === "handed_off") return "handed_off";
  if (frame.state === "refused") return "refused";
  return frame.type === "stream_error" || frame.state === "failed" ? "failed" : "done";
}

function endEvents(before: Kept, turn: Kept, messageId: string, cues: readonly ChatEvent[]): ChatEvent[] {
  if (before.phase === turn.phase && !isOpen(before)) return [];
  if (turn.phase === "failed" || turn.phase === "refused") return [...cues, { type: "failed", turn }];
  if (turn.phase !== "done" && turn.phase !== "handed_off") return [];
  const had = before.answer.text;
  const rest = turn.answer.text.startsWith(had) ? turn.answer.text.slice(had.length) : "";
  const delta: ChatEvent[] = rest && !before.halted ? [{ type: "delta", text: rest, messageId }] : [];
  return [...delta, ...cues, { type: "answered", turn }];
}

/** Why a message (as a frame or an item of the history tells of its end) got no answer. */
export function failureOf(frame: Frame): Failure {
  if (frame.type === "stream_error") return readFailure(frame);
  const code = frame.error_code ?? (frame.state === "refused" ? "content_blocked" : "provider_unavailable");
  return readFailure({ type: "error", code, ...(frame.error_message ? { message: frame.error_message } : {}) });
}

/** The answer with what a frame (or an item of the history) says of it. */
export function answerOf(answer: Answer, frame: Frame): Answer {
  return {
    id: frame.answer_id ?? answer.id,
    text: frame.type === "stream_error" ? answer.text : (frame.text ?? answer.text),
    sources: frame.sources ? readSources(frame.sources) : answer.sources,
    actions: frame.suggested_actions ? readActions(frame.suggested_actions) : answer.actions,
    provider: frame.provider ?? answer.provider,
    model: frame.model ?? answer.model,
    cached: frame.cached ?? answer.cached,
    partial: frame.partial === true,
  };
}

/** How a message of the history ended, as a phase. */
export function phaseOf(item: Frame): Phase | null {
  if (item.state === "accepted") return null;
  return endState(item);
}

export function changed(turns: readonly Kept[], events: readonly ChatEvent[] = []): Change {
  if (turns.length <= TURNS_AT_MOST) return { turns, events };
  // Bounded: the oldest go, but never one that is still under way.
  let surplus = turns.length - TURNS_AT_MOST;
  return { turns: turns.filter((turn) => isOpen(turn) || surplus-- <= 0), events };
}

function swap(turns: readonly Kept[], before: Kept, after: Kept): readonly Kept[] {
  return turns.map((turn) => (turn === before ? after : turn));
}

function without(turns: readonly Kept[], gone: Kept): readonly Kept[] {
  return turns.filter((turn) => turn !== gone);
}

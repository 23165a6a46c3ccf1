// The state of one conversation as plain values: events in, turns out. Pure, no DOM, no network.
//
// A turn is one visitor message with its answer:
// {key, clientId, messageId, text, createdAt, phase: "sending"|"waiting"|"streaming"|"done"|"failed"|"stopped",
//  answer: {text, sources, provider, model, cached, actions}, error: {code, message, retriable, retryAfterS} | null}

const TEXTS = {
  budget_exceeded: "This chatbot has used up its budget for now. Please come back later.",
  rate_limit_exceeded: "That was a little fast. Please wait a moment.",
  content_blocked: "This message was not accepted. Please put it in other words.",
  payload_too_large: "This message is too long. Please shorten it.",
  provider_unavailable: "The answering service is not available right now.",
  unavailable: "The service is not available right now. Your message was not lost if it shows above.",
  deadline_exceeded: "The answer took too long and was given up.",
  not_found: "This conversation no longer exists on the server. A new one begins with your next message.",
  conflict: "This message was already sent with another text.",
  forbidden: "This page is not allowed to use the chatbot.",
  unauthenticated: "Your visit has expired. Please send the message again.",
};

/** A sentence for a visitor, for any error code of the contract. */
export function explain(code, message) {
  return TEXTS[code] ?? (message ? `Something went wrong: ${message}` : "Something went wrong.");
}

const ENDED = { failed: "provider_unavailable", refused: "content_blocked" };

export class Conversation {
  turns = [];

  /** Take an event of socket.js in. Returns the turns that changed (all of them after "history" or "cleared"). */
  apply(event) {
    switch (event.type) {
      case "history":
        return this.#history(event.items);
      case "cleared":
        this.turns = [];
        return [];
      case "pending":
        return [this.#pending(event)];
      case "message_accepted":
        return [this.#accepted(event)];
      case "refused":
        return this.#change(this.#byClient(event.client_message_id), { phase: "failed", error: toError(event) });
      default:
        return this.#frame(event);
    }
  }

  /** The turns that still wait for (the rest of) their answer. */
  get active() {
    return this.turns.filter((turn) => ["sending", "waiting", "streaming"].includes(turn.phase));
  }

  #byClient(id) {
    return id ? this.turns.find((turn) => turn.clientId === id) : undefined;
  }

  #byMessage(id) {
    return id ? this.turns.find((turn) => turn.messageId === id) : undefined;
  }

  #change(turn, change) {
    if (!turn) return [];
    Object.assign(turn, change);
    return [turn];
  }

  #pending({ client_message_id, text, created_at }) {
    const known = this.#byClient(client_message_id);
    if (known) return known;
    const turn = newTurn({ clientId: client_message_id, text, createdAt: created_at, phase: "sending" });
    this.turns.push(turn);
    return turn;
  }

  #accepted({ client_message_id, message_id, text }) {
    const turn = this.#byMessage(message_id) ?? this.#byClient(client_message_id);
    if (!turn) {
      // Sent in another tab, or replayed after a reload.
      const made = newTurn({ clientId: client_message_id, messageId: message_id, text: text ?? "", phase: "waiting" });
      this.turns.push(made);
      return made;
    }
    const twin = this.#byClient(client_message_id);
    if (twin && twin !== turn) this.turns.splice(this.turns.indexOf(twin), 1); // the history brought it already
    turn.clientId = client_message_id ?? turn.clientId;
    turn.messageId = message_id;
    if (turn.phase === "sending") turn.phase = "waiting";
    return turn;
  }

  #frame(frame) {
    let turn = this.#byMessage(frame.message_id);
    if (!turn) {
      if (!frame.message_id) return [];
      if (!["stream_start", "stream_chunk", "stream_complete", "message_replace"].includes(frame.type)) return [];
      turn = newTurn({ messageId: frame.message_id, phase: "waiting" });
      this.turns.push(turn);
    }
    const { answer } = turn;
    // The history already showed this answer whole: a replay of its pieces adds only what the history lacks.
    const settled = turn.settled === true;
    switch (frame.type) {
      case "stream_start":
        if (!settled) {
          answer.text = "";
          turn.phase = "streaming";
          turn.error = null;
        }
        break;
      case "stream_chunk":
        if (!settled) {
          answer.text += frame.chunk ?? "";
          turn.phase = "streaming";
        }
        break;
      case "stream_reset":
        if (!settled) {
          answer.text = "";
          turn.phase = "waiting";
        }
        break;
      case "message_replace":
        this.#replace(turn, frame);
        break;
      case "stream_complete":
        if (typeof frame.text === "string" && frame.text) answer.text = frame.text;
        this.#complete(turn, frame);
        break;
      case "stream_error":
        turn.phase = frame.code === "cancelled" ? "stopped" : "failed";
        turn.error = frame.code === "cancelled" ? null : toError(frame);
        break;
      default:
        return [];
    }
    return [turn];
  }

  /** The state of a message as the database has it: what was streamed in between is lost and not needed. */
  #replace(turn, frame) {
    const text = frame.text ?? "";
    if (frame.final === false) {
      turn.answer.text = text;
      turn.phase = text ? "streaming" : "waiting";
      turn.settled = false;
      return;
    }
    turn.answer.text = text;
    this.#complete(turn, frame);
    turn.settled = true;
    ended(turn, frame);
  }

  #complete(turn, frame) {
    const { answer } = turn;
    if (Array.isArray(frame.sources)) answer.sources = frame.sources;
    answer.provider = frame.provider ?? answer.provider;
    answer.model = frame.model ?? answer.model;
    answer.cached = frame.cached ?? answer.cached;
    answer.actions = frame.suggested_actions ?? answer.actions;
    turn.phase = frame.cancelled || frame.state === "cancelled" ? "stopped" : "done";
    turn.error = null;
  }

  /** Rebuild from the server's transcript; texts still in the outbox and live answers stay. */
  #history(items) {
    const before = this.turns;
    const turns = [];
    let last = null;
    for (const item of items) {
      if (item.role === "visitor") {
        const known = before.find((turn) => turn.messageId === item.id);
        last = known ?? newTurn({ messageId: item.id, phase: "waiting" });
        last.text = item.text;
        last.createdAt = item.created_at;
        last.clientId = item.client_message_id ?? last.clientId;
        ended(last, item);
        turns.push(last);
      } else {
        const replied = item.message_id ?? item.in_reply_to;
        // An answer follows its message; the id says so outright where there is one.
        let turn = replied ? turns.find((one) => one.messageId === replied) : last;
        if (!turn) {
          turn = newTurn({ messageId: replied ?? `answer-${item.id}`, phase: "done" });
          turns.push(turn);
        }
        turn.answer.text = item.text;
        turn.answer.sources = item.sources ?? turn.answer.sources;
        turn.answer.provider = item.provider ?? turn.answer.provider;
        turn.answer.model = item.model ?? turn.answer.model;
        turn.answer.cached = item.cached ?? turn.answer.cached;
        turn.answer.actions = item.suggested_actions ?? turn.answer.actions;
        turn.settled = true;
        if (turn.phase !== "stopped" && turn.phase !== "failed") turn.phase = "done";
      }
    }
    const seen = new Set(turns.flatMap((turn) => [turn.messageId, turn.clientId]));
    const rest = before.filter((turn) => !seen.has(turn.messageId ?? turn.clientId) && !seen.has(turn.clientId ?? turn.messageId));
    this.turns = [...turns, ...rest];
    return this.turns;
  }
}

function newTurn(given) {
  return {
    key: given.clientId ?? given.messageId,
    clientId: null,
    messageId: null,
    text: "",
    createdAt: null,
    error: null,
    settled: false,
    answer: { text: "", sources: [], provider: null, model: null, cached: null, actions: [] },
    ...given,
  };
}

/** Take over how a message ended, from a transcript item or a replacement frame. */
function ended(turn, { state, error_code: code, error_message: message }) {
  if (state === "cancelled") turn.phase = "stopped";
  else if (state === "answered" || state === "merged_into" || state === "handed_off") turn.phase = "done";
  else if (state === "failed" || state === "refused") {
    turn.phase = "failed";
    turn.error ??= { code: code ?? ENDED[state], message: message ?? "", retriable: state === "failed", retryAfterS: 0 };
  }
}

function toError({ code, message, retriable, retry_after_s, retry_after }) {
  return { code, message: message ?? "", retriable: retriable !== false && code !== "content_blocked", retryAfterS: Number(retry_after_s ?? retry_after ?? 0) };
}

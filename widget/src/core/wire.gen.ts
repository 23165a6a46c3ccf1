/**
 * What goes over the wire between the widget and the server.
 * Made by widget/wire_types.py out of the server's own structs: change those, then run it again.
 */

/** `score` is the probability of `label`, null where nothing measured it. */
export interface SentimentLabel {
  readonly label: "negative" | "neutral" | "positive";
  readonly score: number | null;
}

/** `confidence` is the probability of `label`, null where nothing measured it. */
export interface IntentLabel {
  readonly label: "complaint" | "confirmation" | "explanation" | "farewell" | "greeting" | "handoff" | "negation" | "other" | "question" | "request" | "small_talk" | "thanks";
  readonly confidence: number | null;
}

/** A passage that the answer quotes, under citation number `n` (from 1); `score` is in 0..1. */
export interface SourceView {
  readonly n: number;
  readonly document_id: string;
  readonly title: string;
  readonly url: string | null;
  readonly score: number;
  readonly quote: string;
}

export interface UsageView {
  readonly input_tokens: number;
  readonly cached_tokens: number;
  readonly output_tokens: number;
}

/** What a visitor may do next: ask `value`, open it, ask for a person, fill in a form. */
export interface SuggestedActionView {
  readonly label: string;
  readonly kind: "form" | "handoff" | "link" | "reply";
  readonly value: string;
}

/** The first frame, within 10 s: a visitor's token or a tenant's key. Later ones renew a token. */
export interface AuthFrame {
  readonly type: "auth";
  readonly token: string;
}

/** A message. Without `conversation_id` a conversation is created; a tenant then names the `chatbot`. */
export interface MessageFrame {
  readonly type: "message";
  readonly text: string;
  readonly client_message_id: string;
  readonly conversation_id?: string | null;
  readonly chatbot?: string | null;
  readonly metadata?: Readonly<Record<string, unknown>>;
}

export interface CancelFrame {
  readonly type: "cancel";
  readonly message_id: string;
}

/** Follow a conversation from `after_seq` on. */
export interface ResumeFrame {
  readonly type: "resume";
  readonly conversation_id: string;
  readonly after_seq?: number;
}

export interface PingFrame {
  readonly type: "ping";
}

export type ClientFrame = AuthFrame | MessageFrame | CancelFrame | ResumeFrame | PingFrame;

/** The answer to `auth`. `visitor_id` is null for a tenant's key. */
export interface ReadyFrame {
  readonly type: "ready";
  readonly visitor_id: string | null;
}

export interface PongFrame {
  readonly type: "pong";
  readonly ts: string;
}

/** A frame was refused; the connection goes on. */
export interface ErrorFrame {
  readonly type: "error";
  readonly code: string;
  readonly message: string;
  readonly param?: string | null;
  readonly client_message_id?: string | null;
  readonly message_id?: string | null;
  readonly conversation_id?: string | null;
  readonly retry_after_s?: number | null;
}

/** What every frame carries besides its own fields. `seq` is 0 in stored events. */
export interface EventHeader {
  readonly conversation_id: string;
  readonly message_id: string | null;
  readonly stream_id: string | null;
  readonly ts: string;
  readonly seq?: number;
}

/** The visitor's message is stored; its answer will come on the stream of the same id. */
export interface MessageAcceptedEvent extends EventHeader {
  readonly type: "message_accepted";
  readonly client_message_id: string | null;
  readonly text?: string;
  readonly replayed?: boolean;
}

export interface StreamStartEvent extends EventHeader {
  readonly type: "stream_start";
  readonly chatbot_id: string;
  readonly animation: string | null;
}

/** `index` counts the chunks of one stream from 0 (and from 0 again after a reset); `text` is `chunk` on the wire. */
export interface StreamChunkEvent extends EventHeader {
  readonly type: "stream_chunk";
  readonly index: number;
  readonly chunk: string;
  readonly animation: string | null;
}

/**
 * The answer is stored. `text` is the whole of it: a reader that missed chunks is right again from here on.
 *
 * `sentiment` and `intent` are the visitor's. `cost_nano` is null when no price is known.
 */
export interface StreamCompleteEvent extends EventHeader {
  readonly type: "stream_complete";
  readonly sentiment: SentimentLabel | null;
  readonly intent: IntentLabel | null;
  readonly animation: string | null;
  readonly suggested_actions: readonly SuggestedActionView[];
  readonly sources: readonly SourceView[];
  readonly usage: UsageView;
  readonly cached: string;
  readonly text?: string;
  readonly answer_id: string | null;
  readonly cost_nano: number | null;
  readonly provider: string | null;
  readonly model: string | null;
  readonly partial: boolean;
  readonly confidence: number | null;
  readonly grounding: number | null;
  readonly grounded: boolean | null;
  readonly state: string;
  readonly chunks?: number;
  readonly merged_into?: string;
}

/** The message ended without a (whole) answer. `code` is an error code of the contract. */
export interface StreamErrorEvent extends EventHeader {
  readonly type: "stream_error";
  readonly code: string;
  readonly message: string;
  readonly retriable: boolean;
  readonly partial: boolean;
  readonly state: string;
}

/** The answer starts over on the same stream: forget the text shown so far. */
export interface StreamResetEvent extends EventHeader {
  readonly type: "stream_reset";
}

/** The text of the answer so far, whole: put it in the place of whatever is shown. `state` as in PostgreSQL. */
export interface MessageReplaceEvent extends EventHeader {
  readonly type: "message_replace";
  readonly text: string;
  readonly state: string;
  readonly answer_id: string | null;
  readonly sources: readonly SourceView[];
  readonly animation: string | null;
  readonly partial: boolean;
  readonly final?: boolean;
  readonly merged_into?: string | null;
  readonly suggested_actions?: readonly SuggestedActionView[];
  readonly error_code?: string | null;
  readonly error_message?: string | null;
}

export interface AnimationEvent extends EventHeader {
  readonly type: "animation";
  readonly animation: string;
}

export type StreamEvent =
  | MessageAcceptedEvent
  | StreamStartEvent
  | StreamChunkEvent
  | StreamCompleteEvent
  | StreamErrorEvent
  | StreamResetEvent
  | MessageReplaceEvent
  | AnimationEvent;

export type ServerFrame = ReadyFrame | PongFrame | ErrorFrame | StreamEvent;

export interface WidgetTokenRequest {
  readonly widget_id: string;
  readonly visitor_id?: string | null;
}

export interface WidgetTokenReply {
  readonly token: string;
  readonly expires_at: string;
  readonly visitor_id: string;
}

export interface ConversationReply {
  readonly id: string;
  readonly chatbot_id: string;
  readonly visitor_id: string;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly created_at: string;
  readonly last_seq: number;
}

/** A visitor's line of a transcript. */
export interface TranscriptMessage {
  readonly id: string;
  readonly message_id: string;
  readonly role: "visitor";
  readonly text: string;
  readonly state: string;
  readonly ordinal: number;
  readonly created_at: string;
  readonly error_code: string | null;
  readonly error_message: string | null;
  readonly reading: Readonly<Record<string, unknown>> | null;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly merged_into: string | null;
}

/** An answer's line of a transcript. `rating` is the visitor's word on it. */
export interface TranscriptAnswer {
  readonly id: string;
  readonly message_id: string;
  readonly role: "assistant";
  readonly text: string;
  readonly state: string;
  readonly ordinal: number;
  readonly created_at: string;
  readonly sources: readonly SourceView[];
  readonly animation: string | null;
  readonly suggested_actions: readonly SuggestedActionView[];
  readonly confidence: number | null;
  readonly grounding: number | null;
  readonly grounded: boolean | null;
  readonly provider: string;
  readonly model: string;
  readonly cost_nano: number | null;
  readonly cached: string;
  readonly partial: boolean;
  readonly chunk_count: number;
  readonly processing_ms: number;
  readonly usage: UsageView;
  readonly rating: "down" | "up" | null;
  readonly tone?: Readonly<Record<string, unknown>>;
}

/** `rating` null takes an earlier word back, with its comment. */
export interface RatingRequest {
  readonly rating: "down" | "up" | null;
  readonly comment?: string;
}

export interface RatingReply {
  readonly message_id: string;
  readonly answer_id: string;
  readonly rating: "down" | "up" | null;
  readonly comment: string;
}

export interface ErrorDetail {
  readonly type: string;
  readonly code: string;
  readonly message: string;
  readonly param: string | null;
  readonly request_id: string;
}

/** Every refusal. `message_id` and `conversation_id` are there when a message was accepted before it failed. */
export interface ErrorReply {
  readonly error: ErrorDetail;
  readonly message_id?: string | null;
  readonly conversation_id?: string | null;
}

export type TranscriptItem = TranscriptMessage | TranscriptAnswer;

export interface TranscriptPage {
  readonly items: readonly TranscriptItem[];
  readonly next_cursor: string | null;
}

/** The visitor's word on an answer, as the server keeps it. */

import type { Api } from "./api.ts";
import type { Rating } from "./types.ts";
import type { RatingRequest } from "./wire.gen.ts";

/** Rate the answer to a message; null takes the word back. Raises Fault, within 15 s at the latest. */
export async function sendFeedback(
  api: Api,
  token: string,
  answer: { readonly conversationId: string; readonly messageId: string },
  rating: Rating | null,
  comment: string | undefined,
): Promise<void> {
  const body: RatingRequest = { rating, ...(comment ? { comment } : {}) };
  const conversation = encodeURIComponent(answer.conversationId);
  const message = encodeURIComponent(answer.messageId);
  await api.request(`/api/v1/conversations/${conversation}/messages/${message}/feedback`, { token, body });
}

/** How a piece of streamed text moves the mouth. Pure; in the chat chunk, where the text comes in. */

/** How lively the mouth is for a piece of text: more letters, more movement; a comma or an end of a sentence shuts it. */
export function levelOfText(text: string): number {
  const letters = text.match(/\p{L}|\p{N}/gu)?.length ?? 0;
  if (letters === 0) return 0;
  return /[.!?…:;,]\s*$/u.test(text) && letters < 3 ? 0.15 : Math.min(1, 0.45 + letters / 18);
}

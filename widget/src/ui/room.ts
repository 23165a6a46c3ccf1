/** How much of the panel the avatar gets: room to read comes first. Pure. */

export type StageSize = "hero" | "talk" | "small" | "none";

/** Below this height of the panel the avatar is a head beside the name; sooner where there is something to read. */
const LOW_PX = 480;
const LOW_TO_READ_PX = 580;
/** A conversation as long as this is being read, not watched … */
const LONG_PX = 1_100;
/** … until it is as short as this again, which is after a new one has begun. */
const SHORT_PX = 500;

export interface Room {
  /** Height of the panel that the keyboard leaves, CSS pixels. */
  readonly height: number;
  /** Height of all that was said. */
  readonly content: number;
  readonly hasTurns: boolean;
  readonly isAvatarShown: boolean;
}

export function sizeOf({ height, content, hasTurns, isAvatarShown }: Room, before: StageSize): StageSize {
  if (!isAvatarShown) return "none";
  if (height < (hasTurns ? LOW_TO_READ_PX : LOW_PX)) return "small";
  if (!hasTurns) return "hero";
  if (content > LONG_PX || (before === "small" && content > SHORT_PX)) return "small";
  return "talk";
}

/** So near to its end counts as at its end, CSS pixels. */
const NEAR_PX = 60;

/** A log as it is scrolled, CSS pixels; an element will do. */
export interface Scrolled {
  readonly scrollTop: number;
  readonly clientHeight: number;
  readonly scrollHeight: number;
}

/**
 * Whether new text is followed after the log was scrolled. It was by the visitor only if it went up: a text that grew between
 * our scrolling down and the news of it is no reason to stay behind.
 */
export function follows(before: boolean, lastTop: number, now: Scrolled): boolean {
  if (now.scrollHeight - now.scrollTop - now.clientHeight < NEAR_PX) return true;
  return before && now.scrollTop >= lastTop - 1;
}

/** Between the log's edge and an answer's first line that is held there. */
const ABOVE_PX = 12;

/**
 * Where a log that follows its end is scrolled to. A whole answer that fits stays in view from its first line: what is offered
 * below it may wait. `answer`: its place among what scrolls; none while it is being written, and no height where there is none.
 */
export function endOf(log: Scrolled, answer?: { readonly offsetTop: number; readonly offsetHeight: number } | null): number {
  const end = log.scrollHeight - log.clientHeight;
  return answer?.offsetHeight && answer.offsetHeight < log.clientHeight - ABOVE_PX ? Math.min(end, answer.offsetTop - ABOVE_PX) : end;
}

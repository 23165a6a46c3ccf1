/**
 * The words of the panel in English, bundled with it; the other locales have the same keys and placeholders
 * (`tests/ui/locales.test.ts`) and are loaded when wanted.
 *
 * `{name}` is filled in by `fill`. A text with counts holds one form per plural category of its language, read by
 * `count`: "one:{n} source|other:{n} sources".
 */

export const texts = {
  // The panel as a whole
  panel: "Chat with {name}",
  title_default: "Chat",
  close: "Close chat",
  menu: "More options",
  status_online: "Online",
  status_connecting: "Connecting…",
  status_reconnecting: "Reconnecting…",
  status_reconnecting_in: "one:Reconnecting in {n} second|other:Reconnecting in {n} seconds",
  status_offline: "Offline",
  status_refused: "Not available",
  retry_now: "Try now",
  powered_by: "Powered by {name}",

  // Menu
  new_conversation: "New conversation",
  new_conversation_confirm: "Start over? This conversation will no longer be shown here.",
  confirm: "Start over",
  cancel: "Cancel",
  download_transcript: "Download transcript",
  read_aloud_on: "Read answers aloud",
  read_aloud_off: "Stop reading aloud",
  avatar_show: "Show avatar",
  avatar_hide: "Hide avatar",

  // The empty conversation
  greeting_default: "Hi! How can I help you?",
  suggestions: "Suggested questions",
  loading: "Loading your conversation…",

  // The log
  log: "Conversation",
  you: "You",
  you_said: "You said:",
  name_said: "{name} said:",
  today: "Today",
  yesterday: "Yesterday",
  jump_to_end: "Jump to the latest message",
  new_messages: "one:{n} new message|other:{n} new messages",

  // Where a message stands
  sending: "Sending…",
  queued: "Is sent when you are back online",
  not_sent: "Not sent",
  thinking: "{name} is thinking…",
  stopped: "Stopped",
  partial: "This answer is incomplete.",
  merged: "Answered together with your next message",

  // What can be done with a message
  retry: "Try again",
  discard: "Discard",
  copy: "Copy",
  copy_answer: "Copy answer",
  copied: "Copied",
  copy_failed: "Could not copy",
  read_this: "Read aloud",
  actions: "What you can do next",
  rate_up: "Good answer",
  rate_down: "Poor answer",
  rate_thanks: "Thank you for your feedback",
  rate_failed: "Your feedback could not be saved",
  rate_why: "What was wrong?",
  rate_comment: "Tell us more (optional)",
  rate_send: "Send feedback",
  rate_skip: "Skip",

  // Sources
  sources: "Sources",
  sources_count: "one:{n} source|other:{n} sources",
  source_n: "Source {n}: {title}",
  source_untitled: "Untitled",
  source_open: "Open the source",
  source_close: "Close sources",
  source_previous: "Previous source",
  source_next: "Next source",
  new_tab: "opens in a new tab",

  // Inside an answer
  code_block: "Code",
  code_copy: "Copy code",
  table: "Table, scrollable",
  footnote: "Citation {n}",
  task_done: "Done",
  task_open: "To do",

  // Composer
  composer: "Your message",
  placeholder: "Write a message…",
  send: "Send",
  stop: "Stop the answer",
  too_long: "one:{n} character too many|other:{n} characters too many",
  characters_left: "one:{n} character left|other:{n} characters left",

  // Notices and troubles
  offline: "You are offline. What you write now is sent when you are back online.",
  server_away: "The connection was lost. Please wait a moment.",
  refused_origin: "This chat is not enabled for this website.",
  refused_unknown: "This chat is not available right now.",
  error: "Something went wrong. Please try again.",
  over_limit: "That was a lot at once. Please wait a moment.",
  over_limit_in: "one:You can write again in {n} second.|other:You can write again in {n} seconds.",
  over_limit_in_minutes: "one:You can write again in {n} minute.|other:You can write again in {n} minutes.",
  budget: "The chat is taking a break. Please come back later.",
  blocked: "This message cannot be answered here.",
  message_too_long: "This message is too long. Please shorten it.",
  handoff: "A member of our team will take it from here.",
  signed_out: "Your session has ended. Please reload the page.",

  // Transcript
  transcript_title: "Conversation with {name}",
  transcript_file: "conversation",
  transcript_saved: "Saved on {date}",
  transcript_no_answer: "(no answer)",
  transcript_incomplete: "(incomplete)",
} as const;

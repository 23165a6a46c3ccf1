/**
 * Answers read aloud by the browser's own voices (Web Speech), sentence by sentence while they stream. Off until the visitor
 * asks for it; loaded then. The voice moves the avatar's mouth: `onLevel` follows the words where the browser reports them.
 */

export interface SpeechOptions {
  readonly locale: string;
  /** How wide the mouth is, 0..1, with the voice. */
  onLevel(level: number): void;
  /** True when reading begins, false when the last sentence ends or `stop` is called. */
  onSpeaking?(speaking: boolean): void;
  /** The browser's, unless a test brings its own. */
  readonly ports?: SpeechPorts;
}

export interface SpeechPorts {
  readonly synthesis: SpeechSynthesis | undefined;
  utterance(text: string): SpeechSynthesisUtterance;
  every(run: () => void, ms: number): () => void;
}

export interface Speech {
  /** Whether this browser can speak at all. */
  readonly available: boolean;
  /**
   * Read an answer. While it streams call again with its whole text so far: what was read already is not read twice, and an
   * open sentence waits until it is whole or `final` is true. A text that does not go on from the last one stops that.
   */
  speak(text: string, final?: boolean): void;
  stop(): void;
}

/** Chromium stops voices of the network after 15 s: nothing longer is handed over at once. */
const LONGEST = 220;
const MOUTH_MS = 110;
/** A voice that says neither that it speaks nor that it has ended: so long it is waited for. */
const LOST_MS = 4_000;
/** The end of a sentence: its mark with a space after it, a mark of a script without spaces, or a line's end. */
const SENTENCE_END = /[.!?…]+["'”’»)\]]*(?=\s)|[。！？؟؛]|\n+/g;

export function createSpeech(options: SpeechOptions): Speech {
  const ports = options.ports ?? browserPorts();
  return new Reader(options, ports);
}

function browserPorts(): SpeechPorts {
  return {
    synthesis: globalThis.speechSynthesis as SpeechSynthesis | undefined,
    utterance: (text) => new SpeechSynthesisUtterance(text),
    every(run, ms) {
      const timer = setInterval(run, ms);
      return () => clearInterval(timer);
    },
  };
}

class Reader implements Speech {
  readonly #options: SpeechOptions;
  readonly #ports: SpeechPorts;
  #text = "";
  /** How much of the text was handed over. */
  #taken = 0;
  #queue: string[] = [];
  #current: SpeechSynthesisUtterance | null = null;
  #speaking = false;
  #mouth: (() => void) | null = null;
  #spoken_ms = 0;
  #silent_ms = 0;
  #done: (() => void) | null = null;
  /** Words are reported by some voices only; without reports the mouth moves by itself. */
  #reported = false;

  constructor(options: SpeechOptions, ports: SpeechPorts) {
    this.#options = options;
    this.#ports = ports;
    ports.synthesis?.getVoices(); // asks for the list, which comes later
  }

  get available(): boolean {
    return this.#ports.synthesis !== undefined;
  }

  speak(text: string, final = true): void {
    if (!this.available) return;
    if (!text.startsWith(this.#text.slice(0, this.#taken))) this.stop();
    this.#text = text;
    const end = final ? text.length : this.#taken + lastEnd(text.slice(this.#taken));
    if (end > this.#taken) {
      const ready = text.slice(this.#taken, end);
      // A code block is left for the eyes; until its end is there, nobody knows where it ends.
      if (!final && (text.slice(0, end).match(/^ {0,3}(?:```|~~~)/gm)?.length ?? 0) % 2 === 1) return;
      this.#taken = end;
      this.#queue.push(...sentences(speakable(ready)));
    }
    this.#next();
  }

  stop(): void {
    this.#text = "";
    this.#taken = 0;
    this.#queue = [];
    const was = this.#current;
    this.#current = null;
    if (was !== null) this.#ports.synthesis?.cancel();
    this.#end();
  }

  #next(): void {
    const synthesis = this.#ports.synthesis;
    if (this.#current !== null || synthesis === undefined) return;
    const sentence = this.#queue.shift();
    if (sentence === undefined) return this.#end();
    const utterance = this.#ports.utterance(sentence);
    utterance.lang = this.#options.locale;
    const voice = voiceFor(synthesis.getVoices(), this.#options.locale);
    if (voice !== null) utterance.voice = voice;
    const done = (): void => {
      if (this.#current !== utterance) return; // stopped meanwhile
      this.#current = null;
      this.#next();
    };
    utterance.onend = done;
    utterance.onerror = done;
    utterance.onboundary = () => {
      this.#reported = true;
      if (this.#current === utterance) this.#options.onLevel(0.9);
    };
    this.#current = utterance;
    this.#done = done;
    this.#silent_ms = 0;
    this.#begin();
    synthesis.speak(utterance);
    synthesis.resume(); // Chromium stays paused after an earlier pause
  }

  #begin(): void {
    if (this.#speaking) return;
    this.#speaking = true;
    this.#spoken_ms = 0;
    this.#mouth = this.#ports.every(() => this.#move(), MOUTH_MS);
    this.#options.onSpeaking?.(true);
  }

  /** Between reports: two waves of different length, so that no mouth flaps like a metronome. */
  #move(): void {
    this.#spoken_ms += MOUTH_MS;
    const { speaking, pending } = this.#ports.synthesis ?? {};
    this.#silent_ms = speaking === false && pending === false ? this.#silent_ms + MOUTH_MS : 0;
    if (this.#silent_ms >= LOST_MS) return this.#done?.(); // some engines forget to report an end
    const wave = Math.abs(Math.sin(this.#spoken_ms / 130) * Math.sin(this.#spoken_ms / 410 + 0.6));
    this.#options.onLevel(this.#reported ? 0.25 + 0.35 * wave : 0.2 + 0.7 * wave);
  }

  #end(): void {
    if (!this.#speaking) return;
    this.#speaking = false;
    this.#mouth?.();
    this.#mouth = null;
    this.#options.onLevel(0);
    this.#options.onSpeaking?.(false);
  }
}

function lastEnd(text: string): number {
  let end = 0;
  for (const found of text.matchAll(SENTENCE_END)) end = found.index + found[0].length;
  return end;
}

/** Markdown as it is said: no marks, no citations, no addresses, no code blocks. */
export function speakable(markdown: string): string {
  return markdown
    .replace(/^ {0,3}(```|~~~)[\s\S]*?(?:^ {0,3}\1[^\n]*$|$(?![\s\S]))/gm, "\n")
    .replace(/!?\[([^\]\n]{0,300})\]\([^)\n]{0,2048}\)/g, (_, label: string) => (/^\^?\d+$/.test(label) ? "" : label))
    .replace(/\s?\[\^?\d{1,3}(?:\s?[,;]\s?\^?\d{1,3}){0,9}\]/g, "")
    .replace(/<?(?:https?:\/\/|www\.)([^\s/<>)]{1,253})[^\s<>]*>?/g, "$1")
    .replace(/^[ \t]*\|?[ \t]*:?-{2,}[-|: \t]*$/gm, "")
    .replace(/^[ \t]*(?:#{1,6}[ \t]+|>[ \t]?|[-*+][ \t]+(?:\[[ xX]\][ \t]+)?|[-*_=][-*_= \t]{2,}$)/gm, "")
    .replace(/\|/g, ", ")
    .replace(/<br\s*\/?>/gi, "\n")
    .replace(/(\*{1,3}|_{2,3}|~~|`+)/g, "")
    .replace(/(^|[\s(])_(\S[^_\n]*)_(?=[\s).,;:!?]|$)/gm, "$1$2")
    .replace(/\\([!-/:-@[-`{-~])/g, "$1")
    .replace(/&nbsp;/g, " ")
    .replace(/&amp;/g, "&");
}

/** Pieces of at most LONGEST characters, cut at sentences, else at commas or spaces. */
export function sentences(text: string): string[] {
  const found: string[] = [];
  let from = 0;
  const add = (piece: string): void => {
    let rest = piece.replace(/\s+/g, " ").trim();
    while (rest.length > LONGEST) {
      const head = rest.slice(0, LONGEST);
      const cut = Math.max(head.lastIndexOf(", "), head.lastIndexOf("，"), head.lastIndexOf("، "));
      const at = cut > LONGEST / 3 ? cut + 1 : head.lastIndexOf(" ") > 0 ? head.lastIndexOf(" ") : LONGEST;
      found.push(rest.slice(0, at).trim());
      rest = rest.slice(at).trim();
    }
    if (/[\p{L}\p{N}]/u.test(rest)) found.push(rest);
  };
  for (const end of text.matchAll(SENTENCE_END)) {
    add(text.slice(from, end.index + end[0].length));
    from = end.index + end[0].length;
  }
  add(text.slice(from));
  return found;
}

/** A voice of the language: the same region before others, one of the machine before one of the network. */
export function voiceFor(voices: readonly SpeechSynthesisVoice[], locale: string): SpeechSynthesisVoice | null {
  const language = locale.toLowerCase().split("-")[0];
  const rank = (voice: SpeechSynthesisVoice): number => {
    const tag = voice.lang.toLowerCase().replace("_", "-");
    if (tag.split("-")[0] !== language) return -1;
    return (tag === locale.toLowerCase() ? 4 : 0) + (voice.localService ? 2 : 0) + (voice.default ? 1 : 0);
  };
  let best: SpeechSynthesisVoice | null = null;
  for (const voice of voices) if (rank(voice) >= 0 && (best === null || rank(voice) > rank(best))) best = voice;
  return best;
}

/** The renderer of answers, brought in after the panel can be written into; until then answers are plain text. */

import { T } from "../locales/keys.ts";
import { copyText, iconButton } from "./dom.ts";
import type { MakeMarkdown } from "./turn.ts";
import type { Words } from "./words.ts";

/** `words`: those of the panel as they are when an answer is drawn. */
export async function loadAnswers(words: () => Words, images: boolean, base: string): Promise<MakeMarkdown> {
  const { createMarkdown } = await import("./markdown.ts");
  return (cite) => {
    const say = words();
    return createMarkdown({
      document,
      images,
      base,
      cite,
      labels: { code: say.say(T.code_block), table: say.say(T.table), done: say.say(T.task_done), open: say.say(T.task_open) },
      codeAction: (read) => {
        const button = iconButton("copy", say.say(T.code_copy), () => {
          copyText(read()).then(
            () => button.classList.add("did"),
            () => undefined,
          );
        });
        return button;
      },
    });
  };
}

/** The list of the menu: its entries as plain buttons in tab order, and the question that some of them ask first. */

import { html, icon, type IconName, textButton } from "./dom.ts";

export interface Entry {
  readonly icon: IconName;
  label(): string;
  act(): void;
  /** What to ask before; null: nothing. */
  ask?(): { readonly question: string; readonly yes: string; readonly no: string } | null;
}

/** `leave` shuts the menu. */
export function fillMenu(list: HTMLElement, entries: readonly Entry[], leave: () => void): void {
  const choose = (entry: Entry): void => {
    leave();
    entry.act();
  };
  list.replaceChildren(
    ...entries.map((entry) => {
      const button = html("button", { type: "button", class: "entry" }, icon(entry.icon), entry.label());
      button.addEventListener("click", () => {
        const asked = entry.ask?.();
        if (!asked) return choose(entry);
        const go = textButton("pill strong", asked.yes, () => choose(entry));
        list.replaceChildren(html("p", { role: "alert" }, asked.question), html("div", { class: "row" }, go, textButton("pill", asked.no, leave)));
        go.focus();
      });
      return button;
    }),
  );
}

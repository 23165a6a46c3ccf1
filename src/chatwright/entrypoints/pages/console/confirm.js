// Asks before something is taken away.

const $ = (id) => document.getElementById(id);

/** Whether somebody at the page is sure. Escape and "Keep it" are no. */
export function confirmed({ title, sure, verb }) {
  const dialog = $("confirm");
  $("confirm-title").textContent = title;
  $("confirm-sure").textContent = sure;
  $("confirm-verb").textContent = verb;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

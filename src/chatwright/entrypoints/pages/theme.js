// Applies the stored colour theme before the first paint. A classic script on purpose: modules run too late and flash.
(() => {
  let theme = null;
  try {
    theme = localStorage.getItem("chatwright:theme");
  } catch {
    // Storage may be closed to us (private mode): the system's theme stays.
  }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    if (!button) return;
    const isDark = () =>
      (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
    const label = () => button.setAttribute("aria-label", isDark() ? "Switch to the light theme" : "Switch to the dark theme");
    label();
    button.addEventListener("click", () => {
      const next = isDark() ? "light" : "dark";
      document.documentElement.dataset.theme = next;
      try {
        localStorage.setItem("chatwright:theme", next);
      } catch {
        // Not stored: the choice lasts as long as the page.
      }
      label();
    });
  });
})();

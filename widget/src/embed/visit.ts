/** What the launcher asks of the page's own course: when it is idle, where the visitor is, and how they came to it. */

const IDLE_WITHIN_MS = 1_500;

/** Call `work` when the page has nothing better to do. */
export function idle(work: () => void): void {
  if ("requestIdleCallback" in window) requestIdleCallback(work, { timeout: IDLE_WITHIN_MS });
  else setTimeout(work, 200);
}

/** Call `work` once, when the visitor has scrolled near `element`. Returns the way to wait no longer. */
export function near(element: Element, work: () => void): () => void {
  const observer = new IntersectionObserver(
    (entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      observer.disconnect();
      work();
    },
    { rootMargin: "300px" },
  );
  observer.observe(element);
  return () => observer.disconnect();
}

/** On a phone the panel covers the page: there it comes back after a reload, not on the next page. */
export function mayReopen(): boolean {
  const [entry] = performance.getEntriesByType("navigation") as PerformanceNavigationTiming[];
  return !matchMedia("(max-width: 480px)").matches || entry?.type === "reload";
}

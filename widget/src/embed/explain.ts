/** What went wrong, for the site's owner, who reads the console: what it is and how it is mended. */

/**
 * Say in the console why the chatbot `widgetId` of `base` is not there. `status`: the HTTP status of the config; 0: no reply,
 * or one that the browser withheld. The server lets every page read its refusals, so 0 is the network, a proxy's own error
 * page, or the page's policy. Returns whether it is refused: trying again does not mend it.
 */
export function explain(base: string, widgetId: string, status: number): boolean {
  const { origin } = location;
  if (status === 403) {
    console.warn(
      `[chatwright] ${base} does not let pages of ${origin} use ${widgetId}. ` +
        `To allow it: chatwright chatbot set SLUG 'allowed_origins=["${origin}"]'`,
    );
    return true;
  }
  if (status === 404 || status === 422) {
    console.warn(`[chatwright] ${base} has no chatbot ${widgetId}. Its widget id is shown by: chatwright chatbot list`);
    return true;
  }
  const said = status === 0 ? "could not be reached; if it runs, the page's connect-src must allow it" : `answered HTTP ${status}`;
  console.warn(`[chatwright] ${base} ${said}`);
  return false;
}

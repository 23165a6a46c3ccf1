/** Styles come as text: they are put into constructable style sheets, which a strict CSP allows. */
declare module "*.css?inline" {
  const text: string;
  export default text;
}

/** File name of the chat chunk below the server's `/widget/`, set by the build of the launcher. */
declare const __CHAT_FILE__: string;
/** File name of the launcher's own lazy chunk (`embed/extras.ts`). */
declare const __EXTRAS_FILE__: string;
/** Version of the release that the files belong to. */
declare const __VERSION__: string;

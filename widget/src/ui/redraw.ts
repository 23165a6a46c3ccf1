/** Drawing once a frame, however much changes in it. A page that is not seen has no frames and is drawn now and then. */

const HIDDEN_MS = 200;

export class Redraw {
  readonly #draw: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #frame: number | undefined;

  constructor(draw: () => void) {
    this.#draw = draw;
  }

  /** Draw with the next frame. */
  ask(): void {
    if (this.#timer !== undefined || this.#frame !== undefined) return;
    const run = (): void => {
      this.cancel();
      this.#draw();
    };
    if (document.hidden) this.#timer = setTimeout(run, HIDDEN_MS);
    else this.#frame = requestAnimationFrame(run);
  }

  /** What was asked for is done already, or no longer wanted. */
  cancel(): void {
    clearTimeout(this.#timer);
    if (this.#frame !== undefined) cancelAnimationFrame(this.#frame);
    this.#timer = this.#frame = undefined;
  }
}

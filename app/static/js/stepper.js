// One clock and one slider for everything that is shown beside each other.

import { html, whole } from "./dom.js";

const SPEEDS = [2, 5, 10, 20, 40]; // frames per second

/** Walks through steps: `at` is the position in `steps`. It waits until `show(step)` is done before the next one. */
export class Stepper {
  constructor(show, changed) {
    this.steps = [];
    this.at = 0;
    this.fps = 10;
    this.playing = false;
    this.loop = true;
    this.show = show;
    this.changed = changed;
    this.timer = 0;
  }

  get step() { return this.steps[this.at] ?? 0; }

  /** Takes other steps, and stays at the same one as far as it can. */
  set(steps, step = this.step) {
    this.steps = steps;
    const found = steps.findIndex((one) => one >= step);
    this.at = found < 0 ? Math.max(steps.length - 1, 0) : found;
  }

  async to(at) {
    const n = this.steps.length;
    this.at = n ? Math.min(Math.max(at, 0), n - 1) : 0;
    this.changed(this);
    await this.show(this.step);
  }

  by(change) {
    this.pause();
    return this.to(this.at + change);
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  pause() {
    if (!this.playing) return;
    this.playing = false;
    clearTimeout(this.timer);
    this.changed(this);
  }

  play() {
    if (this.playing || this.steps.length < 2) return;
    this.playing = true;
    if (this.at >= this.steps.length - 1) this.at = -1;
    const next = async () => {
      const start = performance.now();
      const last = this.at >= this.steps.length - 1;
      if (last && !this.loop) return this.pause();
      await this.to(last ? 0 : this.at + 1).catch(() => this.pause());
      if (this.playing) this.timer = setTimeout(next, Math.max(1000 / this.fps - (performance.now() - start), 0));
    };
    next();
  }

  /** Keys of a screen that has this clock. */
  keys() {
    return [
      [" ", "Play or pause", () => this.toggle()],
      ["ArrowRight", "Next frame", () => this.by(1)],
      ["ArrowLeft", "Frame before", () => this.by(-1)],
      ["Home", "First frame", () => this.by(-Infinity)],
      ["End", "Last frame", () => this.by(Infinity)],
    ];
  }

  /** The controls. */
  template(unit = "step") {
    const last = this.steps.length - 1;
    return html`<div class="stepper" role="group" aria-label="Time">
      <button type="button" class="play" ?disabled=${last < 1} @click=${() => this.toggle()}>${this.playing ? "Pause" : "Play"}</button>
      <input type="range" min="0" max=${Math.max(last, 0)} .value=${String(Math.max(this.at, 0))} aria-label="Step" aria-valuetext=${`${unit} ${this.step}`}
        @input=${(event) => { this.pause(); this.to(Number(event.target.value)); }}>
      <output class="mono">${unit} ${whole(this.step)}</output>
      <label class="quiet">Speed <select @change=${(event) => { this.fps = Number(event.target.value); }}>
        ${SPEEDS.map((fps) => html`<option value=${fps} ?selected=${fps === this.fps}>${fps} frames/s</option>`)}</select></label>
      <button type="button" aria-pressed=${this.loop ? "true" : "false"} @click=${() => { this.loop = !this.loop; this.changed(this); }}>Loop</button>
    </div>`;
  }
}

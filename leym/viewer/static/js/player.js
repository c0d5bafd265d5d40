// Time: a clock that several viewers may share, and a timeline with play, scrub, speed, loop and marks.

import { html, nothing, render } from "../vendor/lit-html/lit-html.js";
import { whole } from "./numbers.js";

const SPEEDS = [1, 2, 5, 10, 20, 30, 60]; // frames per second

/** A position among recorded steps, which advances while it plays. */
export class Clock {
  constructor({ start = 0, stop = 0, stride = 1 } = {}) {
    Object.assign(this, { start, stop, stride, step: start, fps: 20, playing: false, loop: true, live: false });
    this.watchers = new Set();
    this.ready = () => true; // a viewer that has no frame for a step yet keeps the clock waiting
  }

  /** Calls `watcher(clock)` at each change; returns a function that ends this. */
  watch(watcher) { this.watchers.add(watcher); return () => this.watchers.delete(watcher); }

  tell() { for (const watcher of this.watchers) watcher(this); }

  get last() { return this.stop > this.start ? this.start + Math.floor((this.stop - 1 - this.start) / this.stride) * this.stride : this.start; }

  /** Sets which steps there are. */
  setSteps({ start, stop, stride }) { Object.assign(this, { start, stop, stride }); this.tell(); }

  /** Goes to a step, or to the recorded one before it. */
  seek(step, live = false) {
    const on = this.start + Math.round((step - this.start) / this.stride) * this.stride;
    this.step = Math.min(this.last, Math.max(this.start, on));
    this.live = live;
    this.tell();
  }

  /** Goes by a number of frames. */
  move(frames) { this.pause(); this.seek(this.step + frames * this.stride); }

  play() {
    if (this.playing || this.last === this.start) return;
    this.playing = true;
    this.live = false;
    if (this.step >= this.last) this.step = this.start;
    let due = performance.now();
    const tick = (now) => {
      if (!this.playing) return;
      const gap = 1000 / this.fps;
      if (now - due >= gap) {
        const frames = Math.min(8, Math.floor((now - due) / gap)); // a browser that is slow skips
        let next = this.step + frames * this.stride;
        if (next > this.last) {
          if (!this.loop) { this.seek(this.last); this.pause(); return; }
          next = this.start;
        }
        if (this.ready(next)) { due = now - ((now - due) % gap); this.seek(next); } else due = now - gap;
      }
      this.frame = requestAnimationFrame(tick);
    };
    this.frame = requestAnimationFrame(tick);
    this.tell();
  }

  pause() {
    if (!this.playing) return;
    this.playing = false;
    cancelAnimationFrame(this.frame);
    this.tell();
  }

  toggle() { if (this.playing) this.pause(); else this.play(); }

  stopAll() { this.pause(); this.watchers.clear(); }
}

/**
 * Puts a timeline into an element.
 * @param options.marks returns [{step, title, kind}]; @param options.total last step of the job; @param options.canLive
 *   returns whether newer frames are coming.
 */
export function mountTimeline(element, clock, { marks = () => [], total = () => clock.last, canLive = () => false, onLive = () => {} } = {}) {
  let queued = 0;
  const draw = () => {
    queued = 0;
    const { start, last, stride, step, playing, fps, loop } = clock;
    const span = Math.max(1, Math.max(total(), last) - start);
    render(html`<div class="timeline">
      <div class="bar">
        <button type="button" class="play" aria-label=${playing ? "Pause" : "Play"} title="space" ?disabled=${last === start}
          @click=${() => clock.toggle()}>${playing ? "❚❚" : "▶"}</button>
        <button type="button" aria-label="One frame back" title="←" @click=${() => clock.move(-1)}>‹</button>
        <button type="button" aria-label="One frame forward" title="→" @click=${() => clock.move(1)}>›</button>
        <output class="step" title="step of ${whole(total())}">step <b>${whole(step)}</b> <span class="quiet">of ${whole(total())}</span></output>
        <span class="right"></span>
        <label class="quiet small">Speed <select aria-label="Frames per second" @change=${(e) => { clock.fps = Number(e.target.value); clock.tell(); }}>
          ${[...new Set([...SPEEDS, fps])].sort((a, b) => a - b).map((speed) => html`<option value=${speed} ?selected=${speed === fps}>${speed} frames/s</option>`)}</select></label>
        <button type="button" aria-pressed=${loop} title="Begin again at the end (o)" @click=${() => { clock.loop = !clock.loop; clock.tell(); }}>Loop</button>
        ${canLive() ? html`<button type="button" aria-pressed=${clock.live} title="Follow the newest frame" @click=${onLive}>Live</button>` : nothing}
      </div>
      <div class="track">
        <input type="range" aria-label="Step" .min=${String(start)} .max=${String(Math.max(total(), last))} .step=${String(stride)} .value=${String(step)}
          aria-valuetext="step ${step}" @input=${(e) => { clock.pause(); clock.seek(Number(e.target.value)); }}>
        <div class="known" .style=${`width:${(100 * (last - start)) / span}%`}></div>
        ${marks().map(({ step: at, title, kind }) => html`<button type="button" class="mark ${kind}" tabindex="-1" title=${title} aria-label=${title}
          .style=${`left:${(100 * (at - start)) / span}%`} @click=${() => { clock.pause(); clock.seek(at); }}></button>`)}
      </div></div>`, element);
  };
  const stop = clock.watch(() => { queued ||= requestAnimationFrame(draw); });
  draw();
  return { draw, destroy: () => { stop(); cancelAnimationFrame(queued); render(nothing, element); } };
}

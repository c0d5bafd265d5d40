// Draw 24: random laws of an architecture on a wall. Keys keep the good ones; the others are removed.

import { get, post, send } from "../api.js";
import { complain, html, nothing, render, toast, whole } from "../dom.js";
import { extent, looks, plane } from "../frames.js";
import { ageOf, atlas, isEmpty, paint, ready, tile } from "../pixels.js";
import { Clock, mountTimeline } from "../player.js";
import { go, replace } from "../router.js";

const COUNT = 24;
const TRIAL = { grid: [48, 48], steps: 300, every: 6 };
const FINAL = ["succeeded", "failed", "cancelled"];
const FIELDS = { colours: "channel_power", phase: "phase", activity: "activity" };
const FROZEN = 1e-5; // activity per step

class Wall {
  constructor(element, route, app) {
    const { architecture = "NCA", d = "3", hidden = "32", boundary = "periodic", seed = "0", sweep = "" } = route.params;
    Object.assign(this, { element, app, want: { architecture, d_state: Number(d), hidden: Number(hidden), boundary, seed: Number(seed) }, sweepId: sweep });
    Object.assign(this, { laws: [], kept: new Set(), at: 0, view: "colours", activity: new Map(), busy: false, clock: new Clock(), sweep: null });
    this.clock.setSteps({ start: 0, stop: TRIAL.steps + 1, stride: TRIAL.every });
    this.clock.fps = 10;
    this.clock.watch(() => this.load(this.clock.step).catch(() => null));
    this.clock.ready = (step) => !this.sweep || ready(`v1/sweeps/${this.sweepId}`, this.query(step), ageOf(this.sweep));
  }

  async open() {
    this.app.title("Draw 24");
    const move = (by) => this.focus(this.at + by);
    this.app.setKeys([["k", "Keep, or keep no longer", () => this.toggle(this.at)], ["ArrowRight", "Next law", () => move(1)], ["ArrowLeft", "Law before", () => move(-1)],
      ["ArrowDown", "Row below", () => move(this.columns())], ["ArrowUp", "Row above", () => move(-this.columns())],
      [" ", "Play or pause", () => this.clock.toggle()], ["m", "Draw 24 more", () => this.more()]]);
    this.draw();
    if (this.sweepId) await this.begin(); // a reload or a pasted address draws the same laws again
  }

  columns() {
    const tiles = [...this.element.querySelectorAll(".wall > *")];
    return Math.max(tiles.filter((one) => one.offsetTop === tiles[0].offsetTop).length, 1);
  }

  /** Draws the laws, and runs a small universe of each, as one sweep. */
  async begin() {
    this.busy = true;
    this.draw();
    try {
      const { d_state: d, ...rest } = this.want;
      this.laws = (await post("v1/drawn-laws", { ...this.want, count: COUNT })).items;
      this.kept = new Set(this.laws.filter((law) => !law.temporary_until).map((law) => law.ref));
      this.sweep = this.sweepId ? await get(`v1/sweeps/${this.sweepId}`).catch(() => null) : null;
      this.sweep ||= await post("v1/sweeps", { base: { grid: TRIAL.grid, steps: TRIAL.steps, initial: { kind: "complex_noise", strength: 1 },
        record: ["phase", "channel_power", "activity"].map((field) => ({ field, every: TRIAL.every, dtype: "float16" })), observe: { every: TRIAL.every, names: ["activity", "coherence"] } },
        axes: { law: this.laws.map((law) => law.ref) }, stop: [{ when: "non_finite" }] });
      this.sweepId = this.sweep.id;
      replace({ view: "draw", ...rest, d, sweep: this.sweepId });
      this.activity.clear();
    } catch (error) {
      complain(error);
      this.sweep = null;
    }
    this.busy = false;
    this.draw();
    if (!this.sweep) return;
    this.timeline?.destroy();
    this.timeline = mountTimeline(this.element.querySelector(".clock"), this.clock);
    this.watch();
    this.focus(0);
  }

  /** Looks until all universes have ended; plays them from the first frames on. */
  async watch() {
    clearTimeout(this.timer);
    if (this.closed || !this.sweep) return;
    try {
      this.sweep = await get(`v1/sweeps/${this.sweepId}`);
      const { items } = await get(`v1/sweeps/${this.sweepId}/table`);
      for (const { point, observables, state } of items) this.activity.set(point.law, { activity: observables.activity, state });
      this.draw();
      await this.load(this.clock.step);
      if (!this.clock.playing && FINAL.includes(this.sweep.state) && !this.started) { this.started = true; this.clock.play(); }
    } catch { /* asked again */ }
    if (!FINAL.includes(this.sweep.state)) this.timer = setTimeout(() => this.watch(), 1500);
  }

  /** Asks for a step; while the universes still run and nobody plays, for the newest frame of each. */
  query(step) {
    const live = !FINAL.includes(this.sweep.state) && !this.clock.playing;
    return { field: FIELDS[this.view], step: live ? undefined : step, side: TRIAL.grid[0] };
  }

  async load(step) {
    if (!this.sweep || this.closed) return;
    const query = this.query(step);
    const { field } = query;
    const found = await atlas(`v1/sweeps/${this.sweepId}`, query, ageOf(this.sweep));
    if (step !== this.clock.step || field !== FIELDS[this.view]) return;
    const look = looks(field);
    this.element.querySelectorAll(".wall canvas").forEach((canvas, i) => {
      if (i >= found.shape[0]) return;
      const one = tile(found, i, field);
      if (isEmpty(one)) return;
      paint(canvas, this.view === "colours" ? coloured(one) : plane(one), look.map, look.range || extent(one.data));
    });
    if (this.clock.playing) {
      for (let k = 1; k < 4; k++) if (step + k * this.clock.stride <= this.clock.last) ready(`v1/sweeps/${this.sweepId}`, this.query(step + k * this.clock.stride), ageOf(this.sweep));
    }
  }

  focus(at) {
    if (!this.laws.length) return;
    this.at = Math.min(Math.max(at, 0), this.laws.length - 1);
    this.draw();
    this.element.querySelectorAll(".wall .toggle")[this.at]?.focus({ preventScroll: false });
  }

  async toggle(i) {
    const law = this.laws[i];
    if (!law) return;
    if (this.kept.has(law.ref)) this.kept.delete(law.ref);
    else this.kept.add(law.ref);
    this.at = i;
    this.draw();
  }

  /** Keeps the chosen laws for good, and removes the others. */
  async finish() {
    this.busy = true;
    this.draw();
    try {
      if (this.sweep && !FINAL.includes(this.sweep.state)) await post(`v1/sweeps/${this.sweepId}/cancel`);
      const good = this.laws.filter((law) => this.kept.has(law.ref));
      await Promise.all(good.map((law) => post(`v1/laws/${law.ref}/keep`)));
      const bad = this.laws.filter((law) => !this.kept.has(law.ref));
      await Promise.all(bad.map((law) => send(`v1/laws/${law.ref}`, { method: "DELETE" }).catch((error) => { if (error.status !== 404) throw error; })));
      toast(`${good.length} kept, ${bad.length} removed`);
      return true;
    } catch (error) {
      complain(error);
      return false;
    } finally {
      this.busy = false;
      this.draw();
    }
  }

  async done() {
    if (await this.finish()) go("/laws");
  }

  async more() {
    if (this.laws.length && !await this.finish()) return;
    this.want.seed += COUNT;
    this.sweepId = "";
    this.started = false;
    this.clock.pause();
    this.clock.seek(0);
    await this.begin();
  }

  draw() {
    const { want, laws, busy, sweep } = this;
    const set = (key, value) => { want[key] = value; if (key === "architecture" && value !== "NCA") want.boundary = "zero"; this.draw(); };
    const number = (label, key, low, high) => html`<label class="field">${label} <input type="number" min=${low} max=${high} .value=${String(want[key])} ?disabled=${busy}
      @change=${(event) => set(key, Number(event.target.value))}></label>`;
    const pick = (label, key, values) => html`<label class="field">${label} <select ?disabled=${busy} @change=${(event) => set(key, event.target.value)}>
      ${values.map((value) => html`<option ?selected=${value === want[key]}>${value}</option>`)}</select></label>`;
    const ended = sweep ? FINAL.reduce((sum, state) => sum + (sweep.counts[state] || 0), 0) : 0;
    render(html`<p class="small"><a href="#/laws">Laws</a></p>
      <div class="panel-head"><h1>Draw 24</h1><span class="quiet">Random laws, each running from noise. About half of those that wrap around keep moving.</span></div>
      <form class="controls panel" @submit=${(event) => { event.preventDefault(); this.sweepId = ""; this.started = false; this.begin(); }}>
        ${pick("Architecture", "architecture", ["NCA", "DEEP_QCA", "MLP"])}${pick("Boundary", "boundary", want.architecture === "NCA" ? ["periodic", "zero"] : ["zero"])}
        ${number("Channels d", "d_state", 1, 16)}${number("Width", "hidden", 1, 256)}${number("First seed", "seed", 0, 2 ** 31)}
        <button class="primary" ?disabled=${busy}>${busy ? "Working …" : laws.length ? "Draw these" : "Draw 24"}</button>
        ${laws.length ? html`<span class="right buttons"><button type="button" ?disabled=${busy} title="Keeps what is marked, removes the others, draws the next seeds (m)" @click=${() => this.more()}>Draw 24 more</button>
          <button type="button" class="primary" ?disabled=${busy} @click=${() => this.done()}>Keep ${this.kept.size}, remove ${laws.length - this.kept.size}</button></span>` : nothing}
      </form>
      ${laws.length ? html`<div class="panel-head"><div class="segmented" role="group" aria-label="Show">${["colours", "phase", "activity"].map((view) => html`<button type="button" aria-pressed=${view === this.view}
          @click=${() => { this.view = view; this.draw(); this.load(this.clock.step).catch(complain); }}>${view}</button>`)}</div>
        <span class="quiet small"><kbd>k</kbd> keeps, arrows move${sweep && ended < sweep.size ? html` · ${whole(ended)} of ${whole(sweep.size)} have run` : nothing}</span></div>
        <div class="wall">${laws.map((law, i) => this.card(law, i))}</div><div class="clock panel"></div>`
        : html`<p class="empty">Choose an architecture and draw: 24 laws with random weights run side by side. Mark the good ones with <kbd>k</kbd>; the others are removed.</p>`}`, this.element);
  }

  card(law, i) {
    const kept = this.kept.has(law.ref);
    const { activity, state } = this.activity.get(law.ref) || {};
    const fate = state === "failed" ? "blew up" : !FINAL.includes(state) ? state || "" : activity < FROZEN ? "frozen" : "";
    return html`<div class="draw ${kept ? "kept" : ""} ${i === this.at ? "here" : ""}">
      <button type="button" class="toggle" aria-pressed=${kept} aria-label="Keep ${law.name}" title="${kept ? "Kept" : "Keep"} (k)" @click=${() => this.toggle(i)}><canvas class="pixels" width="48" height="48"></canvas></button>
      <span class="small"><a href=${`#/laws/${law.name}`}>seed ${law.provenance.drawn?.seed}</a> ${kept ? html`<b class="good">kept</b>` : html`<span class="quiet">${fate}</span>`}</span></div>`;
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    this.clock.stopAll();
    this.timeline?.destroy();
  }
}

/** Returns the shares of three channels as red, green and blue; of others, those of the first three. */
function coloured({ shape: [height, width, depth = 1], data }) {
  const out = new Float32Array(3 * height * width);
  for (let i = 0; i < height * width; i++) for (let c = 0; c < 3; c++) out[3 * i + c] = Math.sqrt(data[i * depth + Math.min(c, depth - 1)] || 0);
  return { data: out, width, height, rgb: true };
}

export async function show(element, route, app) {
  const wall = new Wall(element, route, app);
  await wall.open();
  return () => wall.close();
}

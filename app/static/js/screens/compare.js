// Two to nine universes on one clock: pictures that zoom and move together under one bar of colours, the difference of two,
// what their specs differ in, and their curves.

import { get } from "../api.js";
import { mountChart } from "../charts.js";
import { drawColourBar } from "../colourbar.js";
import { NAMES } from "../colormaps.js";
import { specDiff } from "../compare/differences.js";
import { $, complain, digits, html, lawName, nothing, render, stylesheet, whole } from "../dom.js";
import { FrameSource, extent, isColour, looks, plane } from "../frames.js";
import { Clock, mountTimeline } from "../player.js";
import { go, replace } from "../router.js";
import { earlier } from "../universe/lineage.js";
import { mountViewer } from "../viewer.js";

const MOST = 9;
const DIFFERENCE = "twilight_shifted"; // the map of differences
const LINES = ["#8fa6ff", "#5fd39a", "#e6c15a", "#ff8d84", "#c795ff", "#5ccfe0", "#f29bd0", "#a8d65c", "#f0a05a"];

class CompareScreen {
  constructor(element, route, app) {
    Object.assign(this, { element, app, params: { ...route.params }, jobs: [], clock: new Clock(), charts: [], planes: [] });
    this.viewers = new Map(); // stage -> its viewer; all show the same part of their universes
    this.view = { zoom: 1, x: 0.5, y: 0.5 };
    this.ids = [...new Set((route.params.ids || "").split(",").filter(Boolean))].slice(0, MOST);
  }

  async open() {
    this.app.title("Compare");
    if (this.ids.length < 2) return this.empty();
    render(html`<p class="quiet" role="status">Opening ${this.ids.length} universes …</p>`, this.element);
    this.jobs = await Promise.all(this.ids.map((id) => get(`v1/jobs/${id}`)));
    this.sources = this.ids.map((id) => new FrameSource(`v1/jobs/${id}`));
    await Promise.all(this.sources.map(async (source, i) => {
      source.before = (await earlier(this.jobs[i])).map(({ id }) => `v1/jobs/${id}`);
      return source.fields();
    }));
    const names = this.sources.map((source) => new Set(source.list.map(({ name }) => name)));
    this.fields = [...names[0]].filter((name) => names.every((set) => set.has(name)));
    this.observables = Object.keys(this.jobs[0].observables || {}).filter((name) => this.jobs.every((job) => job.observables && name in job.observables));
    if (!this.fields.includes(this.params.field)) this.params.field = this.fields.find((name) => name !== "psi") || this.fields[0];
    this.look();
    this.steps();
    this.clock.watch(() => this.follow());
    this.clock.ready = (step) => this.sources.map((source) => this.isReady(source, step)).every(Boolean);
    this.draw();
    if (this.fields.length) this.timeline = mountTimeline(this.element.querySelector(".clock"), this.clock);
    this.app.setKeys([[" ", "Play or pause", () => this.clock.toggle()], ["ArrowRight", "Next frame", () => this.clock.move(1)],
      ["ArrowLeft", "Frame before", () => this.clock.move(-1)], ["d", "Difference of the first two", () => this.toggleDifference()],
      ["+", "Zoom in", () => this.zoom(1.4)], ["-", "Zoom out", () => this.zoom(0.7)], ["0", "Fit", () => this.show({ zoom: 1, x: 0.5, y: 0.5 })],
      ["a", "Limits of what is shown now", () => this.auto()]]);
    this.clock.seek(Number(this.params.step ?? this.clock.last));
    await this.curves();
  }

  empty() {
    render(html`<div class="empty"><h1>Compare</h1><p>Two to nine universes play here on one clock, with their difference and what sets them apart.</p>
      <p>Brush cells of a sweep and choose Compare, or give ids:</p>
      <form class="buttons" @submit=${(event) => { event.preventDefault(); go("/compare", { ids: event.target.elements.ids.value.split(/[\s,]+/).join(",") }); }}>
        <input name="ids" aria-label="Ids of universes" placeholder="two ids or more" required><button class="primary">Compare</button></form></div>`, this.element);
  }

  /** One clock over all: from the first step of any to the last of any, in the smallest stride. */
  steps() {
    const spans = this.sources.map((source) => source.steps(this.params.field)).filter(({ start, stop }) => stop > start);
    if (!spans.length) return;
    const start = Math.min(...spans.map((span) => span.start));
    const stop = Math.max(...spans.map((span) => span.stop));
    this.clock.setSteps({ start, stop, stride: Math.min(...spans.map(({ stride }) => stride)) });
  }

  set(changes) {
    Object.assign(this.params, changes);
    replace(changes);
    this.draw();
    this.follow();
  }

  get pair() {
    const [a, b] = (this.params.difference || "").split(",").map(Number);
    return this.params.difference && a !== b ? [a, b] : null;
  }

  toggleDifference() { this.set({ difference: this.pair ? "" : "0,1" }); }

  remove(id) { go("/compare", { ...this.params, difference: "", ids: this.ids.filter((one) => one !== id).join(",") }); }

  draw() {
    const { fields, params, jobs, pair } = this;
    const letter = (i) => String.fromCharCode(65 + i);
    const options = (value, names) => names.map((name) => html`<option ?selected=${name === value}>${name}</option>`);
    render(html`<div class="panel-head"><h1>Compare ${jobs.length} universes</h1><span class="right"></span>
        ${fields.length ? html`<label class="quiet small">Field <select @change=${(event) => { this.chooseField(event.target.value); }}>${options(params.field, fields)}</select></label>
        <button type="button" aria-pressed=${Boolean(pair)} title="d" @click=${() => this.toggleDifference()}>Difference</button>
        <button type="button" title="0" @click=${() => this.show({ zoom: 1, x: 0.5, y: 0.5 })}>Fit</button>` : nothing}</div>
      <div class="sides n${jobs.length + (pair ? 1 : 0)}">
        ${jobs.map((job, i) => html`<figure .style=${`--line-colour:${LINES[i]}`}><div class="stage" data-i=${i} role="img" aria-label="universe ${letter(i)}"></div>
          <figcaption><b>${letter(i)}</b> <a href=${`#/jobs/${job.id}`}>${lawName(job.law)}</a> <span class="quiet" data-at=${i}></span>
            ${jobs.length > 2 ? html`<button type="button" class="link right" aria-label="Remove universe ${letter(i)}" @click=${() => this.remove(job.id)}>✕</button>` : nothing}</figcaption></figure>`)}
        ${pair ? html`<figure class="difference"><div class="stage" data-difference role="img" aria-label="difference"></div>
          <figcaption><label>Difference <select aria-label="First" @change=${(event) => this.set({ difference: `${event.target.value},${pair[1]}` })}>${jobs.map((_, i) => html`<option value=${i} ?selected=${i === pair[0]}>${letter(i)}</option>`)}</select></label>
            − <select aria-label="Second" @change=${(event) => this.set({ difference: `${pair[0]},${event.target.value}` })}>${jobs.map((_, i) => html`<option value=${i} ?selected=${i === pair[1]}>${letter(i)}</option>`)}</select>
            <output class="quiet" id="distance" title="root of the mean squared difference over the cells"></output></figcaption></figure>` : nothing}
      </div>
      ${fields.length ? html`<div class="panel stack"><div class="colours"></div><div class="clock"></div></div>` : html`<p class="empty">These universes have recorded no field in common.</p>`}
      <div class="compare-below"><section class="panel" aria-label="Differences of the specs"><h2>What differs</h2>${specDiff(jobs, letter)}</section>
        <section class="panel" aria-label="Observables"><h2>Observables</h2><div id="compare-charts">${this.observables.map((name) => html`<h3>${name}</h3><div class="chart" data-name=${name}></div>`)}</div>
          ${this.observables.length ? nothing : html`<p class="quiet">They observe nothing in common.</p>`}</section></div>`, this.element);
    if (fields.length) this.drawBar();
    const stages = new Set(this.element.querySelectorAll(".sides .stage"));
    for (const [stage, viewer] of this.viewers) if (!stages.has(stage)) { viewer.destroy(); this.viewers.delete(stage); }
    for (const stage of stages) if (!this.viewers.has(stage)) this.mount(stage);
  }

  mount(stage) {
    const isDifference = "difference" in stage.dataset;
    const viewer = mountViewer(stage, { map: isDifference ? DIFFERENCE : this.map, range: this.range, onView: (view) => this.show(view, stage) });
    viewer.setView(this.view);
    stage.dataset.kind = viewer.kind;
    this.viewers.set(stage, viewer);
  }

  /** Shows the same part of all universes, as one of them has been made to show it. */
  show(view, from = null) {
    this.view = view;
    for (const [stage, viewer] of this.viewers) if (stage !== from) viewer.setView(view);
  }

  zoom(factor) { this.show({ ...this.view, zoom: this.view.zoom * factor }); }

  // ---- one map and one range of colours for all

  /** Takes the map and the limits of the field, or those of the address. */
  look() {
    const { field, map, low, high } = this.params;
    const usual = looks(field || "");
    this.map = NAMES.includes(map) ? map : usual.map;
    this.domain = usual.range || [0, 1];
    this.limited = low !== undefined && high !== undefined;
    this.known = Boolean(usual.range);
    this.range = this.limited ? [Number(low), Number(high)] : [...this.domain];
  }

  chooseField(field) {
    Object.assign(this.params, { low: undefined, high: undefined, map: undefined });
    this.params.field = field;
    this.look();
    this.steps();
    this.colour();
    this.set({ field, low: null, high: null, map: null });
  }

  /** Gives the colours to all viewers but that of the difference, which has its own. */
  colour() {
    for (const [stage, viewer] of this.viewers) {
      if ("difference" in stage.dataset) continue;
      viewer.setMap(this.map);
      viewer.setRange(...this.range);
    }
    this.drawBar();
  }

  setRange(low, high) {
    this.range = [low, high].map((limit) => Number(limit.toPrecision(4))); // as in the address
    this.limited = true;
    const limits = { low: this.range[0], high: this.range[1] };
    Object.assign(this.params, limits);
    this.colour();
    replace(limits);
  }

  spans() {
    const spans = this.planes.filter((found) => found && !found.rgb).map(({ data }) => extent(data));
    return spans.length ? [Math.min(...spans.map(([low]) => low)), Math.max(...spans.map(([, high]) => high))] : this.domain;
  }

  auto() { this.setRange(...this.spans()); }

  full() {
    Object.assign(this.params, { low: undefined, high: undefined });
    replace({ low: null, high: null });
    this.look();
    this.follow();
    this.colour();
  }

  drawBar() {
    const unit = this.sources[0].list.find(({ name }) => name === this.params.field)?.units || "";
    drawColourBar(this.element.querySelector(".colours"), { map: this.map, domain: this.domain, range: this.range, unit, rgb: isColour(this.params.field) }, {
      map: (map) => { this.map = this.params.map = map; this.colour(); replace({ map }); },
      range: (low, high) => this.setRange(low, high),
      auto: () => this.auto(),
      full: () => this.full(),
    });
  }

  follow() {
    const { step, playing } = this.clock;
    for (const chart of this.charts) chart.mark(step);
    if (!playing && this.fields.length) replace({ ...this.params, step });
    this.load(step).catch(complain);
  }

  /** Tells whether a universe has its frame for a step at hand; asks for it if not. */
  isReady(source, step) {
    const nearest = source.nearest(this.params.field, step);
    if (nearest === null || source.cached(this.params.field, nearest)) return true;
    source.prefetch(this.params.field, [nearest]);
    return false;
  }

  /** Reads the frames of all universes at a step and shows them with one range of colours. */
  async load(step) {
    const { field } = this.params;
    if (!field) return;
    const frames = await Promise.all(this.sources.map((source) => {
      const nearest = source.nearest(field, step);
      return nearest === null ? null : source.frame(field, nearest);
    }));
    if (step !== this.clock.step) return;
    const planes = this.planes = frames.map((frame) => frame && plane(frame));
    if (!this.known && !this.limited) { // a field without a range of its own: that of all that is shown
      this.range = this.domain = this.spans();
      this.colour();
    }
    planes.forEach((found, i) => {
      if (!found) return;
      const stage = this.element.querySelector(`.stage[data-i="${i}"]`);
      this.viewers.get(stage).show(found);
      stage.dataset.step = frames[i].step;
      const at = this.element.querySelector(`[data-at="${i}"]`);
      at.textContent = frames[i].step === step ? "" : `at step ${whole(frames[i].step)}, its ${frames[i].step < step ? "last" : "first"}`;
    });
    if (this.pair) this.subtract(planes);
    if (this.clock.playing) {
      const { stride } = this.clock;
      for (const source of this.sources) source.prefetch(field, [1, 2, 3, 4].map((k) => source.nearest(field, step + k * stride)).filter((one) => one !== null));
    }
  }

  subtract(planes) {
    const [a, b] = this.pair.map((i) => planes[i]);
    const viewer = this.viewers.get(this.element.querySelector(".stage[data-difference]"));
    if (!a || !b || !viewer) return;
    if (a.width !== b.width || a.height !== b.height || a.rgb) { $("distance").textContent = "of different grids"; return; }
    const { cyclic, range } = looks(this.params.field);
    const period = cyclic ? range[1] - range[0] : 0;
    let sum = 0;
    const data = Float32Array.from(a.data, (value, k) => {
      let difference = value - b.data[k];
      if (cyclic) difference -= period * Math.round(difference / period);
      sum += difference * difference;
      return difference;
    });
    const size = cyclic ? period / 2 : Math.max(...extent(data).map(Math.abs)) || 1;
    viewer.setRange(-size, size);
    viewer.show({ ...a, data });
    $("distance").textContent = `rms ${digits(Math.sqrt(sum / data.length))}, colours to ±${digits(size)}`;
  }

  async curves() {
    const found = await Promise.all(this.ids.map((id) => get(`v1/jobs/${id}/observables`, { lineage: 1 }).catch(() => ({ step: [] }))));
    const steps = [...new Set(found.flatMap(({ step }) => step))].sort((x, y) => x - y);
    if (!steps.length) return;
    const places = found.map(({ step }) => new Map(step.map((one, i) => [one, i])));
    for (const element of this.element.querySelectorAll("#compare-charts .chart")) {
      const { name } = element.dataset;
      if (new Set(found.flatMap((one) => one[name] || [])).size < 2) { // a straight line tells nothing
        render(html`<p class="quiet small">${digits(found[0][name]?.[0])} throughout</p>`, element);
        continue;
      }
      const chart = await mountChart(element, { height: 110, names: this.ids, colours: LINES, group: "compare", onStep: (step) => { this.clock.pause(); this.clock.seek(step); } });
      chart.set([steps, ...found.map((one, k) => steps.map((step) => one[name]?.[places[k].get(step)] ?? null))]);
      chart.mark(this.clock.step);
      this.charts.push(chart);
    }
  }

  close() {
    this.clock.stopAll();
    this.timeline?.destroy();
    for (const chart of this.charts) chart.destroy();
    for (const viewer of this.viewers.values()) viewer.destroy();
  }
}

export async function mount(element, route, app) {
  await Promise.all(["viewer", "universe", "sweep", "compare"].map(stylesheet));
  let screen = new CompareScreen(element, route, app);
  await screen.open();
  const unmount = () => screen.close();
  unmount.update = async (next) => {
    if ((next.params.ids || "") === screen.ids.join(",")) return;
    screen.close();
    render(nothing, element);
    screen = new CompareScreen(element, next, app);
    await screen.open().catch(complain);
  };
  return unmount;
}


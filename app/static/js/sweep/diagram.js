// The phase diagram: a heat map per facet, or a picture of a universe in each cell, with one legend and one clock.

import { complain, digits, html, nothing, render } from "../dom.js";
import { extent, looks, plane } from "../frames.js";
import { ageOf, atlas, isEmpty, paint, ready, tile } from "../pixels.js";
import { mountTimeline } from "../player.js";
import { memberRows } from "./data.js";
import { Heat } from "./heat.js";
import { legend } from "./legend.js";

const TILE = 96; // most cells of a thumbnail's side

export class Diagram {
  constructor(element, screen) {
    this.element = element;
    this.screen = screen;
    this.heats = [];
    this.found = null;
    this.first = null; // Map: cell -> index of its first member
    this.tiles = new Map(); // index -> canvas
    this.clock = screen.clock;
    this.clock.watch(() => this.follow());
    this.cursor = null;
    render(html`<div class="maps"></div><div class="legend"></div><output class="readout" aria-live="polite"></output><div class="clock"></div>`, element);
    [this.maps, this.bar, this.out, this.track] = ["maps", "legend", "readout", "clock"].map((name) => element.querySelector(`.${name}`));
  }

  close() {
    this.timeline?.destroy();
    for (const heat of this.heats) heat.close();
  }

  nothing(text) {
    for (const heat of this.heats) heat.close();
    this.heats = [];
    render(html`<p class="empty">${text}</p>`, this.maps);
    render(nothing, this.bar);
    render(nothing, this.out);
  }

  get isTiles() { return this.screen.params.view === "tiles" && this.screen.fields.length > 0; }

  /** Shows a phase diagram of data.js. */
  async set(found) {
    const facets = JSON.stringify(found.facet.values);
    if (facets !== this.shape || !this.heats.length) this.build(found);
    this.shape = facets;
    this.found = found;
    const { stat, value } = { stat: this.screen.choice("stat"), value: this.screen.choice("value") };
    this.values = (f, j, i) => found.cell(f, j, i)?.[stat];
    const all = found.facet.values.flatMap((_, f) => found.y.values.flatMap((__, j) => found.x.values.map((___, i) => this.values(f, j, i) ?? NaN)));
    this.full = extent(all);
    const { lo, hi } = this.screen.params;
    this.canLog = this.full[0] > 0;
    this.isLog = this.canLog && this.screen.params.scale === "log";
    this.range = [lo === undefined ? this.full[0] : Number(lo), hi === undefined ? this.full[1] : Number(hi)];
    this.map = this.screen.choice("map") || "viridis";
    this.label = `${stat === "mean" ? "" : `${stat} of `}${value}`;
    if (this.isTiles) await this.openTiles();
    else { this.timeline?.destroy(); this.timeline = null; }
    this.draw();
  }

  build(found) {
    for (const heat of this.heats) heat.close();
    const canvases = found.facet.values.map((_, f) => html`<figure>
      ${found.facet.key ? html`<figcaption class="small quiet">${found.facet.name} = ${found.facet.labels[f]}</figcaption>` : nothing}
      <canvas class="heat" tabindex="0" role="img" data-facet=${f}></canvas></figure>`);
    render(html`<div class="facets ${found.facet.values.length > 1 ? "many" : "one"}">${canvases}</div>`, this.maps);
    this.heats = [...this.maps.querySelectorAll("canvas")].map((canvas, f) => new Heat(canvas, {
      onCursor: (cell) => { this.cursor = cell && { f, ...cell }; this.read(); },
      onBrush: (brush) => this.brushed(f, brush),
    }));
  }

  draw() {
    const { found } = this;
    if (!found) return;
    this.heats.forEach((heat, f) => {
      const name = `${this.label} over ${found.x.name}${found.y.key ? ` and ${found.y.name}` : ""}. Arrow keys move, Enter opens the universes of a cell, Shift with arrows selects several.`;
      heat.canvas.setAttribute("aria-label", name);
      const scale = this.isLog ? (value) => (value > 0 ? Math.log10(value) : NaN) : (value) => value;
      heat.set({ x: found.x, y: found.y, map: this.map, range: this.range.map(scale), value: (j, i) => scale(this.values(f, j, i)),
        tile: this.isTiles ? (j, i) => this.tiles.get(this.first?.get(`${f} ${j} ${i}`)) || null : null });
    });
    if (this.isTiles) render(nothing, this.bar);
    else render(legend({ map: this.map, range: this.range, full: this.full, label: this.label, log: this.canLog ? this.isLog : null,
      setLog: (log) => this.screen.set({ scale: log ? "log" : "" }, { silent: true }).then(() => this.set(this.found)),
      set: (lo, hi) => this.screen.set({ lo, hi }, { silent: true }).then(() => this.set(this.found)) }), this.bar);
    this.read();
  }

  read() {
    const { cursor, found } = this;
    if (!cursor || !found) return render(html`<span class="quiet">Point at a cell for its value; drag over cells to open their universes.</span>`, this.out);
    const cell = found.cell(cursor.f, cursor.j, cursor.i);
    const where = [["x", cursor.i], ["y", cursor.j], ["facet", cursor.f]].filter(([axis]) => found[axis].key)
      .map(([axis, k]) => `${found[axis].name} ${found[axis].labels[k]}`).join(" · ");
    if (!cell) return render(html`<b>${where}</b> no universe`, this.out);
    const value = this.screen.choice("value");
    const many = cell.members > 1;
    render(html`<b>${where}</b> ${value} = ${digits(cell.mean)} ${many && Number.isFinite(cell.sd) ? html`± ${digits(cell.sd)}` : nothing}
      <span class="quiet" title="± is the standard deviation over the universes of the cell (n − 1)">${many ? `${cell.members} universes, ${digits(cell.min)} to ${digits(cell.max)}` : "1 universe"}</span>`, this.out);
  }

  brushed(f, brush) {
    for (const heat of this.heats) if (heat !== this.heats[f]) { heat.brush = null; heat.draw(); }
    this.brush = brush && { f, ...brush };
    this.screen.draw();
    this.screen.brush(this.chosen());
  }

  /** Returns the brushed values per axis: [{axis, values}], null without a brush. */
  chosen() {
    const { brush, found } = this;
    if (!brush) return null;
    const part = (axis, from, to) => ({ axis, values: axis.values.slice(from, to + 1) });
    return [part(found.x, brush.i0, brush.i1), part(found.y, brush.j0, brush.j1), part(found.facet, brush.f, brush.f)].filter(({ axis }) => axis.key);
  }

  async openTiles() {
    const { found, screen } = this;
    const rows = await memberRows(screen.base, screen.sweep);
    this.first = new Map();
    const place = (axis) => new Map(axis.values.map((value, k) => [value, k]));
    const [px, py, pf] = [found.x, found.y, found.facet].map(place);
    for (const row of rows) {
      const at = (axis, places) => (axis.key ? places.get(row[axis.column]) : 0);
      const key = `${at(found.facet, pf)} ${at(found.y, py)} ${at(found.x, px)}`;
      if (!this.first.has(key)) this.first.set(key, row.index);
    }
    this.timeline ||= mountTimeline(this.track, this.clock);
    this.follow();
  }

  follow() {
    if (this.isTiles && this.first) this.load(this.clock.step).catch(complain);
  }

  /** Asks for the thumbnails at a step that comes next; tells whether the clock may go on. */
  prepare(step) {
    return !this.isTiles || !this.first || ready(this.screen.base, this.query(step), ageOf(this.screen.sweep));
  }

  query(step) {
    const { field, sweep } = this.screen;
    const members = [...new Set(this.first.values())].sort((a, b) => a - b).slice(0, 4096);
    return { field, step, members, side: Math.min(TILE, Math.max(...(sweep.spec.base.grid || [TILE]))) };
  }

  /** Reads all thumbnails at a step, in one request. */
  async load(step) {
    const { screen } = this;
    const query = this.query(step);
    const { field, members } = query;
    const found = await atlas(screen.base, query, ageOf(screen.sweep));
    if (step !== this.clock.step) return;
    const look = looks(field);
    const range = look.range || extent(found.data);
    const map = screen.choice("map") || look.map;
    members.forEach((index, i) => {
      const one = tile(found, i, field);
      if (isEmpty(one)) return this.tiles.delete(index);
      if (!this.tiles.has(index)) this.tiles.set(index, document.createElement("canvas"));
      paint(this.tiles.get(index), plane(one), map, range);
    });
    this.draw();
  }
}

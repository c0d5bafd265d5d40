// The universes of a brushed region: side by side on one clock, and their curves.

import { get } from "../api.js";
import { mountChart } from "../charts.js";
import { complain, digits, html, nothing, render, toast, whole } from "../dom.js";
import { extent, looks, plane } from "../frames.js";
import { ageOf, atlas, isEmpty, paint, ranges, ready, tile, unranges } from "../pixels.js";
import { mountTimeline } from "../player.js";
import { address } from "../router.js";
import { axesOf, labelled, memberRows } from "./data.js";
import { typical } from "./typical.js";

const SHOWN = 9; // players
const TYPICAL = 6;
const CURVES = 12;
const SIDE = 256; // most cells of a player's side
export const LINES = ["#8fa6ff", "#5fd39a", "#e6c15a", "#ff8d84", "#c795ff", "#5ccfe0", "#f29bd0", "#a8d65c", "#f0a05a", "#9aa3b5", "#7f8fe0", "#d9d9d9"];

export class Selection {
  constructor(element, screen) {
    Object.assign(this, { element, screen, members: [], rows: [], clock: screen.clock, chart: null, turn: 0 });
    this.clock.watch((clock) => {
      this.chart?.mark(clock.step);
      this.load(clock.step).catch(complain);
    });
    this.draw();
  }

  /** Asks for the frames at a step that comes next; tells whether the clock may go on. */
  prepare(step) {
    return !this.members.length || !this.screen.fields.length || ready(this.screen.base, this.query(step), ageOf(this.screen.sweep));
  }

  close() {
    this.timeline?.destroy();
    this.chart?.destroy();
  }

  keys() {
    const { clock } = this;
    return [[" ", "Play or pause", () => clock.toggle()], ["ArrowRight", "Next frame", () => clock.move(1)], ["ArrowLeft", "Frame before", () => clock.move(-1)],
      ["y", "Six typical universes", () => this.openTypical().catch(complain)]];
  }

  clear() {
    this.members = [];
    this.clock.pause();
    this.screen.set({ sel: "" }, { silent: true });
    this.draw();
  }

  /** Opens the members that an address names. */
  async restore(text) {
    const wanted = new Set(unranges(text));
    const rows = (await memberRows(this.screen.base, this.screen.sweep)).filter((row) => wanted.has(row.index));
    await this.open([...wanted], rows);
  }

  /** Opens members that stand for the sweep: one of each group whose observables are alike. */
  async openTypical() {
    const { screen } = this;
    const rows = (await memberRows(screen.base, screen.sweep, [], screen.params.window)).filter(({ state }) => state === "succeeded");
    const chosen = typical(rows, screen.observables, TYPICAL).map((i) => rows[i]);
    if (chosen.length) await this.open(chosen.map(({ index }) => index), chosen);
    else toast("No universe of this sweep has ended with observables yet.");
  }

  /** Shows members: `rows` of the table by their indices. */
  async open(indices, rows) {
    const mine = ++this.turn;
    this.members = [...indices].sort((a, b) => a - b);
    this.rows = new Map(rows.map((row) => [row.index, row]));
    this.screen.set({ sel: ranges(this.members.slice(0, 200)) }, { silent: true });
    this.timeline?.destroy();
    this.chart?.destroy();
    this.timeline = this.chart = null;
    const { screen } = this;
    // those that a person sees are spread over the region
    const n = Math.min(SHOWN, this.members.length);
    this.players = Array.from({ length: n }, (_, i) => this.members[Math.round((i * (this.members.length - 1)) / Math.max(n - 1, 1))]);
    this.players = [...new Set(this.players)];
    this.names = this.labels(this.players);
    this.draw();
    if (!this.members.length) return;
    if (screen.fields.length) {
      this.timeline = mountTimeline(this.element.querySelector(".clock"), this.clock);
      this.load(this.clock.step).catch(complain);
    }
    await this.curves(mine);
  }

  /** Returns what the shown members differ in. */
  labels(indices) {
    const axes = axesOf(this.screen.sweep);
    const rows = indices.map((index) => this.rows.get(index));
    const differ = axes.filter(({ column }) => new Set(rows.map((row) => JSON.stringify(row?.[column]))).size > 1);
    const texts = (differ.length ? differ : axes).map(({ key, column }) => labelled(rows.map((row) => row?.[column])).map((text) => `${key} ${text}`));
    return indices.map((_, i) => texts.map((column) => column[i]).join(" · "));
  }

  async curves(mine) {
    const { screen } = this;
    const value = screen.choice("value");
    if (!value) return;
    const some = this.players.concat(this.members.filter((index) => !this.players.includes(index))).slice(0, CURVES);
    const found = await Promise.all(some.map((index) => get(`${screen.base}/members/${index}/observables`, { names: value }).catch(() => ({ step: [] }))));
    if (mine !== this.turn) return;
    const steps = [...new Set(found.flatMap(({ step }) => step))].sort((a, b) => a - b);
    if (!steps.length) return;
    const series = found.map((one) => {
      const at = new Map(one.step.map((step, i) => [step, one[value][i]]));
      return steps.map((step) => at.get(step) ?? null);
    });
    const chart = await mountChart(this.element.querySelector(".chart"), { height: 150, names: some.map(String), colours: LINES, group: "sweep",
      onStep: (step) => { this.clock.pause(); this.clock.seek(step); } });
    if (mine !== this.turn) return chart.destroy();
    this.chart = chart;
    this.chart.set([steps, ...series]);
    this.chart.mark(this.clock.step);
  }

  draw() {
    const { screen, members } = this;
    if (!members.length) {
      return render(html`<h2>Universes</h2><p class="quiet">Drag over cells of the diagram: their universes play here side by side, with their curves.</p>
        <div class="buttons"><button type="button" ?disabled=${!screen.observables.length} title="One of each of six groups whose observables are alike (y)"
          @click=${() => this.openTypical().catch(complain)}>Six typical ones</button></div>`, this.element);
    }
    const rows = this.players.map((index) => this.rows.get(index));
    const others = members.length - this.players.length;
    render(html`<div class="panel-head"><h2>${members.length === 1 ? "1 universe" : `${whole(members.length)} universes`}</h2>
        ${others > 0 ? html`<span class="quiet small">${this.players.length} play</span>` : nothing}
        <span class="right"></span>
        ${this.players.length > 1 && !screen.isShared ? html`<a class="button" href=${address("/compare", { ids: rows.map((row) => row.id).join(",") })}>Compare</a>` : nothing}
        <button type="button" @click=${() => this.clear()}>Close</button></div>
      ${screen.fields.length ? html`<div class="players">${this.players.map((index, i) => html`
        <a class="player" href=${screen.isShared ? nothing : `#/sweeps/${screen.id}/${index}`} .style=${`--line-colour:${LINES[i]}`} title="Open this universe">
          <canvas class="pixels" data-member=${index} role="img" aria-label="universe ${index}: ${this.names[i]}"></canvas>
          <span>${this.names[i]}</span><span class="quiet">${screen.choice("value")} ${digits(rows[i]?.[screen.choice("value")])}</span></a>`)}</div>
        <div class="clock"></div>` : nothing}
      <h3>${screen.choice("value")} over steps</h3><div class="chart"></div>`, this.element);
  }

  query(step) { return { field: this.screen.field, members: this.players, side: SIDE, step }; }

  /** Reads the frames of all players at a step, in one request, and paints them; reads the next ones ahead. */
  async load(step) {
    const { screen, players } = this;
    if (!this.members.length || !screen.fields.length) return;
    const found = await atlas(screen.base, this.query(step), ageOf(screen.sweep));
    if (step !== this.clock.step) return;
    const canvases = this.element.querySelectorAll("canvas[data-member]");
    if (players !== this.players || canvases.length !== players.length) return;
    const look = looks(screen.field);
    const range = look.range || extent(found.data);
    players.slice().sort((a, b) => a - b).forEach((index, i) => {
      const one = tile(found, i, screen.field);
      const canvas = [...canvases].find((each) => Number(each.dataset.member) === index);
      if (!isEmpty(one)) paint(canvas, plane(one), screen.choice("map") || look.map, range);
    });
    if (this.clock.playing) {
      for (let k = 1; k <= 4; k++) {
        const next = step + k * this.clock.stride;
        if (next <= this.clock.last) ready(screen.base, this.query(next), ageOf(screen.sweep));
      }
    }
  }
}

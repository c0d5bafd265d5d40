// A sweep: a phase diagram of any two axes, a brush that opens its members, their curves, and the table.

import { get } from "../api.js";
import { $, complain, html, nothing, render, stylesheet } from "../dom.js";
import { Clock } from "../player.js";
import { replace } from "../router.js";
import { refine, sweepActions, sweepHead } from "../sweep/actions.js";
import { controls } from "../sweep/controls.js";
import { chosenAxes, memberRows, phaseDiagram } from "../sweep/data.js";
import { Diagram } from "../sweep/diagram.js";
import { Selection } from "../sweep/selection.js";
import { MemberTable } from "../sweep/table.js";

const LOOK_MS = 2500;
const FINAL = ["succeeded", "failed", "cancelled"];

/** The screen. `shared`: {base, load} of a link, through which the sweep is read, and cannot be changed. */
export class SweepScreen {
  constructor(element, route, app, shared = null) {
    Object.assign(this, { element, app, id: route.id, base: shared?.base || `v1/sweeps/${route.id}`, params: { ...route.params }, isShared: Boolean(shared) });
    this.read = shared?.load || (() => get(this.base));
    this.sweep = null;
    this.fields = [];
    this.observables = [];
    this.found = null; // the phase diagram
    this.clock = new Clock(); // one for thumbnails and players
    this.timer = 0;
    this.turn = 0;
  }

  async open() {
    render(html`<p class="quiet" role="status">Opening the sweep …</p>`, this.element);
    this.sweep = await this.read();
    await this.discover();
    render(html`<div id="sweep-head"></div>
      <div class="sweep-views"><section class="panel" aria-label="Phase diagram"><div id="sweep-controls"></div><div id="diagram"></div></section>
        <section class="panel" id="selection" aria-label="Selected universes"></section></div>
      <section class="panel" id="members" aria-label="Table of members"></section>`, this.element);
    this.clock.setSteps({ start: 0, stop: this.steps + 1, stride: this.stride });
    this.clock.seek(Number(this.params.step ?? this.steps));
    this.diagram = new Diagram($("diagram"), this);
    this.selection = new Selection($("selection"), this);
    this.table = new MemberTable($("members"), this);
    this.clock.ready = (step) => [this.diagram, this.selection].every((part) => part.prepare(step));
    this.clock.watch(({ playing, step }) => { if (!playing) this.set({ step: step === this.clock.last ? "" : step }, { silent: true }); });
    this.app.title(`Sweep of ${this.title}`);
    this.app.setKeys([...this.selection.keys(), ["t", "Heat or thumbnails", () => this.set({ view: this.params.view === "tiles" ? "" : "tiles" })],
      ...(this.isShared ? [] : [["r", "Refine this region", () => refine(this)]])]);
    await this.refresh();
    this.look();
  }

  /** Finds what can be shown. Results grow, so this is asked again while the sweep runs. */
  async discover() {
    const base = this.sweep.spec.base;
    const summary = await get(`${this.base}/summary`, { bins: 1 }).catch(() => ({ observables: {} }));
    const asked = base.observe?.names || [];
    this.observables = Object.keys(summary.observables).length ? Object.keys(summary.observables) : asked;
    this.fields = (base.record || []).map((recording) => recording.field).filter((field) => field !== "psi");
    const every = (base.record || []).find(({ field }) => field === this.field)?.every || 1;
    this.stride = every;
    const chosen = chosenAxes(this.sweep);
    this.defaults = { ...chosen, facet: "", value: this.observables.includes("activity") ? "activity" : this.observables[0] || "", stat: "mean", map: "" };
  }

  get title() { return String(this.sweep.spec.base.law || "several laws").split("@")[0]; }
  get steps() { return this.sweep.spec.base.steps || 0; }
  get field() { return this.params.field || this.fields[0] || ""; }
  get ended() { return FINAL.includes(this.sweep.state); }

  /** Returns a choice: that of the address, or the default. */
  choice(name) { return this.params[name] ?? this.defaults[name]; }

  /** Changes choices; the address follows. */
  async set(changes, { silent = false } = {}) {
    Object.assign(this.params, changes);
    for (const [key, value] of Object.entries(changes)) if (value === "" || value === null) delete this.params[key];
    replace(changes);
    if (!silent) await this.refresh();
  }

  /** Reads what the choices ask for, and draws it. */
  async refresh() {
    const mine = ++this.turn;
    this.draw();
    if (!this.choice("value") && !this.fields.length) return this.diagram.nothing("Nothing is observed or recorded: a sweep with observe has a phase diagram.");
    try {
      const query = { x: this.choice("x"), y: this.choice("y"), facet: this.choice("facet"), value: this.choice("value"), window: this.params.window };
      const found = await phaseDiagram(this.base, this.sweep, query);
      if (mine !== this.turn) return;
      this.found = found;
      await this.diagram.set(found);
      await this.table.load();
    } catch (error) {
      if (mine !== this.turn) return;
      this.diagram.nothing(error.message);
    }
    this.draw();
    if (this.params.sel && !this.selection.members.length) await this.selection.restore(this.params.sel);
  }

  draw() {
    render(sweepHead(this, this.isShared ? nothing : sweepActions(this)), $("sweep-head"));
    render(controls(this), $("sweep-controls"));
    if (!this.selection.members.length) this.selection.draw();
  }

  /** Opens the members of some cells of the diagram: their axes are `chosen`. */
  async brush(chosen) {
    if (!chosen) return this.selection.clear();
    try {
      const rows = await memberRows(this.base, this.sweep, chosen, this.params.window);
      await this.selection.open(rows.map((row) => row.index), rows);
    } catch (error) {
      complain(error);
    }
  }

  look() {
    clearTimeout(this.timer);
    if (this.closed || this.ended) return;
    this.timer = setTimeout(async () => {
      try {
        if (!document.hidden) {
          const before = JSON.stringify([this.sweep.counts, this.sweep.progress]);
          this.sweep = await this.read();
          if (JSON.stringify([this.sweep.counts, this.sweep.progress]) !== before) {
            if (!this.observables.length) await this.discover();
            await this.refresh();
          } else this.draw();
        }
      } catch { /* the health strip tells of a service that is away */ }
      this.look();
    }, LOOK_MS);
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    this.clock.stopAll();
    this.diagram?.close();
    this.selection?.close();
    render(nothing, this.element);
  }
}

export async function mount(element, route, app) {
  await Promise.all(["viewer", "universe", "sweep"].map(stylesheet));
  const screen = new SweepScreen(element, route, app);
  await screen.open();
  const unmount = () => screen.close();
  unmount.update = (next) => {
    screen.params = { ...next.params };
    screen.refresh().catch(complain);
  };
  return unmount;
}


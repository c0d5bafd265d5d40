// A shared universe or sweep: a page for people without an account, within what the link allows.

import { get } from "../api.js";
import { mountChart } from "../charts.js";
import { NAMES } from "../colormaps.js";
import { complain, copy, html, lawName, nothing, render, stylesheet, whole } from "../dom.js";
import { FrameSource, extent, looks, plane } from "../frames.js";
import { Clock, mountTimeline } from "../player.js";
import { replace } from "../router.js";
import { mountViewer } from "../viewer.js";

const CHARTS = 4;

/** Returns downloads as [{name, href}], whether the service lists them or names them by key. */
function downloadsOf(found) {
  const list = found.downloads || {};
  const all = Array.isArray(list) ? list.map((one) => ({ name: one.name || one.format || one.href, href: one.href || one.url || one.path }))
    : Object.entries(list).map(([name, href]) => ({ name, href: typeof href === "string" ? href : href.href }));
  return all.filter(({ href }) => href).map(({ name, href }) => ({ name, href: new URL(href, document.baseURI).href }));
}

const citation = (found) => (typeof found.citation === "string" ? found.citation : found.citation?.text || found.provenance?.citation || "");

function facts(found) {
  const { record, law } = found;
  const spec = found.spec || record.spec;
  const base = spec.base || spec;
  const rows = [["Law", lawName(record.law || base.law)], ["Architecture", law?.architecture], ["Boundary", law?.boundary], ["Precision", record.precision || base.precision],
    ["Grid", base.grid && `${base.grid.join(" × ")} cells`], ["Steps", whole(record.steps || base.steps)], ["Seed", base.seed ?? undefined], ["Gamma", typeof base.gamma === "number" ? base.gamma : undefined],
    ["Universes", record.size && whole(record.size)], ["State", record.state], ["Computed", record.finished_at ? new Date(record.finished_at).toLocaleDateString() : undefined]];
  return html`<dl class="facts">${rows.filter(([, value]) => value !== undefined && value !== null && value !== "").map(([key, value]) => html`<div><dt>${key}</dt><dd>${value}</dd></div>`)}</dl>`;
}

function about(found) {
  const downloads = downloadsOf(found);
  const cite = citation(found);
  const spec = JSON.stringify(found.spec || found.record.spec, null, 2);
  const expires = found.expires_at ? html`<p class="small quiet">This link works until ${new Date(found.expires_at).toLocaleString()}.</p>` : nothing;
  return html`<section class="panel"><h2>About</h2>${found.law?.description ? html`<p>${found.law.description}</p>` : nothing}${facts(found)}${expires}</section>
    ${downloads.length ? html`<section class="panel"><h2>Downloads</h2><div class="buttons">${downloads.map(({ name, href }) => html`<a class="button" href=${href} download>${name}</a>`)}</div></section>` : nothing}
    ${cite ? html`<section class="panel"><h2>Citation</h2><pre tabindex="0">${cite}</pre><div class="buttons"><button type="button" @click=${() => copy(cite, "The citation is copied")}>Copy the citation</button></div></section>` : nothing}
    <section class="panel"><h2>How it was computed</h2><details><summary>Spec: everything that decides the result</summary><pre tabindex="0">${spec}</pre>
        <button type="button" @click=${() => copy(spec, "The spec is copied")}>Copy the spec</button></details>
      ${found.provenance ? html`<details><summary>Provenance: versions, device, lineage</summary><pre tabindex="0">${JSON.stringify(found.provenance, null, 2)}</pre></details>` : nothing}</section>`;
}

class SharedUniverse {
  constructor(element, route, found, base) {
    Object.assign(this, { element, found, base, params: { ...route.params }, source: new FrameSource(base), clock: new Clock(), charts: [] });
  }

  async open() {
    const fields = await this.source.fields();
    this.names = fields.map(({ name }) => name);
    if (!this.names.includes(this.params.field)) this.params.field = this.names.find((name) => name !== "psi") || this.names[0];
    this.draw();
    if (this.names.length) {
      this.viewer = mountViewer(this.element.querySelector(".stage"), {});
      this.timeline = mountTimeline(this.element.querySelector(".clock"), this.clock);
      this.clock.ready = (step) => {
        if (this.source.cached(this.params.field, step)) return true;
        this.source.prefetch(this.params.field, [step]);
        return false;
      };
      this.clock.watch(() => this.show().catch(complain));
      this.choose();
      this.clock.seek(Number(this.params.step ?? this.clock.last));
      if (this.params.step === undefined && !matchMedia("(prefers-reduced-motion: reduce)").matches) this.clock.play();
    }
    await this.curves().catch(() => null); // a link without observables
  }

  choose() {
    this.clock.setSteps(this.source.steps(this.params.field));
    this.viewer.setMap(this.params.map || looks(this.params.field).map);
    this.show().catch(complain);
  }

  set(changes) {
    Object.assign(this.params, changes);
    replace(changes);
    this.draw();
    this.choose();
  }

  async show() {
    const { field } = this.params;
    const step = this.source.nearest(field, this.clock.step);
    for (const chart of this.charts) chart.mark(this.clock.step);
    if (step === null) return;
    const frame = await this.source.frame(field, step);
    if (this.closed || step !== this.source.nearest(field, this.clock.step)) return;
    const found = plane(frame);
    this.viewer.setRange(...(looks(field).range || extent(found.data)));
    this.viewer.show(found);
    if (this.clock.playing) this.source.prefetch(field, [1, 2, 3].map((k) => step + k * this.clock.stride).filter((one) => one <= this.clock.last));
  }

  draw() {
    const { found, params, names } = this;
    const pick = (label, key, values, usual) => html`<label class="quiet small">${label} <select @change=${(event) => this.set({ [key]: event.target.value })}>
      ${usual ? html`<option value="">usual</option>` : nothing}${values.map((value) => html`<option ?selected=${value === params[key]}>${value}</option>`)}</select></label>`;
    render(html`<div class="panel-head"><h1>${found.record.name || found.record.spec?.name || lawName(found.record.law)}</h1><span class="quiet">a shared universe</span><span class="right"></span>
        ${names.length ? html`${pick("Field", "field", names)}${pick("Colours", "map", NAMES, true)}` : nothing}</div>
      ${found.record.note ? html`<p>${found.record.note}</p>` : nothing}
      <div class="shared-view"><div>${names.length ? html`<div class="stage"></div><div class="clock"></div>` : html`<p class="empty">No field of this universe was recorded.</p>`}
        <div class="shared-charts"></div></div><div class="shared-text">${about(found)}</div></div>`, this.element);
  }

  async curves() {
    const { step, ...series } = await get(`${this.base}/observables`);
    if (!step?.length) return;
    const host = this.element.querySelector(".shared-charts");
    const some = Object.entries(series).filter(([, values]) => new Set(values).size > 1).slice(0, CHARTS);
    render(html`${some.map(([name]) => html`<h3>${name}</h3><div class="chart"></div>`)}`, host);
    const places = host.querySelectorAll(".chart");
    for (const [i, [name, values]] of some.entries()) {
      const chart = await mountChart(places[i], { names: [name], group: "shared", onStep: (at) => { this.clock.pause(); this.clock.seek(at); } });
      chart.set([step, values]);
      this.charts.push(chart);
    }
  }

  close() {
    this.closed = true;
    this.clock.stopAll();
    this.viewer?.destroy();
    this.timeline?.destroy();
    for (const chart of this.charts) chart.destroy();
  }
}

export async function mount(element, route, app) {
  await Promise.all(["viewer", "universe", "sweep", "laws", "shared"].map(stylesheet));
  const base = `v1/shared/${encodeURIComponent(route.id)}`;
  app.title("Shared");
  let found;
  try {
    found = await get(base);
  } catch (error) {
    render(html`<div class="empty"><h1>${error.status === 410 ? "This link has ended" : "This link does not work"}</h1><p>${error.message}</p>
      <p>Whoever shared it can make a new one.</p></div>`, element);
    return () => {};
  }
  if (found.kind === "sweep") {
    const { SweepScreen } = await import("./sweep.js");
    const view = document.createElement("div");
    const text = document.createElement("div");
    view.className = "sweep";
    text.className = "shared-text";
    element.append(view, text);
    render(about(found), text);
    const screen = new SweepScreen(view, route, app, { base, load: async () => (await get(base)).record });
    await screen.open();
    return () => screen.close();
  }
  const screen = new SharedUniverse(element, route, found, base);
  await screen.open();
  app.title(`${lawName(found.record.law)}, shared`);
  app.setKeys([[" ", "Play or pause", () => screen.clock.toggle()], ["ArrowRight", "Next frame", () => screen.clock.move(1)], ["ArrowLeft", "Frame before", () => screen.clock.move(-1)]]);
  return () => screen.close();
}

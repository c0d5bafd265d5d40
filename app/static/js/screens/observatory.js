// The wall of universes: what runs, what is new, what is starred. With nothing on it yet, the zoo plays.

import { events, get, post } from "../api.js";
import { $, complain, digits, html, lawName, nothing, render, stylesheet, whole } from "../dom.js";
import { onHealth } from "../health.js";
import { address, replace } from "../router.js";
import { repeat } from "../../vendor/lit-html/directives/repeat.js";
import { forService, matches, read, sorted } from "../wall/filter.js";
import { Pictures } from "../wall/pictures.js";
import { ZOO } from "../zoo.js";

const PAGE = 48;
const FINAL = ["succeeded", "failed", "cancelled"];
const LIST_MS = 300; // from an event to a new list: many may come at once
const VIEWS = { all: "", running: "state:running", starred: "starred" };

const picture = (name) => new URL(`../../zoo/${name}.webp`, import.meta.url).href;

export async function mount(element, route, app) {
  await stylesheet("observatory");
  app.title("Observatory");
  const pictures = new Pictures();
  const state = { jobs: new Map(), order: [], sweeps: [], next: null, filter: route.params.q || "", sort: route.params.sort || "newest", laws: null, loaded: false, error: "" };
  let closed = false, timer = 0, drawing = 0, chosen = -1;

  async function load(more = false) {
    const params = { limit: PAGE, ...forService(read(state.filter)) };
    const [page, sweeps] = await Promise.all([get("v1/jobs", { ...params, cursor: more ? state.next : null }), more || /state:|law:|starred/.test(state.filter) ? null : get("v1/sweeps", { limit: 12 })]);
    if (closed) return;
    if (!more) { state.order = []; state.sweeps = sweeps?.items || []; }
    for (const job of page.items) {
      const known = state.jobs.get(job.id);
      state.jobs.set(job.id, known && known.step > job.step ? { ...job, step: known.step, observables: known.observables } : job);
      if (!state.order.includes(job.id)) state.order.push(job.id);
    }
    state.next = page.next;
    state.loaded = true;
    state.error = "";
    if (!state.order.length && !state.sweeps.length && !state.filter && !state.laws) state.laws = (await get("v1/laws")).items;
    draw();
  }

  const loadSoon = () => { timer ||= setTimeout(() => { timer = 0; load().catch((error) => { state.error = error.message; draw(); }); }, LIST_MS); };

  const shown = () => sorted(state.order.map((id) => state.jobs.get(id)).filter((job) => matches(job, read(state.filter))), state.sort);

  function draw() {
    drawing = 0;
    if (closed) return;
    const jobs = shown(), empty = state.loaded && !state.order.length && !state.sweeps.length && !state.filter;
    render(html`<div class="head bar"><h1>Observatory</h1>
      <a class="button primary right" href="#/new" title="n">New universe</a></div>
      ${empty ? zoo() : html`${filterBar(jobs)}
      ${state.error ? html`<p class="error" role="alert">${state.error}</p>` : nothing}
      <ul class="wall">${state.sweeps.filter(() => !state.filter && state.sort === "newest").map(sweepTile)}${repeat(jobs, (job) => job.id, tile)}</ul>
      ${state.loaded && !jobs.length && !state.sweeps.length ? html`<div class="empty"><p>No universe matches <code>${state.filter}</code>.</p>
        <button type="button" @click=${() => setFilter("")}>Show all</button></div>` : nothing}
      ${state.loaded ? nothing : html`<ul class="wall" aria-hidden="true">${Array.from({ length: 12 }, () => html`<li class="tile loading"><div class="picture"></div></li>`)}</ul>`}
      ${state.next ? html`<div class="empty"><button type="button" @click=${() => load(true).catch(complain)}>Show more</button></div>` : nothing}`}`, element);
    for (const canvas of element.querySelectorAll("canvas[data-job]")) {
      const job = state.jobs.get(canvas.dataset.job);
      if (job) pictures.place(canvas, job.id, FINAL.includes(job.state));
    }
    pictures.sweep();
  }

  const drawSoon = () => { drawing ||= requestAnimationFrame(draw); };

  function filterBar(jobs) {
    const names = [...new Set(jobs.flatMap((job) => Object.keys(job.observables || {})))].filter((name) => !name.endsWith("_sd"));
    return html`<div class="filters bar"><div class="buttons" role="group" aria-label="Show">${Object.entries(VIEWS).map(([name, filter]) =>
      html`<button type="button" aria-pressed=${state.filter === filter} @click=${() => setFilter(filter)}>${name[0].toUpperCase() + name.slice(1)}</button>`)}</div>
      <input id="filter" type="search" aria-label="Filter" placeholder="law:spirals state:running gamma>0.02 activity<0.1 tag:project=x words" title="/ : keys are law, state, gamma, seed, grid, tag, starred, any observable; - excludes"
        .value=${state.filter} @input=${(e) => setFilter(e.target.value)}>
      <label class="small quiet">Sort by <select aria-label="Sort by" @change=${(e) => { state.sort = e.target.value; replace({ sort: state.sort === "newest" ? null : state.sort }); draw(); }}>
        ${["newest", ...names, ...names.map((name) => `-${name}`), "gamma", "seed", "step"].map((name) => html`<option value=${name} ?selected=${name === state.sort}>${name.startsWith("-") ? `${name.slice(1)}, smallest first` : name === "newest" ? name : `${name}, largest first`}</option>`)}</select></label>
      <span class="small quiet" role="status">${whole(jobs.length)} shown</span></div>`;
  }

  function setFilter(text) {
    const before = JSON.stringify(forService(read(state.filter)));
    state.filter = text;
    replace({ q: text || null });
    draw();
    if (JSON.stringify(forService(read(text))) !== before || /starred/.test(text)) loadSoon();
  }

  function tile(job) {
    const key = state.sort === "newest" ? null : state.sort.replace(/^-/, "");
    const value = key && job.observables?.[key];
    const simulation = job.spec.kind !== "training" && job.spec.grid;
    return html`<li class="tile"><a href=${address(`/jobs/${job.id}`)} data-id=${job.id}>
      <div class="picture">${simulation ? html`<canvas class="pixels" width="1" height="1" data-job=${job.id} role="img" aria-label=${`${lawName(job.law)}, ${job.state}`}></canvas>` : html`<span>${job.spec.kind}</span>`}
        ${job.state === "queued" ? html`<span class="over">waiting</span>` : job.state === "failed" ? html`<span class="over error">${job.error?.title || "failed"}</span>` : nothing}</div>
      <div class="caption"><b>${job.name || lawName(job.law)}</b> <span class="state ${job.state}" title=${job.state}>${job.state === "succeeded" ? nothing : job.state}</span></div>
      <div class="small quiet facts">${key ? html`<span title=${key}>${key} ${digits(value)}</span>` : html`<span>${simulation ? job.spec.grid.join(" × ") : ""}</span><span>γ ${Array.isArray(job.spec.gamma) ? "schedule" : job.spec.gamma}</span>`}<span class="steps">${job.step === job.steps ? whole(job.step) : `${whole(job.step)} / ${whole(job.steps)}`}</span></div>
      ${FINAL.includes(job.state) ? nothing : html`<progress .max=${job.steps} .value=${job.step} aria-label="Progress"></progress>`}</a>
      ${"starred" in job ? html`<button type="button" class="star" aria-label=${job.starred ? "Remove the star" : "Star"} aria-pressed=${Boolean(job.starred)} @click=${() => star(job)}>${job.starred ? "★" : "☆"}</button>` : nothing}</li>`;
  }

  const sweepTile = (sweep) => {
    const count = Object.values(sweep.counts || sweep.states || {}).reduce((sum, n) => sum + n, 0) || sweep.size || 0;
    const done = (sweep.counts || sweep.states || {}).succeeded || 0;
    return html`<li class="tile sweep"><a href=${address(`/sweeps/${sweep.id}`)}><div class="picture"><span>${whole(count)}<br><small>universes</small></span></div>
      <div class="caption"><b>${sweep.name || `sweep of ${lawName(sweep.law || sweep.spec?.base?.law || "laws")}`}</b></div>
      <div class="small quiet facts"><span>${Object.keys(sweep.spec?.axes || sweep.axes || {}).join(" × ")}</span><span>${whole(done)} / ${whole(count)}</span></div></a></li>`;
  };

  async function star(job) {
    try {
      state.jobs.set(job.id, { ...job, ...(await post(`v1/jobs/${job.id}`, { starred: !job.starred }, { method: "PATCH" })) });
      draw();
    } catch (error) { complain(error); }
  }

  const zoo = () => html`<p class="lead">Universes of learned cell physics. Nothing runs here yet; these are laws of the zoo. Choose one, and it becomes a universe of yours.</p>
    <ul class="wall zoo">${(state.laws || []).map((law) => html`<li class="tile"><a href=${address("/new", { law: law.name })}>
      <div class="picture">${ZOO.includes(law.name) ? html`<img src=${picture(law.name)} alt=${`a universe of the law ${law.name}`} width="128" height="128" loading="lazy" class="pixels">` : html`<span>${law.name}</span>`}</div>
      <div class="caption"><b>${law.name}</b> <span class="small quiet">${law.boundary}</span></div><p class="small quiet">${law.description}</p></a></li>`)}</ul>
    <p class="quiet small">Or from a terminal: <code>leym submit spirals --record phase:10 --observe 10</code></p>`;

  const stop = [
    events({}, {
      open: loadSoon,
      state: (data) => { update(data); if (!state.jobs.has(data.job) || state.jobs.get(data.job).state !== data.state) loadSoon(); },
      frame: update, progress: update, end: loadSoon,
    }),
    onHealth(() => { if (state.error) loadSoon(); }),
  ];

  function update(data) {
    const job = state.jobs.get(data.job);
    if (!job) { loadSoon(); return; }
    const { job: id, fields: _, ...more } = data;
    const observables = { ...job.observables, ...data.observables };
    state.jobs.set(id, { ...job, ...more, step: Math.max(job.step, data.step ?? 0), observables: Object.keys(observables).length ? observables : null });
    drawSoon();
  }

  const move = (by) => {
    const links = [...element.querySelectorAll(".tile > a")];
    if (!links.length) return;
    chosen = links.indexOf(document.activeElement) >= 0 ? links.indexOf(document.activeElement) : chosen;
    chosen = Math.min(links.length - 1, Math.max(0, chosen + by));
    links[chosen].focus();
  };
  app.setKeys([["/", "Filter", () => $("filter")?.focus()], ["j", "Next universe", () => move(1)], ["k", "Universe before", () => move(-1)],
    ["s", "Star the universe in focus", () => { const job = state.jobs.get(document.activeElement?.dataset?.id); if (job && "starred" in job) star(job); }]]);

  draw();
  await load().catch((error) => { state.error = error.message; state.loaded = true; draw(); });

  const unmount = () => { closed = true; clearTimeout(timer); cancelAnimationFrame(drawing); for (const end of stop) end(); pictures.destroy(); };
  unmount.update = ({ params }) => { state.filter = params.q || ""; state.sort = params.sort || "newest"; draw(); loadSoon(); };
  return unmount;
}

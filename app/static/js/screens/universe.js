// One universe: canvas, timeline, charts, cell, facts; and what can be done with it.

import { events, get, post } from "../api.js";
import { drawColourBar } from "../colourbar.js";
import { complain, html, lawName, nothing, render, stylesheet, toast, whole } from "../dom.js";
import { FrameSource, extent, isColour, looks, plane } from "../frames.js";
import { Clock, mountTimeline } from "../player.js";
import { address, go, replace } from "../router.js";
import { mountBrushes } from "../universe/brushes.js";
import { cancel, describe, exportFiles, extend, fork, remove, share } from "../universe/dialogs.js";
import { differences, facts, lineage, spec } from "../universe/facts.js";
import { mountInspector, readCell } from "../universe/inspector.js";
import { earlier, ownerOf } from "../universe/lineage.js";
import { mountObservables } from "../universe/observables.js";
import { keptStates, paintAndRun } from "../universe/steering.js";
import { mountViewer } from "../viewer.js";

const FINAL = ["succeeded", "failed", "cancelled"];
const AHEAD = 12; // frames that are fetched before they are shown
const LOOK_MS = 2000; // while nothing is recorded yet

export async function mount(element, route, app) {
  const sheet = Promise.all(["viewer", "universe"].map(stylesheet));
  let id = route.id;
  if (route.member) id = (await get(`v1/sweeps/${route.id}/members/${route.member}`)).id;
  const base = `v1/jobs/${id}`;
  let job = await get(base);
  await sheet;
  if (job.spec.kind === "training" || !job.spec.grid) { // trainings and fidelity jobs have no canvas
    const { mount: other } = await import("../universe/training.js");
    return other(element, job, app);
  }
  app.title(`${job.name || lawName(job.law)} ${job.spec.grid.join("×")}`);

  const source = new FrameSource(base);
  const ancestors = await earlier(job);
  source.before = ancestors.map((one) => `v1/jobs/${one.id}`);
  const clock = new Clock();
  const view = { field: "", map: "", range: [0, 1], domain: [0, 1], auto: false, tiles: 1, channel: 0, cell: null };
  let states = [], tree = null, brushes = null, shown = null, wanted = -1, closed = false, law = null, looking = 0, lost = false, loaded = false;
  const ends = []; // called when the screen is left

  render(html`<div class="head bar"></div><div class="workspace">
    <div class="left"><div class="tools bar"></div><div class="paint-bar"></div>
      <div class="stage" tabindex="0" role="group" aria-label="The field; plus and minus zoom, zero fits"><div class="overlay"></div><div class="message"></div></div>
      <div class="colours"></div><div class="time"></div></div>
    <aside class="side stack" aria-label="About this universe"><div class="cell"></div><div class="charts"></div><div class="about stack"></div></aside></div>`, element);
  const at = (name) => element.querySelector(name);
  const stage = at(".stage");
  const viewer = mountViewer(stage, {
    onCell: (y, x) => { if (!brushes) chooseCell({ y, x }); },
    onHover: (cell) => { stage.title = cell && shown ? `y ${cell.y}, x ${cell.x}` : ""; },
    onStroke: (cell, phase) => (brushes ? brushes.stroke(cell, phase) : false),
  });
  stage.dataset.kind = viewer.kind;
  ends.push(() => viewer.destroy(), () => clock.stopAll());
  const inspector = mountInspector(at(".cell"), { source, job: () => job, states: () => states, onClose: () => chooseCell(null), onStep: (step) => { clock.pause(); clock.seek(step); } });

  const running = () => !FINAL.includes(job.state);
  const timeline = mountTimeline(at(".time"), clock, {
    total: () => job.steps,
    marks: () => states.map((state) => ({ step: state.step, kind: "kept", title: `state kept at step ${whole(state.step)}: a fork can go on from here` }))
      .concat(job.parent ? [{ step: job.from_step, kind: "begins", title: `this universe goes on from step ${whole(job.from_step)} of its parent` }] : [])
      .concat((job.spec.interventions || []).map((one) => ({ step: one.step, kind: "changed", title: `${one.kind} at step ${whole(one.step)}` }))),
    canLive: running,
    onLive: () => { clock.pause(); clock.seek(clock.last, true); },
  });
  ends.push(() => timeline.destroy());
  // ---- frames

  async function showStep(step) {
    wanted = step;
    let frame = source.cached(view.field, step);
    if (!frame) {
      try {
        frame = await source.frame(view.field, step);
      } catch (error) {
        if (!closed && wanted === step && error.name !== "AbortError") say(error.message, true);
        return;
      }
    }
    if (closed || wanted !== step || frame.field !== view.field) return;
    show(frame);
  }

  function show(frame) {
    const first = !shown;
    shown = frame;
    if (first) drawHead(); // what needs a frame is possible from now on
    const flat = plane(frame, view.channel);
    if (view.auto && !flat.rgb) { view.range = extent(flat.data); viewer.setRange(...view.range); drawBar(); }
    viewer.show(flat);
    say("");
    stage.dataset.step = frame.step;
    brushes?.place();
    if (view.cell && !clock.playing) inspect();
    charts.mark(frame.step);
  }

  function inspect() {
    if (view.cell.y >= job.spec.grid[0] || view.cell.x >= job.spec.grid[1]) return; // of an address that was changed by hand
    const { data, width, rgb } = plane(shown, view.channel);
    const i = view.cell.y * width + view.cell.x;
    inspector.show(view.cell, shown.step, view.field, rgb ? [...data.subarray(3 * i, 3 * i + 3)] : data[i]);
  }

  function chooseCell(cell) {
    view.cell = cell;
    replace({ cell: cell ? `${cell.y},${cell.x}` : null });
    if (cell && shown) inspect(); else inspector.hide();
    at(".cell").classList.toggle("panel", Boolean(cell));
  }

  const onStep = () => {
    const near = source.nearest(view.field, clock.step);
    if (near === null) return;
    if (near !== shown?.step || view.field !== shown?.field) showStep(near);
    if (clock.playing) source.prefetch(view.field, Array.from({ length: AHEAD }, (_, i) => near + (i + 1) * clock.stride).filter((step) => step <= clock.last));
    else later("address", 250, () => replace({ step: clock.live ? null : clock.step }));
  };
  const timers = new Map();
  const later = (name, ms, action) => { clearTimeout(timers.get(name)); timers.set(name, setTimeout(() => { if (!closed) action(); }, ms)); };
  ends.push(() => { for (const timer of timers.values()) clearTimeout(timer); });
  clock.ready = (step) => Boolean(source.cached(view.field, step)) || (source.prefetch(view.field, [step]), false);
  clock.watch(onStep);
  function say(text, bad = false) {
    render(text ? html`<p class=${bad ? "error" : ""}>${text}</p>` : nothing, at(".message"));
  }

  // ---- field, colours, tiling

  function setField(name, params = {}) {
    const field = source.list.find((one) => one.name === name) || source.list[0];
    if (!field) return;
    const known = looks(field.name);
    view.field = field.name;
    view.channel = Number(params.channel) || 0;
    view.map = params.map || known.map;
    view.auto = !known.range;
    view.domain = known.range || [0, 1];
    view.range = params.low && params.high ? [Number(params.low), Number(params.high)] : [...view.domain];
    if (params.low && params.high) view.auto = false;
    try { viewer.setMap(view.map); } catch { view.map = known.map; viewer.setMap(view.map); }
    viewer.setRange(...view.range);
    clock.setSteps(source.steps(field.name));
    drawTools();
    drawBar();
  }

  const setRange = (low, high) => {
    view.range = [low, high];
    view.auto = false;
    viewer.setRange(low, high);
    drawBar();
    later("range", 250, () => replace({ low: Number(low.toPrecision(4)), high: Number(high.toPrecision(4)) }));
  };

  function drawBar() {
    if (view.auto && shown) view.domain = view.range;
    const unit = source.list.find((field) => field.name === view.field)?.units || "";
    drawColourBar(at(".colours"), { ...view, unit, rgb: isColour(view.field) }, {
      map: (map) => { view.map = map; viewer.setMap(map); drawBar(); replace({ map }); },
      range: setRange,
      auto: () => { if (shown) setRange(...extent(plane(shown, view.channel).data)); },
      full: () => { const { range } = looks(view.field); if (range) { view.domain = [...range]; setRange(...range); replace({ low: null, high: null }); } else { view.auto = true; if (shown) show(shown); } },
    });
  }

  function setTiles(count) {
    view.tiles = count;
    viewer.setTiles(count);
    brushes?.place();
    replace({ tiles: count === 1 ? null : count });
    drawTools();
  }

  function drawTools() {
    const field = source.list.find((one) => one.name === view.field);
    const depth = field && field.shape.length === 4 && !isColour(field.name) ? field.shape[3] : 1;
    const periodic = law?.boundary === "periodic";
    render(html`<label class="small quiet">Field <select aria-label="Field" title=${field?.formula || nothing}
        @change=${(e) => { const step = clock.step; setField(e.target.value); replace({ field: e.target.value, map: null, low: null, high: null, channel: null }); clock.seek(step); follow(); }}>
        ${source.list.map((one) => html`<option value=${one.name} ?selected=${one.name === view.field} title=${one.formula}>${one.name}${one.made_from ? " (view)" : ""}</option>`)}</select></label>
      ${depth > 1 ? html`<label class="small quiet">Channel <select aria-label="Channel" @change=${(e) => { view.channel = Number(e.target.value); replace({ channel: view.channel }); if (shown) show(shown); }}>
        ${Array.from({ length: depth }, (_, c) => html`<option ?selected=${c === view.channel}>${c}</option>`)}</select></label>` : nothing}
      <span class="right"></span>
      <button type="button" aria-pressed=${view.tiles === 3} ?disabled=${!periodic} title=${periodic ? "Repeat the universe around itself (t)" : "Its edges do not wrap around"}
        @click=${() => setTiles(view.tiles === 3 ? 1 : 3)}>3 × 3</button>
      <button type="button" aria-label="Zoom out" title="−" @click=${() => { viewer.zoom(0.7); placed(); }}>−</button>
      <button type="button" aria-label="Zoom in" title="+" @click=${() => { viewer.zoom(1.4); placed(); }}>+</button>
      <button type="button" title="0" @click=${() => { viewer.fit(); placed(); }}>Fit</button>
      <button type="button" title="f" @click=${full}>Full screen</button>`, at(".tools"));
  }
  const placed = () => brushes?.place();
  const full = () => { if (document.fullscreenElement) document.exitFullscreen(); else at(".left").requestFullscreen?.().catch(complain); };
  stage.addEventListener("wheel", placed, { passive: true });
  stage.addEventListener("pointermove", placed);

  // ---- head and side

  function drawHead() {
    const reason = job.reason?.text || job.error?.detail || job.error?.title;
    const star = async () => { try { job = await post(base, { starred: !job.starred }, { method: "PATCH" }); drawHead(); } catch (error) { complain(error); } };
    render(html`<div class="who"><h1>${job.name || lawName(job.law)} <span class="quiet">${job.spec.grid.join(" × ")}</span></h1>
      <p class="small quiet"><span class="state ${job.state}">${job.state}</span> <span class="progress">${whole(job.step)} of ${whole(job.steps)} steps</span>
        ${reason ? html` · <span class=${job.error ? "error" : ""}>${reason}</span>` : nothing}${lost ? html` · <span class="error">reconnecting …</span>` : nothing}</p></div>
      ${running() ? html`<progress .max=${job.steps - job.from_step} .value=${job.step - job.from_step} aria-label="Progress"></progress>` : nothing}
      <div class="buttons right">
        ${"starred" in job ? html`<button type="button" aria-pressed=${job.starred} title="s" @click=${star}>${job.starred ? "★ Starred" : "☆ Star"}</button>
          <button type="button" @click=${() => describe(job).then((made) => { if (made) { job = made; drawAll(); } }).catch(complain)} title="name, note and tags">Name</button>` : nothing}
        <button type="button" ?disabled=${!shown} @click=${() => { clock.pause(); forkHere().catch(complain); }} title="k: another gamma from this step on">Fork here</button>
        <button type="button" ?disabled=${running()} title=${running() ? "possible when it has ended" : "e: more steps"} @click=${() => extend(job).catch(complain)}>Extend</button>
        <button type="button" aria-pressed=${Boolean(brushes)} ?disabled=${!shown} @click=${togglePaint} title="p: vortices, noise and more on the canvas">Paint</button>
        <button type="button" @click=${() => share(job).catch(complain)}>Share</button>
        <button type="button" ?disabled=${!loaded} @click=${() => exportFiles(job, base, view.field, { frames: (clock.last - clock.start) / clock.stride + 1, step: shown?.step ?? 0, joined: Boolean(view.field) && source.joined(view.field) })}>Export</button>
        <a class="button" href=${address("/new", { like: id })} title="another universe, with this one's spec to begin with">Edit a copy</a>
        ${running() ? html`<button type="button" class="danger" @click=${stop}>Cancel</button>` : html`<button type="button" class="danger" @click=${() => remove(base)}>Delete</button>`}</div>`, at(".head"));
  }

  const stop = () => cancel(base).then((made) => { if (made) { job = made; drawAll(); } }).catch(complain);

  /** Forks at the step that is shown: the job that has computed it. */
  const forkHere = async () => { const owner = await ownerOf(job, states, ancestors, clock.step); await fork(owner.job, owner.states, clock.step); };

  const drawSide = () => render(html`${differences(job, tree)}<section class="panel stack"><h2 class="small">About</h2>${facts(job)}</section>${lineage(tree, id)}${spec(job)}`, at(".about"));
  const drawAll = () => { drawHead(); drawSide(); timeline.draw(); };

  const charts = mountObservables(at(".charts"), { base, job: () => job, onStep: (step) => { clock.pause(); clock.seek(step); } });
  ends.push(() => charts.destroy());
  // ---- following

  let unfollow = null;

  /** Follows the field that is shown over a WebSocket while the job runs. */
  function follow() {
    unfollow?.();
    unfollow = null;
    const field = source.list.find((one) => one.name === view.field);
    if (!running() || !field || field.made_from) return; // a view is read frame by frame, as the events tell of new ones
    const start = (source.nearest(view.field, Infinity) ?? -1) + 1;
    unfollow = source.live(view.field, {
      start,
      onFrame: (frame) => {
        if (lost) { lost = false; drawHead(); }
        clock.setSteps(source.steps(view.field));
        if (clock.live) clock.seek(frame.step, true);
      },
      onEnd: refresh,
      onLost: () => { lost = true; drawHead(); },
    });
  }
  ends.push(() => unfollow?.());

  /** Reads the record anew, and what goes with it. */
  async function refresh() {
    if (closed) return;
    job = await get(base);
    states = await keptStates(id);
    get(`${base}/lineage`).then((found) => { tree = found; if (!closed) drawSide(); }, () => null);
    const had = source.list.length;
    await source.fields().catch(() => []);
    if (closed) return;
    loaded = true;
    const here = source.list.some((field) => source.nearest(field.name, 0) !== null);
    if (!had && source.list.length) setField(route.params.field, route.params);
    if (view.field) clock.setSteps(source.steps(view.field));
    if (!shown && here) { begin(); follow(); }
    if (!here) say(running() ? waiting() : job.spec.record.length ? "Nothing was recorded." : "This universe records no field; its observables are on the side.");
    drawAll();
    if (running() && !here && job.spec.record.length) { clearTimeout(looking); looking = setTimeout(() => refresh().catch(complain), LOOK_MS); }
  }
  ends.push(() => clearTimeout(looking));
  const waiting = () => job.reason?.text || (job.state === "queued" ? "waiting for a worker …" : "computing the first frames …");

  function begin() {
    if (route.params.step !== undefined) clock.seek(Number(route.params.step));
    else clock.seek(clock.last, running());
    if (!running() && route.params.step === undefined) clock.play();
    if (route.params.cell) chooseCell(readCell(route.params.cell));
  }

  ends.push(events({ jobs: id }, {
    open: () => { if (lost) { lost = false; refresh().catch(complain); } },
    lost: () => { if (running()) { lost = true; drawHead(); } },
    state: (data) => {
      const before = job.state;
      job = { ...job, ...data, id };
      if (before !== job.state) refresh().catch(complain);
    },
    frame: (data) => {
      job = { ...job, step: Math.max(job.step, data.step) };
      for (const name of data.fields) source.grow(name, data.step);
      charts.add(data);
      if (shown && !unfollow) {
        clock.setSteps(source.steps(view.field));
        if (clock.live) clock.seek(clock.last, true);
      }
      if (!shown) timers.get("first") ?? later("first", 50, () => { timers.delete("first"); refresh().catch(complain); });
      later("head", 100, () => { drawHead(); timeline.draw(); });
    },
    progress: (data) => { job = { ...job, step: Math.max(job.step, data.step) }; charts.add({ observables: {}, ...data }); later("head", 100, drawHead); },
    end: () => refresh().then(charts.load).catch(complain),
  }));

  // ---- painting

  function togglePaint() {
    if (brushes) { brushes.destroy(); brushes = null; drawHead(); return; }
    clock.pause();
    brushes = mountBrushes(at(".paint-bar"), at(".overlay"), {
      viewer, depth: job.d_state, side: Math.min(...job.spec.grid), onClose: togglePaint,
      where: () => (running() ? "acts as soon as possible" : `acts at step ${whole(clock.step)}, in a fork`),
      onRun: async (strokes) => {
        try {
          const owner = running() ? { job, states } : await ownerOf(job, states, ancestors, clock.step);
          const made = await paintAndRun(owner.job, owner.states, clock.step, strokes, running());
          if (made.id === id) { toast("Painted; the running universe takes it up"); clock.seek(clock.last, true); return true; }
          toast(`Painted at step ${whole(clock.step)}, in a fork`);
          go(`/jobs/${made.id}`);
          return true;
        } catch (error) { complain(error); return false; }
      },
    });
    drawHead();
  }
  clock.watch(() => brushes?.draw());
  app.setKeys([[" ", "Play or pause", () => clock.toggle()], ["ArrowLeft", "One frame back", () => clock.move(-1)], ["ArrowRight", "One frame forward", () => clock.move(1)],
    ["Home", "First frame", () => { clock.pause(); clock.seek(clock.start); }], ["End", "Newest frame", () => { clock.pause(); clock.seek(clock.last, running()); }],
    ["+", "Zoom in", () => { viewer.zoom(1.4); placed(); }], ["-", "Zoom out", () => { viewer.zoom(0.7); placed(); }], ["0", "Fit", () => { viewer.fit(); placed(); }],
    ["t", "3 × 3 tiles", () => { if (law?.boundary === "periodic") setTiles(view.tiles === 3 ? 1 : 3); }], ["f", "Full screen", full],
    ["k", "Fork here", () => { if (shown) { clock.pause(); forkHere().catch(complain); } }], ["e", "Extend", () => { if (!running()) extend(job).catch(complain); }], ["p", "Paint", () => { if (shown) togglePaint(); }],
    ["Escape", "Leave painting, close the cell", () => { if (brushes) togglePaint(); else chooseCell(null); }],
  ]);

  drawAll();
  get(`v1/laws/${encodeURIComponent(job.law)}`).then((found) => { law = found; if (!closed) { drawTools(); if (route.params.tiles === "3") setTiles(3); } }, () => null);
  charts.load().catch(() => null);
  await refresh();

  const unmount = () => { closed = true; for (const end of ends) end(); };
  unmount.update = ({ params }) => { // the address was changed by hand, or by the back button
    route.params = params;
    setField(params.field, params);
    setTiles(params.tiles === "3" ? 3 : 1);
    chooseCell(readCell(params.cell));
    if (params.step !== undefined) { clock.pause(); clock.seek(Number(params.step)); }
    follow();
  };
  return unmount;
}

// The form of a new universe, with a quote that follows what is typed. Several values of a key make it a sweep.
// The address fills it in: `#/new?law=spirals&gamma=0..0.1 x 5`; `like=ID` takes the spec of a job, `likesweep=ID` of a sweep.

import { get, post } from "../api.js";
import { bytes, complain, duration, html, nothing, render, short, stylesheet, toast, whole } from "../dom.js";
import { fieldOf, MEASURES, requestOf, STARTS, Wrong } from "../newuniverse/request.js";
import { lengthOf, writeValues } from "../newuniverse/values.js";
import { go, replace } from "../router.js";
import { writeGamma } from "../universe/steering.js";
import { ZOO } from "../zoo.js";

const QUOTE_MS = 350;
const FIELDS = ["phase", "activity", "coherence", "channel_entropy", "channel_power", "flow", "density", "rgb", "psi"];
const PRECISIONS = ["auto", "fp32", "bf16", "int8", "nf4"];
const ADDRESSED = ["law", "height", "width", "steps", "seed", "gamma", "start", "precision", "observe", "keep", "initial.strength", "initial.scale"];
const picture = (name) => new URL(`../../zoo/${name}.webp`, import.meta.url).href;

export async function mount(element, route, app) {
  await stylesheet("newuniverse");
  app.title("New universe");
  const [{ items: laws }, like, likeSweep] = await Promise.all([get("v1/laws"),
    route.params.like ? get(`v1/jobs/${route.params.like}`) : null, route.params.likesweep ? get(`v1/sweeps/${route.params.likesweep}`) : null]);
  let base = {}, errors = {}, quote = null, request = null, busy = false, timer = 0, turn = 0, closed = false;
  const form = { law: laws.find((law) => law.name === "spirals")?.name || laws[0]?.name || "", height: "96", width: "96", steps: "600", seed: "0", gamma: "0.01",
    start: "law", "initial.strength": "0.1", "initial.scale": "4", precision: "auto", record: { phase: "4" }, observe: "4", keep: "100", measures: [] };
  if (like || likeSweep) fill(like ? { ...like.spec, law: like.law } : likeSweep.spec.base, likeSweep?.spec.axes);
  for (const key of ADDRESSED) if (route.params[key] !== undefined) form[key] = route.params[key];
  if (form.law.split("@")[0] === "flower" && !like && !likeSweep) form.record = { rgb: "4" };

  /** Takes the form's values from a spec; `base` keeps what the form does not show. */
  function fill(spec, axes = {}) {
    base = Object.fromEntries(Object.entries(spec).filter(([key, value]) => value !== null && !["law", "grid", "steps", "seed", "gamma", "record", "keep_states", "deadline_s", "reuse"].includes(key)));
    if (!base.interventions?.length) delete base.interventions;
    const value = (key, or) => (axes[key] !== undefined ? writeValues(axes[key]) : or === undefined ? undefined : writeValues(or));
    Object.assign(form, {
      law: value("law", spec.law) ?? form.law, height: String(spec.grid?.[0] ?? form.height), width: String(spec.grid?.[1] ?? form.width),
      steps: value("steps", spec.steps) ?? form.steps, seed: value("seed", spec.seed) ?? form.seed,
      gamma: axes.gamma !== undefined ? writeValues(axes.gamma) : spec.gamma !== undefined ? writeGamma(spec.gamma) : form.gamma,
      precision: spec.precision || "auto", record: Object.fromEntries((spec.record || []).map((one) => [one.field, String(one.every)])),
      observe: spec.observe ? String(spec.observe.every) : "", keep: spec.keep_states ? String(spec.keep_states.every) : "",
    });
    form.measures = MEASURES.filter((name) => spec.observe?.names?.includes(name));
    if (base.observe?.names) base.observe = { ...base.observe, names: base.observe.names.filter((name) => !MEASURES.includes(name)) };
    const start = spec.initial || { kind: "complex_noise" };
    form.start = start.kind === "complex_noise" ? "complex_noise" : "kept";
    for (const key of ["strength", "scale"]) if (axes[`initial.${key}`] !== undefined || start[key] !== undefined) form[`initial.${key}`] = value(`initial.${key}`, start[key]);
    if (axes["initial.scale"] !== undefined) form.start = start.kind;
  }

  const law = () => laws.find((one) => one.name === form.law.split("@")[0]);

  function change(key, value) {
    if (key === "height" && form.width === form.height) change("width", value); // a square stays one
    form[key] = value;
    if (ADDRESSED.includes(key)) replace({ [key]: value });
    check();
  }

  /** Reads the form, shows what is wrong at once, and asks for a quote soon. */
  function check() {
    errors = {};
    request = null;
    try { request = requestOf(form, law(), base); } catch (error) {
      if (!(error instanceof Wrong)) throw error;
      errors[error.key] = error.message;
      quote = null;
    }
    draw();
    clearTimeout(timer);
    if (request) timer = setTimeout(ask, QUOTE_MS);
  }

  async function ask() {
    const mine = ++turn;
    try {
      const found = await post("v1/quotes", request);
      if (mine === turn) quote = found;
    } catch (error) {
      if (mine !== turn) return;
      quote = null;
      refused(error);
    }
    if (!closed) draw();
  }

  function refused(error) {
    const found = error.errors?.length ? error.errors : [{ detail: error.message }];
    for (const one of found) errors[fieldOf(one) || "all"] = one.detail.replace(/^(job|sweep|base)\./, "");
    for (const key of Object.keys(errors)) if (!element.querySelector(`[data-error="${key}"]`) && key !== "all") { errors.all = errors[key]; delete errors[key]; }
  }

  async function submit(event) {
    event.preventDefault();
    if (!request || busy) return;
    busy = true;
    draw();
    try {
      if (request.job) {
        const made = await post("v1/jobs", request.job);
        go(`/jobs/${made.id}`);
      } else {
        const made = await post("v1/sweeps", request.sweep);
        toast(`A sweep of ${whole(made.size)} universes`);
        go(`/sweeps/${made.id}`);
      }
    } catch (error) {
      busy = false;
      if (error.errors) refused(error); else complain(error);
      draw();
    }
  }

  const wrong = (key) => html`<span class="error small" data-error=${key} id=${`wrong-${key}`} role="alert">${errors[key] || nothing}</span>`;

  const text = (key, words, title, mode = "text") => html`<label class="field">${words}
    <input name=${key} .value=${form[key]} inputmode=${mode} title=${title} autocomplete="off" aria-invalid=${errors[key] ? "true" : "false"} aria-describedby=${`wrong-${key}`}
      @input=${(e) => change(key, e.target.value)}>${wrong(key)}</label>`;

  const members = () => (request?.sweep ? Object.values(request.sweep.axes).reduce((product, axis) => product * lengthOf(axis), 1) : 1);

  function recordings() {
    return html`<fieldset class="field"><legend>Record every … steps</legend><div class="recordings">${FIELDS.map((field) => html`<label class="small">
      <input type="checkbox" .checked=${field in form.record} @change=${(e) => { if (e.target.checked) form.record[field] = form.record.phase || "4"; else delete form.record[field]; check(); }}> ${field}
      ${field in form.record ? html`<input class="every" aria-label=${`${field} every … steps`} inputmode="numeric" .value=${form.record[field]} @input=${(e) => { form.record[field] = e.target.value; check(); }}>` : nothing}</label>`)}</div>${wrong("record")}</fieldset>`;
  }

  function quoted() {
    const count = members();
    if (!quote) return html`<p class="quiet">${Object.keys(errors).length ? "A quote follows when the values are valid." : "asking for a quote …"}</p>`;
    const span = (interval, write) => (interval ? `${write(interval.p50)} – ${write(interval.p90)}` : "–");
    return html`<table><tbody>
      ${count > 1 ? html`<tr><th scope="row">Universes</th><td>${whole(quote.members)} = ${Object.entries(request?.sweep?.axes || {}).map(([key, axis]) => `${lengthOf(axis)} ${key}`).join(" × ")}</td></tr>` : nothing}
      <tr><th scope="row" title="seconds until it starts: the median, and what nine of ten keep">Starts in</th><td>${span(quote.wait_s, duration)}</td></tr>
      <tr><th scope="row" title="from its start to its end">Runs for</th><td>${span(quote.run_s, duration)}</td></tr>
      <tr><th scope="row" title="steps per second of all members">Speed</th><td>${quote.steps_per_s ? `${short(quote.steps_per_s.p50)} steps/s` : "–"}</td></tr>
      <tr><th scope="row" title="cells × steps of all members">Work</th><td>${short(quote.cell_steps)} cell-steps</td></tr>
      <tr><th scope="row">Device time</th><td>${span(quote.device_seconds, duration)}</td></tr>
      <tr><th scope="row" title="of all recorded fields before compression">Size</th><td>${bytes(quote.bytes)}</td></tr>
      ${quote.cost ? html`<tr><th scope="row">Cost</th><td>${span(quote.cost, (value) => value.toPrecision(2))}</td></tr>` : nothing}</tbody></table>
      <p class="small quiet">${quote.reason || (quote.basis ? `from jobs of the same ${quote.basis === "service" ? "service" : quote.basis}` : "")}</p>`;
  }

  function draw() {
    if (closed) return;
    const card = law(), count = members(), start = STARTS[form.start];
    render(html`<form class="new" @submit=${submit}><div class="head bar"><h1>New universe</h1>
        <span class="quiet small">Several values make a sweep: <code>0.01, 0.02</code> · <code>0..0.1 x 5</code> · <code>log 0.001..0.1 x 5</code> · seeds <code>0..7</code></span>
        <a class="button right" href="#/reproduce">Reproduce a file</a></div>
      <div class="columns"><div class="stack">
        <div class="laws" role="radiogroup" aria-label="Law">${laws.map((one) => html`<label class="law" title=${one.description}>
          <input type="radio" name="law" .value=${one.name} .checked=${one.name === card?.name} @change=${() => { form.record = one.name === "flower" ? { rgb: form.record.phase || "4" } : "rgb" in form.record ? { phase: form.record.rgb } : form.record; change("law", one.name); }}>
          <span class="picture">${ZOO.includes(one.name) ? html`<img src=${picture(one.name)} alt="" width="128" height="128" loading="lazy">` : html`<span>${one.architecture}</span>`}</span><span class="name">${one.name}</span></label>`)}</div>
        ${card ? html`<p class="small quiet"><b>${card.name}</b>: ${card.description} ${card.architecture}, d = ${card.d_state}, ${card.boundary} boundary${card.grid_multiple > 1 ? `, sides divisible by ${card.grid_multiple}` : ""}.</p>` : nothing}${wrong("law")}
        <div class="grid">
          ${text("height", "Rows", "cells", "numeric")}${text("width", "Columns", "cells", "numeric")}${text("steps", "Steps", "last step", "numeric")}
          <div class="with-dice">${text("seed", "Seed", "of the start state and of a stochastic law; 0..7: eight of them", "numeric")}<button type="button" title="another seed" aria-label="Another seed"
            @click=${() => change("seed", String(Math.floor(Math.random() * 1e6)))}>⚄</button></div>
          ${text("gamma", "Gamma", "damping: a number, several, or a schedule: 0.01, 500: 0.05")}
          <label class="field">Precision <select name="precision" @change=${(e) => change("precision", e.target.value)}>${PRECISIONS.map((one) => html`<option ?selected=${one === form.precision}>${one}</option>`)}</select>${wrong("precision")}</label>
          <label class="field">Initial state <select name="start" @change=${(e) => { change("start", e.target.value); element.querySelector("[name^='initial.']")?.focus(); }}>
            ${base.initial ? html`<option value="kept" ?selected=${form.start === "kept"}>that of the copy: ${base.initial.kind}</option>` : nothing}
            ${Object.entries(STARTS).map(([kind, { words }]) => html`<option value=${kind} ?selected=${kind === form.start}>${words}${kind === "law" && card?.start ? `: ${card.start.kind}` : ""}</option>`)}</select>${wrong("start")}</label>
          ${(start?.keys || []).map(([key, , title]) => text(`initial.${key}`, key[0].toUpperCase() + key.slice(1), title))}
        </div>
        ${recordings()}
        <fieldset class="field"><legend>Observe also</legend><div class="recordings">${MEASURES.map((name) => html`<label class="small"><input type="checkbox" .checked=${form.measures.includes(name)}
          @change=${(e) => { form.measures = e.target.checked ? [...form.measures, name] : form.measures.filter((one) => one !== name); check(); }}> ${name}</label>`)}</div></fieldset>
        <div class="grid">${text("observe", "Observables every … steps", "empty: none", "numeric")}${text("keep", "Keep states every … steps", "from which forks can go on; empty: none", "numeric")}</div>
      </div>
      <aside class="panel stack quote" aria-label="Quote"><h2>Quote</h2>${quoted()}
        ${errors.all ? html`<p class="error small" role="alert">${errors.all}</p>` : nothing}
        <button class="primary" ?disabled=${busy || !request || Object.keys(errors).length > 0}>${busy ? "Submitting …" : count > 1 ? `Run ${whole(count)} universes` : "Run"}</button>
        <p class="small quiet">${count > 1 ? "One sweep: a phase diagram of all members." : "It is shown as soon as its first frames are there."}</p></aside></div></form>`, element);
  }

  app.setKeys([["Enter", "Run", () => element.querySelector("form").requestSubmit()]]);
  check();
  const unmount = () => { closed = true; clearTimeout(timer); };
  return unmount;
}

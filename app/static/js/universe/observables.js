// Charts of a job's observables over the step: those that are stored, then new ones as events tell them.

import { get } from "../api.js";
import { mountChart } from "../charts.js";
import { html, render } from "../dom.js";

const POINTS = 800; // of a chart
const DRAW_MS = 200; // shortest time between two drawings: many events may come at once

/** Puts charts into an element; {load, add(event), mark(step), destroy}. `job` returns the record. */
export function mountObservables(element, { base, job, onStep }) {
  const charts = new Map();
  let series = null, at = null, timer = 0, closed = false;

  async function load() {
    const { spec, steps } = job();
    if (!spec.observe) return;
    const stride = Math.max(1, Math.ceil(steps / spec.observe.every / POINTS));
    const found = await get(`${base}/observables`, { stride, lineage: 1 }); // of the jobs that it continues too
    if (closed) return;
    series = found;
    const names = Object.keys(series).filter((name) => name !== "step" && !name.endsWith("_sd"));
    if (!charts.size) await build(names);
    draw();
  }

  async function build(names) {
    render(html`<section class="panel stack"><h2 class="small" title="over the step; a click goes to the step">Observables</h2>${names.map((name) =>
      html`<figure class="chart" data-name=${name}><figcaption class="small"><span>${name}</span> <b class="mono"></b></figcaption><div></div></figure>`)}</section>`, element);
    for (const name of names) {
      const chart = await mountChart(element.querySelector(`.chart[data-name="${name}"] div`), { title: name, height: 84, onStep });
      if (closed) { chart.destroy(); return; }
      charts.set(name, chart);
    }
  }

  function draw() {
    timer = 0;
    if (closed) return;
    for (const [name, chart] of charts) {
      chart.set([series.step, series[name] || []]);
      const last = series[name]?.at(-1);
      element.querySelector(`.chart[data-name="${name}"] b`).textContent = typeof last === "number" ? last.toPrecision(4) : "–";
      if (at !== null) chart.mark(at);
    }
  }

  return {
    load,
    /** Takes the data of an event: {step, observables}. */
    add({ step, observables }) {
      if (!series || step <= (series.step.at(-1) ?? -1) || !Object.keys(observables).length) return;
      series.step.push(step);
      for (const [name, value] of Object.entries(observables)) (series[name] ||= []).push(value);
      if (series.step.length > 2 * POINTS) for (const name in series) series[name] = series[name].filter((_, i) => i % 2 === 0);
      timer ||= setTimeout(draw, DRAW_MS);
    },
    mark(step) { at = step; for (const chart of charts.values()) chart.mark(step); },
    destroy() { closed = true; clearTimeout(timer); for (const chart of charts.values()) chart.destroy(); },
  };
}

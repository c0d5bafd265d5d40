// A training or a judgement of fidelity: no universe, but facts and a curve.

import { events, get } from "../api.js";
import { mountChart } from "../charts.js";
import { digits, html, lawName, nothing, render, whole } from "../dom.js";
import { address } from "../router.js";

export async function mount(element, first, app) {
  let job = first, chart = null, losses = [];
  const training = job.spec.kind === "training";
  app.title(`${training ? "training of " : "judgement of "}${lawName(job.law)}`);
  const place = document.createElement("div");
  const curve = document.createElement("div");
  curve.className = "panel";
  element.append(place, curve);
  curve.hidden = !training;
  const draw = () => render(html`<div class="stack"><h1>${training ? "Training of" : "Judgement of"} <a href=${address(`/laws/${lawName(job.law)}`)}>${lawName(job.law)}</a></h1>
    <p><span class="state ${job.state}">${job.state}</span> ${whole(job.step)} of ${whole(job.steps)} ${training ? "updates" : "steps"}
      ${job.reason ? html`<span class="quiet">${job.reason.text}</span>` : nothing}</p>
    ${losses.length ? html`<table><thead><tr><th scope="col">Loss</th><th scope="col" class="number">Last</th></tr></thead><tbody>${losses.map(([name, value]) =>
    html`<tr><td>${name}</td><td class="number">${digits(value)}</td></tr>`)}</tbody></table>` : nothing}
    ${job.error ? html`<p class="error" role="alert">${job.error.detail || job.error.title}</p>` : nothing}
    ${job.verdict ? html`<pre tabindex="0">${JSON.stringify(job.verdict, null, 1)}</pre>` : nothing}</div>`, place);
  draw();
  const load = async () => {
    if (!training) return;
    const { update, ...found } = await get(`v1/jobs/${job.id}/curve`);
    losses = Object.entries(found).map(([name, values]) => [name, values.at(-1)]);
    draw();
    chart ||= await mountChart(curve, { title: "losses", height: 260, names: Object.keys(found), group: "updates" });
    chart.set([update, ...Object.values(found)]);
  };
  await load().catch(() => null);
  const again = async () => { job = await get(`v1/jobs/${job.id}`); draw(); await load(); };
  const stop = events({ jobs: job.id }, { state: () => again().catch(() => null), progress: () => again().catch(() => null), end: () => again().catch(() => null) });
  return () => { stop(); chart?.destroy(); };
}

// A training or a judgement of fidelity: no universe, but facts and a curve.

import { events, get } from "../api.js";
import { mountChart } from "../charts.js";
import { html, lawName, nothing, render, whole } from "../dom.js";
import { address } from "../router.js";

export async function mount(element, first, app) {
  let job = first, chart = null;
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
    ${job.error ? html`<p class="error" role="alert">${job.error.detail || job.error.title}</p>` : nothing}
    ${job.verdict ? html`<pre tabindex="0">${JSON.stringify(job.verdict, null, 1)}</pre>` : nothing}</div>`, place);
  draw();
  const load = async () => {
    if (!training) return;
    const { update, ...losses } = await get(`v1/jobs/${job.id}/curve`);
    chart ||= await mountChart(curve, { title: "losses", height: 260, names: Object.keys(losses), group: "updates" });
    chart.set([update, ...Object.values(losses)]);
  };
  await load().catch(() => null);
  const again = async () => { job = await get(`v1/jobs/${job.id}`); draw(); await load(); };
  const stop = events({ jobs: job.id }, { state: () => again().catch(() => null), progress: () => again().catch(() => null), end: () => again().catch(() => null) });
  return () => { stop(); chart?.destroy(); };
}

// For whoever runs the service: workers with their jobs, the queue, bytes per project, and what happened.

import { get } from "../api.js";
import { bytes, duration, html, lawName, nothing, render, short, stylesheet, whole } from "../dom.js";

const EVERY_MS = 4000;
const LOG = 80;

const ago = (time) => duration((Date.now() - Date.parse(time)) / 1000);
const flower = () => [...document.querySelectorAll("#bottom a")].find((link) => link.textContent === "Flower")?.href;

/** Returns what is wrong, in words. */
function alarms(workers, queue) {
  const lost = workers.filter((worker) => worker.state === "lost");
  const ready = workers.filter((worker) => worker.state === "ready");
  const waiting = queue.states.queued || 0;
  return [
    ...lost.map((worker) => `Worker ${worker.name} fell silent ${ago(worker.updated_at)} ago without taking leave. Its jobs go on elsewhere from their last checkpoints.`),
    ...(waiting && !ready.length ? [`${whole(waiting)} ${waiting === 1 ? "job waits" : "jobs wait"} and no worker takes any.`] : []),
    ...(queue.storage.admits ? [] : [`The disk is full: new jobs are refused until more than ${bytes(queue.storage.free_min_bytes)} are free.`]),
  ];
}

const tile = (words, value, title) => html`<div title=${title || nothing}><dt>${words}</dt><dd>${value}</dd></div>`;

function overview(workers, queue) {
  const alive = workers.filter((worker) => worker.kind !== "training" && worker.state !== "lost");
  const sum = (key) => alive.reduce((total, worker) => total + worker[key], 0);
  return html`<dl class="tiles">
    ${tile("Running", whole(queue.states.running || 0))}${tile("Queued", whole(queue.states.queued || 0))}
    ${tile("Oldest waits", queue.oldest_queued_s === null ? "–" : duration(queue.oldest_queued_s), "Time since the submission of the job that has waited longest")}
    ${tile("Slots busy", `${whole(sum("busy"))} / ${whole(sum("slots"))}`, "Universes or blocks that the workers compute at once")}
    ${tile("Speed", html`${short(sum("cell_steps_per_s"))} <small>cell-steps/s</small>`, "Cells × steps per second, all workers")}
    ${tile("Left", html`${short(queue.cell_steps)} <small>cell-steps</small>`, "Work of queued and running simulations")}
    ${tile("Disk free", queue.storage.free_bytes === null ? "–" : bytes(queue.storage.free_bytes), `New jobs are refused below ${bytes(queue.storage.free_min_bytes)}`)}</dl>`;
}

function workersTable(workers, running) {
  const jobsOf = (worker) => running.filter((job) => job.worker === worker.name);
  const bucket = (one) => [lawName(one.law), one.precision, (one.grid || []).join("×")].filter(Boolean).join(" ");
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Workers"><table><thead><tr><th scope="col">Worker</th><th scope="col">State</th><th scope="col">Device</th><th scope="col" class="number">Slots</th>
      <th scope="col" class="number">Cell-steps/s</th><th scope="col">Computes</th><th scope="col">Jobs</th><th scope="col">Since</th></tr></thead>
    <tbody>${workers.map((worker) => html`<tr class=${worker.state === "lost" ? "lost" : ""}><td>${worker.name}<br><span class="small quiet">${worker.kind} · process ${worker.pid}</span></td>
      <td><span class="state ${worker.state === "lost" ? "failed" : worker.state}">${worker.state === "lost" ? `lost ${ago(worker.updated_at)} ago` : worker.state}</span></td>
      <td>${worker.device}</td><td class="number">${whole(worker.busy)} / ${whole(worker.slots)}</td><td class="number">${short(worker.cell_steps_per_s)}</td>
      <td>${worker.buckets.map((one) => html`<div>${bucket(one)}</div>`)}${worker.buckets.length ? nothing : html`<span class="quiet">${worker.idle_s ? `idle for ${duration(worker.idle_s)}` : "–"}</span>`}</td>
      <td>${jobsOf(worker).slice(0, 6).map((job) => html`<div><a class="mono" href=${`#/jobs/${job.id}`}>${job.id.slice(-6)}</a> <span class="quiet small">${whole(job.step)} of ${whole(job.steps)}</span></div>`)}
        ${jobsOf(worker).length > 6 ? html`<span class="quiet small">and ${jobsOf(worker).length - 6} more</span>` : nothing}</td>
      <td title=${new Date(worker.started_at).toLocaleString()}>${ago(worker.started_at)}</td></tr>`)}</tbody></table></div>
    ${workers.length ? nothing : html`<p class="empty">No worker is alive. <code>leym worker</code> starts one.</p>`}`;
}

const logTable = (events) => html`<div class="scroll tall" tabindex="0" role="region" aria-label="Events"><table><thead><tr><th scope="col">When</th><th scope="col">Event</th><th scope="col">Universe</th><th scope="col">Worker</th><th scope="col">Details</th></tr></thead>
  <tbody>${events.map((event) => html`<tr><td class="nowrap" title=${event.at}>${ago(event.at)} ago</td><td><span class="state ${event.event}">${event.event}</span></td>
    <td>${event.sweep ? html`<a href=${`#/sweeps/${event.sweep}`}>sweep ${event.sweep.slice(-6)}</a>` : html`<a class="mono" href=${`#/jobs/${event.job}`}>${event.job.slice(-6)}</a>`}</td>
    <td>${event.worker || "–"}</td><td class="small">${[event.step === null ? null : `step ${whole(event.step)}`, event.attempt > 1 ? `attempt ${event.attempt}` : null, event.why].filter(Boolean).join(" · ")}</td></tr>`)}</tbody></table></div>`;

export async function mount(element, route, app) {
  await Promise.all(["sweep", "operate"].map(stylesheet));
  app.title("Operate");
  let timer = 0;
  let closed = false;
  const look = async () => {
    clearTimeout(timer);
    if (closed) return;
    try {
      if (!document.hidden) {
        const [workers, queue, usage, log, running] = await Promise.all([get("v1/workers", { lost: true }), get("v1/queue"), get("v1/usage"), get("v1/log", { limit: LOG }),
          get("v1/jobs", { state: "running", limit: 100 })]);
        if (!closed) draw(workers.items, queue, usage.items, log.items, running.items);
      }
    } catch (error) {
      if (!closed && !element.children.length) render(html`<p class="error" role="alert">${error.message}</p>`, element);
    }
    timer = setTimeout(look, EVERY_MS);
  };
  const draw = (workers, queue, usage, log, running) => {
    const most = Math.max(...usage.map(({ stored_bytes: size }) => size), 1);
    render(html`<div class="panel-head"><h1>Operate</h1><span class="right"></span>${flower() ? html`<a class="button" href=${flower()}>Flower</a>` : nothing}<a class="button" href="metrics">Metrics</a></div>
      <div class="alarms" role="alert">${alarms(workers, queue).map((text) => html`<p class="alarm">${text}</p>`)}</div>
      ${overview(workers, queue)}
      <section class="panel"><h2>Workers</h2>${workersTable(workers, running)}</section>
      <div class="halves"><section class="panel"><h2>What happened</h2>${logTable(log)}</section>
        <section class="panel"><h2>Projects</h2><table><thead><tr><th scope="col">Project</th><th scope="col" class="number" title="Jobs that have not ended">Live</th><th scope="col" class="number" title="Frames and checkpoints">Stored</th><th scope="col"><span class="hidden">Share</span></th></tr></thead>
          <tbody>${usage.map((one) => html`<tr><td>${one.project}</td><td class="number">${whole(one.live)}</td><td class="number">${bytes(one.stored_bytes)}</td>
            <td class="meter"><meter min="0" max=${most} .value=${one.stored_bytes} aria-label="${one.project}: ${bytes(one.stored_bytes)}"></meter></td></tr>`)}</tbody></table>
          ${usage.length ? nothing : html`<p class="quiet">Nothing is stored yet.</p>`}</section></div>`, element);
  };
  document.addEventListener("visibilitychange", look);
  render(html`<p class="quiet" role="status">Asking the service …</p>`, element);
  await look();
  return () => { closed = true; clearTimeout(timer); document.removeEventListener("visibilitychange", look); };
}

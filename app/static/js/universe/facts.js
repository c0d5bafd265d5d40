// The side of a universe: what it is, what it differs in, where it comes from, what it took.

import { plain } from "../api.js";
import { bytes, copy, duration, html, lawName, nothing, short, whole } from "../dom.js";
import { address } from "../router.js";
import { asCurl, asPython, sparse, writeGamma } from "./steering.js";

const when = (moment) => (moment ? new Date(moment).toLocaleString() : "–");
const shown = (value) => (value === null || value === undefined ? "–" : typeof value === "object" ? JSON.stringify(value) : plain(value));

const row = (name, value, title) => html`<tr><th scope="row" title=${title || nothing}>${name}</th><td>${value}</td></tr>`;

/** Returns the table of a job's facts. */
export function facts(job) {
  const { spec } = job;
  return html`${job.note ? html`<p class="note">${job.note}</p>` : nothing}<table class="facts"><tbody>
    ${row("Law", html`<a href=${address(`/laws/${encodeURIComponent(lawName(job.law))}`)} title=${job.law}>${lawName(job.law)}</a>`)}
    ${row("Grid", `${spec.grid.join(" × ")} cells, d = ${job.d_state}`, "height × width, and complex channels per cell")}
    ${row("Seed", plain(spec.seed))}
    ${row("Gamma", writeGamma(spec.gamma), "damping: psi ← (1 − γ) psi + …, see docs/physics")}
    ${row("Initial", startOf(spec.initial))}
    ${row("Precision", html`${job.precision} <span class="quiet">${job.fidelity}</span>`, "the precision in use, and its standing when the job was submitted")}
    ${spec.interventions?.length ? row("Interventions", html`${spec.interventions.map((one) => html`<div>${one.kind} at step ${whole(one.step)}</div>`)}`) : nothing}
    ${row("Device time", duration(job.device_seconds), "seconds of a device: its share of the universes in every burst")}
    ${row("Stored", bytes(job.stored_bytes), "frames, states and checkpoint in the store")}
    ${row("Waited, ran", `${duration(job.queue?.waited_s)}, ${duration(job.queue?.ran_s)}`)}
    ${job.queue?.ran_s ? row("Speed", `${short((spec.grid[0] * spec.grid[1] * (job.step - job.from_step)) / job.queue.ran_s)} cell-steps/s`, "cells × steps ÷ seconds from start to end") : nothing}
    ${row("Submitted", when(job.created_at))}
    ${job.expires_at ? row("Expires", when(job.expires_at)) : nothing}
    ${Object.entries(job.tags || {}).map(([key, value]) => row(key, value))}
    ${row("Id", html`<code>${job.id}</code>`)}</tbody></table>`;
}

function startOf(initial) {
  const { kind, job, step, ...more } = initial;
  const words = Object.entries(more).map(([key, value]) => `${key} ${shown(value)}`).join(", ");
  if (job) return html`<a href=${address(`/jobs/${job}`, { step })}>${kind === "continue" ? "goes on" : "starts"} from step ${whole(step)}</a>`;
  return `${kind}${words ? `: ${words}` : ""}`;
}

/** Returns the differences from the parent. `tree`: the lineage, null before it is known. */
export function differences(job, tree) {
  const keys = Object.entries(job.differs || {});
  if (!job.parent) return nothing;
  const compared = address("/compare", { ids: `${job.parent},${job.id}`, difference: "0,1" });
  const readable = tree?.items.find(({ id }) => id === job.parent)?.readable;
  return html`<section class="panel stack"><h3>Differs from <a href=${address(`/jobs/${job.parent}`)}>its parent</a> after step ${whole(job.from_step)}</h3>
    ${keys.length ? html`<div class="scroll" tabindex="0" role="group" aria-label="Differences"><table><thead><tr><th scope="col">Key</th><th scope="col">Parent</th><th scope="col">This one</th></tr></thead><tbody>${keys.map(([key, [there, own]]) =>
    html`<tr><td>${key}</td><td class="quiet">${shown(there)}</td><td>${shown(own)}</td></tr>`)}</tbody></table></div>`
    : html`<p class="quiet small">In nothing: it goes on as its parent would have.</p>`}
    ${readable ? html`<div class="buttons"><a class="button" href=${compared} title="both on one clock, with the map of their difference">Compare with its parent</a></div>` : nothing}</section>`;
}

/** Returns the tree of jobs to which a job belongs. */
export function lineage(tree, id) {
  if (!tree || tree.items.length < 2) return nothing;
  const depth = {};
  return html`<section class="panel stack"><h3>Lineage</h3><ul class="lineage">${tree.items.map((node) => {
    depth[node.id] = node.parent in depth ? depth[node.parent] + 1 : 0;
    const changed = Object.entries(node.differs).filter(([key]) => key !== "steps").map(([key, [, own]]) => `${key} ${shown(own).slice(0, 40)}`).join(", ");
    const words = `${whole(node.from_step)} → ${whole(node.steps)}${changed ? ` · ${changed}` : ""}`;
    return html`<li .style=${`padding-left:${Math.min(8, depth[node.id]) * 0.9}rem`}>${node.id === id ? html`<b>${words}</b>`
      : node.readable ? html`<a href=${address(`/jobs/${node.id}`)}>${words}</a>` : html`<span class="quiet">${words} (deleted)</span>`}
      <span class="state ${node.state}">${node.state}</span></li>`;
  })}</ul>${tree.items.length > 1 && tree.items.length <= 9 ? html`<a class="small" href=${address("/compare", { ids: tree.items.filter((n) => n.readable).map((n) => n.id).join(",") })}>Compare them on one clock</a>` : nothing}</section>`;
}

/** Returns the spec, with ways to take it away. */
export const spec = (job) => html`<details class="panel"><summary>Spec</summary><div class="stack"><pre tabindex="0">${JSON.stringify(sparse(job.spec), null, 1).replace(/"#(-?\d{16,20})"/g, "$1").replace(/\[\s+([-\d.,\s]+?)\s+\]/g, (_, inner) => `[${inner.replace(/\s+/g, " ")}]`)}</pre>
  <div class="buttons"><button type="button" @click=${() => copy(asCurl(job), "The curl command is copied")}>Copy as curl</button>
    <button type="button" @click=${() => copy(asPython(job), "The Python code is copied")}>Copy as Python</button></div></div></details>`;

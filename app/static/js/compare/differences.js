// The keys in which universes differ, and only those.

import { html } from "../dom.js";

/** Returns the leaves of an object: [["initial.kind", "noise"], …]. */
function leaves(value, path = "") {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return [[path, JSON.stringify(value)]];
  return Object.entries(value).flatMap(([key, inner]) => leaves(inner, path ? `${path}.${key}` : key));
}

/** Returns [{key, values}] of the keys in which the jobs differ; a missing key is null. */
export function differing(jobs) {
  const all = jobs.map((job) => new Map([...leaves(job.spec), ["law", JSON.stringify(job.law)], ["precision", JSON.stringify(job.precision)],
    ["continues", JSON.stringify(job.parent)], ["from_step", JSON.stringify(job.from_step)]]));
  const keys = [...new Set(all.flatMap((one) => [...one.keys()]))];
  return keys.map((key) => ({ key, values: all.map((one) => one.get(key) ?? null) })).filter(({ values }) => new Set(values).size > 1);
}

const shown = (value) => (value === null || value === "null" ? "–" : value.replace(/^"(.*)"$/, "$1").replace(/@([0-9a-f]{8})[0-9a-f]+/, "@$1"));

/** A table of the keys that differ. */
export function specDiff(jobs, letter) {
  const rows = differing(jobs);
  if (!rows.length) return html`<p class="quiet">Nothing: they are the same universe.</p>`;
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Keys that differ"><table><thead><tr><th scope="col">Key</th>${jobs.map((_, i) => html`<th scope="col">${letter(i)}</th>`)}</tr></thead>
    <tbody>${rows.map(({ key, values }) => html`<tr><th scope="row"><code>${key}</code></th>${values.map((value) => html`<td class="mono">${shown(value)}</td>`)}</tr>`)}</tbody></table></div>`;
}

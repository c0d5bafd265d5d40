// What can be done with a sweep, and how far it is.

import { post } from "../api.js";
import { complain, confirm, copy, html, nothing, openDialog, short, toast, whole } from "../dom.js";
import { go } from "../router.js";

const ORDER = ["succeeded", "failed", "cancelled", "paused", "running", "queued"];

const absolute = (path) => new URL(path, document.baseURI).href;

async function act(screen, name, words) {
  try {
    screen.sweep = await post(`${screen.base}/${name}`);
    toast(words);
    screen.draw();
    screen.look();
  } catch (error) {
    complain(error);
  }
}

const ADDRESSED = new Set(["law", "steps", "seed", "gamma", "precision", "initial.strength", "initial.scale"]); // what the form has in its address

/** Opens New universe with the sweep's request, its axes narrowed to the brushed region; asks here if the form lacks an axis. */
export async function refine(screen) {
  const chosen = screen.diagram.chosen();
  if (!chosen) return toast("Drag over cells of the diagram first: they become the new region.");
  const request = refined(screen.sweep.spec, chosen);
  if (Object.keys(request.axes).every((key) => ADDRESSED.has(key))) {
    const { writeValues } = await import("../newuniverse/values.js");
    return go("/new", { likesweep: screen.id, ...Object.fromEntries(Object.entries(request.axes).map(([key, values]) => [key, writeValues(values)])) });
  }
  try {
    const { size, cell_steps: work } = await post("v1/sweeps?dry_run=true", request);
    const start = await openDialog("Refine this region", (close) => html`<div class="stack"><h2>Refine this region</h2>
      <p>A new sweep of ${whole(size)} universes, ${short(work)} cell-steps:</p><pre tabindex="0">${JSON.stringify(request.axes, null, 1)}</pre>
      <div class="buttons"><button type="button" class="primary" @click=${() => close(true)}>Start the sweep</button><button type="button" @click=${() => close()}>Leave it</button></div></div>`);
    if (start) go(`/sweeps/${(await post("v1/sweeps", request)).id}`);
  } catch (error) {
    complain(error);
  }
}

/** Returns a sweep's request over a region: as many values as before between the ends of numbers, the chosen ones of others. */
export function refined(spec, chosen) {
  const axes = { ...spec.axes };
  for (const { axis, values } of chosen) {
    const integers = values.every(Number.isInteger) && (axis.key === "seed" || axis.key === "steps");
    if (!axis.numeric || integers) axes[axis.key] = values.map((value) => (typeof value === "string" && /^[[{]/.test(value) ? JSON.parse(value) : value));
    else if (values.length === 1) axes[axis.key] = values;
    else axes[axis.key] = { linspace: [values[0], values.at(-1), Math.max(axis.values.length, 2)] };
  }
  return { base: spec.base, axes, mode: typeof spec.mode === "string" ? "product" : spec.mode, ...(spec.stop?.length ? { stop: spec.stop } : {}) };
}

function exportDialog(screen) {
  const table = (format) => absolute(`${screen.base}/table?format=${format}`);
  const store = absolute(`${screen.base}/store.zarr`);
  const python = `import xarray\n\nsweep = xarray.open_zarr("${store}")`;
  openDialog("Export", (close) => html`<div class="stack"><h2>Export</h2>
    <div class="buttons">${["csv", "jsonl", "parquet"].map((format) => html`<a class="button" download href=${table(format)}>Table as ${format.toUpperCase()}</a>`)}</div>
    <p class="quiet">All fields and observables as one labelled array (Zarr), for any reader:</p>
    <pre tabindex="0">${python}</pre>
    <div class="buttons"><button type="button" @click=${() => copy(python)}>Copy as Python</button>
      <button type="button" @click=${() => copy(store)}>Copy the address of the store</button>
      <button type="button" @click=${() => close()}>Close</button></div></div>`);
}

async function share(screen) {
  try {
    const link = await post(`${screen.base}/links`, { ttl_s: 30 * 86400 });
    const page = absolute(link.page || `#/shared/${link.store.split("/shared/")[1]?.split("/")[0]}`);
    openDialog("Share", (close) => html`<div class="stack"><h2>Share</h2>
      <p>Anybody who has this link sees the sweep, without an account, until ${new Date(link.expires_at).toLocaleDateString()}.</p>
      <pre tabindex="0">${page}</pre><div class="buttons"><button type="button" class="primary" @click=${() => copy(page, "The link is copied")}>Copy the link</button>
      <button type="button" @click=${() => close()}>Close</button></div></div>`);
  } catch (error) {
    complain(error);
  }
}

/** The buttons that fit the state of the sweep. */
export function sweepActions(screen) {
  const { state, counts } = screen.sweep;
  const cancel = async () => {
    if (await confirm("Cancel all universes that have not ended? They will not run again.", "Cancel them")) act(screen, "cancel", "Cancelled");
  };
  return html`<div class="buttons">
    ${state === "running" ? html`<button type="button" @click=${() => act(screen, "pause", "Paused: running universes keep their last checkpoints")}>Pause</button>` : nothing}
    ${state === "paused" ? html`<button type="button" class="primary" @click=${() => act(screen, "resume", "Resumed")}>Resume</button>` : nothing}
    ${["running", "paused"].includes(state) ? html`<button type="button" class="danger" @click=${cancel}>Cancel</button>` : nothing}
    ${counts.failed ? html`<button type="button" @click=${() => act(screen, "retry", `${counts.failed} universes run again`)}>Retry failed (${whole(counts.failed)})</button>` : nothing}
    <button type="button" class=${screen.diagram?.brush ? "primary" : ""} title="A new sweep over the brushed cells (r)" @click=${() => refine(screen)}>Refine this region</button>
    <button type="button" @click=${() => exportDialog(screen)}>Export</button>
    <button type="button" @click=${() => share(screen)}>Share</button></div>`;
}

/** Title, progress by members, and the buttons. */
export function sweepHead(screen, actions) {
  const { sweep } = screen;
  const { base } = sweep.spec;
  const facts = [`${whole(sweep.size)} universes`, base.grid && `${base.grid.join(" × ")} cells`, base.steps && `${whole(base.steps)} steps`, base.precision].filter(Boolean);
  const ended = ORDER.slice(0, 3).reduce((sum, state) => sum + (sweep.counts[state] || 0), 0);
  const shares = ORDER.filter((state) => sweep.counts[state]);
  return html`<div class="sweep-head"><div><h1>Sweep of ${screen.title}</h1>
      <p class="quiet">${facts.join(" · ")} · <span class="state ${sweep.state}">${sweep.state}</span></p></div>${actions}</div>
    <div class="members-bar" role="img" aria-label="${whole(ended)} of ${whole(sweep.size)} universes have ended">
      ${shares.map((state) => html`<span class="share ${state}" .style=${`flex-grow:${sweep.counts[state]}`} title="${whole(sweep.counts[state])} ${state}"></span>`)}</div>
    <p class="small quiet">${shares.map((state) => `${whole(sweep.counts[state])} ${state}`).join(" · ")} ·
      <span title="cells × steps whose results can be read, of all">${short(sweep.progress.done)} of ${short(sweep.progress.cell_steps)} cell-steps</span></p>`;
}
